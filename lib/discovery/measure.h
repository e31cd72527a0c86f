/* Round-trip time and loss of several addresses at once, by STUN questions from the node's own
 * socket: relays answer STUN where they speak QUIC. */
#ifndef ATL_DISCOVERY_MEASURE_H
#define ATL_DISCOVERY_MEASURE_H

#include "stun/client.h"

#define ATL_MEASURE_MAX 20      /* addresses at once */
#define ATL_MEASURE_QUESTIONS 4 /* to each */

typedef struct atl_measure atl_measure;

typedef struct atl_measure_result {
    atl_addr addr;
    uint64_t rtt;  /* nanoseconds, the shortest; 0: no answer */
    uint32_t loss; /* of 100 */
} atl_measure_result;

/* Called once, work task; in the order of the addresses asked. The measurement is gone then. */
typedef void (*atl_measure_done)(void *user, const atl_measure_result *results, size_t n);

/* Asks every address ATL_MEASURE_QUESTIONS times, 60 ms apart; a question without answer for 400 ms
 * is lost. `enough` not 0: when so many have answered everything, the others have as long again,
 * and what is open then counts as lost. ATLAS_ERR_INVALID (no address, or more than
 * ATL_MEASURE_MAX), ATLAS_ERR_NOMEM. */
int32_t atl_measure_start(atl_loop *loop, atl_stun_client *stun, const atl_addr *addrs, size_t n,
                          size_t enough, atl_measure_done done, void *user, atl_measure **out);
/* No upcall afterwards. */
void atl_measure_cancel(atl_measure *measure);

#endif
