/* atlas send: a message, or a file. */
#include "dial.h"
#include "progress.h"
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK 262144
#define STALL_MS 60000
#define TICK_NS (NS_PER_S / 5)
#define RESET_BY_SENDER 16

typedef struct sending {
    dial d;
    int fd;
    uint64_t size;
    atlas_stream *stream;
    uint64_t began;
    uint64_t sent; /* bytes of the file that the stream has taken */
    uint64_t last; /* when it took some last */
    int delivered;
    int ended; /* the hash and the end are written */
    crypto_generichash_state hash;
    uint8_t digest[FILE_HASH];
    uint8_t chunk[CHUNK]; /* read, and not yet taken by the stream */
    size_t chunk_len;
    size_t chunk_at;
    uint8_t answer[FILE_ANSWER_LONGEST + 1];
    size_t answer_len;
    progress bar;
    uint32_t path; /* its kind */
} sending;

static void print_sent(sending *s, const char *what, uint64_t bytes, const char *text) {
    app *a = s->d.app;
    atlas_path_info path;
    const char *kind = dial_path(&s->d, &path);
    uint64_t took = atlas_now(a->ctx) - s->began;
    double rate = took == 0 ? 0 : (double)bytes / ((double)took / 1e9) / 1048576;

    out_open(&a->out, "sent");
    out_str(&a->out, "peer", s->d.conn == NULL ? NULL : atlas_conn_peer_id(s->d.conn));
    node_path_fields(a, &path);
    out_u64(&a->out, "bytes", bytes);
    out_seconds(&a->out, "seconds", took);
    out_str(&a->out, "text", text);
    out_close(&a->out, "sent %s%s%s: %llu bytes in %.3f s (%.1f MiB/s), path %s", what,
              *text ? ", stored as " : "", text, (unsigned long long)bytes, (double)took / 1e9,
              rate, kind);
}

static void fail(sending *s, int32_t code, const char *text) {
    progress_end(&s->bar);
    out_error(&s->d.app->out, code, "not delivered: %s", text);
    dial_finish(&s->d, EXIT_FAILED, "not delivered");
}

static int on_end(dial *d, int32_t code, uint64_t app_code) {
    sending *s = d->user;

    (void)code;
    (void)app_code;
    progress_end(&s->bar);
    return s->delivered ? EXIT_DONE : EXIT_FAILED;
}

/* A peer that died without a word is missed by the connection only after its idle timeout, and one
 * that does not read, never. */
static void check_stall(app *a) {
    sending *s = ((dial *)a->user)->user;
    uint64_t now = atlas_now(a->ctx);
    uint64_t limit = a->opt.timeout_ms == 0 ? STALL_MS : a->opt.timeout_ms;
    char text[96];

    if (s->d.closing) {
        return;
    }
    if (now - s->last <= limit * NS_PER_MS) {
        progress_at(&s->bar, s->sent, now);
        a->tick_at = now + TICK_NS;
        return;
    }
    (void)snprintf(text, sizeof(text), "%s for %g s",
                   s->path == ATLAS_PATH_NONE ? "the peer was not heard on any path, no progress"
                                              : "the receiver has not taken anything",
                   (double)limit / 1e3);
    fail(s, ATLAS_ERR_TIMEOUT, text);
}

static void on_path(dial *d, const atlas_path_info *path) {
    sending *s = d->user;

    s->path = path->kind;
    progress_path(&s->bar, path->kind == ATLAS_PATH_NONE ? "no path" : path_name(path->kind),
                  atlas_now(d->app->ctx));
}

/* ---- a message ---- */

static void send_text(dial *d) {
    sending *s = d->user;
    const char *text = d->app->opt.args[1];
    int32_t rv = atlas_conn_send_message(d->conn, text, strlen(text), NULL);

    s->began = s->last = atlas_now(d->app->ctx);
    if (rv != ATLAS_OK) {
        fail(s, rv, atlas_error_text(rv));
        return;
    }
    d->app->on_tick = check_stall;
    d->app->tick_at = s->began + TICK_NS;
}

