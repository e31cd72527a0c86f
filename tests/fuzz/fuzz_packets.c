/* The whole packet path of node and relay. A relay and two nodes with an announcement, a circuit
 * and a connection through it live in the simulator; the input is a script of what an enemy does:
 * forged datagrams (raw, captured and changed, behind a live circuit id), authenticated connections
 * of his own with any bytes on any stream, and time that goes by. After each input the honest
 * connection still stands, nobody unproven got more than three times what came under his name, and
 * memory is within bounds. The world is made anew after a number of inputs. */
#include "hostile.h"

#include <stdlib.h>

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

#define INPUTS_PER_WORLD 64
#define TIME_PER_INPUT (4 * ATL_SECOND)
#define MEMORY_BOUND (4u << 20)
#define STREAMS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The enemy's own connection: to the relay, or to the node b. */
typedef struct enemy_conn {
    atl_qconn *conn;
    atl_qstream *streams[STREAMS];
} enemy_conn;

static hostile_world world;
static enemy_conn enemies[2];
static int alive;
static unsigned inputs;
static size_t base_bytes[3];
static size_t recorded; /* captured datagrams that inputs may refer to: those of the set-up */

static void on_data(void *user, atl_qstream *stream, const uint8_t *data, size_t len, int fin) {
    (void)user;
    (void)data;
    (void)fin;
    atl_qstream_credit(stream, len);
}

static void on_stream_closed(void *user, atl_qstream *stream) {
    enemy_conn *enemy = user;
    size_t i;

    for (i = 0; i < STREAMS; i++) {
        if (enemy->streams[i] == stream) {
            enemy->streams[i] = NULL;
        }
    }
}

static const atl_qstream_ops STREAM = {.on_data = on_data, .on_closed = on_stream_closed};

static void on_stream(void *user, atl_qconn *conn, atl_qstream *stream) {
    (void)conn;
    atl_qstream_set_ops(stream, &STREAM, user);
}

static void on_closed(void *user, atl_qconn *conn, const atl_qclose *why) {
    (void)conn;
    (void)why;
    memset(user, 0, sizeof(enemy_conn));
}

static const atl_qconn_ops CONN = {.on_stream = on_stream, .on_closed = on_closed};

static void enemy_dial(size_t which) {
    enemy_conn *enemy = &enemies[which];
    const sim_node *target = which == 0 ? &world.relay : &world.b;
    atl_qpath path;

    memset(&path, 0, sizeof(path));
    path.remote = hostile_addr(target);
    if (enemy->conn == NULL &&
        atl_qconn_connect(world.x.node.ep, &path, which == 0 ? ATL_PROTO_H3 : ATL_PROTO_ATLAS,
                          &target->ctx->self, 0, &CONN, enemy, &enemy->conn) == ATLAS_OK) {
        hostile_run(&world, 0.15, NULL);
    }
}

static void world_begin(void) {
    const sim_node *nodes[] = {&world.relay, &world.a, &world.b};
    size_t i;

    hostile_init(&world, 1);
    hostile_connect(&world);
    attacker_init(&world, 66);
    hostile_run(&world, 1, NULL);
    recorded = world.n_captured < HOSTILE_CAPTURE ? world.n_captured : HOSTILE_CAPTURE;
    CHECK(recorded > 32);
    for (i = 0; i < 3; i++) {
        base_bytes[i] = nodes[i]->live_bytes;
    }
    alive = 1;
    inputs = 0;
}

static void world_end(void) {
    size_t i;

    for (i = 0; i < 2; i++) {
        if (enemies[i].conn != NULL) {
            atl_qconn_abort(enemies[i].conn);
        }
    }
    memset(enemies, 0, sizeof(enemies));
    hostile_done(&world);
    alive = 0;
}

/* ---- the script ---- */

typedef struct script {
    const uint8_t *data;
    size_t len;
} script;

static uint8_t next(script *s) {
    uint8_t byte = s->len > 0 ? s->data[0] : 0;

    if (s->len > 0) {
        s->data++;
        s->len--;
    }
    return byte;
}

static size_t next16(script *s) {
    size_t high = next(s);

    return high << 8 | next(s);
}

static size_t next_bytes(script *s, uint8_t *out, size_t cap) {
    size_t len = next16(s) % (cap + 1);

    len = len < s->len ? len : s->len;
    memcpy(out, s->data, len);
    s->data += len;
    s->len -= len;
    return len;
}

/* A captured datagram with bytes changed, cut or lengthened; its own addresses unless others were
 * asked for. */
