/* Hole punching: two punches of one table in the middle of an attempt, and a stranger who sends
 * what he likes, catches what is sent, and changes it. Nobody without the key gets a byte out, no
 * answer is longer than what it answers, nothing goes to an address that was neither named nor
 * heard with the right key, and no address is asked more often than allowed. */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/reader.h"
#include "peer/punch_message.h"
#include "peer/punch_pairs.h"

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

#define ADDRESSES 24 /* the stranger's choice; the first of them are named at the beginning */
#define NAMED 6
#define STEPS 400
#define SENT 64

typedef struct sent {
    size_t len;
    uint8_t data[ATL_PUNCH_REQUEST_LEN];
} sent;

typedef struct world {
    uint64_t now;
    uint64_t seed;
    atl_env env;
    atl_loop loop;
    atl_punch_table *table;
    atl_punch *punch[2];
    uint8_t secret[2][ATL_PUNCH_SECRET];
    uint32_t allowed;             /* addresses that may be sent to: bits */
    uint32_t asked[2][ADDRESSES]; /* requests of each punch since its attempt began */
    uint64_t out;                 /* bytes sent so far */
    size_t n_sent;
    sent sent[SENT];
} world;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the world's hooks ---- */

static void *hook_malloc(void *user, size_t size) {
    (void)user;
    return malloc(size);
}

static void *hook_realloc(void *user, void *ptr, size_t size) {
    (void)user;
    return realloc(ptr, size);
}

static void hook_free(void *user, void *ptr) {
    (void)user;
    free(ptr);
}

static uint64_t hook_now(void *user) {
    return ((world *)user)->now;
}

static int64_t hook_wall(void *user) {
    (void)user;
    return 0;
}

static int32_t hook_random(void *user, uint8_t *buf, size_t len) {
    world *w = user;
    size_t i;

    for (i = 0; i < len; i++) {
        w->seed = w->seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        buf[i] = (uint8_t)(w->seed >> 56);
    }
    return 0;
}

/* Good ones of both families, and some to which nothing may ever go. */
static atl_addr address(size_t index) {
    static const char *const bad[] = {"0.0.0.0:9",   "127.0.0.1:9",  "224.0.0.1:9",
                                      "[ff02::1]:9", "192.0.2.99:0", "255.255.255.255:9"};
    atl_addr made;
    size_t i = index % ADDRESSES;

    if (i >= ADDRESSES - ATL_COUNT(bad)) {
        CHECK(atl_addr_parse(bad[i - (ADDRESSES - ATL_COUNT(bad))], &made) == ATLAS_OK);
        return made;
    }
    CHECK(atl_addr_parse(i % 3 == 2 ? "[2001:db8::1]:1000" : "192.0.2.1:1000", &made) == ATLAS_OK);
    made.port = (uint16_t)(1000 + i);
    made.ip[3] = (uint8_t)(i / 6);
    return made;
}

static atl_addr own_address(const atl_addr *like) {
    atl_addr made;

    CHECK(atl_addr_parse(like->family == 4 ? "10.0.0.1:1" : "[2001:db8:9::1]:1", &made) ==
          ATLAS_OK);
    return made;
}

static int32_t on_send(void *user, const atl_addr *local, const atl_addr *remote,
                       const uint8_t *data, size_t len) {
    world *w = user;
    size_t i;

    (void)local;
    for (i = 0; i < ADDRESSES; i++) {
        atl_addr known = address(i);

        if (atl_addr_equal(&known, remote)) {
            break;
        }
    }
    CHECK(i < ADDRESSES && (w->allowed >> i & 1) != 0);
    CHECK(atl_punch_sendable(remote) && !atl_addr_is_loopback(remote));
    CHECK(len <= ATL_PUNCH_REQUEST_LEN);
    w->out += len;
    if (data[0] == 0) {
        /* USERNAME is the first attribute: by the peer's token we know whose request it is */
        size_t which = data[ATL_STUN_HEADER + 4] != '1';

        CHECK(++w->asked[which][i] <= ATL_PUNCH_PER_ADDRESS);
        memcpy(w->sent[w->n_sent % SENT].data, data, len);
        w->sent[w->n_sent++ % SENT].len = len;
    }
    return ATLAS_OK;
}

