/* Events of discovery, as the application sees them. */
#include "api/context.h"
#include "discovery/reach.h"
#include "discovery/record.h"

#include <stdio.h>
#include <string.h>

#define CHANGES_MAX 64 /* of chosen relays that wait; the oldest is dropped */
#define EVIDENCE_MAX (ATL_REACH_SERVERS * 2 * ATL_REACH_CANDIDATES)

/* ---- reachability ---- */

typedef struct reach_view {
    atl_reach_candidate candidates[ATL_REACH_CANDIDATES];
    atl_reach_evidence evidence[EVIDENCE_MAX];
    atlas_reach_addr addrs[ATL_REACH_CANDIDATES];
    atlas_reach_evidence said[EVIDENCE_MAX];
    char addr_texts[ATL_REACH_CANDIDATES][ATLAS_ADDR_MAX];
    char texts[EVIDENCE_MAX][3][ATLAS_ADDR_MAX];
    char ids[EVIDENCE_MAX][ATLAS_PEER_ID_MAX];
    char text[192];
} reach_view;

static void addr_text(const atl_addr *addr, char out[ATLAS_ADDR_MAX]) {
    out[0] = '\0';
    if (addr->family != 0) {
        atl_addr_text(addr, out);
    }
}

static size_t show_addrs(const atl_reach *reach, uint8_t family, reach_view *v) {
    size_t n = atl_reach_candidates(reach, family, v->candidates, ATL_REACH_CANDIDATES);
    size_t i;

    for (i = 0; i < n; i++) {
        addr_text(&v->candidates[i].addr, v->addr_texts[i]);
        v->addrs[i].addr = v->addr_texts[i];
        v->addrs[i].verdict = v->candidates[i].verdict;
        v->addrs[i].yes = v->candidates[i].yes;
        v->addrs[i].no = v->candidates[i].no;
    }
    return n;
}

static size_t show_evidence(const atl_reach *reach, uint8_t family, reach_view *v) {
    size_t n = atl_reach_evidence_of(reach, family, v->evidence, EVIDENCE_MAX);
    size_t i;

    for (i = 0; i < n; i++) {
        const atl_reach_evidence *e = &v->evidence[i];
        atlas_reach_evidence *said = &v->said[i];

        atl_peer_id_text(&e->server.peer, v->ids[i]);
        addr_text(&e->server.addr, v->texts[i][0]);
        addr_text(&e->candidate, v->texts[i][1]);
        addr_text(&e->source, v->texts[i][2]);
        said->server = v->ids[i];
        said->server_addr = v->texts[i][0];
        said->candidate = v->texts[i][1];
        said->source = v->texts[i][2];
        said->code = e->code;
        said->result = e->result;
        said->other_address = e->asked_from == ATL_DIALBACK_ADDRESS;
    }
    return n;
}

/* Servers that answered; each may stand for several candidates. */
static uint32_t count_servers(const reach_view *v, size_t n) {
    uint32_t servers = 0;
    size_t i;
    size_t j;

    for (i = 0; i < n; i++) {
        for (j = 0; j < i && strcmp(v->ids[i], v->ids[j]) != 0; j++) {
        }
        servers += j == i && v->said[i].code == ATLAS_OK;
    }
    return servers;
}

static void explain(reach_view *v, const atlas_reach_event *event) {
    static const char *const VERDICTS[] = {"not known", "public", "private"};

    if (event->servers == 0) {
        int moved = event->verdict != event->before && event->evidence_count == 0;

        (void)snprintf(v->text, sizeof(v->text), "IPv%u is %s: %s", (unsigned)event->family,
                       VERDICTS[event->verdict],
                       moved ? "the network is another one" : "no server has answered");
        return;
    }
    (void)snprintf(v->text, sizeof(v->text),
                   "IPv%u is %s: %u server%s answered, %llu address%s tried",
                   (unsigned)event->family, VERDICTS[event->verdict], (unsigned)event->servers,
                   event->servers == 1 ? "" : "s", (unsigned long long)event->addr_count,
                   event->addr_count == 1 ? "" : "es");
}

