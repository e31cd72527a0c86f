/* The messages of the peers' control stream: whatever decodes must encode, and decode to the same
 * again. The first byte chooses the message, the rest is a capsule's value. */
#include <stdlib.h>
#include <string.h>

#include "peer/control.h"

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
    check(reader.left <= atl_ctrl_known(NULL, type));
    *value_len = reader.left;
    return reader.data;
}

#define ROUND_TRIP(name, type)                                                                     \
    do {                                                                                           \
        static name first;                                                                         \
        static name again;                                                                         \
        uint8_t buf[ATL_CTRL_MESSAGE_MAX];                                                         \
        const uint8_t *value;                                                                      \
        size_t len;                                                                                \
        size_t value_len;                                                                          \
        memset(&first, 0, sizeof(first));                                                          \
        memset(&again, 0, sizeof(again));                                                          \
        if (size <= atl_ctrl_known(NULL, type) && name##_decode(data, size, &first) == ATLAS_OK) { \
            check(name##_encode(&first, buf, sizeof(buf), &len) == ATLAS_OK);                      \
            value = value_of(buf, len, type, &value_len);                                          \
            check(name##_decode(value, value_len, &again) == ATLAS_OK);                            \
            check(memcmp(&first, &again, sizeof(first)) == 0);                                     \
        }                                                                                          \
    } while (0)

static void one(uint8_t which, const uint8_t *data, size_t size) {
    switch (which % 7) {
    case 0:
        ROUND_TRIP(atl_ctrl_hello, ATL_CTRL_HELLO);
        break;
    case 1:
        ROUND_TRIP(atl_ctrl_addresses, ATL_CTRL_ADDRESSES);
        break;
    case 2:
        ROUND_TRIP(atl_ctrl_punch, ATL_CTRL_PUNCH);
        break;
    case 3:
        ROUND_TRIP(atl_ctrl_path_request, ATL_CTRL_PATH_REQUEST);
        break;
    case 4:
        ROUND_TRIP(atl_ctrl_ping, ATL_CTRL_PING);
        break;
    case 5:
        ROUND_TRIP(atl_ctrl_disconnect, ATL_CTRL_DISCONNECT);
        break;
    default:
        ROUND_TRIP(atl_ctrl_sleep, ATL_CTRL_SLEEP);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0) {
        one(data[0], data + 1, size - 1);
    }
    return 0;
}
