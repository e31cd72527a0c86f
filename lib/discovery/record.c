#include "discovery/record.h"

#include "identity/proto.h"

#include <string.h>

#include <atlas/address.h>

#define DOMAIN "libp2p-peer-record"

#define FIELD_PEER 1
#define FIELD_SEQ 2
#define FIELD_ADDRESS 3
#define FIELD_OFFERS 100
#define FIELD_ISSUED 101
#define FIELD_LIFETIME 102
#define FIELD_MULTIADDR 1 /* of an AddressInfo */

#define NUMBER_LIMIT (UINT64_C(1) << 63)
#define INFO_MAX (ATL_MULTIADDR_BYTES + 8) /* an AddressInfo: tag, length, multiaddr */

/* The multicodec of peer records. */
static const uint8_t TYPE[2] = {0x03, 0x01};

/* Whether libatlas could dial this address of `self`. A circuit without its relay's transport could
 * be dialled only by who happens to know the relay. */
static int can_dial(const atl_maddr *addr, const atl_peer_id *self) {
    return addr->host_kind != ATL_HOST_NONE && addr->quic &&
           !(addr->has_relay && atl_peer_id_equal(&addr->relay, self)) &&
           !(addr->has_peer && !atl_peer_id_equal(&addr->peer, self));
}

/* ---- writing ---- */

static int32_t write_addr(atl_writer *writer, const atl_maddr *addr, const atl_peer_id *self) {
    char text[ATLAS_MULTIADDR_MAX];
    uint8_t multiaddr[ATL_MULTIADDR_BYTES];
    uint8_t info[INFO_MAX];
    atl_maddr copy = *addr;
    atl_writer inner;
    size_t len;

    if (!can_dial(addr, self)) {
        return ATLAS_ERR_INVALID;
    }
    copy.has_peer = 0;
    /* read back, because a struct can hold what no multiaddr says, such as port 0 */
    if (atl_maddr_text(&copy, text, sizeof(text)) != ATLAS_OK ||
        atl_multiaddr_encode(text, multiaddr, sizeof(multiaddr), &len) != ATLAS_OK ||
        atl_maddr_from_bytes(multiaddr, len, &copy) != ATLAS_OK) {
        return ATLAS_ERR_INVALID;
    }
    atl_writer_init(&inner, info, sizeof(info));
    atl_proto_write_bytes(&inner, FIELD_MULTIADDR, multiaddr, len);
    atl_proto_write_bytes(writer, FIELD_ADDRESS, info, inner.len);
    return inner.error;
}

static void write_unless(atl_writer *writer, uint32_t number, uint64_t value, uint64_t absent) {
    if (value != absent) {
        atl_proto_write_uint(writer, number, value);
    }
}

static int32_t write_payload(atl_writer *writer, const atl_record *record) {
    const atl_record_head *head = &record->head;
    uint8_t id[ATL_PEER_ID_BINARY];
    size_t i;

    atl_peer_id_encode(&head->peer, id);
    atl_proto_write_bytes(writer, FIELD_PEER, id, sizeof(id));
    atl_proto_write_uint(writer, FIELD_SEQ, head->seq);
    for (i = 0; i < record->n_addrs; i++) {
        int32_t rc = write_addr(writer, &record->addrs[i], &head->peer);

        if (rc != ATLAS_OK) {
            return rc;
        }
    }
    write_unless(writer, FIELD_OFFERS, head->offers, 0);
    write_unless(writer, FIELD_ISSUED, head->issued, 0);
    write_unless(writer, FIELD_LIFETIME, head->lifetime, ATL_RECORD_LIFETIME);
    return writer->error == ATLAS_OK ? ATLAS_OK : ATLAS_ERR_TOO_LARGE;
}

int32_t atl_record_make(const atlas_key *key, const atl_record *record, uint8_t *buf, size_t cap,
                        size_t *len) {
    const atl_record_head *head = &record->head;
    uint8_t payload[ATL_RECORD_MAX];
    uint8_t envelope[ATL_RECORD_MAX];
    atl_peer_id self;
    atl_writer writer;
    size_t need;
    int32_t rc;

    atl_key_id(key, &self);
    if (!atl_peer_id_equal(&self, &head->peer) || head->seq >= NUMBER_LIMIT ||
        head->issued >= NUMBER_LIMIT || head->lifetime == 0 ||
        head->lifetime > ATL_RECORD_LIFETIME_MAX || record->n_addrs > ATL_RECORD_ADDRS) {
        return ATLAS_ERR_INVALID;
    }
    atl_writer_init(&writer, payload, sizeof(payload));
    rc = write_payload(&writer, record);
    if (rc != ATLAS_OK) {
        return rc;
    }
    rc = atl_envelope_make(key, DOMAIN, TYPE, sizeof(TYPE), payload, writer.len, envelope,
                           sizeof(envelope), &need);
    if (rc != ATLAS_OK) {
        return rc == ATLAS_ERR_BUFFER ? ATLAS_ERR_TOO_LARGE : rc;
    }
    if (need > cap) {
        return ATLAS_ERR_BUFFER;
    }
    memcpy(buf, envelope, need);
    *len = need;
    return ATLAS_OK;
}

