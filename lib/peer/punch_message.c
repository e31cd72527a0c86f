#include "peer/punch_message.h"

#include <string.h>

_Static_assert(ATL_PUNCH_ANSWER_MAX <= ATL_PUNCH_REQUEST_LEN, "answers must not amplify");

int atl_punch_window_take(atl_punch_window *window, uint32_t number) {
    uint32_t ahead = number - window->top;
    uint32_t behind = window->top - number;
    uint64_t bit = UINT64_C(1) << number % 64;
    uint64_t *word = &window->seen[number % ATL_PUNCH_WINDOW / 64];

    if (!window->used || (ahead < UINT32_C(1) << 31 && ahead >= ATL_PUNCH_WINDOW)) {
        memset(window, 0, sizeof(*window));
        window->used = 1;
        window->top = number;
    } else if (ahead < ATL_PUNCH_WINDOW) {
        for (; window->top != number; window->top++) {
            uint32_t next = (window->top + 1) % ATL_PUNCH_WINDOW;

            window->seen[next / 64] &= ~(UINT64_C(1) << next % 64);
        }
    } else if (behind >= ATL_PUNCH_WINDOW) {
        return 0;
    }
    if ((*word & bit) != 0) {
        return 0;
    }
    *word |= bit;
    return 1;
}

uint32_t atl_punch_number(const uint8_t id[ATL_STUN_ID_LEN]) {
    return (uint32_t)id[8] << 24 | (uint32_t)id[9] << 16 | (uint32_t)id[10] << 8 | id[11];
}

size_t atl_punch_put_request(const uint8_t prefix[ATL_PUNCH_PREFIX], uint32_t number,
                             const char token[ATL_PUNCH_TOKEN], uint32_t priority,
                             const uint8_t key[ATL_PUNCH_KEY], uint8_t out[ATL_PUNCH_REQUEST_LEN]) {
    uint8_t id[ATL_STUN_ID_LEN];
    atl_writer writer;

    atl_writer_init(&writer, id, sizeof(id));
    atl_write_bytes(&writer, prefix, ATL_PUNCH_PREFIX);
    atl_write_u32(&writer, number);
    atl_writer_init(&writer, out, ATL_PUNCH_REQUEST_LEN);
    atl_stun_begin(&writer, ATL_STUN_REQUEST, ATL_STUN_BINDING, id);
    atl_stun_put(&writer, ATL_STUN_A_USERNAME, token, ATL_PUNCH_TOKEN);
    atl_stun_put_u32(&writer, ATL_STUN_A_PRIORITY, priority);
    atl_stun_put_sha256(&writer, key, ATL_PUNCH_KEY);
    atl_stun_put_fingerprint(&writer);
    return writer.error == ATLAS_OK ? writer.len : 0;
}

size_t atl_punch_put_answer(const uint8_t id[ATL_STUN_ID_LEN], const atl_addr *mapped,
                            const uint8_t key[ATL_PUNCH_KEY], uint8_t out[ATL_PUNCH_ANSWER_MAX]) {
    atl_writer writer;

    atl_writer_init(&writer, out, ATL_PUNCH_ANSWER_MAX);
    atl_stun_begin(&writer, ATL_STUN_SUCCESS, ATL_STUN_BINDING, id);
    atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, mapped);
    atl_stun_put_sha256(&writer, key, ATL_PUNCH_KEY);
    atl_stun_put_fingerprint(&writer);
    return writer.error == ATLAS_OK ? writer.len : 0;
}

int atl_punch_authentic(const atl_stun_msg *msg, const uint8_t key[ATL_PUNCH_KEY]) {
    return msg->has_fingerprint && msg->unknown_count == 0 &&
           msg->integrity256_len == ATL_PUNCH_KEY &&
           atl_stun_check_sha256(msg, key, ATL_PUNCH_KEY) == ATLAS_OK;
}
