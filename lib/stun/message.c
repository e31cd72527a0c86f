#include "stun/message.h"

#include <sodium.h>
#include <string.h>
#include <wolfssl/options.h>
/* after the options */
#include <wolfssl/wolfcrypt/hmac.h>

#include "base/reader.h"

#define FINGERPRINT_XOR UINT32_C(0x5354554e)
#define SHA1_LEN 20
#define SHA256_LEN 32
#define FAMILY_IPV4 1
#define FAMILY_IPV6 2

/* ---- checksums ---- */

/* The CRC-32 of ISO 3309 (as in Ethernet), four bits a step. `crc` is the value so far, 0 at first.
 */
static uint32_t crc32_update(uint32_t crc, const uint8_t *data, size_t len) {
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                       0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    size_t i;

    crc = ~crc;
    for (i = 0; i < len; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* What integrity and fingerprint cover: everything before them, with a header length as if the
 * message ended with them. */
static void covered_head(const uint8_t *data, size_t end, uint8_t out[4]) {
    size_t length = end - ATL_STUN_HEADER;

    out[0] = data[0];
    out[1] = data[1];
    out[2] = (uint8_t)(length >> 8);
    out[3] = (uint8_t)length;
}

static uint32_t fingerprint(const uint8_t *data, size_t at) {
    uint8_t head[4];
    uint32_t crc;

    covered_head(data, at + 8, head);
    crc = crc32_update(0, head, sizeof(head));
    return crc32_update(crc, data + 4, at - 4) ^ FINGERPRINT_XOR;
}

/* The HMAC of an integrity attribute at offset `at` whose value has `value_len` bytes. */
static int32_t integrity(int hash, const uint8_t *data, size_t at, size_t value_len,
                         const void *key, size_t key_len, uint8_t out[SHA256_LEN]) {
    Hmac hmac;
    uint8_t head[4];
    int failed;

    if (wc_HmacInit(&hmac, NULL, INVALID_DEVID) != 0) {
        return ATLAS_ERR_INTERNAL;
    }
    covered_head(data, at + 4 + value_len, head);
    failed = wc_HmacSetKey(&hmac, hash, key, (word32)key_len) != 0 ||
             wc_HmacUpdate(&hmac, head, sizeof(head)) != 0 ||
             wc_HmacUpdate(&hmac, data + 4, (word32)(at - 4)) != 0 || wc_HmacFinal(&hmac, out) != 0;
    wc_HmacFree(&hmac);
    sodium_memzero(&hmac, sizeof(hmac));
    return failed ? ATLAS_ERR_INTERNAL : ATLAS_OK;
}

int32_t atl_stun_check_sha1(const atl_stun_msg *msg, const void *key, size_t key_len) {
    uint8_t mac[SHA256_LEN];

    if (msg->integrity_at == 0 ||
        integrity(WC_SHA, msg->data, msg->integrity_at, SHA1_LEN, key, key_len, mac) != ATLAS_OK ||
        sodium_memcmp(mac, msg->data + msg->integrity_at + 4, SHA1_LEN) != 0) {
        return ATLAS_ERR_STUN_INTEGRITY;
    }
    return ATLAS_OK;
}

int32_t atl_stun_check_sha256(const atl_stun_msg *msg, const void *key, size_t key_len) {
    uint8_t mac[SHA256_LEN];
    size_t len = msg->integrity256_len;

    if (msg->integrity256_at == 0 ||
        integrity(WC_SHA256, msg->data, msg->integrity256_at, len, key, key_len, mac) != ATLAS_OK ||
        sodium_memcmp(mac, msg->data + msg->integrity256_at + 4, len) != 0) {
        return ATLAS_ERR_STUN_INTEGRITY;
    }
    return ATLAS_OK;
}

/* ---- parsing ---- */

static int32_t read_header(atl_reader *reader, atl_stun_header *out) {
    atl_stun_header header;
    uint16_t type;
    uint16_t length;
    uint32_t cookie;

    if (atl_read_u16(reader, &type) != ATLAS_OK || atl_read_u16(reader, &length) != ATLAS_OK ||
        atl_read_u32(reader, &cookie) != ATLAS_OK ||
        atl_read_bytes(reader, header.id, sizeof(header.id)) != ATLAS_OK) {
        return ATLAS_ERR_TRUNCATED;
    }
    if ((type & 0xc000) != 0 || cookie != ATL_STUN_COOKIE || length % 4 != 0 ||
        length != reader->left) {
        return ATLAS_ERR_MALFORMED;
    }
    /* the class is interleaved with the method: MMMMM C MMM C MMMM */
    header.cls = (uint8_t)((type >> 7 & 2) | (type >> 4 & 1));
    header.method = (uint16_t)((type >> 2 & 0xf80) | (type >> 1 & 0x70) | (type & 0xf));
    *out = header;
    return ATLAS_OK;
}

int32_t atl_stun_parse_header(const uint8_t *data, size_t len, atl_stun_header *out) {
    atl_reader reader;

    atl_reader_init(&reader, data, len);
    return read_header(&reader, out);
}

/* An address attribute; with `xor_with` (cookie and id, 16 bytes) the masked form. The first
 * counts. */
static int32_t parse_addr(atl_reader value, const uint8_t *xor_with, atl_addr *out) {
    uint8_t ip[16];
    uint8_t zero;
    uint8_t family;
    uint16_t port;
    size_t ip_len;
    size_t i;

    if (out->family != 0) {
        return ATLAS_OK;
    }
    if (atl_read_u8(&value, &zero) != ATLAS_OK || atl_read_u8(&value, &family) != ATLAS_OK ||
        atl_read_u16(&value, &port) != ATLAS_OK) {
        return ATLAS_ERR_MALFORMED;
    }
    ip_len = family == FAMILY_IPV4 ? 4 : 16;
    if ((family != FAMILY_IPV4 && family != FAMILY_IPV6) || value.left != ip_len ||
        atl_read_bytes(&value, ip, ip_len) != ATLAS_OK) {
        return ATLAS_ERR_MALFORMED;
    }
    if (xor_with != NULL) {
        port ^= (uint16_t)(ATL_STUN_COOKIE >> 16);
        for (i = 0; i < ip_len; i++) {
            ip[i] ^= xor_with[i];
        }
    }
    if (family == FAMILY_IPV4) {
        atl_addr_set4(out, ip, port);
    } else {
        atl_addr_set6(out, ip, 0, port);
    }
    return ATLAS_OK;
}

static int32_t parse_error_code(atl_reader value, atl_stun_msg *m) {
    uint16_t reserved;
    uint8_t hundreds;
    uint8_t rest;

    if (m->error_code != 0) {
        return ATLAS_OK;
    }
    if (atl_read_u16(&value, &reserved) != ATLAS_OK || atl_read_u8(&value, &hundreds) != ATLAS_OK ||
        atl_read_u8(&value, &rest) != ATLAS_OK) {
        return ATLAS_ERR_MALFORMED;
    }
    hundreds &= 7;
    if (hundreds < 3 || hundreds > 6 || rest > 99) {
        return ATLAS_ERR_MALFORMED;
    }
    m->error_code = (uint16_t)(hundreds * 100 + rest);
    m->reason.data = value.data;
    m->reason.len = value.left;
    return ATLAS_OK;
}

static int32_t keep_view(atl_reader value, size_t min, size_t max, atl_stun_view *out) {
    if (value.left < min || value.left > max) {
        return ATLAS_ERR_MALFORMED;
    }
    if (out->data == NULL) {
        out->data = value.data;
        out->len = value.left;
    }
    return ATLAS_OK;
}

static int32_t parse_priority(atl_reader value, atl_stun_msg *m) {
    uint32_t priority;

    if (atl_read_u32(&value, &priority) != ATLAS_OK || value.left != 0) {
        return ATLAS_ERR_MALFORMED;
    }
    if (!m->has_priority) {
        m->priority = priority;
        m->has_priority = 1;
    }
    return ATLAS_OK;
}

static int32_t parse_tie_breaker(atl_reader value, atl_stun_msg *m, uint8_t *role) {
    uint64_t tie_breaker;

    if (atl_read_u64(&value, &tie_breaker) != ATLAS_OK || value.left != 0) {
        return ATLAS_ERR_MALFORMED;
    }
    if (!m->has_controlling && !m->has_controlled) {
        m->tie_breaker = tie_breaker;
        *role = 1;
    }
    return ATLAS_OK;
}

static int32_t parse_integrity256(atl_reader value, size_t at, atl_stun_msg *m) {
    if (value.left < 16 || value.left > SHA256_LEN || value.left % 4 != 0) {
        return ATLAS_ERR_MALFORMED;
    }
    m->integrity256_at = at;
    m->integrity256_len = value.left;
    return ATLAS_OK;
}

static int32_t parse_fingerprint(atl_reader value, size_t at, atl_stun_msg *m) {
    uint32_t crc;

    if (atl_read_u32(&value, &crc) != ATLAS_OK || value.left != 0) {
        return ATLAS_ERR_MALFORMED;
    }
    if (crc != fingerprint(m->data, at)) {
        return ATLAS_ERR_SIGNATURE;
    }
    m->has_fingerprint = 1;
    return ATLAS_OK;
}

static void note_unknown(uint16_t type, atl_stun_msg *m) {
    size_t i;

    for (i = 0; i < m->unknown_count; i++) {
        if (m->unknown[i] == type) {
            return;
        }
    }
    if (m->unknown_count < ATL_STUN_UNKNOWN_MAX) {
        m->unknown[m->unknown_count++] = type;
    }
}

static int32_t parse_change(atl_reader value, atl_stun_msg *m) {
    uint32_t bits;

    if (atl_read_u32(&value, &bits) != ATLAS_OK || value.left != 0) {
        return ATLAS_ERR_MALFORMED;
    }
    if (!m->has_change) {
        m->has_change = 1;
        m->change = (uint8_t)(bits & (ATL_STUN_CHANGE_PORT | ATL_STUN_CHANGE_IP));
    }
    return ATLAS_OK;
}

/* RFC 5780 section 7.5 says a port and two bytes of padding; whether the length counts those is
 * taken either way by others. */
static int32_t parse_response_port(atl_reader value, atl_stun_msg *m) {
    uint16_t port;

    if (atl_read_u16(&value, &port) != ATLAS_OK || (value.left != 0 && value.left != 2)) {
        return ATLAS_ERR_MALFORMED;
    }
    if (!m->has_response_port) {
        m->has_response_port = 1;
        m->response_port = port;
    }
    return ATLAS_OK;
}

/* Whether an attribute of this type is to be ignored because of the integrity before it. */
static int behind_integrity(const atl_stun_msg *m, uint16_t type) {
    if (type == ATL_STUN_A_FINGERPRINT) {
        return 0;
    }
    if (m->integrity256_at != 0) {
        return 1;
    }
    return m->integrity_at != 0 && type != ATL_STUN_A_INTEGRITY_SHA256;
}

static int32_t parse_text(uint16_t type, atl_reader value, atl_stun_msg *m) {
    switch (type) {
    case ATL_STUN_A_USERNAME:
        return keep_view(value, 0, 513, &m->username);
    case ATL_STUN_A_USERHASH:
        return keep_view(value, SHA256_LEN, SHA256_LEN, &m->userhash);
    case ATL_STUN_A_REALM:
        return keep_view(value, 0, 763, &m->realm);
    case ATL_STUN_A_NONCE:
        return keep_view(value, 0, 763, &m->nonce);
    case ATL_STUN_A_SOFTWARE:
        return keep_view(value, 0, 763, &m->software);
    case ATL_STUN_A_UNKNOWN_ATTRIBUTES:
        if (value.left % 2 != 0) {
            return ATLAS_ERR_MALFORMED;
        }
        return keep_view(value, 0, UINT16_MAX, &m->unknown_list);
    case ATL_STUN_A_PASSWORD_ALGORITHM:
        return ATLAS_OK; /* of long-term credentials: understood, and nothing to do */
    default:
        if (type < 0x8000) {
            note_unknown(type, m);
        }
        return ATLAS_OK;
    }
}

/* NAT behaviour discovery (RFC 5780), and then all the rest. */
static int32_t parse_behaviour(uint16_t type, atl_reader value, atl_stun_msg *m) {
    switch (type) {
    case ATL_STUN_A_CHANGE_REQUEST:
        return parse_change(value, m);
    case ATL_STUN_A_RESPONSE_PORT:
        return parse_response_port(value, m);
    case ATL_STUN_A_PADDING:
        m->has_padding = 1;
        return ATLAS_OK;
    case ATL_STUN_A_RESPONSE_ORIGIN:
        return parse_addr(value, NULL, &m->origin);
    case ATL_STUN_A_OTHER_ADDRESS:
        return parse_addr(value, NULL, &m->other);
    default:
        return parse_text(type, value, m);
    }
}

static int32_t parse_attr(uint16_t type, atl_reader value, size_t at, atl_stun_msg *m) {
    switch (type) {
    case ATL_STUN_A_MAPPED_ADDRESS:
        return parse_addr(value, NULL, &m->mapped);
    case ATL_STUN_A_XOR_MAPPED_ADDRESS:
        return parse_addr(value, m->data + 4, &m->xor_mapped);
    case ATL_STUN_A_ALTERNATE_SERVER:
        return parse_addr(value, NULL, &m->alternate);
    case ATL_STUN_A_ERROR_CODE:
        return parse_error_code(value, m);
    case ATL_STUN_A_INTEGRITY:
        m->integrity_at = at;
        return value.left == SHA1_LEN ? ATLAS_OK : ATLAS_ERR_MALFORMED;
    case ATL_STUN_A_INTEGRITY_SHA256:
        return parse_integrity256(value, at, m);
    case ATL_STUN_A_FINGERPRINT:
        return parse_fingerprint(value, at, m);
    case ATL_STUN_A_PRIORITY:
        return parse_priority(value, m);
    case ATL_STUN_A_USE_CANDIDATE:
        m->use_candidate = 1;
        return value.left == 0 ? ATLAS_OK : ATLAS_ERR_MALFORMED;
    case ATL_STUN_A_ICE_CONTROLLING:
        return parse_tie_breaker(value, m, &m->has_controlling);
    case ATL_STUN_A_ICE_CONTROLLED:
        return parse_tie_breaker(value, m, &m->has_controlled);
    default:
        return parse_behaviour(type, value, m);
    }
}

static int32_t next_attr(atl_reader *reader, atl_stun_msg *m) {
    size_t at = m->len - reader->left;
    uint16_t type;
    uint16_t length;
    atl_reader value;

    if (atl_read_u16(reader, &type) != ATLAS_OK || atl_read_u16(reader, &length) != ATLAS_OK ||
        atl_read_sub(reader, length, &value) != ATLAS_OK ||
        atl_read_skip(reader, (4u - length % 4u) % 4u) != ATLAS_OK) {
        return ATLAS_ERR_TRUNCATED;
    }
    if (behind_integrity(m, type)) {
        return ATLAS_OK;
    }
    return parse_attr(type, value, at, m);
}

int32_t atl_stun_parse(const uint8_t *data, size_t len, atl_stun_msg *out) {
    atl_stun_msg m;
    atl_reader reader;
    size_t count = 0;
    int32_t rc;

    memset(&m, 0, sizeof(m));
    m.data = data;
    m.len = len;
    atl_reader_init(&reader, data, len);
    rc = read_header(&reader, &m.header);
    while (rc == ATLAS_OK && reader.left > 0) {
        /* FINGERPRINT is the last attribute */
        if (++count > ATL_STUN_ATTRS_MAX || m.has_fingerprint) {
            return ATLAS_ERR_MALFORMED;
        }
        rc = next_attr(&reader, &m);
    }
    if (rc == ATLAS_OK) {
        *out = m;
    }
    return rc;
}

/* ---- building ---- */

/* The header's length says what is written so far. */
static void update_length(atl_writer *writer) {
    if (writer->error == ATLAS_OK) {
        size_t length = writer->len - ATL_STUN_HEADER;

        writer->data[2] = (uint8_t)(length >> 8);
        writer->data[3] = (uint8_t)length;
    }
}

void atl_stun_begin(atl_writer *writer, uint8_t cls, uint16_t method,
                    const uint8_t id[ATL_STUN_ID_LEN]) {
    uint32_t type = (method & 0xf80u) << 2 | (method & 0x70u) << 1 | (method & 0xfu) |
                    (cls & 2u) << 7 | (cls & 1u) << 4;

    atl_write_u16(writer, (uint16_t)type);
    atl_write_u16(writer, 0);
    atl_write_u32(writer, ATL_STUN_COOKIE);
    atl_write_bytes(writer, id, ATL_STUN_ID_LEN);
}

void atl_stun_put(atl_writer *writer, uint16_t type, const void *value, size_t len) {
    if (len > UINT16_MAX) {
        writer->error = ATLAS_ERR_BUFFER;
        return;
    }
    atl_write_u16(writer, type);
    atl_write_u16(writer, (uint16_t)len);
    atl_write_bytes(writer, value, len);
    atl_write_zeros(writer, (4 - len % 4) % 4);
    update_length(writer);
}

void atl_stun_put_u32(atl_writer *writer, uint16_t type, uint32_t value) {
    atl_write_u16(writer, type);
    atl_write_u16(writer, 4);
    atl_write_u32(writer, value);
    update_length(writer);
}

void atl_stun_put_u64(atl_writer *writer, uint16_t type, uint64_t value) {
    atl_write_u16(writer, type);
    atl_write_u16(writer, 8);
    atl_write_u64(writer, value);
    update_length(writer);
}

static void put_addr(atl_writer *writer, uint16_t type, const atl_addr *addr,
                     const uint8_t *xor_with) {
    size_t ip_len = addr->family == 4 ? 4 : 16;
    uint16_t port = addr->port;
    uint8_t ip[16];
    size_t i;

    memcpy(ip, addr->ip, sizeof(ip));
    if (xor_with != NULL) {
        port ^= (uint16_t)(ATL_STUN_COOKIE >> 16);
        for (i = 0; i < ip_len; i++) {
            ip[i] ^= xor_with[i];
        }
    }
    atl_write_u16(writer, type);
    atl_write_u16(writer, (uint16_t)(4 + ip_len));
    atl_write_u8(writer, 0);
    atl_write_u8(writer, addr->family == 4 ? FAMILY_IPV4 : FAMILY_IPV6);
    atl_write_u16(writer, port);
    atl_write_bytes(writer, ip, ip_len);
    update_length(writer);
}

void atl_stun_put_addr(atl_writer *writer, uint16_t type, const atl_addr *addr) {
    put_addr(writer, type, addr, NULL);
}

void atl_stun_put_xor_addr(atl_writer *writer, uint16_t type, const atl_addr *addr) {
    if (writer->error == ATLAS_OK) {
        put_addr(writer, type, addr, writer->data + 4);
    }
}

void atl_stun_put_response_port(atl_writer *writer, uint16_t port) {
    atl_stun_put_u32(writer, ATL_STUN_A_RESPONSE_PORT, (uint32_t)port << 16);
}

void atl_stun_put_error(atl_writer *writer, uint16_t code, const char *reason) {
    size_t len = strlen(reason);

    atl_write_u16(writer, ATL_STUN_A_ERROR_CODE);
    atl_write_u16(writer, (uint16_t)(4 + len));
    atl_write_u16(writer, 0);
    atl_write_u8(writer, (uint8_t)(code / 100));
    atl_write_u8(writer, (uint8_t)(code % 100));
    atl_write_bytes(writer, reason, len);
    atl_write_zeros(writer, (4 - len % 4) % 4);
    update_length(writer);
}

void atl_stun_put_unknown(atl_writer *writer, const uint16_t *types, size_t n) {
    size_t i;

    atl_write_u16(writer, ATL_STUN_A_UNKNOWN_ATTRIBUTES);
    atl_write_u16(writer, (uint16_t)(2 * n));
    for (i = 0; i < n; i++) {
        atl_write_u16(writer, types[i]);
    }
    atl_write_zeros(writer, 2 * (n % 2));
    update_length(writer);
}

static void put_integrity(atl_writer *writer, uint16_t type, int hash, size_t len, const void *key,
                          size_t key_len) {
    uint8_t mac[SHA256_LEN];

    if (writer->error != ATLAS_OK) {
        return;
    }
    if (integrity(hash, writer->data, writer->len, len, key, key_len, mac) != ATLAS_OK) {
        writer->error = ATLAS_ERR_INTERNAL;
        return;
    }
    atl_stun_put(writer, type, mac, len);
}

void atl_stun_put_sha1(atl_writer *writer, const void *key, size_t key_len) {
    put_integrity(writer, ATL_STUN_A_INTEGRITY, WC_SHA, SHA1_LEN, key, key_len);
}

void atl_stun_put_sha256(atl_writer *writer, const void *key, size_t key_len) {
    put_integrity(writer, ATL_STUN_A_INTEGRITY_SHA256, WC_SHA256, SHA256_LEN, key, key_len);
}

void atl_stun_put_fingerprint(atl_writer *writer) {
    if (writer->error == ATLAS_OK) {
        atl_stun_put_u32(writer, ATL_STUN_A_FINGERPRINT, fingerprint(writer->data, writer->len));
    }
}
