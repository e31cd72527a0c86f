/* Two contexts joined by nothing but memory: an atl_io whose two sockets hand datagrams to one
 * another, so that a measurement contains no system call. */
#ifndef BENCH_MEMORY_IO_H
#define BENCH_MEMORY_IO_H

#include "api/context.h"

/* Makes both; they must be driven with atlas_process(). The first is at 10.0.0.1:4000, the second
 * at 10.0.0.2:4000. */
void memory_pair(atlas_ctx *out[2]);

#endif
