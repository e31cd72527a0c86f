/* What the modules of the relay client share: the client, its requests and its circuits. */
#ifndef ATL_RELAY_CLIENT_STATE_H
#define ATL_RELAY_CLIENT_STATE_H

#include "http3/session.h"
#include "relay/client.h"
#include "relay/messages.h"

#define ATL_RELAY_TEXT_MAX 200

/* How far the control connection is. */
#define ATL_LINK_DOWN 0
#define ATL_LINK_RESOLVING 1
#define ATL_LINK_DIALLING 2
#define ATL_LINK_OPENING 3 /* HTTP/3 is up, the control stream was asked for */
#define ATL_LINK_UP 4
#define ATL_LINK_CLOSING 5 /* waiting for its end */

struct atl_relay_client {
    atl_env *env;
    atl_loop *loop;
    atl_relay_client_config config;
    const atl_relay_client_ops *ops;
    void *user;
    uint8_t want_connect;
    uint8_t want_announce;

    /* the control connection: relay/link.c */
    uint8_t link;
    uint8_t n_addrs;
    uint8_t next_addr;
    atl_resolve *resolve;
    atl_addr addrs[ATL_RESOLVE_MAX];
    atl_h3 *h3;
    atl_h3_stream *control;
    atl_capsule_parser parser;
    uint64_t dialled_at;
    uint64_t up_at;    /* 0: it has not been up */
    int32_t fail_code; /* why it is closing */
    char fail_text[ATL_RELAY_TEXT_MAX];
    atl_addr remote; /* dialled last; family 0: none yet */

    /* how good it is: relay/health.c */
    uint8_t silent;  /* the control connection waits for an answer for too long */
    uint8_t failed;  /* lost, or not reached, since it was up last */
    uint8_t idle;    /* nothing is sent unless somebody needs it */
    uint8_t flowing; /* packets came through circuits at the last look */
    uint64_t failed_at;
    uint64_t pushed_at;      /* probed, or tried anew, last */
    uint64_t probe_deadline; /* when the probe's patience ends; the timer may come later */
    uint64_t probe_heard;    /* packets of the relay before the probe */
    uint64_t circuit_rx;     /* packets through all circuits at the last look */
    uint64_t circuit_tx;
    uint64_t flowed_at; /* when there was traffic on a circuit last */
    atl_timer probe;
    atl_timer watch;
    atl_task news;

    /* presence and redialling: relay/client.c */
    uint32_t attempts; /* failures in a row */
    uint64_t retry_at; /* ATLAS_NO_DEADLINE: none planned */
    atl_timer retry;
    atl_timer announce;
    atl_timer linger;
    uint8_t announced;
    uint8_t announcing; /* at least one announcement is on its way on this connection */
    uint8_t yield;      /* do not replace the other connection of this node */
    uint8_t drains;
    uint64_t announce_from; /* not before this: replaced, or refused */
    uint64_t announce_due;  /* when the next one is planned */
    uint32_t unanswered;    /* announcements sent since the last answer */
    uint64_t told_interval; /* between announcements, as the relay wants it; nanoseconds */
    uint64_t expiry;        /* nanoseconds */
    uint64_t bandwidth;

    /* what on_state tells */
    uint32_t state;
    int32_t code;
    atl_task notify;
    char addr_text[ATLAS_MULTIADDR_MAX];
    char relay_text[ATLAS_PEER_ID_MAX];
    char observed[ATLAS_ADDR_MAX];
    atl_addr observed_addr;
    char text[ATL_RELAY_TEXT_MAX];

    /* relay/circuits.c */
    uint64_t next_request;
    size_t n_circuits;
    atl_list requests; /* going on */
    atl_list done;     /* whose upcall is due */
    atl_list circuits;
    struct atl_relay_selftest *selftest; /* relay/selftest.c; NULL: none */
};

/* A circuit of this node. */
typedef struct atl_relay_circuit {
    atl_circuit base;
    atl_list node;
    atl_relay_client *client;
    atl_relay_request *request; /* whose upcall has not come yet, or NULL */
    uint64_t number;            /* the relay's, once `numbered` */
    uint8_t numbered;
    uint8_t own; /* an end of the self-test's circuit */
    atl_timer idle;
} atl_relay_circuit;

