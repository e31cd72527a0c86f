#include "peer/dial.h"

#include "peer/codes.h"
#include "peer/dial_state.h"

#include <stdio.h>
#include <string.h>

/* A failed attempt for the application. */
typedef struct failed_item {
    atl_item item;
    int32_t code;
    char addr[ATLAS_MULTIADDR_MAX];
    char text[ATL_HOST_MAX];
} failed_item;

/* ---- failures ---- */

static void drop_failed(atlas_conn *conn, atl_item *item) {
    atl_free(atl_conn_env(conn), ATL_CONTAINER(item, failed_item, item));
}

static void deliver_failed(atlas_conn *conn, atl_item *item) {
    const failed_item *failed = ATL_CONTAINER(item, failed_item, item);

    if (conn->callbacks.on_attempt != NULL && !conn->local_close) {
        conn->callbacks.on_attempt(conn->user, conn, failed->addr, failed->code, failed->text);
    }
    drop_failed(conn, item);
}

static void attempt_text(const atl_attempt *at, char *out, size_t cap) {
    atl_maddr addr = at->addr;

    if (at->entry != NULL) {
        addr = at->entry->addr;
        addr.has_relay = 1;
        addr.relay = at->entry->addr.peer;
        addr.peer = at->dial->conn->peer;
    }
    if (atl_maddr_text(&addr, out, cap) != ATLAS_OK) {
        (void)snprintf(out, cap, "?");
    }
}

void atl_dial_add_text(struct atl_dial *dial, const char *addr, const char *text) {
    size_t room = sizeof(dial->text) - dial->text_len;
    int n = snprintf(dial->text + dial->text_len, room, "%s%s: %s", dial->text_len > 0 ? "; " : "",
                     addr, text);

    if (n >= 0 && (size_t)n < room) {
        dial->text_len += (size_t)n;
    } else {
        dial->text[dial->text_len] = '\0';
    }
}

static void report(const atl_attempt *at, int32_t code, const char *text) {
    atlas_conn *conn = at->dial->conn;
    char addr[ATLAS_MULTIADDR_MAX];
    failed_item *failed;

    if (text == NULL || text[0] == '\0') {
        text = atlas_error_text(code);
    }
    attempt_text(at, addr, sizeof(addr));
    atl_dial_add_text(at->dial, addr, text);
    atl_log(atl_conn_env(conn), ATLAS_LOG_DEBUG, "dial: %s: %s", addr, text);
    failed = atl_calloc(atl_conn_env(conn), 1, sizeof(*failed));
    if (failed == NULL) {
        return; /* the reason is in the final text all the same */
    }
    failed->item.deliver = deliver_failed;
    failed->item.drop = drop_failed;
    failed->code = code;
    memcpy(failed->addr, addr, sizeof(failed->addr));
    (void)snprintf(failed->text, sizeof(failed->text), "%s", text);
    atl_conn_queue_early(conn, &failed->item);
}

/* ---- attempts ---- */

atl_attempt *atl_attempt_new(struct atl_dial *dial, uint8_t state) {
    atl_attempt *at = atl_calloc(atl_conn_env(dial->conn), 1, sizeof(*at));

    if (at == NULL) {
        return NULL;
    }
    at->dial = dial;
    at->state = state;
    atl_list_append(&dial->attempts, &at->node);
    return at;
}

/* Whatever it has begun ends without a word to the application. */
static void attempt_free(atl_attempt *at) {
    struct atl_dial *dial = at->dial;

    if (at->resolve != NULL) {
        dial->peers->io->resolve_cancel(dial->peers->io->impl, at->resolve);
    }
    if (at->request != NULL) {
        atl_relay_request_cancel(at->request);
    }
    if (at->q != NULL) {
        atl_qconn_quiet(at->q);
        atl_qconn_close(at->q, ATL_CLOSE_UNUSED, "unused");
    }
    if (at->entry != NULL) {
        atl_relay_entry_unuse(at->entry);
        dial->relays_left--;
    } else {
        dial->direct_left--;
    }
    atl_list_remove(&at->node);
    atl_free(atl_conn_env(dial->conn), at);
}

void atl_attempt_fail(atl_attempt *at, int32_t code, const char *text) {
    struct atl_dial *dial = at->dial;

    report(at, code, text);
    dial->relay_failed |= (uint8_t)(at->entry != NULL);
    attempt_free(at);
    if (!dial->stepping) {
        atl_dial_step(dial);
    }
}