/* ---- reading ---- */

typedef struct number {
    uint64_t value;
    int seen;
} number;

/* The fields of a payload, but for the addresses. */
typedef struct fields {
    atl_reader peer;
    int peer_seen;
    number seq, offers, issued, lifetime;
    uint32_t n_addrs;
} fields;

static int32_t take_number(const atl_proto_field *field, number *out) {
    if (out->seen) {
        return ATLAS_ERR_DUPLICATE;
    }
    if (field->wire != ATL_PROTO_VARINT || field->value >= NUMBER_LIMIT) {
        return ATLAS_ERR_MALFORMED;
    }
    out->seen = 1;
    out->value = field->value;
    return ATLAS_OK;
}

static int32_t take_peer(const atl_proto_field *field, fields *out) {
    if (out->peer_seen) {
        return ATLAS_ERR_DUPLICATE;
    }
    out->peer_seen = 1;
    out->peer = field->bytes; /* empty where the field is a number: no peer id */
    return ATLAS_OK;
}

static int32_t take_field(const atl_proto_field *field, fields *out) {
    switch (field->number) {
    case FIELD_PEER:
        return take_peer(field, out);
    case FIELD_SEQ:
        return take_number(field, &out->seq);
    case FIELD_OFFERS:
        return take_number(field, &out->offers);
    case FIELD_ISSUED:
        return take_number(field, &out->issued);
    case FIELD_LIFETIME:
        return take_number(field, &out->lifetime);
    case FIELD_ADDRESS:
        if (field->wire != ATL_PROTO_BYTES) {
            return ATLAS_ERR_MALFORMED;
        }
        return ++out->n_addrs > ATL_RECORD_ADDRS ? ATLAS_ERR_TOO_LARGE : ATLAS_OK;
    default:
        return ATLAS_OK;
    }
}

static int32_t read_head(atl_reader payload, atl_record_head *out) {
    fields found;

    memset(&found, 0, sizeof(found));
    while (payload.left > 0) {
        atl_proto_field field;
        int32_t rc = atl_proto_next(&payload, &field);

        if (rc == ATLAS_OK) {
            rc = take_field(&field, &found);
        }
        if (rc != ATLAS_OK) {
            return rc;
        }
    }
    if (!found.peer_seen || (found.lifetime.seen && found.lifetime.value == 0) ||
        atl_peer_id_decode(found.peer.data, found.peer.left, &out->peer) != ATLAS_OK) {
        return ATLAS_ERR_MALFORMED;
    }
    out->seq = found.seq.value;
    out->issued = found.issued.value;
    out->lifetime = found.lifetime.seen ? found.lifetime.value : ATL_RECORD_LIFETIME;
    if (out->lifetime > ATL_RECORD_LIFETIME_MAX) {
        out->lifetime = ATL_RECORD_LIFETIME_MAX;
    }
    out->offers = (uint32_t)found.offers.value;
    out->n_addrs = found.n_addrs;
    return ATLAS_OK;
}

/* The next address of a payload: 1 and its multiaddr, or 0 at the end, or an error. The payload's
 * fields were read before. */
static int32_t next_addr(atl_reader *payload, atl_reader *out) {
    atl_proto_field field;
    atl_reader info;
    int seen = 0;
    int32_t rc;

    do {
        if (payload->left == 0) {
            return 0;
        }
        rc = atl_proto_next(payload, &field);
        if (rc != ATLAS_OK) {
            return rc;
        }
    } while (field.number != FIELD_ADDRESS);
    for (info = field.bytes; info.left > 0;) {
        rc = atl_proto_next(&info, &field);
        if (rc != ATLAS_OK) {
            return rc;
        }
        if (field.number != FIELD_MULTIADDR) {
            continue;
        }
        if (seen) {
            return ATLAS_ERR_DUPLICATE;
        }
        if (field.wire != ATL_PROTO_BYTES) {
            return ATLAS_ERR_MALFORMED;
        }
        seen = 1;
        *out = field.bytes;
    }
    return seen ? 1 : ATLAS_ERR_MALFORMED;
}

/* The form alone, of whatever transport; at its end it may name no other peer. */
static int32_t check_addr(atl_reader addr, const atl_peer_id *self) {
    atl_component component;
    atl_peer_id named;

    do {
        int32_t rc = atl_multiaddr_skip(&addr, &component);

        if (rc != ATLAS_OK) {
            return rc == ATLAS_ERR_UNSUPPORTED ? ATLAS_OK : rc;
        }
    } while (addr.left > 0);
    if (component.code == ATL_MA_P2P &&
        (atl_peer_id_decode(component.value.data, component.value.left, &named) != ATLAS_OK ||
         !atl_peer_id_equal(&named, self))) {
        return ATLAS_ERR_ADDRESS;
    }
    return ATLAS_OK;
}

