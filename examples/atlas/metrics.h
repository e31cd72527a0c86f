/* Metrics and a status page over plain HTTP, without threads: part of the program's loop. */
#ifndef ATLAS_PROGRAM_METRICS_H
#define ATLAS_PROGRAM_METRICS_H

#include <stdint.h>
#include <sys/socket.h>

struct app;

typedef struct metrics metrics;

/* "PORT", "IP:PORT" or "[IPV6]:PORT": 1, or 0 when it is none of these. `addr` may be NULL. Without
 * an address it is 127.0.0.1. */
int metrics_addr_parse(const char *text, struct sockaddr_storage *addr);
/* Serves at `text` what the app's context counts. 0 and the app's `http`, or an exit code after an
 * error was printed. */
int metrics_start(struct app *a, const char *text);
/* "http://127.0.0.1:9464/metrics"; NULL for none. */
const char *metrics_url(const metrics *http);

/* For the loop; each takes NULL for none. */
int metrics_fd(const metrics *http); /* to be read; -1: none */
/* When it is to be run at the latest, on the clock of `now`; UINT64_MAX: when there is something to
 * read. */
uint64_t metrics_due(const metrics *http, uint64_t now);
void metrics_run(metrics *http);
void metrics_stop(metrics *http);

#endif
