#include "receive.h"

#include "node.h"
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILES 64
#define RESET_BUSY 1
#define RESET_REFUSED 2
#define RESET_DEFECT 3

/* Where a transfer stands. */
#define AT_HEAD 0
#define AT_DATA 1
#define AT_HASH 2
#define AT_END 3
#define AT_ANSWERED 4

typedef struct incoming {
    receiver *owner;
    atlas_stream *stream;
    int at;
    uint64_t began;
    file_head head;
    char name[FILE_SAFE_LONGEST + 1];
    store file;
    uint8_t part[FILE_HEAD_LONGEST]; /* of the head, then of the hash */
    size_t part_len;
    uint8_t answer[FILE_ANSWER_LONGEST];
    size_t answer_len;
    size_t answer_sent;
    int refused;
} incoming;

static const char *peer_of(const incoming *in) {
    return atlas_conn_peer_id(atlas_stream_conn(in->stream));
}

/* ---- the answer ---- */

static void send_answer(incoming *in) {
    size_t taken = 0;
    int32_t rv = atlas_stream_write(in->stream, in->answer + in->answer_sent,
                                    in->answer_len - in->answer_sent, 1, &taken);

    if (rv != ATLAS_OK) {
        (void)atlas_stream_reset(in->stream, RESET_DEFECT);
        return;
    }
    in->answer_sent += taken;
}

static void answer(incoming *in, uint8_t status, const uint8_t *hash, const char *text) {
    file_answer reply = {.status = status};

    if (hash != NULL) {
        memcpy(reply.hash, hash, FILE_HASH);
    }
    (void)snprintf(reply.text, sizeof(reply.text), "%s", text);
    in->answer_len = file_answer_encode(&reply, in->answer);
    in->at = AT_ANSWERED;
    send_answer(in);
}

static void refuse(incoming *in, uint8_t status, const char *text) {
    app *a = in->owner->app;

    store_abort(&in->file);
    in->refused = 1;
    out_open(&a->out, "error");
    out_str(&a->out, "peer", peer_of(in));
    out_str(&a->out, "file", in->name);
    out_str(&a->out, "text", text);
    out_close(&a->out, "file %s from %s refused: %s", in->name, peer_of(in), text);
    answer(in, status, NULL, text);
}

static const char *storage_text(int error) {
    return error == ENOSPC || error == EDQUOT ? "no space left on the receiver's disk"
           : error == EFBIG                   ? "the file is too large for the receiver's disk"
                                              : "the receiver cannot store files";
}

static void store_failed(incoming *in, int error) {
    out_note(&in->owner->app->out, "atlas: %s: %s", in->owner->app->opt.out_dir, strerror(error));
    refuse(in, FILE_REFUSED, storage_text(error));
}

/* ---- its parts ---- */

static void begin(incoming *in) {
    char text[96];
    int error;

    file_safe_name(in->head.name, in->head.name_len, in->name);
    if (in->head.size > in->owner->max_size) {
        (void)snprintf(text, sizeof(text), "larger than the receiver takes (%llu bytes)",
                       (unsigned long long)in->owner->max_size);
        refuse(in, FILE_REFUSED, text);
        return;
    }
    error = store_begin(&in->file, in->owner->dir, in->head.size);
    if (error != 0) {
        store_failed(in, error);
        return;
    }
    in->part_len = 0;
    in->at = in->head.size > 0 ? AT_DATA : AT_HASH;
}

/* Takes bytes of the head; returns how many of `len`. */
static size_t take_head(incoming *in, const uint8_t *data, size_t len) {
    size_t n = sizeof(in->part) - in->part_len;
    size_t before = in->part_len;
    int used;

    n = n < len ? n : len;
    memcpy(in->part + in->part_len, data, n);
    in->part_len += n;
    used = file_head_decode(in->part, in->part_len, &in->head);
    if (used < 0) {
        refuse(in, FILE_REFUSED, "this is no file transfer that the receiver knows");
        return n;
    }
    if (used == 0) {
        return n;
    }
    begin(in);
    return (size_t)used - before;
}

static size_t take_data(incoming *in, const uint8_t *data, size_t len) {
    uint64_t left = in->head.size - in->file.written;
    size_t n = len < left ? len : (size_t)left;
    int error = store_write(&in->file, data, n);

    if (error != 0) {
        store_failed(in, error);
    } else if (in->file.written == in->head.size) {
        in->at = AT_HASH;
    }
    return n;
}

static size_t take_hash(incoming *in, const uint8_t *data, size_t len) {
    size_t n = FILE_HASH - in->part_len;

    n = n < len ? n : len;
    memcpy(in->part + in->part_len, data, n);
    in->part_len += n;
    if (in->part_len == FILE_HASH) {
        in->at = AT_END;
    }
    return n;
}

