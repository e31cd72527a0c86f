/* A sender that does not keep the rules of transfer.h, for the test of atlas listen:
 *
 *     atlas-hostile TARGET CASE
 *
 * prints "STATUS TEXT" of the receiver's answer, or "reset CODE" when there is none. */
#include "transfer.h"

#include <atlas/atlas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA_LEN 1000
#define ENDLESS (64u << 20)

typedef struct hostile_case {
    const char *name;
    const char *file; /* the file's name */
    size_t file_len;  /* 0: strlen(file) */
    uint64_t size;    /* announced; DATA_LEN bytes are sent */
    uint64_t extra;   /* bytes sent after the hash */
    int wrong_hash;
    int cut;       /* the stream ends after half of the data */
    int garbage;   /* not even a head */
    int half_head; /* the stream ends within the head */
} hostile_case;

static const hostile_case cases[] = {
    {.name = "good", .file = "good.bin", .size = DATA_LEN},
    {.name = "traversal", .file = "../../evil.bin", .size = DATA_LEN},
    {.name = "absolute", .file = "/tmp/absolute.bin", .size = DATA_LEN},
    {.name = "backslash", .file = "..\\..\\back.bin", .size = DATA_LEN},
    {.name = "dots", .file = "..", .size = DATA_LEN},
    {.name = "slash", .file = "dir/", .size = DATA_LEN},
    {.name = "hidden", .file = ".bashrc", .size = DATA_LEN},
    {.name = "empty", .file = "", .size = DATA_LEN},
    {.name = "nul", .file = "a\0b.bin", .file_len = 7, .size = DATA_LEN},
    {.name = "control", .file = "c\x1b[31m\n\xff.bin", .size = DATA_LEN},
    {.name = "link", .file = "link.bin", .size = DATA_LEN},
    {.name = "hash", .file = "hash.bin", .size = DATA_LEN, .wrong_hash = 1},
    {.name = "short", .file = "short.bin", .size = DATA_LEN, .cut = 1},
    {.name = "less", .file = "less.bin", .size = DATA_LEN + 100},
    {.name = "more", .file = "more.bin", .size = DATA_LEN - 100},
    {.name = "extra", .file = "extra.bin", .size = DATA_LEN, .extra = 1},
    {.name = "endless", .file = "endless.bin", .size = DATA_LEN, .extra = ENDLESS},
    {.name = "large", .file = "large.bin", .size = UINT64_C(1) << 40},
    {.name = "huge", .file = "huge.bin", .size = UINT64_MAX},
    {.name = "garbage", .file = "x", .garbage = 1, .extra = 100},
    {.name = "head", .file = "head.bin", .size = DATA_LEN, .half_head = 1},
};

typedef struct state {
    const hostile_case *what;
    atlas_ctx *ctx;
    uint8_t *bytes;
    size_t len;
    size_t at;
    uint8_t answer[FILE_ANSWER_LONGEST + 1];
    size_t answer_len;
    int done;
    int code;
} state;

/* Everything that will be sent. */
static void build(state *s) {
    const hostile_case *c = s->what;
    file_head head = {.size = c->size};
    crypto_generichash_state hash;
    uint8_t *at;

    s->bytes = calloc(1, FILE_HEAD_LONGEST + DATA_LEN + FILE_HASH + (size_t)c->extra);
    if (s->bytes == NULL) {
        abort();
    }
    head.name_len = c->file_len != 0 ? c->file_len : strlen(c->file);
    memcpy(head.name, c->file, head.name_len);
    s->len = file_head_encode(&head, s->bytes);
    if (c->garbage) {
        memset(s->bytes, 'x', s->len);
    }
    if (c->half_head) {
        s->len /= 2;
        return;
    }
    at = s->bytes + s->len;
    memset(at, 'd', DATA_LEN);
    s->len += c->cut ? DATA_LEN / 2 : DATA_LEN;
    if (c->cut) {
        return;
    }
    (void)crypto_generichash_init(&hash, NULL, 0, FILE_HASH);
    (void)crypto_generichash_update(&hash, at, DATA_LEN);
    (void)crypto_generichash_final(&hash, s->bytes + s->len, FILE_HASH);
    s->bytes[s->len] ^= (uint8_t)c->wrong_hash;
    s->len += FILE_HASH + (size_t)c->extra;
}

static void on_writable(void *user, atlas_stream *stream) {
    state *s = user;
    size_t taken = 0;

    if (s->at <= s->len &&
        atlas_stream_write(stream, s->bytes + s->at, s->len - s->at, 1, &taken) == ATLAS_OK) {
        s->at += taken;
        s->at += s->at == s->len; /* the end is written */
    }
}

static void on_readable(void *user, atlas_stream *stream) {
    state *s = user;
    file_answer answer;
    size_t len;
    uint32_t fin = 0;

    while (!fin && s->answer_len < sizeof(s->answer) &&
           atlas_stream_read(stream, s->answer + s->answer_len, sizeof(s->answer) - s->answer_len,
                             &len, &fin) == ATLAS_OK) {
        s->answer_len += len;
    }
    if (fin && file_answer_decode(s->answer, s->answer_len, &answer)) {
        printf("%u %s\n", answer.status, answer.text);
        s->done = 1;
    }
}

static void on_stream_closed(void *user, atlas_stream *stream, int32_t code, uint64_t app_code) {
    state *s = user;

    (void)stream;
    if (!s->done) {
        printf("reset %s %llu\n", atlas_error_name(code), (unsigned long long)app_code);
    }
    s->done = 1;
}

static void on_connected(void *user, atlas_conn *conn) {
    static const atlas_stream_callbacks callbacks = {
        .size = sizeof(callbacks),
        .on_readable = on_readable,
        .on_writable = on_writable,
        .on_closed = on_stream_closed,
    };
    atlas_stream *stream;

    if (atlas_stream_open(conn, 0, &callbacks, user, &stream) == ATLAS_OK) {
        on_writable(user, stream);
    }
}

static void on_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                      const char *text) {
    state *s = user;

    (void)conn;
    (void)app_code;
    fprintf(stderr, "closed: %s %s\n", atlas_error_name(code), text);
    s->code = s->done ? 0 : 1;
    s->done = 1;
}

static const hostile_case *find(const char *name) {
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strcmp(cases[i].name, name) == 0) {
            return &cases[i];
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    static const atlas_conn_callbacks callbacks = {
        .size = sizeof(callbacks), .on_connected = on_connected, .on_closed = on_closed};
    state s = {.what = argc == 3 ? find(argv[2]) : NULL};
    atlas_conn *conn;

    if (s.what == NULL) {
        fprintf(stderr, "usage: atlas-hostile TARGET CASE\n");
        return 2;
    }
    build(&s);
    if (atlas_new(NULL, NULL, &s.ctx) != ATLAS_OK ||
        atlas_dial(s.ctx, argv[1], 5000, &callbacks, &s, &conn) != ATLAS_OK) {
        return 1;
    }
    while (!s.done && atlas_run_once(s.ctx, 10000) == ATLAS_OK) {
    }
    (void)atlas_free(s.ctx);
    free(s.bytes);
    return s.code;
}
