/* Circuit packets: any bytes, cut into trains in any way, from any source, through a relay's
 * forwarder. What leaves must be the packets of one side with the id of the other, towards the
 * other side and nobody else, no more than came in. Each step: control byte, segment and length
 * (two bytes each), bytes. */
#include <stdlib.h>
#include <string.h>

#include "base/reader.h"
#include "relay/forwarder.h"

typedef struct run {
    atl_env env;
    uint64_t now;
    size_t live;
    atl_loop loop;
    atlas_relay_stats stats;
    uint64_t bandwidth;
    uint64_t total;
    size_t segments;
    uint64_t in;
    uint64_t out;
    atl_forwarder *forwarder;
    atl_forward_port port[2];
    atl_forward_half half[2];
} run;

static void check(int ok) {
    if (!ok) {
        abort();
    }
}

static void *run_malloc(void *user, size_t size) {
    ((run *)user)->live++;
    return malloc(size);
}

static void run_free(void *user, void *ptr) {
    ((run *)user)->live--;
    free(ptr);
}

static uint64_t run_now(void *user) {
    return ((run *)user)->now;
}

static size_t run_send(void *user, uint8_t family, const atl_tx *tx, size_t n) {
    run *r = user;

    for (size_t i = 0; i < n; i++) {
        size_t to = tx[i].remote.family == 6;

        check(family == tx[i].remote.family && atl_addr_equal(&tx[i].remote, &r->port[to].remote));
        check(tx[i].len > 0 && tx[i].len <= ATL_TRAIN_BYTES && tx[i].segment <= tx[i].len);
        check((tx[i].len + tx[i].segment - 1) / tx[i].segment <= r->segments);
        for (size_t at = 0; at < tx[i].len; at += tx[i].segment) {
            check(tx[i].len - at > ATL_CIRCUIT_HEADER && tx[i].data[at] >> 6 == 1);
            check(memcmp(tx[i].data + at + 1, r->half[to].tx_id, ATL_CID_LEN) == 0);
        }
        r->out += tx[i].len;
    }
    return n;
}

static size_t run_segments(void *user, uint8_t family) {
    (void)family;
    return ((run *)user)->segments;
}

static const atl_forwarder_ops run_ops = {run_send, run_segments};

static void start(run *r) {
    atl_forwarder_config config = {&r->loop, &r->bandwidth, &r->total, &r->stats};
    atlas_hooks hooks;

    memset(r, 0, sizeof(*r));
    memset(&hooks, 0, sizeof(hooks));
    hooks.user = r;
    hooks.malloc = run_malloc;
    hooks.free = run_free;
    hooks.now = run_now;
    r->now = 1;
    atl_env_init(&r->env, &hooks);
    atl_loop_init(&r->loop, &r->env);
    r->segments = ATL_TRAIN_SEGMENTS;
    check(atl_forwarder_new(&config, &run_ops, r, &r->forwarder) == ATLAS_OK);
    for (size_t i = 0; i < 2; i++) {
        r->port[i].remote.family = i == 0 ? 4 : 6;
        r->port[i].remote.port = (uint16_t)(1000 + i);
        r->half[i].port = &r->port[i];
        memset(r->half[i].rx_id, (int)(0x10 + i), ATL_CID_LEN);
        memset(r->half[i].tx_id, (int)(0x20 + i), ATL_CID_LEN);
    }
    atl_forward_pair(r->forwarder, &r->half[0], &r->half[1]);
    atl_forward_open(&r->half[0]);
}

static void stop(run *r) {
    atl_forward_close(r->forwarder, &r->half[0]);
    atl_forward_close(r->forwarder, &r->half[1]);
    check(atl_forwarder_queued(r->forwarder) == 0 && r->loop.timers == NULL);
    atl_forwarder_free(r->forwarder);
    check(r->live == 0 && r->out <= r->in && r->stats.forwarded_bytes == r->out);
}

/* As the endpoint does: only a train whose first datagram has a known id comes here, and what was
 * not consumed is looked at again. */
static void receive(run *r, uint8_t *data, size_t len, size_t segment, int spoofed) {
    size_t at = 0;

    while (at < len) {
        size_t from = len - at > ATL_CIRCUIT_HEADER && data[at + 1] == r->half[1].rx_id[0];
        atl_forward_half *half = &r->half[from];
        atl_rx rx;
        size_t used;

        memset(&rx, 0, sizeof(rx));
        rx.data = data + at;
        rx.len = len - at;
        rx.segment = segment;
        rx.remote = r->port[spoofed ? !from : from].remote;
        rx.local.family = rx.remote.family;
        if (rx.len <= ATL_CIRCUIT_HEADER || data[at] >> 6 != 1 ||
            memcmp(data + at + 1, half->rx_id, ATL_CID_LEN) != 0) {
            at += rx.len < segment ? rx.len : segment;
            continue;
        }
        used = atl_forwarder_push(r->forwarder, half, &rx);
        check(used > 0 && used <= rx.len && (used % segment == 0 || used == rx.len));
        r->in += spoofed ? 0 : used;
        at += used;
    }
}

static void control(run *r, uint8_t byte) {
    if ((byte & 3) == 3) {
        atl_forwarder_batch_end(r->forwarder);
    }
    if ((byte & 4) != 0) {
        atl_forwarder_flush(r->forwarder);
        r->segments = (byte & 8) != 0 ? 1 : ATL_TRAIN_SEGMENTS;
    }
    if ((byte & 16) != 0) {
        r->bandwidth = r->bandwidth == 0 ? 20000 : r->bandwidth == 20000 ? 5000000 : 0;
    }
    if ((byte & 32) != 0) {
        r->total = r->total == 0 ? 100000 : 0;
    }
    if ((byte & 64) != 0) {
        atl_forwarder_flush(r->forwarder);
        r->now += ATL_MS * (1 + (byte & 3) * 40);
        atl_loop_update(&r->loop);
        (void)atl_loop_run_timers(&r->loop, 16);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t buffer[16][2048];
    atl_reader reader;
    run r;
    uint8_t byte;

    start(&r);
    atl_reader_init(&reader, data, size);
    for (size_t i = 0; atl_read_u8(&reader, &byte) == ATLAS_OK; i++) {
        uint8_t *at = buffer[i % 16];
        uint16_t segment;
        uint16_t len;

        if (i % 16 == 0) {
            atl_forwarder_batch_end(r.forwarder); /* the buffers are used again */
        }
        control(&r, byte);
        if (atl_read_u16(&reader, &segment) != ATLAS_OK ||
            atl_read_u16(&reader, &len) != ATLAS_OK) {
            break;
        }
        len = (uint16_t)(len % 2048 < reader.left ? len % 2048 : reader.left);
        (void)atl_read_bytes(&reader, at, len);
        segment = (uint16_t)(segment % 1500 + 1);
        receive(&r, at, len, segment < len ? segment : len, (byte & 128) != 0);
    }
    atl_forwarder_flush(r.forwarder);
    stop(&r);
    return 0;
}
