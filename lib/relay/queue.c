#include "relay/queue.h"

#include <string.h>

#define MAX_BYTES ((size_t)1 << 20) /* of one queue, however high its rate */
#define AVERAGE 128u /* bytes of a packet, below which the number of packets is the limit */
#define SPARE 16u    /* packets, however low the rate */

typedef struct entry {
    uint32_t at;
    uint16_t len;
    uint8_t ecn;
} entry;

struct atl_forward_queue {
    atl_timer timer;
    atl_loop *loop;
    atl_forward_half *half;
    size_t size; /* of the allocation */
    size_t bytes;
    size_t entries;
    size_t first; /* index of the head */
    size_t count;
    entry *ring;
    uint8_t *data;
};

static size_t bytes_for(uint64_t rate) {
    return rate / 10 > MAX_BYTES ? MAX_BYTES : (size_t)(rate / 10);
}

static size_t entries_for(uint64_t rate) {
    return bytes_for(rate) / AVERAGE + SPARE;
}

size_t atl_forward_queue_size_for(uint64_t rate) {
    return sizeof(atl_forward_queue) + entries_for(rate) * sizeof(entry) + bytes_for(rate);
}

int32_t atl_forward_queue_new(atl_loop *loop, uint64_t rate, atl_timer_fn drain, void *user,
                              atl_forward_half *half, atl_forward_queue **out) {
    size_t size = atl_forward_queue_size_for(rate);
    atl_forward_queue *queue = atl_malloc(loop->env, size);

    if (queue == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    memset(queue, 0, sizeof(*queue));
    atl_timer_init(&queue->timer, drain, user);
    queue->loop = loop;
    queue->half = half;
    queue->size = size;
    queue->bytes = bytes_for(rate);
    queue->entries = entries_for(rate);
    queue->ring = (entry *)(void *)(queue + 1);
    queue->data = (uint8_t *)(queue->ring + queue->entries);
    *out = queue;
    return ATLAS_OK;
}

void atl_forward_queue_free(atl_forward_queue *queue) {
    atl_timer_clear(queue->loop, &queue->timer);
    atl_free(queue->loop->env, queue);
}

size_t atl_forward_queue_size(const atl_forward_queue *queue) {
    return queue->size;
}

atl_timer *atl_forward_queue_timer(atl_forward_queue *queue) {
    return &queue->timer;
}

atl_forward_half *atl_forward_queue_half(atl_timer *timer) {
    return ATL_CONTAINER(timer, atl_forward_queue, timer)->half;
}

int atl_forward_queue_empty(const atl_forward_queue *queue) {
    return queue->count == 0;
}

/* Where `len` bytes fit behind the last packet without being split, or SIZE_MAX. */
static size_t place(const atl_forward_queue *queue, size_t len) {
    const entry *head = &queue->ring[queue->first];
    const entry *last;
    size_t tail;

    if (queue->count == 0) {
        return len <= queue->bytes ? 0 : SIZE_MAX;
    }
    last = &queue->ring[(queue->first + queue->count - 1) % queue->entries];
    tail = (size_t)last->at + last->len;
    if (last->at < head->at) {
        return len <= head->at - tail ? tail : SIZE_MAX;
    }
    if (len <= queue->bytes - tail) {
        return tail;
    }
    return len <= head->at ? 0 : SIZE_MAX;
}

int atl_forward_queue_push(atl_forward_queue *queue, const atl_forward_packet *packet) {
    size_t at = place(queue, packet->len);
    entry *slot;

    if (at == SIZE_MAX || queue->count == queue->entries || packet->len > UINT16_MAX) {
        return 0;
    }
    slot = &queue->ring[(queue->first + queue->count) % queue->entries];
    slot->at = (uint32_t)at;
    slot->len = (uint16_t)packet->len;
    slot->ecn = packet->ecn;
    memcpy(queue->data + at, packet->data, packet->len);
    queue->count++;
    return 1;
}

int atl_forward_queue_head(const atl_forward_queue *queue, atl_forward_packet *out) {
    const entry *head = &queue->ring[queue->first];

    if (queue->count == 0) {
        return 0;
    }
    out->data = queue->data + head->at;
    out->len = head->len;
    out->ecn = head->ecn;
    return 1;
}

void atl_forward_queue_pop(atl_forward_queue *queue) {
    if (queue->count > 0) {
        queue->first = (queue->first + 1) % queue->entries;
        queue->count--;
    }
}
