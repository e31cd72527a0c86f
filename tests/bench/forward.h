/* The forwarders that are compared: a bare loop, the relay, coturn. Each is started as a child on a
 * processor of its own, and gives a socket to send through, a datagram to send again and again, and
 * the socket where it comes out. */
#ifndef BENCH_FORWARD_H
#define BENCH_FORWARD_H

#include "bench.h"
#include "bench_alloc.h"

#define FORWARD_SIZE 1200 /* bytes of every datagram, headers included */

typedef struct forwarding {
    pid_t pid;
    int tx; /* the sender's socket, and where it sends */
    struct sockaddr_in to;
    int rx;          /* the receiver's socket */
    size_t out_size; /* of a datagram there */
    uint8_t datagram[FORWARD_SIZE];
    bench_alloc_counts *allocations; /* of the child, or NULL */
    /* Between bursts: lets what else uses the sockets have its turn. May be NULL. */
    void (*idle)(struct forwarding *f);
    void *user;
    void *user2;
} forwarding;

/* `batch`: datagrams will come as trains (GRO), so many of which are read at once; 0: one by one.
 */
void forward_start_bare(forwarding *f, int cpu, size_t batch);
void forward_start_relay(forwarding *f, int cpu);
void forward_start_turn(forwarding *f, int cpu);

#endif
