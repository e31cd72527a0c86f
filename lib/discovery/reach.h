/* Whether this node can be reached from outside without its own doing (AutoNAT): the verdict, per
 * address family and candidate, from the dial-backs of several independent servers.
 *
 * A round asks up to ATL_REACH_SERVERS servers for a dial-back to every candidate of their family.
 * A datagram that arrives from where this node has not written to is a yes of that server; none, of
 * which the server says that it has sent it, is a no. No server counts twice, nor two with one IPv4
 * /24 or IPv6 /48 where others are known. A candidate is public by a majority of at least two (of
 * one, where only one server is known at all, or where nothing is known yet, nobody else has found
 * anything, and the application has named it), and private likewise; what an address other than the
 * asked one would have to confirm (another address of the server) counts more than another port
 * alone: a no from there outweighs a yes of a mere port of the same server. The family's verdict is
 * the best of its candidates'. */
#ifndef ATL_DISCOVERY_REACH_H
#define ATL_DISCOVERY_REACH_H

#include "address/addr.h"
#include "base/loop.h"
#include "discovery/dialback_message.h"
#include "identity/peerid.h"
#include "io/io.h"

#include <atlas/discovery.h>

#define ATL_REACH_SERVERS 5                          /* asked in a round */
#define ATL_REACH_CANDIDATES ATL_DIALBACK_CANDIDATES /* of a family */

typedef struct atl_reach atl_reach;

/* A server that can be asked. */
typedef struct atl_reach_server {
    atl_peer_id peer;
    atl_addr addr; /* where it is asked; decides which family's candidates it judges */
    void *handle;  /* the owner's */
    uint8_t named; /* by the application, not by records of strangers: believed alone */
} atl_reach_server;

typedef struct atl_reach_config {
    atl_loop *loop;
    void *user;
    /* The servers that can be asked now, at most `cap`, in order of preference: their number. */
    size_t (*servers)(void *user, atl_reach_server *out, size_t cap);
    /* The candidates of a family, at most `cap`: host addresses that are not private, and
     * server-reflexive ones, with ports. */
    size_t (*candidates)(void *user, uint8_t family, atl_addr *out, size_t cap);
    /* Sends the request's body to the server (POST ATL_DIALBACK_PATH); `done` comes once, in the
     * drive call, never from inside, with the answer's body or an error. `*request` is for cancel.
     */
    int32_t (*ask)(void *user, const atl_reach_server *server, const uint8_t *body, size_t len,
                   uint64_t timeout,
                   void (*done)(void *done_user, int32_t code, const uint8_t *body, size_t len,
                                const char *text),
                   void *done_user, void **request);
    void (*cancel)(void *user, void *request);
    /* How a server has done in a round that is over: it has answered, or not (while others have).
     * May be NULL. Must not change the reach. */
    void (*on_server)(void *user, const atl_reach_server *server, int answered);
    /* 1 when this node has written to that IP address before (ports do not count): a datagram from
     * there proves less. */
    int (*has_met)(void *user, const atl_addr *ip);
    /* The verdict of a family has changed, or a round has ended with the same (`changed` 0). Work
     * task, never from inside a call. */
    void (*on_verdict)(void *user, uint8_t family, int changed);
} atl_reach_config;

int32_t atl_reach_new(const atl_reach_config *config, atl_reach **out);
void atl_reach_free(atl_reach *reach); /* NULL is allowed */
/* Begins checking, at once and then in growing intervals (30 s, doubled up to 30 min); 0: stops. */
void atl_reach_run(atl_reach *reach, int on);
/* A round now, whatever the interval: candidates, servers or the network have changed. Rounds begin
 * at most once in two seconds. What a round under way has found so far is kept where it still
 * applies. `moved`: families (bits: 1 IPv4, 2 IPv6) in which the network is another one; their
 * verdicts become unknown first. */
void atl_reach_again(atl_reach *reach, uint32_t moved);
/* From the endpoint's on_stun hook: 1 when the datagram was a dial-back of ours. */
int atl_reach_on_stun(atl_reach *reach, const atl_rx *rx);

uint32_t atl_reach_verdict(const atl_reach *reach, uint8_t family); /* ATLAS_REACH_* */
/* Candidates of a family with their verdicts, at most `cap`. */
typedef struct atl_reach_candidate {
    atl_addr addr;
    uint32_t verdict;
    uint32_t yes, no; /* servers of the last complete round */
} atl_reach_candidate;
size_t atl_reach_candidates(const atl_reach *reach, uint8_t family, atl_reach_candidate *out,
                            size_t cap);
/* What servers said in the last round, for people. */
typedef struct atl_reach_evidence {
    atl_reach_server server;
    atl_addr candidate;
    atl_addr source;    /* where the datagram came from; family 0: none came */
    int32_t code;       /* ATLAS_OK: answered; else why the server was of no use */
    uint32_t result;    /* ATLAS_REACH_PUBLIC, _PRIVATE, or _UNKNOWN: of this server alone */
    uint8_t asked_from; /* ATL_DIALBACK_* that the server said */
} atl_reach_evidence;
size_t atl_reach_evidence_of(const atl_reach *reach, uint8_t family, atl_reach_evidence *out,
                             size_t cap);
/* 1 while a round is under way. */
int atl_reach_busy(const atl_reach *reach);

#endif
