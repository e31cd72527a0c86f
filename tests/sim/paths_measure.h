/* What is measured of paths besides faults: dials, the way from a relay to a direct path and what
 * it costs, and which pairs of NATs become direct. */
#ifndef SIM_PATHS_MEASURE_H
#define SIM_PATHS_MEASURE_H

#include "paths_fault.h"

/* Whether hole punching works between two kinds of NAT. */
int paths_punchable(int nat_a, int nat_b);

/* The value is what the dialler waits from the peer's first packet until it is connected;
 * extra[]: from its own first packet until it has authenticated the peer, until the listener and
 * until the dialler are connected, in round trips. */
void paths_dial_direct(const paths_plan *plan, uint64_t seed, paths_result *out);
/* extra[0]: in round trips through the relay. */
void paths_dial_relayed(const paths_plan *plan, uint64_t seed, paths_result *out);
/* From connected to direct at the dialler; the bound is a round trip through the relay and two
 * direct ones and 150 ms. extra[0]: the same in units of the bound. */
void paths_upgrade(const paths_plan *plan, uint64_t seed, paths_result *out);
/* Bytes through the relay until both are direct, less what a connection costs there in the same
 * time that stays where it is. */
void paths_upgrade_cost(const paths_plan *plan, uint64_t seed, paths_result *out);
/* From connected until both are direct; or that they stay relayed, with the reason in `why`. */
void paths_pair(const paths_plan *plan, uint64_t seed, paths_result *out);

#endif
