#include "relay/forwarder.h"

#include "relay/queue.h"

#include <string.h>

#define TRAINS 64u       /* held at most, per family */
#define ARENA_TRAINS 16u /* of which can be gathered from single datagrams */
#define MIN_BURST 3000u  /* bytes: a rate below this must still let a datagram pass */
#define MAX_BURST (UINT64_C(1) << 33)
#define MAX_QUEUED ((size_t)64 << 20) /* bytes of all queues */
#define DRAIN_STEP ATL_MS /* between looks at a queue, so that packets leave in trains */
#define QUEUE_LINGER                                                            \
    ATL_SECOND /* an empty queue is kept this long: its owner is near the limit \
                */

/* Trains towards one address family. */
typedef struct batch {
    uint8_t family;
    size_t n;
    size_t segments; /* most of a train now */
    atl_tx tx[TRAINS];
    const atl_forward_half *owner[TRAINS];
    uint8_t *slot[TRAINS]; /* the arena's part that a gathered train is in, or NULL */
} batch;

struct atl_forwarder {
    atl_loop *loop;
    const uint64_t *bandwidth;
    const uint64_t *total_bandwidth;
    atlas_relay_stats *stats;
    const atl_forwarder_ops *ops;
    void *user;
    atl_bucket total;
    size_t queued;
    size_t slots; /* of the arena in use */
    atl_task flush;
    batch batches[2];
    uint8_t arena[ARENA_TRAINS][ATL_TRAIN_BYTES];
};

static void on_flush(atl_task *task) {
    atl_forwarder_flush(task->user);
}

