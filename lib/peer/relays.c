#include "peer/relays.h"

#include "peer/conn.h"
#include "peer/manager.h"

#include <string.h>

/* A temporary relay stays this long after its last use: goodbyes go through it, and a second dial
 * finds it connected. */
#define LINGER (2 * ATL_SECOND)

static void entry_free(atl_relay_entry *entry);

void atl_relays_init(atl_relays *relays, atl_peers *peers) {
    memset(relays, 0, sizeof(*relays));
    relays->peers = peers;
    atl_list_init(&relays->entries);
}

void atl_relays_free(atl_relays *relays) {
    while (!atl_list_empty(&relays->entries)) {
        entry_free(ATL_CONTAINER(relays->entries.next, atl_relay_entry, node));
    }
}

/* ---- what the client tells ---- */

static void on_state(void *user, atl_relay_client *client) {
    atl_relay_entry *entry = user;

    (void)client;
    if (entry->configured || entry->held) {
        atl_post_event(entry->peers->loop, &entry->event);
    }
}

static void on_news(void *user, atl_relay_client *client) {
    atl_relay_entry *entry = user;
    const atl_relays *relays = &entry->peers->relays;

    (void)client;
    if (relays->on_observed != NULL) {
        relays->on_observed(entry->peers, entry);
    }
}

/* A peer may come back through another relay than the one that it has lost, whoever dialled. */
static int connected(const atl_peers *peers, const atl_peer_id *peer) {
    const atl_list *node;

    for (node = peers->conns.next; node != &peers->conns; node = node->next) {
        const atlas_conn *conn = ATL_CONTAINER(node, atlas_conn, node);

        if ((conn->state == ATL_CONN_STATE_PENDING || conn->state == ATL_CONN_STATE_OPEN) &&
            atl_peer_id_equal(&conn->peer, peer)) {
            return 1;
        }
    }
    return 0;
}

static int32_t on_incoming(void *user, atl_relay_client *client, const atl_peer_id *source) {
    const atl_relay_entry *entry = user;
    atl_peers *peers = entry->peers;

    (void)client;
    if (!peers->limits.enable_relay || peers->shutdown) {
        return ATLAS_ERR_RELAY_REFUSED;
    }
    return connected(peers, source) || atl_peers_on_initial(peers) == ATLAS_OK
               ? ATLAS_OK
               : ATLAS_ERR_RELAY_REFUSED;
}

static void deliver_state(atl_task *task) {
    atl_relay_entry *entry = task->user;
    const atlas_callbacks *callbacks = entry->peers->callbacks;
    atlas_relay_event event;

    if (callbacks->on_relay != NULL) {
        atl_relay_entry_event(entry, &event);
        callbacks->on_relay(callbacks->user, entry->peers->ctx, &event);
    }
}

void atl_relay_entry_event(const atl_relay_entry *entry, atlas_relay_event *out) {
    memset(out, 0, sizeof(*out));
    out->size = sizeof(*out);
    if (entry->client != NULL) {
        atl_relay_client_event(entry->client, out);
        return;
    }
    out->state = ATLAS_RELAY_IDLE;
    out->addr = entry->text;
    out->relay = strrchr(entry->text, '/') + 1;
    out->observed = "";
    out->text = "not started";
}

/* ---- entries ---- */

static void reap(atl_timer *timer, uint64_t now) {
    atl_relay_entry *entry = timer->user;

    (void)now;
    if (entry->users == 0 && !entry->configured) {
        entry_free(entry);
    }
}

static int32_t make_client(atl_relay_entry *entry) {
    static const atl_relay_client_ops ops = {
        .on_state = on_state, .on_incoming = on_incoming, .on_news = on_news};
    atl_peers *peers = entry->peers;
    const atl_relay_client_config config = {
        .ep = peers->ep,
        .self = peers->self,
        .addr = entry->addr,
        .presence_interval = &peers->limits.presence_interval,
        .handshake_timeout = &peers->limits.handshake_timeout,
        .max_clock_drift = &peers->limits.max_clock_drift,
    };
    int32_t rv;

    if (entry->client != NULL || peers->ep == NULL) {
        return ATLAS_OK;
    }
    rv = atl_relay_client_new(&config, &ops, entry, &entry->client);
    if (rv == ATLAS_OK) {
        atl_relay_client_set_idle(entry->client, peers->relays.idle);
    }
    return rv;
}