static const captured *next_captured(script *s, uint8_t *out, size_t *len) {
    const captured *c = &world.ring[next16(s) % recorded];
    unsigned changes = next(s) % 16;
    size_t cut;

    memcpy(out, c->data, c->len);
    *len = c->len;
    while (changes-- > 0 && *len > 0) {
        size_t at = next16(s) % *len;

        out[at] ^= next(s);
    }
    cut = next16(s);
    if (cut % 4 == 1) {
        *len = cut / 4 % (*len + 1);
    } else if (cut % 4 == 2) {
        size_t more = cut / 4 % 256;

        memset(out + *len, (int)(cut >> 8), more);
        *len += more;
    }
    return c;
}

/* Behind the id of a live circuit, on its way to the relay or to b. */
static size_t next_circuit(script *s, uint8_t *out, size_t cap) {
    const captured *c = &world.ring[0];
    size_t skip = next(s) % 8;
    size_t i;

    for (i = recorded; i > 0; i--) {
        c = &world.ring[i - 1];
        if (c->len > 40 && c->data[0] >> 6 == 1 && c->data[9] >> 6 != 0 && skip-- == 0) {
            break;
        }
    }
    memcpy(out, c->data, ATL_CIRCUIT_HEADER);
    return ATL_CIRCUIT_HEADER + next_bytes(s, out + ATL_CIRCUIT_HEADER, cap - ATL_CIRCUIT_HEADER);
}

static void forge(script *s, uint8_t op) {
    static uint8_t buf[4096];
    atl_addr addrs[] = {hostile_addr(&world.relay), hostile_addr(&world.a), hostile_addr(&world.b),
                        hostile_stranger(next(s))};
    atl_addr from = addrs[op >> 2 & 3];
    atl_addr to = addrs[(op & 3) % 3];
    const captured *c;
    size_t len;

    switch (op >> 4 & 3) {
    case 0:
        len = next_bytes(s, buf, 1500);
        break;
    case 1:
        len = next_circuit(s, buf, 1500);
        break;
    case 2:
        c = next_captured(s, buf, &len);
        from = c->from;
        to = c->to;
        break;
    default:
        (void)next_captured(s, buf, &len);
    }
    hostile_inject(&world, &from, &to, buf, len);
}

/* The authenticated enemy: bytes on one of his streams, a datagram, the end of something. */
static void speak(script *s, uint8_t op) {
    static uint8_t buf[2048];
    enemy_conn *enemy = &enemies[op & 1];
    uint8_t what = next(s);
    size_t len = next_bytes(s, buf, sizeof(buf));
    atl_qstream **slot = &enemy->streams[op >> 1 & 3];
    size_t taken;

    enemy_dial(op & 1);
    if (enemy->conn == NULL) {
        return;
    }
    if (*slot == NULL) {
        (void)atl_qconn_open_stream(enemy->conn, what & 1, &STREAM, enemy, slot);
    }
    if (what >> 5 == 7) {
        (void)atl_qconn_send_datagram(enemy->conn, buf, len);
    } else if (*slot != NULL && what >> 5 == 6) {
        atl_qstream_shutdown(*slot, what);
    } else if (*slot != NULL) {
        (void)atl_qstream_write(*slot, buf, len, what >> 1 & 1, &taken);
    } else if (what >> 5 == 5) {
        atl_qconn_close(enemy->conn, what, "enough");
    }
}

static void check(void) {
    const sim_node *nodes[] = {&world.relay, &world.a, &world.b};
    size_t i;

    CHECK(world.a.closed == 0 && world.b.relay_state == ATLAS_RELAY_ANNOUNCED);
    (void)hostile_check_amplification(&world);
    for (i = 0; i < 3; i++) {
        CHECK(nodes[i]->live_bytes < base_bytes[i] + MEMORY_BOUND);
    }
    if (inputs % 16 == 15) {
        hostile_check_served(&world);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    script s = {data, size};
    uint64_t until;
    size_t i;

    if (!alive) {
        world_begin();
    }
    until = sim_now(world.net) + TIME_PER_INPUT;
    while (s.len > 0 && sim_now(world.net) < until) {
        uint8_t op = next(&s);

        if (op >> 6 == 3) {
            hostile_run(&world, (op & 63) / 100.0, NULL);
        } else if (op >> 6 == 2) {
            speak(&s, op);
        } else {
            forge(&s, op);
        }
    }
    for (i = 0; i < 2; i++) { /* the next input finds no streams that this one has begun */
        if (enemies[i].conn != NULL) {
            atl_qconn_close(enemies[i].conn, 0, "");
        }
    }
    hostile_run(&world, 0.03, NULL);
    check();
    if (++inputs == INPUTS_PER_WORLD) {
        world_end();
    }
    return 0;
}
