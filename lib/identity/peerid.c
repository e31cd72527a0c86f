#include "identity/peerid.h"

#include "identity/key.h"

#include <string.h>

/* base58btc of 38 bytes that begin with 00 24 08 01 12 20 is always 52 characters, base32 of the
 * CIDv1 65. Anything longer is refused before it is looked at, which bounds the quadratic base58
 * conversion. */
#define TEXT_MAX 65
#define CID_BINARY (2 + ATL_PEER_ID_BINARY)

static const char BASE58[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
static const char BASE32[] = "abcdefghijklmnopqrstuvwxyz234567";

/* CIDv1: version 1, multicodec libp2p-key (0x72), multihash. */
static const uint8_t CID_PREFIX[2] = {0x01, 0x72};
static const uint8_t MULTIHASH_PREFIX[2] = {0x00, ATL_PUBLIC_KEY_PROTO};

static int digit_of(const char *alphabet, char c) {
    const char *at = c == '\0' ? NULL : strchr(alphabet, c);

    return at == NULL ? -1 : (int)(at - alphabet);
}

/* Multiplies the big-endian number in bytes[len] by 58 and adds a digit; non-zero when it does not
 * fit. */
static uint32_t push_base58(uint8_t *bytes, size_t len, uint32_t digit) {
    uint32_t carry = digit;
    size_t i;

    for (i = len; i > 0; i--) {
        carry += (uint32_t)bytes[i - 1] * 58;
        bytes[i - 1] = (uint8_t)carry;
        carry >>= 8;
    }
    return carry;
}

/* Decodes exactly `len` bytes. Leading zero bytes are leading '1's, one for one. */
static int32_t decode_base58(const char *text, size_t text_len, uint8_t *out, size_t len) {
    size_t ones = 0;
    size_t zeros = 0;
    size_t i;

    memset(out, 0, len);
    while (ones < text_len && text[ones] == '1') {
        ones++;
    }
    for (i = ones; i < text_len; i++) {
        int digit = digit_of(BASE58, text[i]);

        if (digit < 0 || push_base58(out, len, (uint32_t)digit) != 0) {
            return ATLAS_ERR_PEER_ID;
        }
    }
    while (zeros < len && out[zeros] == 0) {
        zeros++;
    }
    return zeros == ones ? ATLAS_OK : ATLAS_ERR_PEER_ID;
}

/* Decodes exactly `len` bytes, where 8 * len is a multiple of 5: no bits are left over. */
static int32_t decode_base32(const char *text, size_t text_len, uint8_t *out, size_t len) {
    uint32_t bits = 0;
    uint32_t have = 0;
    size_t at = 0;
    size_t i;

    if (text_len * 5 != len * 8) {
        return ATLAS_ERR_PEER_ID;
    }
    for (i = 0; i < text_len; i++) {
        int digit = digit_of(BASE32, text[i]);

        if (digit < 0) {
            return ATLAS_ERR_PEER_ID;
        }
        bits = (bits << 5 | (uint32_t)digit) & 0xfff;
        have += 5;
        if (have >= 8) {
            have -= 8;
            out[at++] = (uint8_t)(bits >> have);
        }
    }
    return ATLAS_OK;
}

int32_t atl_peer_id_parse(const char *text, size_t len, atl_peer_id *out) {
    uint8_t bytes[CID_BINARY];

    if (len == 0 || len > TEXT_MAX) {
        return ATLAS_ERR_PEER_ID;
    }
    if (text[0] != 'b') {
        if (decode_base58(text, len, bytes, ATL_PEER_ID_BINARY) != ATLAS_OK) {
            return ATLAS_ERR_PEER_ID;
        }
        return atl_peer_id_decode(bytes, ATL_PEER_ID_BINARY, out);
    }
    if (decode_base32(text + 1, len - 1, bytes, CID_BINARY) != ATLAS_OK ||
        memcmp(bytes, CID_PREFIX, sizeof(CID_PREFIX)) != 0) {
        return ATLAS_ERR_PEER_ID;
    }
    return atl_peer_id_decode(bytes + sizeof(CID_PREFIX), ATL_PEER_ID_BINARY, out);
}

void atl_peer_id_text(const atl_peer_id *id, char out[ATLAS_PEER_ID_MAX]) {
    uint8_t number[ATL_PEER_ID_BINARY];
    char reversed[ATLAS_PEER_ID_MAX];
    size_t n = 0;
    size_t from = 1; /* the one leading zero byte is the leading '1' */
    size_t i;

    atl_peer_id_encode(id, number);
    while (from < sizeof(number)) {
        uint32_t rest = 0;

        for (i = from; i < sizeof(number); i++) {
            rest = rest << 8 | number[i];
            number[i] = (uint8_t)(rest / 58);
            rest %= 58;
        }
        reversed[n++] = BASE58[rest];
        while (from < sizeof(number) && number[from] == 0) {
            from++;
        }
    }
    reversed[n++] = BASE58[0];
    for (i = 0; i < n; i++) {
        out[i] = reversed[n - 1 - i];
    }
    out[n] = '\0';
}

int32_t atl_peer_id_decode(const uint8_t *data, size_t len, atl_peer_id *out) {
    if (len != ATL_PEER_ID_BINARY ||
        memcmp(data, MULTIHASH_PREFIX, sizeof(MULTIHASH_PREFIX)) != 0) {
        return ATLAS_ERR_PEER_ID;
    }
    if (atl_public_key_decode(data + sizeof(MULTIHASH_PREFIX), ATL_PUBLIC_KEY_PROTO, out) !=
        ATLAS_OK) {
        return ATLAS_ERR_PEER_ID;
    }
    return ATLAS_OK;
}

void atl_peer_id_encode(const atl_peer_id *id, uint8_t out[ATL_PEER_ID_BINARY]) {
    memcpy(out, MULTIHASH_PREFIX, sizeof(MULTIHASH_PREFIX));
    atl_public_key_encode(id, out + sizeof(MULTIHASH_PREFIX));
}

int32_t atlas_peer_id_normalize(const char *text, char *buf, size_t cap) {
    char canonical[ATLAS_PEER_ID_MAX];
    atl_peer_id id;
    size_t size;

    if (text == NULL || (buf == NULL && cap > 0)) {
        return ATLAS_ERR_INVALID;
    }
    if (atl_peer_id_parse(text, strnlen(text, TEXT_MAX + 1), &id) != ATLAS_OK) {
        return ATLAS_ERR_PEER_ID;
    }
    atl_peer_id_text(&id, canonical);
    size = strlen(canonical) + 1;
    if (size > cap) {
        return ATLAS_ERR_BUFFER;
    }
    memcpy(buf, canonical, size);
    return ATLAS_OK;
}