static void on_pair(void *user, const atl_punch_pair *pair) {
    (void)user;
    CHECK(pair->mapped.family != 0 && atl_punch_sendable(&pair->remote));
}

static void on_ended(void *user, const atl_punch_report *report) {
    (void)user;
    CHECK(memchr(report->text, '\0', sizeof(report->text)) != NULL && report->text[0] != '\0');
    CHECK((report->code == ATLAS_OK) == (report->best.remote.family != 0));
}

/* ---- what happens ---- */

static void start(world *w, size_t first, size_t n) {
    atl_candidate local[2];
    atl_candidate remote[ATL_CANDIDATES_MAX];
    size_t i;

    memset(local, 0, sizeof(local));
    memset(remote, 0, sizeof(remote));
    for (i = 0; i < 2; i++) {
        atl_addr like = address(i + 1);

        local[i].kind = ATLAS_CANDIDATE_HOST;
        local[i].addr = own_address(&like);
    }
    for (i = 0; i < n; i++) {
        remote[i].addr = address(first + i);
        remote[i].kind = (uint8_t)(i % 5);
        remote[i].priority = (uint32_t)i;
        w->allowed |= UINT32_C(1) << (first + i) % ADDRESSES;
    }
    for (i = 0; i < 2; i++) {
        if (!atl_punch_running(w->punch[i])) {
            memset(w->asked[i], 0, sizeof(w->asked[i]));
        }
        CHECK(atl_punch_start(w->punch[i], local, 2, remote, n, 4000, 20 * ATL_MS) == ATLAS_OK);
    }
}

static int is_authentic(const world *w, const uint8_t *data, size_t len) {
    atl_stun_msg msg;

    return atl_stun_parse(data, len, &msg) == ATLAS_OK &&
           (atl_punch_authentic(&msg, w->secret[0] + 32) ||
            atl_punch_authentic(&msg, w->secret[1] + 32));
}

static void receive(world *w, size_t from, const uint8_t *data, size_t len) {
    int authentic = is_authentic(w, data, len);
    uint64_t before = w->out;
    uint8_t *copy = malloc(len + 1);
    atl_rx rx;
    int ours;

    CHECK(copy != NULL);
    memcpy(copy, data, len);
    memset(&rx, 0, sizeof(rx));
    rx.data = copy;
    rx.len = len;
    rx.segment = len;
    rx.remote = address(from);
    rx.local = own_address(&rx.remote);
    if (authentic) {
        w->allowed |= UINT32_C(1) << from % ADDRESSES;
    }
    ours = atl_punch_on_stun(w->table, &rx);
    CHECK(ours == 0 || ours == 1);
    CHECK(w->out - before <= (authentic ? len : 0));
    free(copy);
}

/* With the key of one of the two: only the peer can. */
static void receive_request(world *w, size_t from, uint32_t number, size_t which, uint8_t flip) {
    static const uint8_t prefix[ATL_PUNCH_PREFIX] = {1};
    uint8_t data[ATL_PUNCH_REQUEST_LEN];
    char token[ATL_PUNCH_TOKEN + 1];

    (void)sodium_bin2hex(token, sizeof(token), w->secret[which] + 16 * which, 16);
    CHECK(atl_punch_put_request(prefix, number, token, 1, w->secret[which] + 32, data) > 0);
    data[number % sizeof(data)] ^= flip;
    receive(w, from, data, sizeof(data));
}

