/* atlas ping. */
#include "dial.h"

#define NO_ANSWER_NS (10 * NS_PER_S)

typedef struct ping {
    dial d;
    uint64_t sent;
    uint64_t answered;
    uint64_t sum_ns;
    uint64_t min_ns;
    uint64_t max_ns;
    uint64_t first_id; /* numbers of the library, shown from 1 */
    int summed;
} ping;

static uint64_t mean_ns(const ping *p) {
    return p->answered == 0 ? 0 : p->sum_ns / p->answered;
}

/* The sum in JSON: part of the event "closed". */
static void closed_fields(app *a) {
    const ping *p = ((dial *)a->user)->user;
    out *o = &a->out;

    out_u64(o, "count", p->sent);
    out_u64(o, "answered", p->answered);
    out_ms(o, "min_ms", p->min_ns);
    out_ms(o, "rtt_ms", mean_ns(p));
    out_ms(o, "max_ms", p->max_ns);
}

/* The sum for people: a line of its own. */
static void summary(ping *p) {
    out *o = &p->d.app->out;

    if (p->summed || !p->d.connected || o->json) {
        return;
    }
    p->summed = 1;
    out_open(o, "closed");
    out_close(o, "%llu sent, %llu answered, round trip min/mean/max %.3f/%.3f/%.3f ms",
              (unsigned long long)p->sent, (unsigned long long)p->answered, (double)p->min_ns / 1e6,
              (double)mean_ns(p) / 1e6, (double)p->max_ns / 1e6);
}

static void finish(ping *p) {
    summary(p);
    dial_finish(&p->d, p->answered == p->sent && p->answered > 0 ? EXIT_DONE : EXIT_FAILED, "done");
}

static void tick(app *a) {
    ping *p = ((dial *)a->user)->user;
    uint64_t now = atlas_now(a->ctx);
    uint64_t id;
    int32_t rv;

    if (p->sent == a->opt.count) {
        finish(p); /* the last answers have not come */
        return;
    }
    rv = atlas_conn_ping(p->d.conn, &id);
    if (rv == ATLAS_OK) {
        p->first_id = p->sent == 0 ? id : p->first_id;
        p->sent++;
    } else if (rv != ATLAS_ERR_LIMIT) {
        (void)app_error(a, rv, "ping");
        finish(p);
        return;
    }
    a->tick_at = now + (p->sent == a->opt.count ? NO_ANSWER_NS : a->opt.interval_ms * NS_PER_MS);
}

static void on_connected(dial *d) {
    d->app->on_tick = tick;
    tick(d->app);
}

static void on_pong(dial *d, uint64_t id, uint64_t rtt_ns, uint32_t path_kind) {
    ping *p = d->user;
    out *o = &d->app->out;
    uint64_t number = id - p->first_id + 1;

    p->answered++;
    p->sum_ns += rtt_ns;
    p->min_ns = p->min_ns == 0 || rtt_ns < p->min_ns ? rtt_ns : p->min_ns;
    p->max_ns = rtt_ns > p->max_ns ? rtt_ns : p->max_ns;
    out_open(o, "pong");
    out_str(o, "peer", atlas_conn_peer_id(d->conn));
    out_u64(o, "number", number);
    out_ms(o, "rtt_ms", rtt_ns);
    out_str(o, "path", path_name(path_kind));
    out_close(o, "pong %llu from %s: %.3f ms, path %s", (unsigned long long)number,
              atlas_conn_peer_id(d->conn), (double)rtt_ns / 1e6, path_name(path_kind));
    if (p->answered == d->app->opt.count) {
        finish(p);
    }
}

static int on_end(dial *d, int32_t code, uint64_t app_code) {
    ping *p = d->user;

    (void)code;
    (void)app_code;
    summary(p);
    return p->answered > 0 && d->closing ? EXIT_DONE : EXIT_FAILED;
}

int run_ping(app *a) {
    static ping p;

    p.d.on_connected = on_connected;
    p.d.on_pong = on_pong;
    p.d.closed_fields = closed_fields;
    p.d.on_end = on_end;
    p.d.user = &p;
    return dial_run(a, &p.d);
}
