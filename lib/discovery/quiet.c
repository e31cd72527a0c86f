/* Whether anything of discovery is under way: for the application that wants to sleep. */
#include "discovery/state.h"

/* A record that is signed in a moment counts, a bootstrap node that is asked again later does not:
 * it may be gone for good. */
static int is_publishing(const atl_discovery *disc) {
    const atl_publish *publish = &disc->publish;
    size_t i;

    if (atl_publish_busy(publish) ||
        (!publish->paused && publish->sign.deadline != ATLAS_NO_DEADLINE)) {
        return 1;
    }
    for (i = 0; i < disc->n_nodes; i++) {
        if (disc->nodes[i].published.request != NULL) {
            return 1;
        }
    }
    return 0;
}

int atl_discovery_is_quiet(const atl_discovery *disc) {
    return atl_list_empty(&disc->finds) && disc->prime.deadline == ATLAS_NO_DEADLINE &&
           (disc->reach == NULL || !atl_reach_busy(disc->reach)) &&
           (disc->autorelay == NULL || !atl_autorelay_is_busy(disc->autorelay)) &&
           !is_publishing(disc);
}
