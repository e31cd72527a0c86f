/* The registry: its memory for a million records, and what requests over HTTP/3 cost its processor.
 *
 *     bench_registry memory [RECORDS]
 *     bench_registry get [SECONDS [AT_ONCE]]
 *     bench_registry put [SECONDS]
 *
 * prints one JSON object. memory: records, bytes of an envelope, rss (bytes that the process has
 * grown by), per_gb. get and put: requests answered as they should be, cpu_ns (of the server's
 * process for each), busy (the share of a processor that it took); get besides: bytes of an answer
 * (32 connections, each with AT_ONCE requests); put: verify_ns, what crypto_sign_verify_detached()
 * takes for the bytes of such a record, measured in turns with the puts, and ratio. Every put is of
 * another record, newer than that before, by its own node over its own connection. */
#include "bench.h"

#include "api/context.h"
#include "discovery/registry_http.h"
#include "http3/session.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORDS 1000       /* that the server holds for gets */
#define GET_CONNECTIONS 32 /* of the load */
/* One put on each connection, so that the numbers of its records come in order; all come from one
 * address. */
#define PUT_CONNECTIONS ATL_REGISTRY_PUTS_SOURCE
#define SOURCES_EACH 4 /* records put from one address */
#define TURN 0.25      /* seconds */
#define BLOCK 200      /* verifications */

typedef struct record {
    uint8_t data[ATL_RECORD_MAX];
    size_t len;
    atl_record_head head;
} record;

static uint64_t ttl = 3600;
static uint64_t drift = 300;

static void key_of(uint64_t n, atlas_key **out) {
    uint8_t seed[32] = {0x5e};

    memcpy(seed + 1, &n, sizeof(n));
    bench_check(atlas_key_from_seed(seed, out), "atlas_key_from_seed");
}

/* As a node behind a NAT has it: three circuits, an IPv4 and an IPv6 address. */
static void make_record(const atlas_key *key, uint64_t seq, uint64_t issued, record *out) {
    static const char *const addrs[] = {
        "/ip4/192.0.2.1/udp/4001/quic-v1",
        "/ip6/2001:db8::1/udp/4001/quic-v1",
        "/ip4/198.51.100.1/udp/4433/quic-v1/p2p/"
        "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq/p2p-circuit",
        "/ip4/198.51.100.2/udp/4433/quic-v1/p2p/"
        "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq/p2p-circuit",
        "/ip4/198.51.100.3/udp/4433/quic-v1/p2p/"
        "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq/p2p-circuit",
    };
    static atl_maddr parsed[sizeof(addrs) / sizeof(addrs[0])];
    static atl_record rec;

    if (rec.n_addrs == 0) {
        for (size_t i = 0; i < ATL_COUNT(addrs); i++) {
            bench_check(atl_maddr_parse(addrs[i], &parsed[i]), "multiaddr");
        }
        memcpy(rec.addrs, parsed, sizeof(parsed));
        rec.n_addrs = ATL_COUNT(addrs);
        rec.head.n_addrs = (uint32_t)rec.n_addrs;
    }
    atl_key_id(key, &rec.head.peer);
    rec.head.seq = seq;
    rec.head.issued = issued;
    rec.head.lifetime = ATL_RECORD_LIFETIME;
    bench_check(atl_record_make(key, &rec, out->data, sizeof(out->data), &out->len), "record");
    out->head = rec.head;
}

/* ---- memory ---- */

static size_t rss(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1) {
        bench_die("statm");
    }
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void put_direct(atl_record_store *store, uint64_t n, const record *r) {
    atl_record_put put = {.head = &r->head, .data = r->data, .len = r->len};
    uint8_t ip[4] = {10, (uint8_t)(n / SOURCES_EACH >> 16), (uint8_t)(n / SOURCES_EACH >> 8),
                     (uint8_t)(n / SOURCES_EACH)};
    atl_addr source;

    memset(&source, 0, sizeof(source));
    atl_addr_set4(&source, ip, 1);
    put.source = &source;
    put.verified = n % 2 == 0;
    put.expires = (3600 + n % 1000) * ATL_SECOND;
    bench_check(atl_record_store_put(store, &put, ATL_SECOND), "put");
}