static void tell_reach(atlas_ctx *ctx, uint8_t family) {
    atl_discovery_events *events = &ctx->discovery_events;
    const atl_reach *reach = ctx->discovery == NULL ? NULL : atl_discovery_reach(ctx->discovery);
    atlas_reach_event event = {.size = sizeof(event), .family = family};
    reach_view *v;

    if (ctx->callbacks.on_reach == NULL || reach == NULL) {
        return;
    }
    v = atl_calloc(&ctx->env, 1, sizeof(*v));
    if (v == NULL) {
        return;
    }
    event.verdict = atl_reach_verdict(reach, family);
    event.before = events->told[family == 6];
    event.addrs = v->addrs;
    event.addr_count = show_addrs(reach, family, v);
    event.evidence = v->said;
    event.evidence_count = show_evidence(reach, family, v);
    event.servers = count_servers(v, (size_t)event.evidence_count);
    event.text = v->text;
    explain(v, &event);
    events->told[family == 6] = event.verdict;
    ctx->callbacks.on_reach(ctx->callbacks.user, ctx, &event);
    atl_free(&ctx->env, v);
}

static void deliver_reach4(atl_task *task) {
    tell_reach(task->user, 4);
}

static void deliver_reach6(atl_task *task) {
    tell_reach(task->user, 6);
}

void atl_events_reach(void *user, uint8_t family, int changed) {
    atlas_ctx *ctx = user;

    (void)changed;
    atl_post_event(&ctx->loop, &ctx->discovery_events.reach[family == 6]);
}

/* ---- the own record ---- */

static int same_state(const atl_advertise_state *a, const atl_advertise_state *b) {
    return a->state == b->state && a->offers == b->offers && a->seq == b->seq &&
           a->nodes == b->nodes && a->total == b->total && a->code == b->code;
}

static void explain_state(const atl_advertise_state *state, char *text, size_t cap) {
    switch (state->state) {
    case ATLAS_ADVERTISE_PUBLISHED:
        if (state->total == 0) {
            (void)snprintf(text, cap, "this bootstrap node has its own record");
            break;
        }
        (void)snprintf(text, cap, "%u of %u bootstrap nodes have the record",
                       (unsigned)state->nodes, (unsigned)state->total);
        break;
    case ATLAS_ADVERTISE_FAILED:
        (void)snprintf(text, cap, "no bootstrap node takes the record: %s",
                       atlas_error_text(state->code));
        break;
    case ATLAS_ADVERTISE_OFF:
        (void)snprintf(text, cap, "no longer advertised");
        break;
    default:
        (void)snprintf(text, cap, "on its way");
    }
}

static void deliver_advertise(atl_task *task) {
    atlas_ctx *ctx = task->user;
    char texts[ATL_RECORD_ADDRS][ATLAS_MULTIADDR_MAX];
    const char *list[ATL_RECORD_ADDRS];
    atlas_advertise_event event = {.size = sizeof(event)};
    atl_advertise_state state;
    const uint8_t *own;
    char text[128];
    atl_record record;
    size_t len = 0;
    size_t i;

    if (ctx->discovery == NULL || ctx->callbacks.on_advertise == NULL) {
        return;
    }
    atl_discovery_state(ctx->discovery, &state);
    if (same_state(&state, &ctx->discovery_events.advertised)) {
        return;
    }
    ctx->discovery_events.advertised = state;
    own = atl_discovery_own(ctx->discovery, &len);
    if (own != NULL && atl_record_open(own, len, &record) == ATLAS_OK) {
        for (i = 0; i < record.n_addrs; i++) {
            record.addrs[i].has_peer = 1;
            record.addrs[i].peer = ctx->self;
            if (atl_maddr_text(&record.addrs[i], texts[i], sizeof(texts[i])) == ATLAS_OK) {
                list[event.addr_count++] = texts[i];
            }
        }
    }
    explain_state(&state, text, sizeof(text));
    event.state = state.state;
    event.offers = state.offers;
    event.seq = state.seq;
    event.addrs = list;
    event.nodes = state.nodes;
    event.nodes_total = state.total;
    event.code = state.code;
    event.text = text;
    ctx->callbacks.on_advertise(ctx->callbacks.user, ctx, &event);
}