static void on_confirmed(void *user, atl_qconn *q) {
    atl_attempt *at = user;
    atlas_conn *conn = at->dial->conn;

    at->q = NULL;
    if (at->entry != NULL) {
        conn->relay = at->entry;
        atl_relay_entry_use(conn->relay);
    }
    atl_dial_free(conn);
    atl_conn_adopt(conn, q);
}

static void on_closed(void *user, atl_qconn *q, const atl_qclose *why) {
    atl_attempt *at = user;

    (void)q;
    at->q = NULL;
    atl_attempt_fail(at, why->code == ATLAS_OK ? ATLAS_ERR_CLOSED : why->code, why->text);
}

static const atl_qconn_ops attempt_ops = {.on_confirmed = on_confirmed, .on_closed = on_closed};

int32_t atl_attempt_handshake(atl_attempt *at, atl_circuit *circuit) {
    atl_peers *peers = at->dial->peers;
    uint64_t left = at->dial->ends > peers->loop->now ? at->dial->ends - peers->loop->now : 1;
    uint64_t timeout =
        peers->limits.handshake_timeout < left ? peers->limits.handshake_timeout : left;
    atl_qpath path;

    memset(&path, 0, sizeof(path));
    path.circuit = circuit;
    if (circuit == NULL) {
        path.remote = at->addr.addr;
    }
    return atl_qconn_connect(peers->ep, &path, ATL_PROTO_ATLAS, &at->dial->conn->peer, timeout,
                             &attempt_ops, at, &at->q);
}

/* ---- direct ---- */

static void on_resolved(void *user, int32_t status, const atl_addr *addrs, size_t n) {
    atl_attempt *at = user;
    struct atl_dial *dial = at->dial;
    size_t i;

    at->resolve = NULL;
    if (status != ATLAS_OK || n == 0) {
        atl_attempt_fail(at, status == ATLAS_OK ? ATLAS_ERR_RESOLVE : status, NULL);
        return;
    }
    /* the first address takes the place of the name, the others follow it */
    for (i = n; i-- > 1 && dial->direct < ATL_DIAL_CANDIDATES;) {
        atl_attempt *more = atl_attempt_new(dial, ATL_ATTEMPT_WAITING);

        if (more == NULL) {
            break;
        }
        more->addr = at->addr;
        more->addr.host_kind = ATL_HOST_IP;
        more->addr.addr = addrs[i];
        atl_list_remove(&more->node);
        atl_list_prepend(&at->node, &more->node);
        dial->direct++;
        dial->direct_left++;
    }
    at->addr.host_kind = ATL_HOST_IP;
    at->addr.addr = addrs[0];
    at->state = ATL_ATTEMPT_WAITING;
    if (dial->direct_timer.deadline == ATLAS_NO_DEADLINE) {
        atl_dial_step(dial);
    }
}

static int32_t resolve(atl_attempt *at) {
    const atl_io *io = at->dial->peers->io;
    uint8_t family = at->addr.host_kind == ATL_HOST_DNS4   ? 4
                     : at->addr.host_kind == ATL_HOST_DNS6 ? 6
                                                           : 0;

    return io->resolve(io->impl, at->addr.host, at->addr.port, family, on_resolved, at,
                       &at->resolve);
}

static atl_attempt *next_waiting(const struct atl_dial *dial) {
    atl_list *node;

    for (node = dial->attempts.next; node != &dial->attempts; node = node->next) {
        atl_attempt *at = ATL_CONTAINER(node, atl_attempt, node);

        if (at->state == ATL_ATTEMPT_WAITING) {
            return at;
        }
    }
    return NULL;
}

/* Starts the next address; those that fail on the spot make way at once. */
static void start_direct(struct atl_dial *dial) {
    atl_attempt *at;

    while ((at = next_waiting(dial)) != NULL) {
        int32_t rv = atl_attempt_handshake(at, NULL);

        at->state = ATL_ATTEMPT_RUNNING;
        if (rv == ATLAS_OK) {
            break;
        }
        atl_attempt_fail(at, rv, NULL);
    }
    atl_timer_set(
        dial->peers->loop, &dial->direct_timer,
        next_waiting(dial) == NULL ? ATLAS_NO_DEADLINE : dial->peers->loop->now + ATL_DIAL_STAGGER);
}