static void memory(size_t count) {
    atl_record_store_limits limits = {count, SOURCES_EACH, SOURCES_EACH, 300};
    atlas_hooks hooks = {.size = sizeof(hooks)};
    atl_record_store *store;
    atl_env env;
    record r;
    size_t before;
    size_t after;

    bench_check(atl_os_default_hooks(&hooks), "hooks");
    atl_env_init(&env, &hooks);
    before = rss();
    bench_check(atl_record_store_new(&env, &limits, &store), "store");
    for (size_t n = 0; n < count; n++) {
        atlas_key *key;

        key_of(n, &key);
        make_record(key, n + 1, (uint64_t)atl_env_wall_ms(&env) / 1000, &r);
        r.head.offers = n % 100 == 0 ? ATLAS_OFFER_RELAY : 0;
        put_direct(store, n, &r);
        atlas_key_free(key);
    }
    after = rss();
    if (atl_record_store_get_stats(store)->records != count) {
        bench_die("records are missing");
    }
    printf("{\"records\": %zu, \"envelope\": %zu, \"rss\": %zu, \"per_gb\": %.0f}\n", count, r.len,
           after - before, (double)count * 1e9 / (double)(after - before));
    atl_record_store_free(store);
}

/* ---- the server ---- */

/* Requests of one connection are not limited here. */
static int on_request(void *user, atl_h3_stream *stream, const atl_h3_request *request,
                      const atl_requester *from, void **request_user) {
    atl_h3_set_request_rate(atl_h3_stream_session(stream), 0, 0);
    return atl_registry_http_ops.on_request(user, stream, request, from, request_user);
}

static void serve(char *addr, int ready) {
    atl_registry_http_config config = {.ttl = &ttl, .max_clock_drift = &drift};
    atl_requests_ops ops = atl_registry_http_ops;
    atl_registry_http *registry;
    atlas_ctx *ctx;

    bench_pin(0);
    ctx = bench_context(NULL);
    bench_relay(ctx, 60000);
    bench_address(ctx, addr);
    config.loop = &ctx->loop;
    config.limits.max_records = config.limits.max_per_ipv4 = config.limits.max_per_ipv6_64 = 100000;
    bench_check(atl_registry_http_new(&config, &registry), "registry");
    atl_registry_http_set_put_rate(registry, 0, 0);
    atl_registry_http_set_get_rate(registry, 0, 0);
    ops.on_request = on_request;
    bench_check(atl_relay_server_add_requests(ctx->relay_server, &ops, registry), "requests");
    for (uint64_t n = 0; n < RECORDS; n++) {
        atlas_key *key;
        record r;

        key_of(n, &key);
        make_record(key, 1, (uint64_t)atl_env_wall_ms(&ctx->env) / 1000, &r);
        bench_check(atl_registry_http_put_own(registry, r.data, r.len), "put");
        atlas_key_free(key);
    }
    if (write(ready, "1", 1) != 1) {
        bench_die("server");
    }
    for (;;) {
        bench_check(atlas_run_once(ctx, 100), "server");
    }
}

static pid_t start_server(char addr[ATLAS_MULTIADDR_MAX]) {
    char *shared = bench_shared(ATLAS_MULTIADDR_MAX);
    int ready[2];
    char byte;
    pid_t pid;

    if (pipe(ready) != 0) {
        bench_die("pipe");
    }
    pid = bench_fork();
    if (pid == 0) {
        serve(shared, ready[1]);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1) {
        bench_die("the server did not start");
    }
    close(ready[0]);
    memcpy(addr, shared, ATLAS_MULTIADDR_MAX);
    return pid;
}

