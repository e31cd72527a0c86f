/* How long a NAT on the way keeps a mapping that nothing uses: learned from silences that it
 * survived and from silences after which it was gone. One for each address family of a context.
 *
 * The interval begins at 15 s and grows by half as long as mappings survive. After a loss it
 * searches between what survived and what did not, and settles 20 % below the shortest silence that
 * was too long. That bound is forgotten after an hour of silences, so that an interval which one
 * accident has made short does not stay so. No clock: time passes in the silences that are told. */
#ifndef ATL_PEER_KEEPALIVE_H
#define ATL_PEER_KEEPALIVE_H

#include "base/env.h"

#define ATL_KEEPALIVE_START (15 * ATL_SECOND)
#define ATL_KEEPALIVE_LEAST (5 * ATL_SECOND)

typedef struct atl_keepalive {
    uint64_t max;      /* nanoseconds, like all of these */
    uint64_t interval; /* in use now */
    uint64_t good;     /* the longest silence that was survived; 0: none yet */
    uint64_t bad;      /* the shortest one that was not; 0: none is known */
    uint64_t age;      /* of `bad`: the silences survived since */
} atl_keepalive;

/* `max`: the longest interval wanted; it may lie below the least one, and then is used as it is. */
void atl_keepalive_init(atl_keepalive *k, uint64_t max);
/* Another `max`; what was learned stays. */
void atl_keepalive_set_max(atl_keepalive *k, uint64_t max);
/* Another network: everything learned is forgotten. */
void atl_keepalive_reset(atl_keepalive *k);

/* How long to be silent at most, now. */
uint64_t atl_keepalive_interval(const atl_keepalive *k);

/* After a silence of `gap` a packet of ours was answered on the same path, and the other side saw
 * the same address. */
void atl_keepalive_survived(atl_keepalive *k, uint64_t gap);
/* After a silence of `gap` the mapping was gone: the other side saw another address, or the path
 * was dead while another one worked. Not for paths that died under traffic. */
void atl_keepalive_lost(atl_keepalive *k, uint64_t gap);

#endif