/* ---- the course of a dial ---- */

static void fail(struct atl_dial *dial) {
    /* frees the dial, after the text was copied */
    atl_conn_ended(dial->conn, ATLAS_ERR_DIAL, 0, dial->text);
}

/* Nothing is left to try, and nothing more will be found. */
static int is_over(const struct atl_dial *dial) {
    return dial->direct_left == 0 && dial->relays_left == 0 && !dial->finding;
}

/* Something has failed, was resolved, or was found: what comes next comes now. */
void atl_dial_step(struct atl_dial *dial) {
    dial->stepping = 1;
    start_direct(dial);
    if (dial->relay_failed || (dial->direct_left == 0 && dial->relays_left == 0)) {
        atl_dial_start_relay(dial);
    }
    dial->stepping = 0;
    if (is_over(dial)) {
        fail(dial);
    }
}

static void on_direct_timer(atl_timer *timer, uint64_t now) {
    (void)now;
    atl_dial_step(timer->user);
}

static void on_relay_timer(atl_timer *timer, uint64_t now) {
    struct atl_dial *dial = timer->user;

    (void)now;
    dial->stepping = 1;
    atl_dial_start_relay(dial);
    dial->stepping = 0;
    if (is_over(dial)) {
        fail(dial);
    }
}

static void on_deadline(atl_timer *timer, uint64_t now) {
    struct atl_dial *dial = timer->user;

    (void)now;
    dial->stepping = 1;
    if (atl_list_empty(&dial->attempts)) {
        atl_dial_add_text(dial, "look-up", "nothing was found before the dial's deadline");
    }
    while (!atl_list_empty(&dial->attempts)) {
        atl_attempt *at = ATL_CONTAINER(dial->attempts.next, atl_attempt, node);

        atl_attempt_fail(at, ATLAS_ERR_TIMEOUT, "no connection before the dial's deadline");
    }
    fail(dial);
}

void atl_dial_free(atlas_conn *conn) {
    struct atl_dial *dial = conn->dial;

    if (dial == NULL) {
        return;
    }
    conn->dial = NULL;
    atl_dial_stop_finding(dial);
    while (!atl_list_empty(&dial->attempts)) {
        attempt_free(ATL_CONTAINER(dial->attempts.next, atl_attempt, node));
    }
    atl_timer_clear(dial->peers->loop, &dial->deadline);
    atl_timer_clear(dial->peers->loop, &dial->direct_timer);
    atl_timer_clear(dial->peers->loop, &dial->relay_timer);
    atl_dial_free_ways(dial);
    atl_free(atl_conn_env(conn), dial);
}

/* ---- beginning ---- */

int atl_dial_knows(const struct atl_dial *dial, const atl_maddr *addr) {
    atl_list *node;

    for (node = dial->attempts.next; node != &dial->attempts; node = node->next) {
        const atl_maddr *other = &ATL_CONTAINER(node, atl_attempt, node)->addr;

        if (other->host_kind == addr->host_kind && other->port == addr->port &&
            (addr->host_kind == ATL_HOST_IP ? atl_addr_equal(&other->addr, &addr->addr)
                                            : strcmp(other->host, addr->host) == 0)) {
            return 1;
        }
    }
    return 0;
}

