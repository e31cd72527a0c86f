/* What discovery tells a simulated node. */
#include "node.h"

#include <stdio.h>
#include <string.h>

static uint64_t now(const sim_node *node) {
    return sim_now(sim_host_net(node->host));
}

static void on_reach(void *user, atlas_ctx *ctx, const atlas_reach_event *event) {
    sim_node *node = user;
    sim_found *found = &node->found;

    (void)ctx;
    found->verdicts++;
    found->verdict[event->family == 6] = event->verdict;
    if (event->verdict != ATLAS_REACH_UNKNOWN && found->verdict_at == 0) {
        found->verdict_at = now(node);
    }
}

static void on_advertise(void *user, atlas_ctx *ctx, const atlas_advertise_event *event) {
    sim_node *node = user;
    sim_found *found = &node->found;
    uint64_t i;

    (void)ctx;
    found->advertise = event->state;
    found->code = event->code;
    found->nodes = event->nodes;
    found->offers = event->offers;
    if (event->seq != found->seq) {
        found->seq = event->seq;
        found->said_at = now(node);
    }
    found->circuits = 0;
    found->directs = 0;
    memset(found->addrs, 0, sizeof(found->addrs));
    for (i = 0; i < event->addr_count && i < 16; i++) {
        snprintf(found->addrs[i], sizeof(found->addrs[i]), "%s", event->addrs[i]);
        if (strstr(event->addrs[i], "p2p-circuit") != NULL) {
            found->circuits++;
        } else {
            found->directs++;
        }
    }
    if (event->state == ATLAS_ADVERTISE_PUBLISHED) {
        if (found->published_at == 0) {
            found->published_at = now(node);
        }
        if (found->full_at == 0 && found->wanted > 0 && found->circuits >= found->wanted) {
            found->full_at = now(node);
        }
    }
}

static void on_autorelay(void *user, atlas_ctx *ctx, const atlas_autorelay_event *event) {
    sim_node *node = user;
    sim_found *found = &node->found;

    (void)ctx;
    found->serving = event->serving;
    if (found->wanted > 0 && event->serving >= found->wanted && found->served_at == 0) {
        found->served_at = now(node);
    }
    found->chosen += event->what == ATLAS_AUTORELAY_CHOSEN;
    found->replaced += event->what == ATLAS_AUTORELAY_REPLACED;
    if (event->what == ATLAS_AUTORELAY_FAILED) {
        found->failed++;
        snprintf(found->failure, sizeof(found->failure), "%s: %s", event->relay, event->text);
    }
    if (node->on_choice != NULL) {
        node->on_choice(node->choice_user, node, event);
    }
}

void sim_node_discovery(atlas_callbacks *callbacks) {
    callbacks->on_reach = on_reach;
    callbacks->on_advertise = on_advertise;
    callbacks->on_autorelay = on_autorelay;
}

int sim_node_says_relay(const sim_node *node, const sim_node *relay) {
    const char *id = strrchr(relay->addr, '/') + 1;
    char part[ATLAS_PEER_ID_MAX + 16];
    size_t i;

    snprintf(part, sizeof(part), "/p2p/%s/p2p-circuit", id);
    for (i = 0; i < 16; i++) {
        if (strstr(node->found.addrs[i], part) != NULL) {
            return 1;
        }
    }
    return 0;
}