/* ---- relay/link.c ---- */

/* Starts to connect; harmless unless the link is down. */
void atl_relay_link_start(atl_relay_client *client);
/* Ends the link; the client hears atl_relay_client_down() then or, when there is a connection to
 * close, a little later. */
void atl_relay_link_fail(atl_relay_client *client, int32_t code, const char *text);
/* At once and without upcalls. */
void atl_relay_link_free(atl_relay_client *client);
/* A dial that may have gone out by a way that is no more begins again. */
void atl_relay_link_again(atl_relay_client *client);
/* Queues a whole capsule on the control stream. */
int32_t atl_relay_link_send(atl_relay_client *client, const uint8_t *capsule, size_t len);

/* ---- relay/client.c, called by the link ---- */

void atl_relay_client_up(atl_relay_client *client);
void atl_relay_client_down(atl_relay_client *client, int32_t code, const char *text);
int32_t atl_relay_client_capsule(atl_relay_client *client, uint64_t type, const uint8_t *value,
                                 size_t len);
/* Nothing may be left waiting: connects now when somebody needs it. */
void atl_relay_client_retry(atl_relay_client *client);
/* Announces now, where it is time or was missed. */
void atl_relay_client_reannounce(atl_relay_client *client);
void atl_relay_client_set(atl_relay_client *client, uint32_t state, int32_t code, const char *text);
/* Something has ended: without a purpose the connection ends too, after a while. */
void atl_relay_client_unused(atl_relay_client *client);

/* ---- relay/health.c ---- */

void atl_relay_health_init(atl_relay_client *client);
void atl_relay_health_up(atl_relay_client *client);
/* The link has ended; 1 when that is held against the relay. */
void atl_relay_health_down(atl_relay_client *client, int failed);
void atl_relay_health_free(atl_relay_client *client);
void atl_relay_health_silent(atl_relay_client *client);
void atl_relay_health_heard(atl_relay_client *client);
/* Circuits have come or gone: how often the connection shows that it is there. */
void atl_relay_health_watch(atl_relay_client *client);
/* What atl_relay_client_ops.on_news tells has changed. */
void atl_relay_health_news(atl_relay_client *client);

/* ---- relay/circuits.c ---- */

void atl_relay_circuits_init(atl_relay_client *client);
/* The control stream is open: sends what waits for it. */
void atl_relay_circuits_up(atl_relay_client *client);
/* Ends everything; upcalls of requests follow. `again` 1: requests that have not been asked a
 * second time wait for the next connection instead. */
void atl_relay_circuits_down(atl_relay_client *client, int32_t code, const char *text, int again);
/* Likewise, without upcalls. */
void atl_relay_circuits_free(atl_relay_client *client);
/* A request or a circuit needs the connection. */
int atl_relay_circuits_any(const atl_relay_client *client);
void atl_relay_circuits_ready(atl_relay_client *client, const atl_relay_ready *msg);
void atl_relay_circuits_error(atl_relay_client *client, const atl_relay_error *msg);
int32_t atl_relay_circuits_incoming(atl_relay_client *client, const atl_relay_incoming *msg);
void atl_relay_circuits_closed(atl_relay_client *client, const atl_relay_close *msg);
/* A circuit that `source` asked for, open: ATLAS_OK, ATLAS_ERR_RELAY_CAPACITY, ATLAS_ERR_NOMEM.
 */
int32_t atl_relay_circuits_open(atl_relay_client *client, const atl_relay_incoming *msg,
                                atl_relay_circuit **out);
/* Datagrams received and sent through the circuits there are. */
void atl_relay_circuits_traffic(const atl_relay_client *client, uint64_t *rx, uint64_t *tx);

/* ---- relay/selftest.c ---- */

/* The relay asks for a circuit from this node to itself. */
int32_t atl_relay_selftest_incoming(atl_relay_client *client, const atl_relay_incoming *msg,
                                    atl_relay_circuit **out);
/* The circuit, an end of the test's, is ending; or (NULL) the link is. Harmless without a test. */
void atl_relay_selftest_lost(atl_relay_client *client, const atl_relay_circuit *circuit,
                             int32_t code);
/* The client is being freed: the test goes with it. */
void atl_relay_selftest_free(atl_relay_client *client);

#endif
