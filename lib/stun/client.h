/* STUN transactions: one request, its retransmissions, and its one answer.
 *
 * Sends through a callback and gets datagrams from its owner; knows neither sockets nor names. An
 * answer counts only when it has the transaction's 96-bit id and comes from the address that was
 * asked. */
#ifndef ATL_STUN_CLIENT_H
#define ATL_STUN_CLIENT_H

#include <atlas/stun.h>

#include "base/loop.h"
#include "io/io.h"
#include "stun/message.h"

#define ATL_STUN_RTO (500 * ATL_MS)
#define ATL_STUN_RC 7  /* requests sent at most */
#define ATL_STUN_RM 16 /* the last wait, in RTOs */
#define ATL_STUN_LONGEST (UINT64_C(39500) * ATL_MS)
#define ATL_STUN_TXNS_MAX 1024

typedef struct atl_stun_client atl_stun_client;
typedef struct atl_stun_txn atl_stun_txn;

/* Sends one datagram; lost datagrams and ATLAS_ERR_AGAIN are the same to a transaction, any other
 * error ends it. */
typedef int32_t (*atl_stun_send)(void *user, const atl_addr *local, const atl_addr *remote,
                                 const uint8_t *data, size_t len);

/* Short-term credentials; the key is the password's bytes. integrity 0: none. */
typedef struct atl_stun_creds {
    const char *username;
    const char *password;
    uint32_t integrity; /* ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256 */
} atl_stun_creds;

/* How a transaction ended. Valid during the callback. */
typedef struct atl_stun_reply {
    int32_t code;           /* ATLAS_OK or ATLAS_ERR_* */
    int32_t stun_code;      /* ERROR-CODE, also of an answer that was discarded for its integrity */
    uint32_t transmissions; /* requests sent, to the alternate server too */
    uint64_t rtt;           /* nanoseconds from the last request sent to the answer */
    atl_addr remote;        /* who was asked last: the alternate server when one was followed */
    atl_addr local;         /* where the answer arrived; family 0 when there was none */
    atl_addr reflexive;     /* family 0 unless code is ATLAS_OK */
    atl_addr other;         /* the server's OTHER-ADDRESS; family 0: none, or not ATLAS_OK */
    char reason[128];       /* the server's own words, printable ASCII; "" without */
} atl_stun_reply;

/* Called once, from atl_stun_client_on_datagram() or a timer, never from inside start; the
 * transaction is gone then. */
typedef void (*atl_stun_done)(void *user, const atl_stun_reply *reply);

/* What is asked. Zero-initialised but for remote and deadline it is a plain Binding request. */
typedef struct atl_stun_ask {
    atl_addr local; /* family 0: any */
    atl_addr remote;
    atl_addr expect;             /* who will answer; family 0: who is asked */
    uint64_t deadline;           /* nanoseconds, absolute */
    const atl_stun_creds *creds; /* NULL: none */
    uint32_t change;             /* ATL_STUN_CHANGE_*: the bits of CHANGE-REQUEST */
    uint16_t response_port;      /* 0: no RESPONSE-PORT */
} atl_stun_ask;

int32_t atl_stun_client_new(atl_loop *loop, atl_stun_send send, void *send_user,
                            atl_stun_client **out);
/* Ends all transactions without callbacks. NULL is allowed. */
void atl_stun_client_free(atl_stun_client *client);

/* Sends a Binding request to `remote` (from `local`, or family 0) and follows RFC 8489's schedule
 * until `deadline` (nanoseconds, absolute). `creds` may be NULL. ATLAS_ERR_INVALID,
 * ATLAS_ERR_LIMIT, ATLAS_ERR_NOMEM, ATLAS_ERR_RANDOM, or what the send callback returned. */
int32_t atl_stun_client_start(atl_stun_client *client, const atl_addr *local,
                              const atl_addr *remote, uint64_t deadline,
                              const atl_stun_creds *creds, atl_stun_done done, void *user,
                              atl_stun_txn **out);
/* The same with all that can be asked. Errors are taken from whom is asked and whom is expected,
 * addresses from the latter alone. */
int32_t atl_stun_client_ask(atl_stun_client *client, const atl_stun_ask *ask, atl_stun_done done,
                            void *user, atl_stun_txn **out);
/* Ends a transaction without callback. */
void atl_stun_client_cancel(atl_stun_client *client, atl_stun_txn *txn);

/* A STUN response, or an ICMP error. Returns 1 when it belonged to a transaction. */
int atl_stun_client_on_datagram(atl_stun_client *client, const atl_rx *rx);

/* 1 when a transaction with this id runs. */
int atl_stun_client_knows(const atl_stun_client *client, const uint8_t id[ATL_STUN_ID_LEN]);

size_t atl_stun_client_count(const atl_stun_client *client);

#endif
