/* A world with an enemy: a relay, two nodes, and a host that puts any bytes on the network under
 * any address, or speaks the relay's protocol by hand. What everyone sends is captured and counted.
 */
#ifndef SIM_HOSTILE_H
#define SIM_HOSTILE_H

#include "api/context.h"
#include "http3/session.h"
#include "node.h"
#include "relay/messages.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "quic_pair.h"

#define HOSTILE_CAPTURE 2048

typedef struct captured {
    atl_addr from;
    atl_addr to;
    size_t len;
    uint8_t data[1500];
} captured;

typedef struct hostile_world hostile_world;

/* A relay client worked by hand. */
typedef struct attacker {
    hostile_world *world;
    pair_node node;
    atl_h3 *h3;
    atl_h3_stream *control;
    atl_capsule_parser parser;
    int ready;
    int closed;
    int ended; /* the relay ended the control stream */
    int32_t status;
    atl_qclose why;
    int responses;
    int streams_closed;
    /* what the relay said */
    int waiting;
    int paired;
    int incoming;
    int errors;
    int other;
    int32_t error; /* of the last RelayError */
    atl_relay_ready last_ready;
    atl_relay_incoming last_incoming;
} attacker;

struct hostile_world {
    sim_net *net;
    sim_node relay;
    sim_node a;
    sim_node b;
    attacker x;
    uint64_t rng;
    int injecting; /* what is sent now is forged */
    captured *ring;
    size_t n_captured;
    /* bytes to and from each address of 198.51.0.0/16, which nobody has */
    uint64_t stranger_in[65536];
    uint64_t stranger_out[65536];
};

/* Relay, a and b are up, b listens; nobody is announced. */
void hostile_init(hostile_world *w, uint64_t seed);
/* Ends all of it; every context's memory is back. */
void hostile_done(hostile_world *w);
int hostile_run(hostile_world *w, double seconds, int (*done)(void *user));
uint64_t hostile_random(hostile_world *w);
/* The address of a node's socket. */
atl_addr hostile_addr(const sim_node *node);
/* The n-th address that nobody has. */
atl_addr hostile_stranger(uint16_t n);
/* One forged datagram. */
void hostile_inject(hostile_world *w, const atl_addr *from, const atl_addr *to, const void *data,
                    size_t len);
/* Nobody was sent more than three times what came under his name. Returns how many addresses got
 * anything. */
size_t hostile_check_amplification(const hostile_world *w);

atlas_relay_stats hostile_relay_stats(const hostile_world *w);
const atl_endpoint_stats *hostile_stats(const sim_node *node);

/* b announces itself, a dials it through the relay only (the direct way is cut). */
void hostile_connect(hostile_world *w);
/* a and b can still use their connection: a message arrives. */
void hostile_check_served(hostile_world *w);
int hostile_b_announced(void *w);
int hostile_a_settled(void *w);
int hostile_a_closed(void *w);
int hostile_b_has_all(void *w);
int hostile_a_sent(void *w);

/* The attacker's host, without a connection. */
void attacker_init(hostile_world *w, uint8_t seed);
void attacker_done(attacker *x);
/* Connects to the relay and, with `control`, opens the control stream. */
void attacker_connect(attacker *x, int control);
/* A request; the control stream when `protocol` is set. */
int32_t attacker_request(attacker *x, const char *method, const char *path, const char *protocol);
/* Raw bytes on the control stream. */
int32_t attacker_write(attacker *x, const void *data, size_t len);
void attacker_announce(attacker *x, const atl_peer_id *id, int64_t shift_ms);
void attacker_ask(attacker *x, uint64_t request, const atl_peer_id *source,
                  const atl_peer_id *target);
/* Accepts the circuit of the last RelayIncoming. */
void attacker_accept(attacker *x);
int attacker_got_error(void *w);
int attacker_got_waiting(void *w);
int attacker_got_incoming(void *w);
int attacker_is_closed(void *w);
int attacker_is_ready(void *w);

#endif
