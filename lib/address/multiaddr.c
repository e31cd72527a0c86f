#include "address/multiaddr.h"

#include <string.h>

#include <atlas/address.h>

/* More than any address in use has; bounds the work and the text of an address made of empty
 * components. */
#define COMPONENTS_MAX 16

#define SIZE_VARIABLE (-1)

typedef struct protocol {
    uint32_t code;
    int32_t size; /* bytes of the value, or SIZE_VARIABLE */
    const char *name;
} protocol;

/* The codes are those of multiformats' table (multicodec, tag "multiaddr"). */
static const protocol PROTOCOLS[] = {
    {ATL_MA_IP4, 4, "ip4"},
    {ATL_MA_TCP, 2, "tcp"},
    {ATL_MA_IP6, 16, "ip6"},
    {ATL_MA_DNS, SIZE_VARIABLE, "dns"},
    {ATL_MA_DNS4, SIZE_VARIABLE, "dns4"},
    {ATL_MA_DNS6, SIZE_VARIABLE, "dns6"},
    {ATL_MA_DNSADDR, SIZE_VARIABLE, "dnsaddr"},
    {ATL_MA_UDP, 2, "udp"},
    {ATL_MA_P2P_CIRCUIT, 0, "p2p-circuit"},
    {ATL_MA_P2P, SIZE_VARIABLE, "p2p"},
    {ATL_MA_TLS, 0, "tls"},
    {ATL_MA_QUIC_V1, 0, "quic-v1"},
    {ATL_MA_WS, 0, "ws"},
    {ATL_MA_HTTP, 0, "http"},
};

static const protocol *find_code(uint64_t code) {
    size_t i;

    for (i = 0; i < ATL_COUNT(PROTOCOLS); i++) {
        if (PROTOCOLS[i].code == code) {
            return &PROTOCOLS[i];
        }
    }
    return NULL;
}

static const protocol *find_name(const char *name, size_t len) {
    size_t i;

    for (i = 0; i < ATL_COUNT(PROTOCOLS); i++) {
        if (strlen(PROTOCOLS[i].name) == len && memcmp(PROTOCOLS[i].name, name, len) == 0) {
            return &PROTOCOLS[i];
        }
    }
    return NULL;
}

/* ---- text to binary ---- */

