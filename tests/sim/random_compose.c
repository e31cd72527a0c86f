/* From a seed a scenario. What is drawn does not depend on what is left out. */
#include "random.h"

#include <stdio.h>
#include <string.h>

#define MINUTE (60 * ATL_SECOND)

static uint64_t draw(uint64_t *rng) {
    uint64_t z = (*rng += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* low..high */
static uint64_t between(uint64_t *rng, uint64_t low, uint64_t high) {
    return low + draw(rng) % (high - low + 1);
}

static void compose_network(random_scenario *s, uint64_t *rng) {
    int i;

    s->n_nodes = (int)between(rng, 2, 100) % 5 + 2;
    s->n_relays = (int)between(rng, 1, RANDOM_RELAYS);
    for (i = 0; i < RANDOM_NODES; i++) {
        s->nat[i] = (int)between(rng, SIM_NAT_NONE, SIM_NAT_CGNAT);
        s->rate[i] = between(rng, 0, 2) == 0 ? between(rng, 300000, 5000000) : 0;
    }
    s->link.delay = between(rng, 2, 80) * ATL_MS;
    s->link.jitter = between(rng, 0, 5) * ATL_MS;
    s->link.loss = (uint32_t)(between(rng, 0, 1) * between(rng, 0, 100));
    s->link.reorder = (uint32_t)(between(rng, 0, 1) * between(rng, 0, 200));
    s->link.duplicate = (uint32_t)(between(rng, 0, 1) * between(rng, 0, 100));
    s->link.mtu = between(rng, 0, 3) == 0 ? 1300 : 1472;
}

static void compose_job(random_scenario *s, random_job *job, uint64_t *rng) {
    uint64_t kind = between(rng, 0, 3);

    job->from = (int)(draw(rng) % (uint64_t)s->n_nodes);
    job->to = (job->from + (int)between(rng, 1, (uint64_t)s->n_nodes - 1)) % s->n_nodes;
    job->at = between(rng, 0, s->length * 3 / 4);
    job->reply = 0;
    if (kind == 0) {
        job->reply = between(rng, 1, 20);
    } else if (kind == 1) {
        job->bytes = between(rng, 10, 400000);
        job->reply = between(rng, 0, 100000);
    } else {
        uint64_t left = (s->length - job->at) / ATL_SECOND;

        job->rate = between(rng, 500, 8000);
        job->bytes = between(rng, left / 4, left) * job->rate;
        job->reply = between(rng, 0, 1) * job->bytes;
    }
}

static int is_of_relay(int kind) {
    return kind <= FAULT_RELAY_DRAIN;
}

static void compose_fault(random_scenario *s, random_fault *f, uint64_t *rng) {
    uint64_t most = s->length / 4 < 60 * ATL_SECOND ? s->length / 4 : 60 * ATL_SECOND;

    f->kind = (int)(draw(rng) % FAULT_KINDS);
    f->who = (int)(draw(rng) % (uint64_t)(is_of_relay(f->kind) ? s->n_relays : s->n_nodes));
    f->other = (int)(draw(rng) % 1000);
    f->at = between(rng, ATL_SECOND, s->length - ATL_SECOND);
    f->lasts = between(rng, 0, 2) == 0 ? between(rng, 1, most / ATL_MS) * ATL_MS
                                       : between(rng, 500, 10000) * ATL_MS;
    if (f->kind == FAULT_NAT_FORGETS || f->kind == FAULT_PUBLIC_ADDRESS || f->kind == FAULT_MOVE ||
        f->kind == FAULT_FALSE_ALARM) {
        f->lasts = 0;
    }
}

/* Further addresses, in one of four scenarios. */
static void compose_addresses(random_scenario *s, uint64_t *rng) {
    int i;

    for (i = 0; i < s->n_nodes && s->seed % 4 == 2; i++) {
        s->more[i] = (int)between(rng, 0, 3);
    }
}

/* As many of something as in two minutes, for all of them. */
static int scaled(uint64_t n, uint64_t minutes, int most) {
    n = minutes > 2 ? n * minutes / 2 : n;
    return n < (uint64_t)most ? (int)n : most;
}

/* Two faults that would undo one another's end. */
static int collide(const random_fault *a, const random_fault *b) {
    int same = is_of_relay(a->kind) == is_of_relay(b->kind) && a->who == b->who;
    int global = a->kind == FAULT_BURSTS && b->kind == FAULT_BURSTS;

    return (same || global) && a->at < b->at + b->lasts + ATL_SECOND &&
           b->at < a->at + a->lasts + ATL_SECOND;
}

void random_compose(random_scenario *s, uint64_t seed, uint64_t minutes) {
    uint64_t rng = seed * UINT64_C(0xd1342543de82ef95) + 1;
    int wanted;
    int i;

    memset(s, 0, sizeof(*s));
    s->seed = seed;
    s->length = minutes * MINUTE;
    compose_network(s, &rng);
    s->n_jobs = scaled(between(&rng, 2, 2 + 2 * (uint64_t)s->n_nodes), minutes, RANDOM_JOBS);
    for (i = 0; i < s->n_jobs; i++) {
        compose_job(s, &s->jobs[i], &rng);
    }
    wanted = scaled(between(&rng, 1, 10), minutes, RANDOM_FAULTS);
    while (wanted-- > 0 && s->n_faults < RANDOM_FAULTS) {
        random_fault *f = &s->faults[s->n_faults];
        int bad = 0;

        compose_fault(s, f, &rng);
        for (i = 0; i < s->n_faults; i++) {
            bad |= collide(&s->faults[i], f);
        }
        s->n_faults += !bad;
    }
    compose_addresses(s, &rng);
}

/* ---- leaving out ---- */

static int drop_node(random_scenario *s, int node) {
    int left = 0;
    int i;

    for (i = 0; i < s->n_nodes; i++) {
        left += !s->dropped[i];
    }
    if (node >= s->n_nodes || s->dropped[node] || left <= 2) {
        return 0;
    }
    s->dropped[node] = 1;
    for (i = 0; i < s->n_jobs; i++) {
        s->jobs[i].dropped |= s->jobs[i].from == node || s->jobs[i].to == node;
    }
    for (i = 0; i < s->n_faults; i++) {
        random_fault *f = &s->faults[i];

        f->dropped |= !is_of_relay(f->kind) && f->kind != FAULT_BURSTS && f->who == node;
    }
    return 1;
}

static int drop_flag(int *flag) {
    int was = *flag;

    *flag = 1;
    return !was;
}

int random_drop(random_scenario *s, int item) {
    if (item == RANDOM_ITEM_ROUGH) {
        static const sim_link PLAIN = {20 * ATL_MS, 0, 0, 0, 0, 1472};

        if (memcmp(&s->link, &PLAIN, sizeof(PLAIN)) == 0) {
            return 0;
        }
        s->link = PLAIN;
        memset(s->rate, 0, sizeof(s->rate));
        return 1;
    }
    if (item >= RANDOM_ITEM_NODE) {
        return drop_node(s, item - RANDOM_ITEM_NODE);
    }
    if (item >= RANDOM_ITEM_JOB) {
        item -= RANDOM_ITEM_JOB;
        return item < s->n_jobs && drop_flag(&s->jobs[item].dropped);
    }
    return item >= 0 && item < s->n_faults && drop_flag(&s->faults[item].dropped);
}

/* ---- telling ---- */

static const char *const FAULTS[FAULT_KINDS] = {
    "crash of relay",
    "stall of relay",
    "drain of relay",
    "NAT forgets, node",
    "another public address, node",
    "another network, node",
    "process frozen, node",
    "machine asleep, node",
    "bursts of loss everywhere, node",
    "cut off from all, node",
    "direct way cut between a peer and node",
    "way to a relay cut, node",
    "unplugged, node",
    "false alarm of the network, node",
};

static double seconds(uint64_t ns) {
    return (double)ns / 1e9;
}

void random_print(const random_scenario *s) {
    int i;

    printf(
        "scenario of seed %llu: %d relays, links of %.0f ms (jitter %.0f), loss %.2f %%, "
        "reordered %.2f %%, doubled %.2f %%, mtu %u\n",
        (unsigned long long)s->seed, s->n_relays, seconds(s->link.delay) * 1e3,
        seconds(s->link.jitter) * 1e3, s->link.loss / 100.0, s->link.reorder / 100.0,
        s->link.duplicate / 100.0, (unsigned)s->link.mtu);
    for (i = 0; i < s->n_nodes; i++) {
        if (!s->dropped[i]) {
            printf("  %3d node %d: %s%s%s%s", RANDOM_ITEM_NODE + i, i, sim_nat_name(s->nat[i]),
                   s->more[i] & 1 ? ", loopback" : "", s->more[i] & 2 ? ", IPv6" : "",
                   s->rate[i] == 0 ? "\n" : ", ");
            if (s->rate[i] != 0) {
                printf("%.1f MB/s\n", (double)s->rate[i] / 1e6);
            }
        }
    }
    for (i = 0; i < s->n_jobs; i++) {
        const random_job *job = &s->jobs[i];

        if (!job->dropped) {
            printf("  %3d at %8.3f: %d to %d, ", RANDOM_ITEM_JOB + i, seconds(job->at), job->from,
                   job->to);
            if (job->bytes == 0) {
                printf("%llu messages\n", (unsigned long long)job->reply);
            } else {
                printf("%llu bytes and %llu back, %llu a second\n", (unsigned long long)job->bytes,
                       (unsigned long long)job->reply, (unsigned long long)job->rate);
            }
        }
    }
    for (i = 0; i < s->n_faults; i++) {
        const random_fault *f = &s->faults[i];

        if (!f->dropped) {
            printf("  %3d at %8.3f: %s %d, for %.3f (%d)\n", i, seconds(f->at), FAULTS[f->kind],
                   f->who, seconds(f->lasts), f->other);
        }
    }
}