int32_t atl_forwarder_new(const atl_forwarder_config *config, const atl_forwarder_ops *ops,
                          void *user, atl_forwarder **out) {
    atl_forwarder *forwarder = atl_malloc(config->loop->env, sizeof(*forwarder));

    if (forwarder == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    /* the arena is left untouched: pages that are never used cost nothing */
    memset(forwarder, 0, offsetof(atl_forwarder, arena));
    forwarder->loop = config->loop;
    forwarder->bandwidth = config->bandwidth;
    forwarder->total_bandwidth = config->total_bandwidth;
    forwarder->stats = config->stats;
    forwarder->ops = ops;
    forwarder->user = user;
    atl_task_init(&forwarder->flush, on_flush, forwarder);
    forwarder->batches[0].family = 4;
    forwarder->batches[1].family = 6;
    *out = forwarder;
    return ATLAS_OK;
}

void atl_forwarder_free(atl_forwarder *forwarder) {
    if (forwarder != NULL) {
        atl_task_cancel(&forwarder->flush);
        atl_free(forwarder->loop->env, forwarder);
    }
}

size_t atl_forwarder_queued(const atl_forwarder *forwarder) {
    return forwarder->queued;
}

/* ---- sending ---- */

static uint64_t packets_of(size_t len, size_t segment) {
    return (len + segment - 1) / segment;
}

static void flush_batch(atl_forwarder *forwarder, batch *out) {
    atlas_relay_stats *stats = forwarder->stats;
    size_t sent;

    if (out->n == 0) {
        return;
    }
    sent = forwarder->ops->send(forwarder->user, out->family, out->tx, out->n);
    for (size_t i = 0; i < out->n; i++) {
        uint64_t packets = packets_of(out->tx[i].len, out->tx[i].segment);

        if (i < sent) {
            stats->forwarded_packets += packets;
            stats->forwarded_bytes += out->tx[i].len;
        } else {
            stats->dropped_send += packets;
        }
    }
    out->n = 0;
}

void atl_forwarder_flush(atl_forwarder *forwarder) {
    flush_batch(forwarder, &forwarder->batches[0]);
    flush_batch(forwarder, &forwarder->batches[1]);
    forwarder->slots = 0;
}

static int borrows(const batch *out) {
    for (size_t i = 0; i < out->n; i++) {
        if (out->slot[i] == NULL) {
            return 1;
        }
    }
    return 0;
}

void atl_forwarder_batch_end(atl_forwarder *forwarder) {
    if (borrows(&forwarder->batches[0]) || borrows(&forwarder->batches[1])) {
        /* all of it, so that nothing overtakes */
        atl_forwarder_flush(forwarder);
    } else if (forwarder->batches[0].n + forwarder->batches[1].n > 0) {
        atl_post_work(forwarder->loop, &forwarder->flush);
    }
}

/* Makes sure that a train that points to a receive buffer can grow: moves it into the arena. */
static int move_to_arena(atl_forwarder *forwarder, batch *out, size_t i) {
    if (out->slot[i] != NULL) {
        return 1;
    }
    if (out->tx[i].len > out->tx[i].segment || forwarder->slots == ARENA_TRAINS) {
        return 0;
    }
    out->slot[i] = forwarder->arena[forwarder->slots++];
    memcpy(out->slot[i], out->tx[i].data, out->tx[i].len);
    out->tx[i].data = out->slot[i];
    return 1;
}

/* Adds datagrams to the half's last train when the result is still one: equal sizes but for the
 * last. */
static int grow_train(atl_forwarder *forwarder, batch *out, atl_forward_half *half,
                      const atl_tx *more) {
    atl_tx *train = &out->tx[half->train];

    if (half->train >= out->n || out->owner[half->train] != half ||
        train->len % train->segment != 0 || train->ecn != more->ecn ||
        train->len + more->len > ATL_TRAIN_BYTES ||
        packets_of(train->len, train->segment) + packets_of(more->len, more->segment) >
            out->segments) {
        return 0;
    }
    if (more->segment != train->segment &&
        (more->len != more->segment || more->len > train->segment)) {
        return 0;
    }
    if (train->data + train->len != more->data) {
        if (more->len != more->segment || !move_to_arena(forwarder, out, half->train)) {
            return 0;
        }
        memcpy(out->slot[half->train] + train->len, more->data, more->len);
    }
    train->len += more->len;
    return 1;
}

static void add_train(atl_forwarder *forwarder, batch *out, atl_forward_half *half,
                      const atl_tx *tx) {
    if (out->n == TRAINS) {
        atl_forwarder_flush(forwarder);
    }
    if (out->n == 0) {
        out->segments = forwarder->ops->segments(forwarder->user, out->family);
        out->segments = out->segments > ATL_TRAIN_SEGMENTS ? ATL_TRAIN_SEGMENTS : out->segments;
        out->segments = out->segments == 0 ? 1 : out->segments;
    }
    out->tx[out->n] = *tx;
    out->owner[out->n] = half;
    out->slot[out->n] = NULL;
    half->train = (uint16_t)out->n;
    out->n++;
}

/* Holds datagrams of equal size, ids already rewritten, for the next flush. */
static void emit(atl_forwarder *forwarder, atl_forward_half *half, uint8_t *data, size_t len,
                 size_t segment, uint8_t ecn) {
    const atl_forward_port *to = half->other->port;
    batch *out = &forwarder->batches[to->remote.family == 6];
    atl_tx tx;

    tx.data = data;
    tx.len = len;
    tx.segment = segment;
    tx.ecn = ecn;
    if (out->n > 0 && grow_train(forwarder, out, half, &tx)) {
        return;
    }
    tx.remote = to->remote;
    tx.local = to->local;
    while (len > 0) {
        size_t room = out->n == 0 || out->n == TRAINS
                          ? forwarder->ops->segments(forwarder->user, out->family)
                          : out->segments;
        size_t most = (room == 0 ? 1 : room) * segment;

        most = most > ATL_TRAIN_BYTES ? ATL_TRAIN_BYTES / segment * segment : most;
        tx.data = data;
        tx.len = len < most ? len : most;
        tx.segment = tx.len < segment ? tx.len : segment;
        add_train(forwarder, out, half, &tx);
        data += tx.len;
        len -= tx.len;
    }
}

static void rewrite(uint8_t *data, size_t len, size_t segment, const uint8_t id[ATL_CID_LEN]) {
    for (size_t at = 0; at < len; at += segment) {
        memcpy(data + at + 1, id, ATL_CID_LEN);
    }
}

/* ---- limits ---- */

static void set_rate(atl_bucket *bucket, uint64_t rate, uint64_t now) {
    uint64_t burst = rate / 50;

    if (bucket->rate == rate) {
        return;
    }
    burst = burst < MIN_BURST ? MIN_BURST : burst;
    atl_bucket_init(bucket, rate > MAX_BURST ? MAX_BURST : rate,
                    burst > MAX_BURST ? MAX_BURST : burst, now);
    bucket->rate = rate > MAX_BURST ? 0 : rate;
}

/* Takes tokens for as many leading datagrams as there are; returns their bytes. */
static size_t take_leading(atl_bucket *bucket, uint64_t now, size_t len, size_t segment) {
    size_t whole;

    if (bucket->rate == 0 || atl_bucket_take(bucket, now, len)) {
        return len;
    }
    whole = (size_t)(bucket->tokens / ATL_SECOND / segment) * segment;
    whole = whole > len ? len : whole;
    return whole > 0 && atl_bucket_take(bucket, now, whole) ? whole : 0;
}

/* Sends what the relay's total allows and drops the rest. */
static void emit_within_total(atl_forwarder *forwarder, atl_forward_half *half, uint8_t *data,
                              size_t len, size_t segment, uint8_t ecn) {
    size_t take;

    set_rate(&forwarder->total, *forwarder->total_bandwidth, forwarder->loop->now);
    take = take_leading(&forwarder->total, forwarder->loop->now, len, segment);
    if (take < len) {
        forwarder->stats->dropped_total += packets_of(len - take, segment);
    }
    if (take > 0) {
        emit(forwarder, half, data, take, segment, ecn);
    }
}

/* ---- the queue of a half ---- */

static void free_queue(atl_forwarder *forwarder, atl_forward_half *half) {
    if (half->queue != NULL) {
        forwarder->queued -= atl_forward_queue_size(half->queue);
        atl_forward_queue_free(half->queue);
        half->queue = NULL;
    }
}

static void arm_queue(atl_forwarder *forwarder, atl_forward_half *half) {
    uint64_t now = forwarder->loop->now;
    atl_forward_packet head;
    uint64_t wait = QUEUE_LINGER;

    if (atl_forward_queue_head(half->queue, &head)) {
        wait = atl_bucket_wait(&half->bucket, now, head.len);
        wait = wait < DRAIN_STEP ? DRAIN_STEP : wait;
    }
    atl_timer_set(forwarder->loop, atl_forward_queue_timer(half->queue), now + wait);
}

static void drain_queue(atl_timer *timer, uint64_t now) {
    atl_forward_half *half = atl_forward_queue_half(timer);
    atl_forwarder *forwarder = timer->user;
    atl_forward_packet head;

    if (!atl_forward_queue_head(half->queue, &head)) {
        free_queue(forwarder, half);
        return;
    }
    set_rate(&half->bucket, *forwarder->bandwidth, now);
    while (atl_forward_queue_head(half->queue, &head) &&
           atl_bucket_take(&half->bucket, now, head.len)) {
        emit_within_total(forwarder, half, head.data, head.len, head.len, head.ecn);
        atl_forward_queue_pop(half->queue);
    }
    /* before a push may reuse the ring */
    atl_forwarder_flush(forwarder);
    arm_queue(forwarder, half);
}

static int make_queue(atl_forwarder *forwarder, atl_forward_half *half) {
    size_t size = atl_forward_queue_size_for(*forwarder->bandwidth);

    if (half->queue != NULL) {
        return 1;
    }
    if (size > MAX_QUEUED - forwarder->queued ||
        atl_forward_queue_new(forwarder->loop, *forwarder->bandwidth, drain_queue, forwarder, half,
                              &half->queue) != ATLAS_OK) {
        return 0;
    }
    forwarder->queued += size;
    return 1;
}

static void enqueue(atl_forwarder *forwarder, atl_forward_half *half, const uint8_t *data,
                    size_t len, size_t segment, uint8_t ecn) {
    int can = make_queue(forwarder, half);
    int was_empty = can && atl_forward_queue_empty(half->queue);

    for (size_t at = 0; at < len; at += segment) {
        atl_forward_packet packet = {(uint8_t *)(uintptr_t)(data + at),
                                     len - at < segment ? len - at : segment, ecn};

        if (can && atl_forward_queue_push(half->queue, &packet)) {
            forwarder->stats->delayed_packets++;
        } else {
            forwarder->stats->dropped_bandwidth++;
        }
    }
    if (was_empty) {
        arm_queue(forwarder, half);
    }
}

/* ---- halves ---- */

void atl_forward_pair(atl_forwarder *forwarder, atl_forward_half *a, atl_forward_half *b) {
    a->other = b;
    b->other = a;
    a->last = forwarder->loop->now;
    b->last = forwarder->loop->now;
}

void atl_forward_open(atl_forward_half *half) {
    half->open = 1;
    half->other->open = 1;
}

void atl_forward_close(atl_forwarder *forwarder, atl_forward_half *half) {
    half->open = 0;
    /* held trains name their half as owner */
    atl_forwarder_flush(forwarder);
    free_queue(forwarder, half);
}

/* ---- receiving ---- */

static int is_from(const atl_forward_port *port, const atl_rx *rx) {
    if (port->remote.family == 0 || !atl_addr_equal(&port->remote, &rx->remote)) {
        return 0;
    }
    return port->local.family == 0 || rx->local.family == 0 ||
           memcmp(port->local.ip, rx->local.ip, sizeof(rx->local.ip)) == 0;
}

/* Bytes of the leading datagrams that are packets of this circuit; the first one is taken for one.
 */
static size_t leading_run(const atl_rx *rx, const uint8_t id[ATL_CID_LEN]) {
    size_t at = rx->segment < rx->len ? rx->segment : rx->len;

    while (at < rx->len && rx->len - at > ATL_CIRCUIT_HEADER && (rx->data[at] & 0xc0) == 0x40 &&
           memcmp(rx->data + at + 1, id, ATL_CID_LEN) == 0) {
        at += rx->len - at < rx->segment ? rx->len - at : rx->segment;
    }
    return at;
}

size_t atl_forwarder_push(atl_forwarder *forwarder, atl_forward_half *half, const atl_rx *rx) {
    uint64_t now = forwarder->loop->now;
    size_t len = leading_run(rx, half->rx_id);
    size_t segment = rx->segment < len ? rx->segment : len;
    size_t take = 0;

    if (!half->open || segment <= ATL_CIRCUIT_HEADER || half->other->port->remote.family == 0 ||
        !is_from(half->port, rx)) {
        forwarder->stats->dropped_source += packets_of(len, segment);
        return len;
    }
    half->last = now;
    set_rate(&half->bucket, *forwarder->bandwidth, now);
    rewrite(rx->data, len, segment, half->other->tx_id);
    if (half->queue == NULL || atl_forward_queue_empty(half->queue)) {
        take = take_leading(&half->bucket, now, len, segment);
    }
    if (take > 0) {
        emit_within_total(forwarder, half, rx->data, take, segment, rx->ecn);
    }
    if (take < len) {
        enqueue(forwarder, half, rx->data + take, len - take, segment, rx->ecn);
    }
    return len;
}