void atl_events_advertise(void *user) {
    atlas_ctx *ctx = user;

    atl_post_event(&ctx->loop, &ctx->discovery_events.advertise);
}

/* ---- chosen relays ---- */

typedef struct change {
    atl_list node;
    uint32_t what;
    uint32_t loss;
    uint64_t rtt;
    int32_t code;
    char relay[ATLAS_PEER_ID_MAX];
    char addr[ATLAS_MULTIADDR_MAX];
    char text[200];
} change;

static change *take_change(atl_discovery_events *events) {
    atl_list *node = atl_list_pop(&events->changes);

    if (node == NULL) {
        return NULL;
    }
    events->n_changes--;
    return ATL_CONTAINER(node, change, node);
}

static void deliver_autorelay(atl_task *task) {
    atlas_ctx *ctx = task->user;
    atlas_autorelay_event event = {.size = sizeof(event)};
    change *c = take_change(&ctx->discovery_events);

    if (c == NULL) {
        return;
    }
    if (!atl_list_empty(&ctx->discovery_events.changes)) {
        atl_post_event(&ctx->loop, task);
    }
    event.what = c->what;
    event.loss = c->loss;
    event.rtt_ns = c->rtt;
    event.relay = c->relay;
    event.addr = c->addr;
    event.code = c->code;
    event.serving = ctx->discovery == NULL ? 0 : (uint32_t)atl_discovery_serving(ctx->discovery);
    event.text = c->text;
    if (ctx->callbacks.on_autorelay != NULL) {
        ctx->callbacks.on_autorelay(ctx->callbacks.user, ctx, &event);
    }
    atl_free(&ctx->env, c);
}

void atl_events_autorelay(void *user, const atl_autorelay_event *event) {
    atlas_ctx *ctx = user;
    atl_discovery_events *events = &ctx->discovery_events;
    change *c;

    if (ctx->callbacks.on_autorelay == NULL) {
        return;
    }
    if (events->n_changes >= CHANGES_MAX) {
        atl_free(&ctx->env, take_change(events));
    }
    c = atl_calloc(&ctx->env, 1, sizeof(*c));
    if (c == NULL) {
        return;
    }
    c->what = event->what;
    c->loss = event->loss;
    c->rtt = event->rtt;
    c->code = event->code;
    atl_peer_id_text(&event->addr->peer, c->relay);
    (void)atl_maddr_text(event->addr, c->addr, sizeof(c->addr));
    (void)snprintf(c->text, sizeof(c->text), "%s", event->text);
    atl_list_append(&events->changes, &c->node);
    events->n_changes++;
    atl_post_event(&ctx->loop, &events->autorelay);
}

/* ---- life ---- */

void atl_events_init(atlas_ctx *ctx) {
    atl_discovery_events *events = &ctx->discovery_events;

    atl_task_init(&events->reach[0], deliver_reach4, ctx);
    atl_task_init(&events->reach[1], deliver_reach6, ctx);
    atl_task_init(&events->advertise, deliver_advertise, ctx);
    atl_task_init(&events->autorelay, deliver_autorelay, ctx);
    atl_list_init(&events->changes);
}

void atl_events_free(atlas_ctx *ctx) {
    change *c;

    while ((c = take_change(&ctx->discovery_events)) != NULL) {
        atl_free(&ctx->env, c);
    }
}