static void on_message_sent(dial *d, uint64_t id, int32_t code) {
    sending *s = d->user;

    (void)id;
    if (d->closing) {
        return;
    }
    if (code != ATLAS_OK) {
        fail(s, code, atlas_error_text(code));
        return;
    }
    s->delivered = 1;
    print_sent(s, "message", strlen(d->app->opt.args[1]), "");
    dial_finish(d, EXIT_DONE, "done");
}

/* ---- a file ---- */

/* The next bytes of the file into the chunk: 1, or 0 after it has failed. */
static int read_chunk(sending *s) {
    uint64_t left = s->size - s->sent;
    ssize_t n;

    do {
        n = read(s->fd, s->chunk, left < CHUNK ? (size_t)left : CHUNK);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        (void)atlas_stream_reset(s->stream, RESET_BY_SENDER);
        fail(s, ATLAS_ERR_IO, n < 0 ? strerror(errno) : "the file became shorter meanwhile");
        return 0;
    }
    (void)crypto_generichash_update(&s->hash, s->chunk, (size_t)n);
    s->chunk_at = 0;
    s->chunk_len = (size_t)n;
    return 1;
}

/* Offers what is left of the chunk; 1 when the stream took all of it. */
static int write_chunk(sending *s, uint32_t fin) {
    size_t taken = 0;
    int32_t rv = atlas_stream_write(s->stream, s->chunk + s->chunk_at, s->chunk_len - s->chunk_at,
                                    fin, &taken);

    /* a refusal is on its way, or the end of the connection: that event says more */
    if (rv != ATLAS_OK) {
        return 0;
    }
    s->chunk_at += taken;
    if (taken > 0) {
        s->last = atlas_now(s->d.app->ctx);
    }
    if (!s->ended) {
        s->sent += taken;
        progress_at(&s->bar, s->sent, s->last);
    }
    return s->chunk_at == s->chunk_len;
}

static void pump(sending *s) {
    while (s->sent < s->size || s->chunk_at < s->chunk_len) {
        if (s->ended) {
            (void)write_chunk(s, 1);
            return;
        }
        if (s->chunk_at == s->chunk_len && !read_chunk(s)) {
            return;
        }
        if (!write_chunk(s, 0)) {
            return;
        }
    }
    if (!s->ended) {
        s->ended = 1;
        (void)crypto_generichash_final(&s->hash, s->digest, FILE_HASH);
        memcpy(s->chunk, s->digest, FILE_HASH);
        s->chunk_at = 0;
        s->chunk_len = FILE_HASH;
        (void)write_chunk(s, 1);
    }
}

static void judge(sending *s) {
    file_answer reply;

    if (!file_answer_decode(s->answer, s->answer_len, &reply)) {
        fail(s, ATLAS_ERR_MALFORMED, "the receiver's answer is none");
    } else if (reply.status != FILE_STORED) {
        fail(s, ATLAS_ERR_PEER_CLOSED, reply.text);
    } else if (!s->ended || sodium_memcmp(reply.hash, s->digest, FILE_HASH) != 0) {
        fail(s, ATLAS_ERR_MALFORMED, "the receiver stored something else");
    } else {
        s->delivered = 1;
        progress_end(&s->bar);
        print_sent(s, s->d.app->opt.file, s->size, reply.text);
        dial_finish(&s->d, EXIT_DONE, "done");
    }
}

static void on_readable(void *user, atlas_stream *stream) {
    sending *s = user;
    uint32_t fin = 0;
    size_t len;

    while (!s->d.closing && !fin) {
        if (s->answer_len == sizeof(s->answer)) {
            fail(s, ATLAS_ERR_MALFORMED, "the receiver's answer is too long");
            return;
        }
        if (atlas_stream_read(stream, s->answer + s->answer_len, sizeof(s->answer) - s->answer_len,
                              &len, &fin) != ATLAS_OK) {
            return;
        }
        s->answer_len += len;
    }
    if (fin) {
        judge(s);
    }
}

