/* The server's answers. */
#include "http3/internal.h"

#include <stdio.h>
#include <string.h>

#define NV_MAX (3 + ATL_H3_FIELDS_MAX)

/* What respond and accept have in common. */
static int32_t can_answer(const atl_h3_stream *stream) {
    if (!atl_h3_usable(stream->h3) || stream->reset) {
        return ATLAS_ERR_CLOSED;
    }
    return stream->h3->is_server && !stream->answered ? ATLAS_OK : ATLAS_ERR_STATE;
}

static void submit_response(atl_h3_stream *stream, const nghttp3_nv *list, size_t n,
                            int with_body) {
    atl_h3 *h3 = stream->h3;
    int rv;

    stream->answered = 1;
    atl_h3_enter(h3);
    rv = nghttp3_conn_submit_response(h3->http, stream->id, list, n,
                                      with_body ? &atl_h3_body : NULL);
    if (rv != 0) {
        atl_h3_fail_lib(h3, rv);
    }
    atl_h3_leave(h3);
}

/* nghttp3 sends what it is given: names of our own fields, and bytes that no field may have, are
 * refused here. */
static int field_is_valid(const atl_h3_field *field) {
    static const char NAME[] = "abcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *c;

    if (field->name[0] == '\0' || field->name[strspn(field->name, NAME)] != '\0' ||
        strcmp(field->name, "content-type") == 0 || strcmp(field->name, "content-length") == 0) {
        return 0;
    }
    for (c = field->value; *c != '\0'; c++) {
        if ((uint8_t)*c < 0x20 || (uint8_t)*c == 0x7f) {
            return 0;
        }
    }
    return 1;
}

static int32_t check_response(int32_t status, const atl_h3_field *fields, size_t n_fields,
                              size_t len) {
    size_t i;

    if (status < 200 || status > 599 || n_fields > ATL_H3_FIELDS_MAX ||
        (status == 204 && len > 0)) {
        return ATLAS_ERR_INVALID;
    }
    for (i = 0; i < n_fields; i++) {
        if (!field_is_valid(&fields[i])) {
            return ATLAS_ERR_INVALID;
        }
    }
    return len > ATL_H3_BODY ? ATLAS_ERR_TOO_LARGE : ATLAS_OK;
}

int32_t atl_h3_respond_with(atl_h3_stream *stream, int32_t status, const char *content_type,
                            const atl_h3_field *fields, size_t n_fields, const void *body,
                            size_t len) {
    int32_t result = can_answer(stream);
    nghttp3_nv list[NV_MAX];
    char status_text[16];
    char length_text[24];
    size_t n = 0;
    size_t i;

    if (result == ATLAS_OK) {
        result = check_response(status, fields, n_fields, len);
    }
    if (result == ATLAS_OK && len > 0 && !stream->is_head) {
        result = atl_h3_queue(stream, body, len);
    }
    if (result != ATLAS_OK) {
        return result;
    }
    (void)snprintf(status_text, sizeof(status_text), "%d", (int)status);
    (void)snprintf(length_text, sizeof(length_text), "%zu", len);
    atl_h3_add_field(list, &n, ":status", status_text);
    if (content_type != NULL) {
        atl_h3_add_field(list, &n, "content-type", content_type);
    }
    if (status != 204 /* RFC 9110 section 8.6 */ && (!stream->is_connect || status >= 300)) {
        atl_h3_add_field(list, &n, "content-length", length_text);
    }
    for (i = 0; i < n_fields; i++) {
        atl_h3_add_field(list, &n, fields[i].name, fields[i].value);
    }
    stream->ended = 1;
    submit_response(stream, list, n, stream->out != NULL);
    return ATLAS_OK;
}

int32_t atl_h3_respond(atl_h3_stream *stream, int32_t status, const char *content_type,
                       const void *body, size_t len) {
    return atl_h3_respond_with(stream, status, content_type, NULL, 0, body, len);
}

int32_t atl_h3_accept(atl_h3_stream *stream) {
    int32_t result = can_answer(stream);
    nghttp3_nv list[NV_MAX];
    size_t n = 0;

    if (result == ATLAS_OK && !stream->is_connect) {
        result = ATLAS_ERR_STATE;
    }
    if (result != ATLAS_OK) {
        return result;
    }
    atl_h3_add_field(list, &n, ":status", "200");
    atl_h3_add_field(list, &n, "capsule-protocol", "?1");
    stream->open = 1;
    submit_response(stream, list, n, 1);
    return ATLAS_OK;
}

int atl_h3_stream_answered(const atl_h3_stream *stream) {
    return stream->answered || stream->reset;
}
