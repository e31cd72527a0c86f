#include "peer/keepalive.h"

#include <string.h>

#define FORGET_AFTER (3600 * ATL_SECOND)
#define LONGEST (86400 * ATL_SECOND) /* longer silences tell nothing more */

static uint64_t least(const atl_keepalive *k) {
    return k->max < ATL_KEEPALIVE_LEAST ? k->max : ATL_KEEPALIVE_LEAST;
}

static uint64_t start(const atl_keepalive *k) {
    return k->max < ATL_KEEPALIVE_START ? k->max : ATL_KEEPALIVE_START;
}

/* What is to be tried, from what is known. */
static void choose(atl_keepalive *k) {
    uint64_t next = k->good + k->good / 2;

    if (k->bad == 0) {
        /* a short silence that was survived is no reason to come back sooner */
        next = next > k->interval ? next : k->interval;
    } else {
        uint64_t settled = k->bad / 5 * 4;
        uint64_t middle = k->good + (k->bad - k->good) / 2;

        next = middle < settled ? middle : settled;
    }
    next = next < k->max ? next : k->max;
    k->interval = next > least(k) ? next : least(k);
}

void atl_keepalive_init(atl_keepalive *k, uint64_t max) {
    memset(k, 0, sizeof(*k));
    k->max = max;
    atl_keepalive_reset(k);
}

void atl_keepalive_set_max(atl_keepalive *k, uint64_t max) {
    if (max == k->max) {
        return;
    }
    k->max = max;
    if (k->interval < least(k)) {
        k->interval = least(k);
    }
    choose(k);
}

void atl_keepalive_reset(atl_keepalive *k) {
    k->good = 0;
    k->bad = 0;
    k->age = 0;
    k->interval = start(k);
}

uint64_t atl_keepalive_interval(const atl_keepalive *k) {
    return k->interval;
}

void atl_keepalive_survived(atl_keepalive *k, uint64_t gap) {
    gap = gap < LONGEST ? gap : LONGEST;
    k->good = gap > k->good ? gap : k->good;
    if (k->bad != 0) {
        k->age += gap;
        /* survived what was thought too long: that loss had another cause */
        if (k->good >= k->bad || k->age >= FORGET_AFTER) {
            k->bad = 0;
            k->age = 0;
        }
    }
    choose(k);
}

void atl_keepalive_lost(atl_keepalive *k, uint64_t gap) {
    /* no NAT forgets so soon: it was restarted, or another address was given to it */
    if (gap < ATL_KEEPALIVE_LEAST) {
        return;
    }
    /* Longer silences have been survived: an accident, or another NAT. What survived is in doubt,
     * and the next loss counts. */
    if (gap <= k->good) {
        k->good = 0;
        k->interval = start(k);
        choose(k);
        return;
    }
    k->bad = k->bad == 0 || gap < k->bad ? gap : k->bad;
    k->age = 0;
    choose(k);
}
