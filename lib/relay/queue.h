/* A ring of packets that wait for bandwidth: one allocation of a size fixed by the rate, for 100 ms
 * worth of bytes. Packets lie one behind the other, so that those of equal size leave as one train.
 */
#ifndef ATL_RELAY_QUEUE_H
#define ATL_RELAY_QUEUE_H

#include "relay/forwarder.h"

typedef struct atl_forward_packet {
    uint8_t *data;
    size_t len;
    uint8_t ecn;
} atl_forward_packet;

/* Memory that a queue takes at this rate (bytes per second); for the common bound. */
size_t atl_forward_queue_size_for(uint64_t rate);
int32_t atl_forward_queue_new(atl_loop *loop, uint64_t rate, atl_timer_fn drain, void *user,
                              atl_forward_half *half, atl_forward_queue **out);
void atl_forward_queue_free(atl_forward_queue *queue);
size_t atl_forward_queue_size(const atl_forward_queue *queue);
atl_timer *atl_forward_queue_timer(atl_forward_queue *queue);
/* The half whose queue has this timer. */
atl_forward_half *atl_forward_queue_half(atl_timer *timer);

int atl_forward_queue_empty(const atl_forward_queue *queue);
/* Copies a packet to the end; 0 when it is full. */
int atl_forward_queue_push(atl_forward_queue *queue, const atl_forward_packet *packet);
/* The first packet, which stays where it is until a push after its pop; 0 when empty. */
int atl_forward_queue_head(const atl_forward_queue *queue, atl_forward_packet *out);
void atl_forward_queue_pop(atl_forward_queue *queue);

#endif