static int32_t check_addrs(atl_reader payload, const atl_peer_id *self) {
    atl_reader addr;
    int32_t rc;

    while ((rc = next_addr(&payload, &addr)) == 1) {
        rc = check_addr(addr, self);
        if (rc != ATLAS_OK) {
            return rc;
        }
    }
    return rc;
}

/* The signature comes last: it costs a hundred times what all the rest does. */
static int32_t read_record(const uint8_t *data, size_t len, atl_record_head *head,
                           atl_reader *payload) {
    atl_envelope envelope;
    int32_t rc;

    if (len > ATL_RECORD_MAX) {
        return ATLAS_ERR_TOO_LARGE;
    }
    rc = atl_envelope_parse(data, len, &envelope);
    if (rc != ATLAS_OK) {
        return rc;
    }
    if (envelope.type_len != sizeof(TYPE) || memcmp(envelope.type, TYPE, sizeof(TYPE)) != 0) {
        return ATLAS_ERR_MALFORMED;
    }
    atl_reader_init(payload, envelope.payload, envelope.payload_len);
    rc = read_head(*payload, head);
    if (rc != ATLAS_OK) {
        return rc;
    }
    if (!atl_peer_id_equal(&head->peer, &envelope.signer)) {
        return ATLAS_ERR_RECORD_SIGNER;
    }
    rc = check_addrs(*payload, &head->peer);
    return rc == ATLAS_OK ? atl_envelope_verify(&envelope, DOMAIN) : rc;
}

int32_t atl_record_check(const uint8_t *data, size_t len, atl_record_head *out) {
    atl_record_head head;
    atl_reader payload;
    int32_t rc = read_record(data, len, &head, &payload);

    if (rc == ATLAS_OK) {
        *out = head;
    }
    return rc;
}

static int same_addr(const atl_maddr *a, const atl_maddr *b) {
    if (a->host_kind != b->host_kind || a->port != b->port || a->has_relay != b->has_relay ||
        (a->has_relay && !atl_peer_id_equal(&a->relay, &b->relay))) {
        return 0;
    }
    return a->host_kind == ATL_HOST_IP ? atl_addr_equal(&a->addr, &b->addr)
                                       : strcmp(a->host, b->host) == 0;
}

static void add_addr(atl_reader bytes, atl_record *record) {
    atl_maddr *addr = &record->addrs[record->n_addrs];
    size_t i;

    if (atl_maddr_from_bytes(bytes.data, bytes.left, addr) != ATLAS_OK ||
        !can_dial(addr, &record->head.peer)) {
        return;
    }
    addr->has_peer = 0;
    memset(&addr->peer, 0, sizeof(addr->peer));
    for (i = 0; i < record->n_addrs; i++) {
        if (same_addr(&record->addrs[i], addr)) {
            return;
        }
    }
    record->n_addrs++;
}

int32_t atl_record_open(const uint8_t *data, size_t len, atl_record *out) {
    atl_record_head head;
    atl_reader payload;
    atl_reader addr;
    int32_t rc = read_record(data, len, &head, &payload);

    if (rc != ATLAS_OK) {
        return rc;
    }
    out->head = head;
    out->n_addrs = 0;
    /* read_head() has counted them: there are no more than there is room for */
    while (next_addr(&payload, &addr) == 1) {
        add_addr(addr, out);
    }
    return ATLAS_OK;
}

/* ---- time ---- */

static uint64_t add_up_to_max(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

int32_t atl_record_in_time(const atl_record_head *head, int64_t wall, uint64_t drift) {
    uint64_t now = wall > 0 ? (uint64_t)wall : 0;
    uint64_t end = add_up_to_max(head->issued, head->lifetime);

    if (head->issued == 0) {
        return ATLAS_OK;
    }
    if (head->issued > add_up_to_max(now / 1000, drift)) {
        return ATLAS_ERR_RECORD_FUTURE;
    }
    return now / 1000 + (now % 1000 != 0) > add_up_to_max(end, drift) ? ATLAS_ERR_RECORD_EXPIRED
                                                                      : ATLAS_OK;
}

uint64_t atl_record_time_left(const atl_record_head *head, int64_t wall, uint64_t longest) {
    uint64_t now = wall > 0 ? (uint64_t)wall : 0;
    uint64_t lifetime =
        head->lifetime < ATL_RECORD_LIFETIME_MAX ? head->lifetime : ATL_RECORD_LIFETIME_MAX;
    uint64_t left = lifetime * ATL_SECOND; /* counted from now where `issued` is not said */

    if (head->issued != 0) {
        uint64_t end = add_up_to_max(head->issued, lifetime);
        uint64_t seconds = end > now / 1000 ? end - now / 1000 : 0;

        /* more than its lifetime is left only of one from the future */
        if (seconds <= lifetime) {
            left = seconds * ATL_SECOND;
            left -= seconds > 0 ? now % 1000 * ATL_MS : 0;
        }
    }
    return left < longest ? left : longest;
}