/* ---- the load ---- */

typedef struct load load;

struct load {
    atlas_ctx *ctx;
    atl_h3 *h3;
    int puts;
    uint64_t number; /* of this load */
    uint64_t next;   /* record to get, or sequence number to put */
    size_t open;     /* requests */
    char authority[32];
    char own[160];      /* path of the own record */
    uint64_t issued;    /* seconds */
    uint64_t good, bad; /* answers */
    uint64_t bytes;     /* of all bodies */
};

static char (*paths)[160]; /* of the server's records */
static size_t connections;
static size_t at_once = 1; /* requests on each */

static void path_of(const atl_peer_id *id, char out[160]) {
    char text[ATLAS_PEER_ID_MAX];

    atl_peer_id_text(id, text);
    snprintf(out, 160, "%s/%s", ATL_RECORDS_PATH, text);
}

static void ask_one(load *l) {
    atl_h3_request request = {"GET", "https", l->authority, paths[l->next % RECORDS], "", 0};
    atl_h3_stream *stream;
    int32_t rc;

    if (l->puts) {
        record r;

        make_record(l->ctx->key, ++l->next, l->issued, &r);
        request.method = "PUT";
        request.path = l->own;
        rc = atl_h3_open_with(l->h3, &request, NULL, r.data, r.len, NULL, &stream);
    } else {
        l->next += 7;
        rc = atl_h3_open(l->h3, &request, NULL, &stream);
    }
    bench_check(rc, "request");
    l->open++;
}

static void on_ready(void *user, atl_h3 *h3) {
    load *l = user;

    (void)h3;
    while (l->open < at_once) {
        ask_one(l);
    }
}

static void on_response(void *user, atl_h3_stream *stream, int32_t status) {
    load *l = user;

    (void)stream;
    l->good += status == 200;
    l->bad += status != 200;
}

static void on_data(void *user, atl_h3_stream *stream, const uint8_t *data, size_t len) {
    (void)stream;
    (void)data;
    ((load *)user)->bytes += len;
}

static void on_stream_closed(void *user, atl_h3_stream *stream) {
    load *l = user;

    (void)stream;
    l->open--;
    ask_one(l);
}

static void on_closed(void *user, atl_h3 *h3, const atl_qclose *why) {
    (void)user;
    (void)h3;
    fprintf(stderr, "bench_registry: the connection ended (%d) %s\n", (int)why->code, why->text);
    exit(1);
}

static const atl_h3_ops LOAD_OPS = {
    .on_ready = on_ready,
    .on_response = on_response,
    .on_data = on_data,
    .on_stream_closed = on_stream_closed,
    .on_closed = on_closed,
};

static void start_load(load *l, uint64_t number, const char *addr, int puts) {
    static const atl_qconn_ops none;
    char text[ATLAS_MULTIADDR_MAX];
    atl_peer_id self;
    atl_maddr target;
    atl_qconn *conn;
    atl_qpath path;

    memset(l, 0, sizeof(*l));
    l->number = number;
    l->puts = puts;
    l->next = number * 31;
    l->ctx = bench_context(NULL);
    bench_address(l->ctx, text);
    l->issued = (uint64_t)atl_env_wall_ms(&l->ctx->env) / 1000;
    bench_check(atl_maddr_parse(addr, &target), "address");
    snprintf(l->authority, sizeof(l->authority), "127.0.0.1:%u", target.port);
    atl_key_id(l->ctx->key, &self);
    path_of(&self, l->own);
    memset(&path, 0, sizeof(path));
    path.remote = target.addr;
    bench_check(
        atl_qconn_connect(l->ctx->ep, &path, ATL_PROTO_H3, &target.peer, 0, &none, NULL, &conn),
        "connect");
    bench_check(atl_h3_new(conn, &LOAD_OPS, l, &l->h3), "session");
}