/* ---- whole ---- */

static void print_stored(incoming *in, const char *name) {
    app *a = in->owner->app;
    atlas_path_info path = {.size = sizeof(path)};
    uint64_t took = atlas_now(a->ctx) - in->began;
    char place[PATH_CAP];

    (void)snprintf(place, sizeof(place), "%s/%s", a->opt.out_dir, name);
    (void)atlas_conn_get_path(atlas_stream_conn(in->stream), &path);
    out_open(&a->out, "file");
    out_str(&a->out, "peer", peer_of(in));
    node_path_kind(a, path.kind);
    out_str(&a->out, "file", place);
    out_str(&a->out, "text", name);
    out_u64(&a->out, "bytes", in->head.size);
    out_seconds(&a->out, "seconds", took);
    out_close(&a->out, "file %s from %s: %llu bytes in %.2f s, path %s", place, peer_of(in),
              (unsigned long long)in->head.size, (double)took / 1e9, path_name(path.kind));
}

static void finish(incoming *in) {
    uint8_t hash[FILE_HASH];
    char name[FILE_SAFE_LONGEST + 16];
    int error;

    store_hash(&in->file, hash);
    if (sodium_memcmp(hash, in->part, FILE_HASH) != 0) {
        refuse(in, FILE_DAMAGED, "what arrived does not have the sender's hash");
        return;
    }
    error = store_commit(&in->file, in->name, name, sizeof(name));
    if (error != 0) {
        store_failed(in, error);
        return;
    }
    print_stored(in, name);
    answer(in, FILE_STORED, hash, name);
}

static size_t take(incoming *in, const uint8_t *data, size_t len) {
    switch (in->at) {
    case AT_HEAD:
        return take_head(in, data, len);
    case AT_DATA:
        return take_data(in, data, len);
    case AT_HASH:
        return take_hash(in, data, len);
    default:
        refuse(in, FILE_REFUSED, "more came than was announced");
        return 0;
    }
}

static void on_end(incoming *in) {
    if (in->at == AT_END) {
        finish(in);
    } else if (in->at != AT_ANSWERED) {
        refuse(in, FILE_REFUSED, "less came than was announced");
    }
}

static void on_readable(void *user, atlas_stream *stream) {
    incoming *in = user;

    /* once refused nothing is read any more: flow control stops the sender */
    while (in->at != AT_ANSWERED) {
        const uint8_t *data;
        size_t len;
        size_t used = 0;
        uint32_t fin;

        if (atlas_stream_peek(stream, &data, &len, &fin) != ATLAS_OK) {
            return;
        }
        while (used < len && in->at != AT_ANSWERED) {
            used += take(in, data + used, len - used);
        }
        if (used > 0 && atlas_stream_consume(stream, used) != ATLAS_OK) {
            return;
        }
        if (fin && used == len) {
            on_end(in);
            return;
        }
    }
}

static void on_writable(void *user, atlas_stream *stream) {
    incoming *in = user;

    (void)stream;
    if (in->at == AT_ANSWERED && in->answer_sent < in->answer_len) {
        send_answer(in);
    }
}

/* The sender has the refusal: now the rest can be thrown away. */
static void on_acked(void *user, atlas_stream *stream) {
    const incoming *in = user;

    if (in->refused) {
        (void)atlas_stream_reset(stream, RESET_REFUSED);
    }
}

static void on_closed(void *user, atlas_stream *stream, int32_t code, uint64_t app_code) {
    incoming *in = user;
    app *a = in->owner->app;

    (void)stream;
    (void)app_code;
    if (in->at != AT_ANSWERED) {
        store_abort(&in->file);
        out_open(&a->out, "error");
        out_str(&a->out, "peer", peer_of(in));
        out_code(&a->out, code);
        out_str(&a->out, "file", in->name);
        out_str(&a->out, "text", "the transfer was broken off");
        out_close(&a->out, "file %s from %s was broken off: %s", in->name, peer_of(in),
                  atlas_error_text(code));
    }
    in->owner->files--;
    free(in);
}

void receive_stream(receiver *r, atlas_stream *stream) {
    static const atlas_stream_callbacks callbacks = {
        .size = sizeof(callbacks),
        .on_readable = on_readable,
        .on_writable = on_writable,
        .on_acked = on_acked,
        .on_closed = on_closed,
    };
    incoming *in = r->files < MAX_FILES ? calloc(1, sizeof(*in)) : NULL;

    if (in == NULL) {
        (void)atlas_stream_reset(stream, RESET_BUSY);
        return;
    }
    in->owner = r;
    in->stream = stream;
    in->file.fd = -1;
    in->began = atlas_now(r->app->ctx);
    if (atlas_stream_set_callbacks(stream, &callbacks, in) != ATLAS_OK) {
        free(in);
        return;
    }
    r->files++;
}
