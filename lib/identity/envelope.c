#include "identity/envelope.h"

#include "identity/proto.h"

#include <string.h>

#define FIELD_PUBLIC_KEY 1
#define FIELD_TYPE 2
#define FIELD_PAYLOAD 3
#define FIELD_SIGNATURE 5
#define FIELDS 6

/* What is signed is never longer than the envelope, but for the domain and three lengths. */
#define SIGNED_MAX (ATL_ENVELOPE_MAX + ATL_ENVELOPE_DOMAIN_MAX + 16)

static void write_prefixed(atl_writer *writer, const void *data, size_t len) {
    atl_write_uvarint(writer, len);
    atl_write_bytes(writer, data, len);
}

/* The bytes that are signed: domain, type and payload, each behind its length. */
static int32_t signed_bytes(const char *domain, const atl_envelope *envelope, atl_writer *writer) {
    size_t domain_len = strnlen(domain, ATL_ENVELOPE_DOMAIN_MAX + 1);

    if (domain_len == 0 || domain_len > ATL_ENVELOPE_DOMAIN_MAX || envelope->type_len == 0) {
        return ATLAS_ERR_INVALID;
    }
    write_prefixed(writer, domain, domain_len);
    write_prefixed(writer, envelope->type, envelope->type_len);
    write_prefixed(writer, envelope->payload, envelope->payload_len);
    return writer->error == ATLAS_OK ? ATLAS_OK : ATLAS_ERR_TOO_LARGE;
}

int32_t atl_envelope_make(const atlas_key *key, const char *domain, const uint8_t *type,
                          size_t type_len, const uint8_t *payload, size_t payload_len, uint8_t *buf,
                          size_t cap, size_t *len) {
    atl_envelope envelope = {{{0}}, type, type_len, payload, payload_len, NULL};
    uint8_t scratch[SIGNED_MAX];
    uint8_t public_key[ATL_PUBLIC_KEY_PROTO];
    uint8_t signature[ATL_SIGNATURE_LEN];
    atl_writer writer;
    int32_t rc;

    atl_writer_init(&writer, scratch, sizeof(scratch));
    rc = signed_bytes(domain, &envelope, &writer);
    if (rc != ATLAS_OK) {
        return rc;
    }
    atl_key_sign(key, scratch, writer.len, signature);
    atl_key_id(key, &envelope.signer);
    atl_public_key_encode(&envelope.signer, public_key);

    atl_writer_init(&writer, scratch, ATL_ENVELOPE_MAX);
    atl_proto_write_bytes(&writer, FIELD_PUBLIC_KEY, public_key, sizeof(public_key));
    atl_proto_write_bytes(&writer, FIELD_TYPE, type, type_len);
    atl_proto_write_bytes(&writer, FIELD_PAYLOAD, payload, payload_len);
    atl_proto_write_bytes(&writer, FIELD_SIGNATURE, signature, sizeof(signature));
    if (writer.error != ATLAS_OK) {
        return ATLAS_ERR_TOO_LARGE;
    }
    if (writer.len > cap) {
        return ATLAS_ERR_BUFFER;
    }
    memcpy(buf, scratch, writer.len);
    *len = writer.len;
    return ATLAS_OK;
}

/* Collects the fields by number; `seen` has a bit for each. */
static int32_t read_fields(atl_reader *reader, atl_reader fields[FIELDS], uint32_t *seen) {
    const uint32_t known =
        1u << FIELD_PUBLIC_KEY | 1u << FIELD_TYPE | 1u << FIELD_PAYLOAD | 1u << FIELD_SIGNATURE;

    while (reader->left > 0) {
        atl_proto_field field;
        int32_t rc = atl_proto_next(reader, &field);

        if (rc != ATLAS_OK) {
            return rc;
        }
        if (field.number >= FIELDS || (known & 1u << field.number) == 0) {
            continue;
        }
        if (field.wire != ATL_PROTO_BYTES) {
            return ATLAS_ERR_MALFORMED;
        }
        if ((*seen & 1u << field.number) != 0) {
            return ATLAS_ERR_DUPLICATE;
        }
        *seen |= 1u << field.number;
        fields[field.number] = field.bytes;
    }
    return ATLAS_OK;
}

int32_t atl_envelope_parse(const uint8_t *data, size_t len, atl_envelope *out) {
    const uint32_t needed = 1u << FIELD_PUBLIC_KEY | 1u << FIELD_TYPE | 1u << FIELD_SIGNATURE;
    atl_reader fields[FIELDS] = {{NULL, 0}};
    atl_envelope envelope;
    atl_reader reader;
    uint32_t seen = 0;
    int32_t rc;

    if (len > ATL_ENVELOPE_MAX) {
        return ATLAS_ERR_TOO_LARGE;
    }
    atl_reader_init(&reader, data, len);
    rc = read_fields(&reader, fields, &seen);
    if (rc != ATLAS_OK) {
        return rc;
    }
    /* protobuf leaves out an empty payload; an empty type would let domains share their records */
    if ((seen & needed) != needed || fields[FIELD_TYPE].left == 0) {
        return ATLAS_ERR_MALFORMED;
    }
    rc = atl_public_key_decode(fields[FIELD_PUBLIC_KEY].data, fields[FIELD_PUBLIC_KEY].left,
                               &envelope.signer);
    if (rc != ATLAS_OK) {
        return rc;
    }
    if (fields[FIELD_SIGNATURE].left != ATL_SIGNATURE_LEN) {
        return ATLAS_ERR_SIGNATURE;
    }
    envelope.type = fields[FIELD_TYPE].data;
    envelope.type_len = fields[FIELD_TYPE].left;
    envelope.payload = fields[FIELD_PAYLOAD].data;
    envelope.payload_len = fields[FIELD_PAYLOAD].left;
    envelope.signature = fields[FIELD_SIGNATURE].data;
    *out = envelope;
    return ATLAS_OK;
}

int32_t atl_envelope_verify(const atl_envelope *envelope, const char *domain) {
    uint8_t scratch[SIGNED_MAX];
    atl_writer writer;
    int32_t rc;

    atl_writer_init(&writer, scratch, sizeof(scratch));
    rc = signed_bytes(domain, envelope, &writer);
    return rc == ATLAS_OK
               ? atl_peer_verify(&envelope->signer, scratch, writer.len, envelope->signature)
               : rc;
}

int32_t atl_envelope_open(const uint8_t *data, size_t len, const char *domain, atl_envelope *out) {
    atl_envelope envelope;
    int32_t rc = atl_envelope_parse(data, len, &envelope);

    if (rc == ATLAS_OK) {
        rc = atl_envelope_verify(&envelope, domain);
    }
    if (rc == ATLAS_OK) {
        *out = envelope;
    }
    return rc;
}
