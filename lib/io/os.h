/* The operating system behind atl_io: descriptors and their interest, UDP batches, c-ares, clocks.
 */
#ifndef ATL_IO_OS_H
#define ATL_IO_OS_H

#include "io/io.h"

typedef struct atl_os atl_os;

/* Fills every NULL pointer of `hooks` that has a default (now, wall, malloc/realloc/free, random).
 * ATLAS_ERR_INVALID when only some of the memory hooks are given. */
int32_t atl_os_default_hooks(atlas_hooks *hooks);

/* The loop must outlive it. Fills `io`. */
int32_t atl_os_new(atl_loop *loop, atl_os **out, atl_io *io);
/* Closes everything, removing interest first. */
void atl_os_free(atl_os *os);

/* Marks descriptors ready and runs their handlers. events NULL: tries all. At most `budget`
 * handlers run; returns 1 when some are left to run (the caller sets a deadline of now). Unknown
 * descriptors are ignored. */
int32_t atl_os_process(atl_os *os, const atlas_fd_event *events, size_t n, size_t budget);
size_t atl_os_fds(const atl_os *os, atlas_fd_event *out, size_t cap);
/* ppoll(2) on all watched descriptors for at most `timeout_ns` nanoseconds (ATLAS_NO_DEADLINE: no
 * limit): a pacer wants finer steps than milliseconds. Fills `out` with the ready ones. */
int32_t atl_os_poll(atl_os *os, uint64_t timeout_ns, atlas_fd_event *out, size_t cap, size_t *n);

/* Any thread, signal handler. */
int32_t atl_os_wakeup(atl_os *os);
/* 1 when atl_os_wakeup() was called since the last time it was asked. */
int atl_os_woken(atl_os *os);

/* The name servers to ask instead of the system's: "host[:port],..." with IP addresses.
 * ATLAS_ERR_ADDRESS; ATLAS_ERR_STATE while a look-up is in progress. */
int32_t atl_os_set_dns(atl_os *os, const char *csv);

/* Descriptor watches for modules of io/ (and c-ares): interest is reported by changes, removal
 * before close. */
typedef struct atl_watch atl_watch;
typedef void (*atl_watch_fn)(void *user, int32_t fd, uint32_t events);
int32_t atl_watch_add(atl_os *os, int32_t fd, uint32_t events, atl_watch_fn fn, void *user,
                      atl_watch **out);
void atl_watch_set(atl_watch *watch, uint32_t events);
void atl_watch_remove(atl_watch *watch); /* before close(fd) */

#endif
