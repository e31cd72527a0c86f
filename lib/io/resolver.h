/* Name look-ups on c-ares, which owns no thread here: its sockets are watches, its timeouts a timer
 * of the loop. The functions but the last two are those of atl_io. */
#ifndef ATL_IO_RESOLVER_H
#define ATL_IO_RESOLVER_H

#include "io/os.h"

int32_t atl_resolver_resolve(void *impl, const char *host, uint16_t port, uint8_t family,
                             atl_resolve_cb cb, void *user, atl_resolve **out);
int32_t atl_resolver_resolve_srv(void *impl, const char *service, const char *domain,
                                 atl_resolve_cb cb, void *user, atl_resolve **out);
void atl_resolver_cancel(void *impl, atl_resolve *resolve);

/* Ends every look-up without a call. */
void atl_resolver_free(atl_os *os);

#endif
