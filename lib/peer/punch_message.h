/* The two messages of hole punching, requests and their answers, and what keeps them from being
 * used twice.
 *
 * A transaction id is eight random bytes of the asker and connection, and a number that grows with
 * every request of it. So an answer finds its connection without a table of requests, and the
 * receiver of requests takes each number once: a request that somebody has caught and sends again,
 * from wherever, causes nothing. */
#ifndef ATL_PEER_PUNCH_MESSAGE_H
#define ATL_PEER_PUNCH_MESSAGE_H

#include "stun/message.h"

#define ATL_PUNCH_TOKEN 32   /* USERNAME: 16 bytes of the exporter in hexadecimal */
#define ATL_PUNCH_KEY 32     /* of MESSAGE-INTEGRITY-SHA256 */
#define ATL_PUNCH_PREFIX 8   /* of the transaction id */
#define ATL_PUNCH_WINDOW 512 /* numbers behind the highest one that may still come */

/* Header, USERNAME, PRIORITY, MESSAGE-INTEGRITY-SHA256, FINGERPRINT; header, XOR-MAPPED-ADDRESS of
 * IPv6, MESSAGE-INTEGRITY-SHA256, FINGERPRINT. No answer is longer than its request. */
#define ATL_PUNCH_REQUEST_LEN (ATL_STUN_HEADER + 4 + ATL_PUNCH_TOKEN + 8 + 36 + 8)
#define ATL_PUNCH_ANSWER_MAX (ATL_STUN_HEADER + 24 + 36 + 8)

typedef struct atl_punch_window {
    uint64_t seen[ATL_PUNCH_WINDOW / 64]; /* a ring: bit number % ATL_PUNCH_WINDOW */
    uint32_t top;                         /* the highest number so far */
    uint8_t used;
} atl_punch_window;

/* 1 when this number has not been taken before and is not too old, and takes it. */
int atl_punch_window_take(atl_punch_window *window, uint32_t number);

/* The number in a transaction id. */
uint32_t atl_punch_number(const uint8_t id[ATL_STUN_ID_LEN]);

/* Each returns the length, or 0 when the cipher library failed. */
size_t atl_punch_put_request(const uint8_t prefix[ATL_PUNCH_PREFIX], uint32_t number,
                             const char token[ATL_PUNCH_TOKEN], uint32_t priority,
                             const uint8_t key[ATL_PUNCH_KEY], uint8_t out[ATL_PUNCH_REQUEST_LEN]);
size_t atl_punch_put_answer(const uint8_t id[ATL_STUN_ID_LEN], const atl_addr *mapped,
                            const uint8_t key[ATL_PUNCH_KEY], uint8_t out[ATL_PUNCH_ANSWER_MAX]);
/* 1 when the message is whole, has a FINGERPRINT, nothing in it that we do not understand, and the
 * integrity of this key in full length. */
int atl_punch_authentic(const atl_stun_msg *msg, const uint8_t key[ATL_PUNCH_KEY]);

#endif