static int32_t encode_ip(uint32_t code, const char *text, size_t len, atl_writer *writer) {
    static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    int colon = memchr(text, ':', len) != NULL;
    atl_addr addr;

    if (colon != (code == ATL_MA_IP6) || text[0] == '[' || memchr(text, '%', len) != NULL ||
        atl_addr_parse_ip(text, len, 0, &addr) != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    if (colon && addr.family == 4) { /* atl_addr does not keep the mapped form, multiaddrs do */
        atl_write_bytes(writer, MAPPED, sizeof(MAPPED));
    }
    atl_write_bytes(writer, addr.ip, addr.family == 4 ? 4 : 16);
    return ATLAS_OK;
}

static int32_t encode_value(const protocol *proto, const char *text, size_t len,
                            atl_writer *writer) {
    uint8_t id_bytes[ATL_PEER_ID_BINARY];
    atl_peer_id id;
    uint16_t port;

    switch (proto->code) {
    case ATL_MA_IP4:
    case ATL_MA_IP6:
        return encode_ip(proto->code, text, len, writer);
    case ATL_MA_TCP:
    case ATL_MA_UDP:
        if (atl_port_parse(text, len, &port) != ATLAS_OK) {
            return ATLAS_ERR_ADDRESS;
        }
        atl_write_u16(writer, port);
        return ATLAS_OK;
    case ATL_MA_P2P:
        if (atl_peer_id_parse(text, len, &id) != ATLAS_OK) {
            return ATLAS_ERR_PEER_ID;
        }
        atl_peer_id_encode(&id, id_bytes);
        atl_write_uvarint(writer, sizeof(id_bytes));
        atl_write_bytes(writer, id_bytes, sizeof(id_bytes));
        return ATLAS_OK;
    default:
        if (!atl_dns_name_valid(text, len)) {
            return ATLAS_ERR_ADDRESS;
        }
        atl_write_uvarint(writer, len);
        atl_write_bytes(writer, text, len);
        return ATLAS_OK;
    }
}

/* Takes "/token" from the front of the text. */
static int32_t take_token(const char **text, const char **token, size_t *len) {
    if (**text != '/') {
        return ATLAS_ERR_ADDRESS;
    }
    *token = *text + 1;
    *len = strcspn(*token, "/");
    *text = *token + *len;
    return *len > 0 ? ATLAS_OK : ATLAS_ERR_ADDRESS;
}

static int32_t encode_component(const char **text, atl_writer *writer) {
    const protocol *proto;
    const char *token;
    size_t len;

    if (take_token(text, &token, &len) != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    proto = find_name(token, len);
    if (proto == NULL) {
        return ATLAS_ERR_ADDRESS;
    }
    atl_write_uvarint(writer, proto->code);
    if (proto->size == 0) {
        return ATLAS_OK;
    }
    if (take_token(text, &token, &len) != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    return encode_value(proto, token, len, writer);
}

int32_t atl_multiaddr_encode(const char *text, uint8_t *buf, size_t cap, size_t *len) {
    uint8_t bytes[ATL_MULTIADDR_BYTES];
    size_t components = 0;
    atl_writer writer;

    if (strnlen(text, ATLAS_MULTIADDR_MAX) == ATLAS_MULTIADDR_MAX) {
        return ATLAS_ERR_ADDRESS;
    }
    atl_writer_init(&writer, bytes, sizeof(bytes));
    do {
        int32_t rc = encode_component(&text, &writer);

        if (rc != ATLAS_OK) {
            return rc;
        }
        components++;
    } while (*text != '\0' && components < COMPONENTS_MAX);
    if (*text != '\0' || writer.error != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    if (writer.len > cap) {
        return ATLAS_ERR_BUFFER;
    }
    memcpy(buf, bytes, writer.len);
    *len = writer.len;
    return ATLAS_OK;
}

/* ---- binary to text ---- */

static int32_t check_value(const protocol *proto, const atl_reader *value) {
    atl_peer_id id;

    if (proto->size != SIZE_VARIABLE) {
        return ATLAS_OK;
    }
    if (proto->code == ATL_MA_P2P) {
        return atl_peer_id_decode(value->data, value->left, &id);
    }
    return atl_dns_name_valid((const char *)value->data, value->left) ? ATLAS_OK
                                                                      : ATLAS_ERR_ADDRESS;
}

int32_t atl_multiaddr_skip(atl_reader *reader, atl_component *out) {
    atl_reader copy = *reader;
    const protocol *proto;
    atl_component component;
    uint64_t number;

    if (atl_read_uvarint(&copy, &number) != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    proto = find_code(number);
    if (proto == NULL) {
        return ATLAS_ERR_UNSUPPORTED;
    }
    component.code = proto->code;
    number = (uint64_t)(proto->size < 0 ? 0 : proto->size);
    if (proto->size == SIZE_VARIABLE && atl_read_uvarint(&copy, &number) != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    if (number > copy.left || atl_read_sub(&copy, (size_t)number, &component.value) != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    *reader = copy;
    *out = component;
    return ATLAS_OK;
}

int32_t atl_multiaddr_next(atl_reader *reader, atl_component *out) {
    atl_reader copy = *reader;
    atl_component component;
    int32_t rc;

    if (atl_multiaddr_skip(&copy, &component) != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    rc = check_value(find_code(component.code), &component.value);
    if (rc == ATLAS_OK) {
        *reader = copy;
        *out = component;
    }
    return rc;
}

static void write_text(atl_writer *writer, const char *text) {
    atl_write_bytes(writer, text, strlen(text));
}

static void write_decimal(atl_writer *writer, uint32_t value) {
    char digits[10];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    atl_write_bytes(writer, digits + at, sizeof(digits) - at);
}

/* atl_addr would print a mapped address as IPv4. */
static void write_ip6(atl_writer *writer, atl_reader value) {
    char text[ATLAS_ADDR_MAX];
    atl_addr addr;

    atl_addr_set6(&addr, value.data, 0, 0);
    if (addr.family == 4) {
        write_text(writer, "::ffff:");
    }
    atl_addr_ip_text(&addr, text);
    write_text(writer, text);
}

static void write_value(atl_writer *writer, const atl_component *component) {
    atl_reader value = component->value;
    char text[ATLAS_ADDR_MAX];
    uint16_t port = 0;
    atl_addr addr;
    atl_peer_id id;

    switch (component->code) {
    case ATL_MA_IP4:
        atl_addr_set4(&addr, value.data, 0);
        atl_addr_ip_text(&addr, text);
        write_text(writer, text);
        break;
    case ATL_MA_IP6:
        write_ip6(writer, value);
        break;
    case ATL_MA_TCP:
    case ATL_MA_UDP:
        (void)atl_read_u16(&value, &port);
        write_decimal(writer, port);
        break;
    case ATL_MA_P2P:
        if (atl_peer_id_decode(value.data, value.left, &id) == ATLAS_OK) {
            atl_peer_id_text(&id, text);
            write_text(writer, text);
        }
        break;
    default:
        atl_write_bytes(writer, value.data, value.left);
        break;
    }
}

int32_t atl_multiaddr_decode(const uint8_t *data, size_t len, char *buf, size_t cap) {
    char text[ATLAS_MULTIADDR_MAX];
    size_t components = 0;
    atl_reader reader;
    atl_writer writer;

    if (len == 0 || len > ATL_MULTIADDR_BYTES) {
        return ATLAS_ERR_ADDRESS;
    }
    atl_reader_init(&reader, data, len);
    atl_writer_init(&writer, text, sizeof(text));
    while (reader.left > 0) {
        atl_component component;
        int32_t rc = atl_multiaddr_next(&reader, &component);

        if (rc != ATLAS_OK) {
            return rc;
        }
        if (++components > COMPONENTS_MAX) {
            return ATLAS_ERR_ADDRESS;
        }
        atl_write_u8(&writer, '/');
        write_text(&writer, find_code(component.code)->name);
        if (component.value.left > 0) {
            atl_write_u8(&writer, '/');
            write_value(&writer, &component);
        }
    }
    atl_write_u8(&writer, 0);
    if (writer.error != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    if (writer.len > cap) {
        return ATLAS_ERR_BUFFER;
    }
    memcpy(buf, text, writer.len);
    return ATLAS_OK;
}

int32_t atlas_multiaddr_normalize(const char *text, char *buf, size_t cap) {
    uint8_t bytes[ATL_MULTIADDR_BYTES];
    size_t len;
    int32_t rc;

    if (text == NULL || (buf == NULL && cap > 0)) {
        return ATLAS_ERR_INVALID;
    }
    rc = atl_multiaddr_encode(text, bytes, sizeof(bytes), &len);
    return rc == ATLAS_OK ? atl_multiaddr_decode(bytes, len, buf, cap) : rc;
}
