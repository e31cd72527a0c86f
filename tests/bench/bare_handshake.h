/* One mutual handshake of the bare ngtcp2 and wolfSSL pair. */
#ifndef BENCH_BARE_HANDSHAKE_H
#define BENCH_BARE_HANDSHAKE_H

#include "bench.h"

void bare_handshake_init(void);
/* Both ends, until the client's handshake is confirmed; then both are freed. `authenticate`: each
 * checks the other's certificate by the rules of the libp2p TLS specification, with the library's
 * function; else each takes any. */
void bare_handshake(int authenticate);

#endif