static void on_writable(void *user, atlas_stream *stream) {
    sending *s = user;

    (void)stream;
    if (!s->d.closing) {
        pump(s);
    }
}

static void on_stream_closed(void *user, atlas_stream *stream, int32_t code, uint64_t app_code) {
    sending *s = user;

    (void)stream;
    s->stream = NULL;
    if (!s->d.closing && !s->delivered) {
        fail(s, code == ATLAS_OK ? ATLAS_ERR_CLOSED : code,
             app_code == 0 ? atlas_error_text(code == ATLAS_OK ? ATLAS_ERR_CLOSED : code)
                           : "the receiver takes no file now");
    }
}

static void name_of(const char *path, file_head *head) {
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    size_t len = strlen(name);

    head->name_len = len > FILE_NAME_LONGEST ? FILE_NAME_LONGEST : len;
    memcpy(head->name, name, head->name_len);
}

static void send_file(dial *d) {
    static const atlas_stream_callbacks callbacks = {
        .size = sizeof(callbacks),
        .on_readable = on_readable,
        .on_writable = on_writable,
        .on_closed = on_stream_closed,
    };
    sending *s = d->user;
    app *a = d->app;
    file_head head = {.size = s->size};
    uint8_t bytes[FILE_HEAD_LONGEST];
    size_t taken = 0;
    size_t len;
    int32_t rv = atlas_stream_open(d->conn, 0, &callbacks, s, &s->stream);

    name_of(a->opt.file, &head);
    len = file_head_encode(&head, bytes);
    s->began = s->last = atlas_now(a->ctx);
    if (rv == ATLAS_OK) {
        rv = atlas_stream_write(s->stream, bytes, len, 0, &taken);
    }
    if (rv != ATLAS_OK || taken != len) {
        fail(s, rv, atlas_error_text(rv));
        return;
    }
    (void)crypto_generichash_init(&s->hash, NULL, 0, FILE_HASH);
    progress_begin(&s->bar, &a->out, s->size, s->began);
    a->on_tick = check_stall;
    a->tick_at = s->began + TICK_NS;
    pump(s);
}

/* 0, or an exit code. */
static int open_file(app *a, sending *s) {
    struct stat info;

    s->fd = open(a->opt.file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (s->fd < 0 || fstat(s->fd, &info) != 0) {
        out_error(&a->out, ATLAS_ERR_IO, "%s: %s", a->opt.file, strerror(errno));
        return EXIT_FAILED;
    }
    if (!S_ISREG(info.st_mode)) {
        out_error(&a->out, ATLAS_ERR_INVALID, "%s is not a regular file", a->opt.file);
        return EXIT_FAILED;
    }
    s->size = (uint64_t)info.st_size;
    return 0;
}

static void interrupted(app *a) {
    sending *s = ((dial *)a->user)->user;

    s->d.closing = 1;
    if (!s->delivered) {
        a->exit_code = EXIT_FAILED;
    }
}

int run_send(app *a) {
    static sending s;
    int code = 0;

    if ((a->opt.file == NULL) == (a->opt.arg_count < 2)) {
        fprintf(stderr, "atlas send: give a text or --file PATH\nTry: atlas send --help\n");
        return EXIT_USAGE;
    }
    s.d.user = &s;
    s.d.lasting = a->opt.file != NULL;
    s.d.on_end = on_end;
    s.d.on_connected = a->opt.file == NULL ? send_text : send_file;
    s.d.on_message_sent = on_message_sent;
    s.d.on_path = on_path;
    a->on_stop = interrupted;
    a->out.aside = 1;
    s.fd = -1;
    if (a->opt.file != NULL) {
        code = open_file(a, &s);
    }
    if (code == 0) {
        code = dial_run(a, &s.d);
    }
    if (s.fd >= 0) {
        (void)close(s.fd);
    }
    return code;
}
