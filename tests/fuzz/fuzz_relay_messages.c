/* The messages of the relay's and of the peers' control streams: whatever decodes must encode, and
 * decode to the same again. The first byte chooses the message, the rest is a capsule's value. */
#include <stdlib.h>
#include <string.h>

#include "peer/control.h"
#include "relay/messages.h"

static void check(int ok) {
    if (!ok) {
        abort();
    }
}

/* The value inside the capsule that was just encoded. */
static const uint8_t *value_of(const uint8_t *buf, size_t len, uint64_t type, size_t *value_len) {
    atl_reader reader;
    uint64_t got_type;
    uint64_t got_len;

    atl_reader_init(&reader, buf, len);
    check(atl_read_varint(&reader, &got_type) == ATLAS_OK && got_type == type);
    check(atl_read_varint(&reader, &got_len) == ATLAS_OK && got_len == reader.left);
    *value_len = reader.left;
    return reader.data;
}

#define ROUND_TRIP(struct_type, decode, encode, type)                  \
    do {                                                               \
        struct_type first;                                             \
        struct_type again;                                             \
        uint8_t buf[ATL_RELAY_MESSAGE_MAX];                            \
        const uint8_t *value;                                          \
        size_t len;                                                    \
        size_t value_len;                                              \
        memset(&first, 0, sizeof(first));                              \
        memset(&again, 0, sizeof(again));                              \
        if (decode(data, size, &first) == ATLAS_OK) {                  \
            check(encode(&first, buf, sizeof(buf), &len) == ATLAS_OK); \
            value = value_of(buf, len, type, &value_len);              \
            check(decode(value, value_len, &again) == ATLAS_OK);       \
            check(memcmp(&first, &again, sizeof(first)) == 0);         \
        }                                                              \
    } while (0)

static void one(uint8_t which, const uint8_t *data, size_t size) {
    switch (which % 11) {
    case 0:
        ROUND_TRIP(atl_relay_announce, atl_relay_announce_decode, atl_relay_announce_encode,
                   ATL_RELAY_ANNOUNCE);
        break;
    case 1:
        ROUND_TRIP(atl_relay_connect, atl_relay_connect_decode, atl_relay_connect_encode,
                   ATL_RELAY_CONNECT);
        break;
    case 2:
        ROUND_TRIP(atl_relay_ready, atl_relay_ready_decode, atl_relay_ready_encode,
                   ATL_RELAY_READY);
        break;
    case 3:
        ROUND_TRIP(atl_relay_error, atl_relay_error_decode, atl_relay_error_encode,
                   ATL_RELAY_ERROR);
        break;
    case 4:
        ROUND_TRIP(atl_relay_incoming, atl_relay_incoming_decode, atl_relay_incoming_encode,
                   ATL_RELAY_INCOMING);
        break;
    case 5:
        ROUND_TRIP(atl_relay_accept, atl_relay_accept_decode, atl_relay_accept_encode,
                   ATL_RELAY_ACCEPT);
        break;
    case 6:
        ROUND_TRIP(atl_relay_close, atl_relay_close_decode, atl_relay_close_encode,
                   ATL_RELAY_CLOSE);
        break;
    case 7:
        ROUND_TRIP(atl_relay_drain, atl_relay_drain_decode, atl_relay_drain_encode,
                   ATL_RELAY_DRAIN);
        break;
    case 8:
        ROUND_TRIP(atl_ctrl_hello, atl_ctrl_hello_decode, atl_ctrl_hello_encode, ATL_CTRL_HELLO);
        break;
    case 9:
        ROUND_TRIP(atl_ctrl_ping, atl_ctrl_ping_decode, atl_ctrl_ping_encode, ATL_CTRL_PING);
        break;
    default:
        ROUND_TRIP(atl_ctrl_disconnect, atl_ctrl_disconnect_decode, atl_ctrl_disconnect_encode,
                   ATL_CTRL_DISCONNECT);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0) {
        one(data[0], data + 1, size - 1);
    }
    return 0;
}
