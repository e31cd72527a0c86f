/* Whether a relay serves: a circuit from this node to itself carries nonces both ways. A relay that
 * takes announcements and drops packets, or forgets registrations, does not pass. The nonces travel
 * as datagrams whose first two bits are 00, of the size of QUIC's first packets; QUIC does not see
 * them. A client that is freed takes its test along, without upcall. */
#ifndef ATL_RELAY_SELFTEST_H
#define ATL_RELAY_SELFTEST_H

#include "relay/client.h"

typedef struct atl_relay_selftest atl_relay_selftest;

typedef struct atl_relay_selftest_result {
    int32_t code;  /* ATLAS_OK: nonces came back on both ways; ATLAS_ERR_SELFTEST: some way carried
                      none, or the relay does not know this node any more; else why there was no
                      circuit */
    uint64_t rtt;  /* nanoseconds through the circuit (to the relay and back), the shortest; 0
                      unless ATLAS_OK */
    uint32_t sent; /* nonces, both ways together */
    uint32_t came;
    const char *text; /* a sentence */
} atl_relay_selftest_result;

/* Called once, in the drive call, never from inside start; the test is gone then. */
typedef void (*atl_relay_selftest_done)(void *user, const atl_relay_selftest_result *result);

/* The node must be announced there (ATLAS_ERR_STATE). `timeout` nanoseconds for all of it. One test
 * of a client at a time (ATLAS_ERR_AGAIN). ATLAS_ERR_NOMEM, ATLAS_ERR_LIMIT, ATLAS_ERR_RANDOM. */
int32_t atl_relay_selftest_start(atl_relay_client *client, uint64_t timeout,
                                 atl_relay_selftest_done done, void *user,
                                 atl_relay_selftest **out);
/* No upcall afterwards. */
void atl_relay_selftest_cancel(atl_relay_selftest *test);

#endif