int32_t atl_dial_add_direct(struct atl_dial *dial, const atl_maddr *addr) {
    atl_attempt *at;

    if (dial->direct >= ATL_DIAL_CANDIDATES || atl_dial_knows(dial, addr)) {
        return ATLAS_OK;
    }
    at = atl_attempt_new(
        dial, addr->host_kind == ATL_HOST_IP ? ATL_ATTEMPT_WAITING : ATL_ATTEMPT_RESOLVING);
    if (at == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    at->addr = *addr;
    dial->direct++;
    dial->direct_left++;
    return at->state == ATL_ATTEMPT_RESOLVING ? resolve(at) : ATLAS_OK;
}

/* The target's own address, then those of the address book, the newest first. */
static int32_t collect_direct(struct atl_dial *dial, const atl_maddr *target) {
    const atl_book_peer *peer = atl_book_get(&dial->peers->book, &target->peer);
    int32_t rv = ATLAS_OK;
    atl_list *node;

    if (target->host_kind != ATL_HOST_NONE) {
        rv = atl_dial_add_direct(dial, target);
    }
    if (peer == NULL) {
        return rv;
    }
    for (node = peer->addrs.prev; node != &peer->addrs && rv == ATLAS_OK; node = node->prev) {
        rv = atl_dial_add_direct(dial, &ATL_CONTAINER(node, atl_book_addr, node)->addr);
    }
    return rv;
}

/* The one relay of a circuit address. */
static int32_t collect_circuit(struct atl_dial *dial, const atl_maddr *target) {
    atl_peers *peers = dial->peers;
    atl_relay_entry *entry;
    atl_maddr relay = *target;
    int32_t rv;

    if (!peers->limits.enable_relay) {
        return ATLAS_ERR_RELAY_DISABLED;
    }
    if (atl_peer_id_equal(&target->relay, &target->peer) ||
        atl_peer_id_equal(&target->relay, &peers->self)) {
        return ATLAS_ERR_SELF;
    }
    relay.has_relay = 0;
    relay.peer = target->relay;
    memset(&relay.relay, 0, sizeof(relay.relay));
    rv = atl_relays_find(&peers->relays, &relay, &entry);
    if (rv == ATLAS_OK) {
        rv = atl_dial_add_way(dial, entry, 1);
    }
    dial->use_relays = 1;
    return rv;
}

static int32_t collect(struct atl_dial *dial, const atl_maddr *target) {
    atl_peers *peers = dial->peers;
    atl_relay_entry *entry = NULL;
    int32_t rv;

    if (target->has_relay) {
        return collect_circuit(dial, target);
    }
    dial->use_relays = peers->limits.enable_relay;
    rv = collect_direct(dial, target);
    while (rv == ATLAS_OK && dial->use_relays &&
           (entry = atl_relays_next_own(&peers->relays, entry)) != NULL) {
        rv = atl_dial_add_way(dial, entry, 0);
    }
    if (rv == ATLAS_OK && target->host_kind == ATL_HOST_NONE) {
        /* an id alone: where the peer is may be known, or be found out */
        atl_dial_find(dial);
    }
    return rv == ATLAS_OK && dial->direct == 0 && !dial->finding && !atl_dial_relays_remain(dial)
               ? ATLAS_ERR_NO_ADDRESS
               : rv;
}

static struct atl_dial *dial_new(atlas_conn *conn, uint64_t timeout) {
    struct atl_dial *dial = atl_calloc(atl_conn_env(conn), 1, sizeof(*dial));

    if (dial == NULL) {
        return NULL;
    }
    dial->conn = conn;
    dial->peers = conn->peers;
    dial->ends = atl_conn_now(conn) + timeout;
    atl_list_init(&dial->attempts);
    atl_list_init(&dial->ways);
    atl_timer_init(&dial->deadline, on_deadline, dial);
    atl_timer_init(&dial->direct_timer, on_direct_timer, dial);
    atl_timer_init(&dial->relay_timer, on_relay_timer, dial);
    conn->dial = dial;
    return dial;
}

int32_t atl_dial_start(atl_peers *peers, const atl_maddr *target, uint64_t timeout,
                       const atlas_conn_callbacks *callbacks, void *user, atlas_conn **out) {
    uint64_t now = peers->loop->now;
    struct atl_dial *dial;
    atlas_conn *conn;
    int32_t rv;

    if (atl_peer_id_equal(&target->peer, &peers->self)) {
        return ATLAS_ERR_SELF;
    }
    rv = atl_conn_new(peers, &target->peer, 1, &conn);
    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_conn_set_callbacks(conn, callbacks, user);
    if (rv == ATLAS_OK) {
        dial = dial_new(conn, timeout);
        rv = dial == NULL ? ATLAS_ERR_NOMEM : collect(dial, target);
    }
    if (rv != ATLAS_OK) {
        atl_conn_free(conn);
        return rv;
    }
    /* everything else happens in the drive call */
    atl_timer_set(peers->loop, &dial->deadline, dial->ends);
    atl_timer_set(peers->loop, &dial->direct_timer, dial->direct > 0 ? now : ATLAS_NO_DEADLINE);
    if (atl_dial_relays_remain(dial)) {
        atl_timer_set(peers->loop, &dial->relay_timer,
                      dial->direct > 0 ? now + peers->limits.relay_delay : now);
    }
    dial->started = 1;
    *out = conn;
    return ATLAS_OK;
}
