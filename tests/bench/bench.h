/* What the measuring programs share: clocks, processor time, pinning, UDP sockets with trains, and
 * contexts that are driven to a state. Everything ends the program with a message when it fails: a
 * measurement has no other use for an error. */
#ifndef BENCH_H
#define BENCH_H

#include <atlas/atlas.h>

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

#define BENCH_TRAIN_MAX 65000

void bench_die(const char *what) __attribute__((noreturn));
/* Ends the program unless `code` is ATLAS_OK. */
void bench_check(int32_t code, const char *what);

uint64_t bench_now(void);
/* Processor time of this process, and of another one, in nanoseconds. */
uint64_t bench_cpu(void);
uint64_t bench_cpu_of(pid_t pid);
/* This process, and its children, on one processor (the second of a machine with one is the first).
 */
void bench_pin(int cpu);
/* A child that dies with this process. 0 in the child. */
pid_t bench_fork(void);
/* Kills and reaps. */
void bench_stop(pid_t pid);
/* Zeroed memory shared with children. */
void *bench_shared(size_t size);
double bench_median(double *values, size_t n);

/* A UDP socket on 127.0.0.1 with large buffers; `local` receives its address. */
int bench_socket(struct sockaddr_in *local, int gro);
/* One train, or one datagram when segment >= len. Waits while the socket is full. */
void bench_send(int fd, const struct sockaddr_in *to, const void *data, size_t len, size_t segment);
/* Reads one train without waiting: its bytes, 0 when nothing is there. */
size_t bench_recv(int fd, void *buf, size_t cap, size_t *segment);

/* A context on 127.0.0.1 with a fresh key. */
atlas_ctx *bench_context(const atlas_hooks *hooks);
/* Its loopback multiaddr. */
void bench_address(atlas_ctx *ctx, char out[ATLAS_MULTIADDR_MAX]);
/* Lifts every limit of a relay server and starts it. */
void bench_relay(atlas_ctx *ctx, uint64_t presence_ms);
/* Forks a relay pinned to `cpu`, which runs until it is stopped; `addr` receives its address.
 * `prepare` (may be NULL) is called in the child first; `stats` (shared memory, may be NULL) is
 * kept up to date. */
pid_t bench_relay_process(int cpu, uint64_t presence_ms, char addr[ATLAS_MULTIADDR_MAX],
                          void (*prepare)(void), atlas_relay_stats *stats);
/* Drives two contexts (b may be NULL) until *flag, at most `seconds`. */
void bench_drive(atlas_ctx *a, atlas_ctx *b, const int *flag, double seconds, const char *what);

#endif