static void drive(load *loads, uint64_t until) {
    while (bench_now() < until) {
        for (size_t i = 0; i < connections; i++) {
            bench_check(atlas_run_once(loads[i].ctx, 0), "load");
        }
    }
}

static uint64_t sum(const load *loads, int bad) {
    uint64_t n = 0;

    for (size_t i = 0; i < connections; i++) {
        n += bad ? loads[i].bad : loads[i].good;
    }
    return n;
}

static double verify_ns(void) {
    static uint8_t message[400];
    uint8_t public_key[32], secret[64], signature[64];
    uint64_t start;

    (void)crypto_sign_keypair(public_key, secret);
    (void)crypto_sign_detached(signature, NULL, message, sizeof(message), secret);
    start = bench_cpu();
    for (int i = 0; i < BLOCK; i++) {
        if (crypto_sign_verify_detached(signature, message, sizeof(message), public_key) != 0) {
            bench_die("verify");
        }
    }
    return (double)(bench_cpu() - start) / BLOCK;
}

static void requests(int puts, double seconds) {
    static load loads[PUT_CONNECTIONS];
    static double verify[4096], ratios[4096];
    char addr[ATLAS_MULTIADDR_MAX];
    pid_t server = start_server(addr);
    uint64_t answered = 0, cpu = 0, wall = 0;
    size_t turns = 0;
    uint64_t until;

    connections = puts ? PUT_CONNECTIONS : GET_CONNECTIONS;
    bench_pin(1);
    paths = calloc(RECORDS, sizeof(*paths));
    for (uint64_t n = 0; n < RECORDS; n++) {
        atl_peer_id id;
        atlas_key *key;

        key_of(n, &key);
        atl_key_id(key, &id);
        path_of(&id, paths[n]);
        atlas_key_free(key);
    }
    for (size_t i = 0; i < connections; i++) {
        start_load(&loads[i], i, addr, puts);
    }
    drive(loads, bench_now() + 500000000u);
    until = bench_now() + (uint64_t)(seconds * 1e9);
    do {
        uint64_t n = sum(loads, 0), spent = bench_cpu_of(server), at = bench_now();

        drive(loads, at + (uint64_t)(TURN * 1e9));
        n = sum(loads, 0) - n;
        spent = bench_cpu_of(server) - spent;
        answered += n;
        cpu += spent;
        wall += bench_now() - at;
        verify[turns] = puts ? verify_ns() : 0;
        ratios[turns] = n == 0 ? 0 : verify[turns] * (double)n / (double)spent;
        turns++;
    } while (bench_now() < until && turns < ATL_COUNT(ratios));
    if (sum(loads, 1) > 0 || answered == 0) {
        bench_die("requests were refused");
    }
    printf(
        "{\"requests\": %llu, \"cpu_ns\": %.0f, \"busy\": %.2f, \"bytes\": %.0f, "
        "\"verify_ns\": %.0f, \"ratio\": %.4f}\n",
        (unsigned long long)answered, (double)cpu / (double)answered, (double)cpu / (double)wall,
        (double)loads[0].bytes / (double)loads[0].good, bench_median(verify, turns),
        bench_median(ratios, turns));
    bench_stop(server);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";

    if (sodium_init() < 0) {
        bench_die("libsodium");
    }
    if (strcmp(what, "memory") == 0) {
        memory(argc > 2 ? (size_t)atol(argv[2]) : 1000000);
    } else if (strcmp(what, "get") == 0 || strcmp(what, "put") == 0) {
        at_once = what[0] == 'g' && argc > 3 ? (size_t)atol(argv[3]) : 1;
        requests(what[0] == 'p', argc > 2 ? atof(argv[2]) : 3);
    } else {
        fprintf(
            stderr,
            "usage: bench_registry memory [RECORDS] | get [SECONDS [AT_ONCE]] | put [SECONDS]\n");
        return 2;
    }
    return 0;
}