static void want(atl_relay_entry *entry) {
    const atl_relays *relays = &entry->peers->relays;

    if (entry->client == NULL || relays->stopped) {
        return;
    }
    if (entry->held) {
        atl_relay_client_want(entry->client, 1, 1);
    } else if (entry->configured) {
        atl_relay_client_want(entry->client, relays->connect, relays->announce);
    } else {
        /* circuits that are in use end with their users, not with the announcements */
        atl_relay_client_want(entry->client, entry->users > 0, 0);
    }
}

static void entry_free(atl_relay_entry *entry) {
    if (entry->configured) {
        entry->peers->relays.configured--;
    }
    if (entry->client != NULL) {
        atl_relay_client_free(entry->client);
    }
    atl_task_cancel(&entry->event);
    atl_timer_clear(entry->peers->loop, &entry->reap);
    atl_list_remove(&entry->node);
    atl_free(entry->peers->loop->env, entry);
}

static int32_t entry_new(atl_relays *relays, const atl_maddr *addr, atl_relay_entry **out) {
    atl_relay_entry *entry = atl_calloc(relays->peers->loop->env, 1, sizeof(*entry));
    int32_t rv;

    if (entry == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    entry->peers = relays->peers;
    entry->addr = *addr;
    atl_task_init(&entry->event, deliver_state, entry);
    atl_timer_init(&entry->reap, reap, entry);
    atl_list_append(&relays->entries, &entry->node);
    rv = atl_maddr_text(addr, entry->text, sizeof(entry->text));
    if (rv == ATLAS_OK) {
        rv = make_client(entry);
    }
    if (rv != ATLAS_OK) {
        entry_free(entry);
        return rv;
    }
    *out = entry;
    return ATLAS_OK;
}

/* One connection a relay: two addresses of the same one would take the registration from each
 * other. What a peer says of where a relay is may be wrong, and does not count. */
static atl_relay_entry *by_peer(const atl_relays *relays, const atl_peer_id *peer) {
    atl_list *node;

    for (node = relays->entries.next; node != &relays->entries; node = node->next) {
        atl_relay_entry *entry = ATL_CONTAINER(node, atl_relay_entry, node);

        if (!entry->named && atl_peer_id_equal(&entry->addr.peer, peer)) {
            return entry;
        }
    }
    return NULL;
}

static int same_place(const atl_maddr *a, const atl_maddr *b) {
    return a->host_kind == b->host_kind &&
           (a->host_kind == ATL_HOST_IP ? atl_addr_equal(&a->addr, &b->addr)
                                        : a->port == b->port && strcmp(a->host, b->host) == 0);
}

static atl_relay_entry *by_name(const atl_relays *relays, const atl_maddr *addr) {
    atl_list *node;

    for (node = relays->entries.next; node != &relays->entries; node = node->next) {
        atl_relay_entry *entry = ATL_CONTAINER(node, atl_relay_entry, node);

        if (entry->named && atl_peer_id_equal(&entry->addr.peer, &addr->peer) &&
            same_place(&entry->addr, addr)) {
            return entry;
        }
    }
    return NULL;
}

int32_t atl_relays_named(atl_relays *relays, const atl_maddr *addr, int may_make,
                         atl_relay_entry **out) {
    atl_relay_entry *entry = by_peer(relays, &addr->peer);
    int32_t rv = ATLAS_OK;

    if (entry == NULL) {
        entry = by_name(relays, addr);
    }
    if (entry == NULL) {
        rv = may_make ? entry_new(relays, addr, &entry) : ATLAS_ERR_NOT_FOUND;
        if (rv != ATLAS_OK) {
            return rv;
        }
        entry->named = 1;
    }
    *out = entry;
    return ATLAS_OK;
}

/* Configured entries stand first, in the order in which they were added. */
static void place_configured(atl_relays *relays, atl_relay_entry *entry) {
    atl_list *after = &relays->entries;
    size_t i;

    for (i = 0; i < relays->configured; i++) {
        after = after->next;
    }
    atl_list_remove(&entry->node);
    atl_list_prepend(after, &entry->node);
    entry->configured = 1;
    relays->configured++;
}

int32_t atl_relays_add(atl_relays *relays, const char *text) {
    atl_relay_entry *entry;
    atl_maddr addr;
    int32_t rv = text[0] != '/' ? ATLAS_ERR_ADDRESS : atl_maddr_parse(text, &addr);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (addr.host_kind == ATL_HOST_NONE || !addr.quic || addr.has_relay || !addr.has_peer) {
        return ATLAS_ERR_ADDRESS;
    }
    if (atl_peer_id_equal(&addr.peer, &relays->peers->self)) {
        return ATLAS_ERR_SELF;
    }
    entry = by_peer(relays, &addr.peer);
    if (entry != NULL && entry->configured) {
        return ATLAS_ERR_EXISTS;
    }
    if (relays->configured >= ATL_MAX_RELAYS) {
        return ATLAS_ERR_LIMIT;
    }
    if (entry == NULL) {
        rv = entry_new(relays, &addr, &entry);
        if (rv != ATLAS_OK) {
            return rv;
        }
    }
    place_configured(relays, entry);
    want(entry);
    return ATLAS_OK;
}

int32_t atl_relays_find(atl_relays *relays, const atl_maddr *addr, atl_relay_entry **out) {
    atl_relay_entry *entry = by_peer(relays, &addr->peer);

    if (entry != NULL) {
        *out = entry;
        return ATLAS_OK;
    }
    return entry_new(relays, addr, out);
}

int32_t atl_relays_hold(atl_relays *relays, const atl_maddr *addr, atl_relay_entry **out) {
    atl_relay_entry *entry = by_peer(relays, &addr->peer);
    int32_t rv = ATLAS_OK;

    if (addr->host_kind == ATL_HOST_NONE || !addr->quic || addr->has_relay || !addr->has_peer) {
        return ATLAS_ERR_ADDRESS;
    }
    if (atl_peer_id_equal(&addr->peer, &relays->peers->self)) {
        return ATLAS_ERR_SELF;
    }
    if (relays->stopped) {
        return ATLAS_ERR_SHUTDOWN;
    }
    if (entry != NULL && (entry->configured || entry->held)) {
        return ATLAS_ERR_EXISTS;
    }
    if (entry == NULL) {
        rv = entry_new(relays, addr, &entry);
        if (rv != ATLAS_OK) {
            return rv;
        }
    }
    entry->held = 1;
    atl_list_remove(&entry->node);
    atl_list_append(&relays->entries, &entry->node);
    atl_relay_entry_use(entry);
    want(entry);
    *out = entry;
    return ATLAS_OK;
}

void atl_relays_release(atl_relay_entry *entry) {
    entry->held = 0;
    atl_relay_entry_unuse(entry);
    want(entry);
}

atl_relay_entry *atl_relays_configured(const atl_relays *relays, const atl_peer_id *peer) {
    atl_relay_entry *entry = by_peer(relays, peer);

    return entry != NULL && entry->configured ? entry : NULL;
}

int32_t atl_relays_open(atl_relays *relays) {
    atl_list *node;

    for (node = relays->entries.next; node != &relays->entries; node = node->next) {
        int32_t rv = make_client(ATL_CONTAINER(node, atl_relay_entry, node));

        if (rv != ATLAS_OK) {
            atl_relays_close(relays);
            return rv;
        }
    }
    return ATLAS_OK;
}

void atl_relays_close(atl_relays *relays) {
    atl_list *node;

    for (node = relays->entries.next; node != &relays->entries; node = node->next) {
        atl_relay_entry *entry = ATL_CONTAINER(node, atl_relay_entry, node);

        if (entry->client != NULL) {
            atl_relay_client_free(entry->client);
            entry->client = NULL;
        }
    }
}

atl_relay_entry *atl_relays_at(const atl_relays *relays, size_t index) {
    atl_list *node = relays->entries.next;

    if (index >= relays->configured) {
        return NULL;
    }
    while (index-- > 0) {
        node = node->next;
    }
    return ATL_CONTAINER(node, atl_relay_entry, node);
}

atl_relay_entry *atl_relays_next_own(const atl_relays *relays, const atl_relay_entry *entry) {
    atl_list *node = entry == NULL ? relays->entries.next : entry->node.next;

    while (node != &relays->entries) {
        atl_relay_entry *next = ATL_CONTAINER(node, atl_relay_entry, node);

        if (next->configured || next->held) {
            return next;
        }
        node = node->next;
    }
    return NULL;
}

uint32_t atl_relay_entry_health(const atl_relay_entry *entry) {
    return entry->client == NULL ? ATL_RELAY_HEALTH_COLD : atl_relay_client_health(entry->client);
}

size_t atl_relays_ranked(const atl_relays *relays, atl_relay_entry **out, size_t cap) {
    uint32_t health;
    size_t n = 0;

    for (health = ATL_RELAY_HEALTH_WARM; health <= ATL_RELAY_HEALTH_DRAINS; health++) {
        const atl_list *node;

        for (node = relays->entries.next; node != &relays->entries && n < cap; node = node->next) {
            atl_relay_entry *entry = ATL_CONTAINER(node, atl_relay_entry, node);

            if ((entry->configured || (entry->users > 0 && !entry->named)) &&
                atl_relay_entry_health(entry) == health) {
                out[n++] = entry;
            }
        }
    }
    return n;
}

void atl_relays_network_changed(atl_relays *relays) {
    atl_list *node;

    for (node = relays->entries.next; node != &relays->entries; node = node->next) {
        const atl_relay_entry *entry = ATL_CONTAINER(node, atl_relay_entry, node);

        if (entry->client != NULL) {
            atl_relay_client_network_changed(entry->client);
        }
    }
}

void atl_relays_set_idle(atl_relays *relays, int idle) {
    atl_list *node;

    relays->idle = idle != 0;
    for (node = relays->entries.next; node != &relays->entries; node = node->next) {
        const atl_relay_entry *entry = ATL_CONTAINER(node, atl_relay_entry, node);

        if (entry->client != NULL) {
            atl_relay_client_set_idle(entry->client, idle);
        }
    }
}

void atl_relays_presence(atl_relays *relays, int connect, int announce) {
    size_t i;

    if (relays->connect == (connect != 0) && relays->announce == (announce != 0)) {
        return;
    }
    relays->connect = connect != 0;
    relays->announce = announce != 0;
    for (i = 0; i < relays->configured; i++) {
        want(atl_relays_at(relays, i));
    }
}

void atl_relay_entry_use(atl_relay_entry *entry) {
    entry->users++;
    atl_timer_clear(entry->peers->loop, &entry->reap);
}

void atl_relay_entry_unuse(atl_relay_entry *entry) {
    entry->users--;
    if (entry->users == 0 && !entry->configured) {
        atl_timer_set(entry->peers->loop, &entry->reap, entry->peers->loop->now + LINGER);
    }
}

void atl_relays_stop(atl_relays *relays) {
    atl_list *node;

    if (relays->stopped) {
        return;
    }
    relays->stopped = 1;
    relays->connect = 0;
    relays->announce = 0;
    for (node = relays->entries.next; node != &relays->entries; node = node->next) {
        atl_relay_entry *entry = ATL_CONTAINER(node, atl_relay_entry, node);

        if (entry->client != NULL) {
            atl_relay_client_want(entry->client, 0, 0);
        }
    }
}

int atl_relays_idle(const atl_relays *relays) {
    const atl_list *node;

    for (node = relays->entries.next; node != &relays->entries; node = node->next) {
        const atl_relay_entry *entry = ATL_CONTAINER(node, atl_relay_entry, node);

        if (entry->client != NULL && atl_relay_client_state(entry->client) != ATLAS_RELAY_IDLE) {
            return 0;
        }
    }
    return 1;
}