static void receive_answer(world *w, size_t from, size_t index, uint8_t flip) {
    const sent *asked = &w->sent[index % SENT];
    atl_addr mapped = address(from);
    uint8_t data[ATL_PUNCH_ANSWER_MAX];
    size_t len;

    if (asked->len > 0) {
        len =
            atl_punch_put_answer(asked->data + 8, &mapped, w->secret[index / SENT % 2] + 32, data);
        CHECK(len > 0);
        data[index % len] ^= flip;
        receive(w, from, data, len);
    }
}

static void pass_time(world *w, uint64_t by) {
    w->now += by;
    (void)atl_loop_update(&w->loop);
    (void)atl_loop_run_timers(&w->loop, 100);
}

static void step(world *w, uint8_t op, uint8_t a, uint8_t b, atl_reader *reader) {
    const uint8_t *bytes = NULL;
    size_t len = b < reader->left ? b : reader->left;

    switch (op % 8) {
    case 0:
        CHECK(atl_read_view(reader, len, &bytes) == ATLAS_OK);
        receive(w, a, bytes, len);
        break;
    case 1:
        pass_time(w, (uint64_t)(a + 1) * ATL_MS);
        break;
    case 2:
        receive_request(w, a, b, op / 8 % 2, 0);
        break;
    case 3:
        receive_request(w, a, b, op / 8 % 2, (uint8_t)(op / 8 | 1));
        break;
    case 4:
        receive_answer(w, a, b, 0);
        break;
    case 5:
        receive_answer(w, a, b, (uint8_t)(op / 8 | 1));
        break;
    case 6:
        start(w, a, b % ATL_CANDIDATES_MAX);
        break;
    default:
        if (w->sent[b % SENT].len > 0) {
            receive(w, a, w->sent[b % SENT].data, w->sent[b % SENT].len); /* reflected */
        }
        break;
    }
}

static void world_init(world *w) {
    static const atl_punch_ops ops = {on_pair, on_ended};
    atl_punch_config config = {&w->loop, on_send, w};
    atlas_hooks hooks;
    size_t i;

    memset(w, 0, sizeof(*w));
    memset(&hooks, 0, sizeof(hooks));
    hooks.size = sizeof(hooks);
    hooks.user = w;
    hooks.now = hook_now;
    hooks.wall = hook_wall;
    hooks.malloc = hook_malloc;
    hooks.realloc = hook_realloc;
    hooks.free = hook_free;
    hooks.random = hook_random;
    w->now = ATL_SECOND;
    atl_env_init(&w->env, &hooks);
    atl_loop_init(&w->loop, &w->env);
    (void)atl_loop_update(&w->loop);
    CHECK(atl_punch_table_new(&config, &w->table) == ATLAS_OK);
    for (i = 0; i < 2; i++) {
        memset(w->secret[i], (int)(0x11 * (i + 1)), ATL_PUNCH_SECRET);
        w->secret[i][0] = 0x77; /* the two tokens differ */
        CHECK(atl_punch_new(w->table, w->secret[i], i == 0, &ops, w, &w->punch[i]) == ATLAS_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static world w;
    atl_reader reader;
    uint8_t op;
    uint8_t a;
    uint8_t b;
    int steps = 0;

    if (sodium_init() < 0) {
        return 0;
    }
    world_init(&w);
    start(&w, 0, NAMED);
    pass_time(&w, ATL_MS);
    atl_reader_init(&reader, data, size);
    while (steps++ < STEPS && atl_read_u8(&reader, &op) == ATLAS_OK &&
           atl_read_u8(&reader, &a) == ATLAS_OK && atl_read_u8(&reader, &b) == ATLAS_OK) {
        step(&w, op, a, b, &reader);
    }
    for (steps = 0; steps < 200; steps++) {
        pass_time(&w, 20 * ATL_MS);
    }
    CHECK(!atl_punch_running(w.punch[0]) && !atl_punch_running(w.punch[1]));
    atl_punch_free(w.punch[0]);
    atl_punch_free(w.punch[1]);
    atl_punch_table_free(w.table);
    CHECK(w.loop.timers == NULL);
    return 0;
}
