#include "stun/nat.h"

#include <stdio.h>
#include <string.h>

#include "stun/nat_internal.h"

/* ---- events ---- */

/* The texts that one event points to. */
typedef struct words {
    char verdict[ATL_NAT_TEXT];
    char text[ATL_NAT_TEXT];
} words;

static const char *mapping_words(const atl_nat_facts *facts) {
    switch (facts->mapping) {
    case ATLAS_NAT_MAPPING_NONE:
        return "the address is not translated";
    case ATLAS_NAT_MAPPING_ENDPOINT_INDEPENDENT:
        return "the mapping is the same towards everybody";
    case ATLAS_NAT_MAPPING_ADDRESS_DEPENDENT:
        return "the mapping is another for each destination address";
    case ATLAS_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT:
        return "the mapping is another for each destination address and port";
    default:
        return "whether the mapping depends on the destination takes two servers, or one with two "
               "addresses";
    }
}

static const char *filtering_words(const atl_nat_facts *facts) {
    switch (facts->filtering) {
    case ATLAS_NAT_FILTERING_NONE:
    case ATLAS_NAT_FILTERING_ENDPOINT_INDEPENDENT:
        return "everybody gets in";
    case ATLAS_NAT_FILTERING_ADDRESS_DEPENDENT:
        return "addresses that were written to get in";
    case ATLAS_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT:
        return "only an address and port that was written to gets in";
    default:
        return "who gets in is not known: the server's other address is silent";
    }
}

static void lifetime_words(const atl_nat_facts *facts, char out[ATL_NAT_TEXT]) {
    double alive = (double)facts->lifetime / 1e9;
    double gone = (double)facts->lifetime_end / 1e9;

    if (facts->lifetime_end == 0) {
        snprintf(out, ATL_NAT_TEXT, "a mapping was still there after %.1f s of silence", alive);
    } else if (facts->lifetime == 0) {
        snprintf(out, ATL_NAT_TEXT, "a mapping was gone after %.1f s of silence", gone);
    } else {
        snprintf(out, ATL_NAT_TEXT,
                 "a mapping was still there after %.1f s of silence, and gone after %.1f s", alive,
                 gone);
    }
}

static void result_words(const atl_nat_family *f, char out[ATL_NAT_TEXT]) {
    char server[ATLAS_ADDR_MAX];
    char other[ATLAS_ADDR_MAX];
    const char *seen = f->lifetime.unsupported
                           ? "; it cannot answer to another port, which the lifetime takes"
                           : "";

    if (f->facts.code != ATLAS_OK) {
        snprintf(out, ATL_NAT_TEXT, "no server answered: %s", atlas_error_text(f->facts.code));
    } else if (f->server.family != 0) {
        atl_addr_text(&f->server, server);
        atl_addr_text(&f->other, other);
        snprintf(out, ATL_NAT_TEXT, "tested with %s and its other address %s%s%s", server, other,
                 f->facts.method == ATLAS_NAT_METHOD_SERVERS
                     ? ", which did not answer: servers were compared"
                     : "",
                 seen);
    } else if (f->facts.method == ATLAS_NAT_METHOD_SERVERS) {
        snprintf(out, ATL_NAT_TEXT,
                 "compared what %u servers saw; none has a second address, which the rest takes",
                 (unsigned)f->seen_count);
    } else {
        snprintf(out, ATL_NAT_TEXT, "no server has a second address, which the rest takes");
    }
}

static void event_words(const atl_nat_family *f, uint8_t news, words *out) {
    atl_nat_verdict_text(&f->facts, out->verdict);
    switch (news) {
    case ATL_NAT_NEWS_MAPPING:
        snprintf(out->text, sizeof(out->text), "%s", mapping_words(&f->facts));
        break;
    case ATL_NAT_NEWS_FILTERING:
        snprintf(out->text, sizeof(out->text), "%s", filtering_words(&f->facts));
        break;
    case ATL_NAT_NEWS_HAIRPINNING:
        snprintf(out->text, sizeof(out->text), "packets for its own outside are %s",
                 f->facts.hairpinning == ATLAS_NAT_YES ? "sent back in (hairpinning)"
                                                       : "dropped (no hairpinning)");
        break;
    case ATL_NAT_NEWS_LIFETIME:
        lifetime_words(&f->facts, out->text);
        break;
    default:
        result_words(f, out->text);
        break;
    }
}

static void fill_event(const atl_nat_family *f, uint8_t news, const words *w,
                       const atlas_nat_seen *seen, atlas_nat_event *out) {
    const atl_nat_facts *facts = &f->facts;

    memset(out, 0, sizeof(*out));
    out->size = sizeof(*out);
    out->what = news == ATL_NAT_NEWS_RESULT ? ATLAS_NAT_RESULT : ATLAS_NAT_PROGRESS;
    out->family = facts->family;
    out->code = facts->code;
    out->mapping = facts->mapping;
    out->filtering = facts->filtering;
    out->hairpinning = facts->hairpinning;
    out->port_preservation = facts->preserved;
    out->method = facts->method;
    out->kind = atl_nat_kind(facts);
    atl_nat_reaches(facts, &out->reaches, &out->perhaps);
    out->lifetime_ns = facts->lifetime;
    out->lifetime_end_ns = facts->lifetime_end;
    out->seen = seen;
    out->seen_count = f->seen_count;
    out->verdict = w->verdict;
    out->text = w->text;
}

/* Three texts behind each observation. */
static atlas_nat_seen *write_seen(const atl_nat_family *f) {
    atl_env *env = f->nat->agent->config.loop->env;
    atlas_nat_seen *seen =
        atl_malloc(env, (f->seen_count + 1) * (sizeof(*seen) + (size_t)3 * ATLAS_ADDR_MAX));
    char(*texts)[ATLAS_ADDR_MAX];
    size_t i;

    if (seen == NULL) {
        return NULL;
    }
    texts = (char(*)[ATLAS_ADDR_MAX])(void *)(seen + f->seen_count + 1);
    for (i = 0; i < f->seen_count; i++) {
        const atl_nat_observation *o = &f->seen[i];

        seen[i].server = o->server < f->nat->server_count ? f->nat->servers[o->server] : "";
        seen[i].server_addr = texts[3 * i];
        seen[i].local = texts[3 * i + 1];
        seen[i].reflexive = texts[3 * i + 2];
        atl_addr_text(&o->asked, texts[3 * i]);
        atl_addr_text(&o->local, texts[3 * i + 1]);
        atl_addr_text(&o->reflexive, texts[3 * i + 2]);
    }
    return seen;
}

static void deliver_one(atl_nat_family *f, uint8_t news) {
    atlas_nat *nat = f->nat;
    atl_env *env = nat->agent->config.loop->env;
    atlas_nat_seen *seen = write_seen(f);
    atlas_nat_event event;
    words w;

    event_words(f, news, &w);
    fill_event(f, news, &w, seen, &event);
    if (seen == NULL) {
        event.seen_count = 0;
    }
    nat->cb(nat->user, nat, &event, ATLAS_OK);
    atl_free(env, seen);
}

/* The final event follows when both families are over and told. */
static void settle(atlas_nat *nat) {
    size_t i;

    for (i = 0; i < ATL_COUNT(nat->families); i++) {
        const atl_nat_family *f = &nat->families[i];

        if (f->stage != ATL_NAT_STAGE_OVER || f->news != 0) {
            return;
        }
    }
    atl_post_event(nat->agent->config.loop, &nat->final);
}

static void deliver(atl_task *task) {
    static const uint8_t order[] = {ATL_NAT_NEWS_MAPPING, ATL_NAT_NEWS_FILTERING,
                                    ATL_NAT_NEWS_HAIRPINNING, ATL_NAT_NEWS_LIFETIME,
                                    ATL_NAT_NEWS_RESULT};
    atl_nat_family *f = task->user;
    size_t i;

    for (i = 0; i < sizeof(order) && !f->nat->cancelled; i++) {
        if ((f->news & order[i]) != 0) {
            f->news &= (uint8_t)~order[i];
            deliver_one(f, order[i]);
        }
    }
    if (!f->nat->cancelled) {
        settle(f->nat);
    }
}

void atl_nat_tell(atl_nat_family *f, uint8_t news) {
    f->known |= news;
    f->news |= news;
    atl_post_event(f->nat->agent->config.loop, &f->event);
}

static void deliver_final(atl_task *task) {
    atlas_nat *nat = task->user;
    int32_t status = nat->cancelled  ? ATLAS_ERR_CANCELLED
                     : nat->answered ? ATLAS_OK
                                     : nat->last_error;

    nat->ended = 1;
    nat->cb(nat->user, nat, NULL, status);
    atl_nat_free(nat);
}

/* ---- the servers ---- */

static void on_answer(void *user, atlas_stun *probe, const atlas_stun_result *result,
                      int32_t status) {
    atlas_nat *nat = user;
    const atl_stun_reply *reply = atl_stun_probe_reply(probe);
    size_t i;

    (void)status;
    if (result == NULL) {
        nat->probe = NULL;
        for (i = 0; i < ATL_COUNT(nat->families); i++) {
            atl_post_work(nat->agent->config.loop, &nat->families[i].step);
        }
        return;
    }
    if (reply->code == ATLAS_OK) {
        nat->answered = 1;
    } else {
        nat->last_error = reply->code;
    }
    if (reply->remote.family != 0) {
        atl_nat_family_answer(&nat->families[reply->remote.family == 6], result->index, reply);
    }
}

/* ---- the handle ---- */

static void stop_all(atlas_nat *nat) {
    size_t i;

    atl_task_cancel(&nat->final);
    for (i = 0; i < ATL_COUNT(nat->families); i++) {
        atl_nat_family_stop(&nat->families[i]);
    }
    if (nat->probe != NULL) {
        atl_stun_probe_free(nat->probe);
        nat->probe = NULL;
    }
}

void atl_nat_cancel(atlas_nat *nat) {
    if (nat->ended || nat->cancelled) {
        return;
    }
    stop_all(nat);
    nat->cancelled = 1;
    atl_post_event(nat->agent->config.loop, &nat->final);
}

void atl_nat_free(atlas_nat *nat) {
    atl_env *env = nat->agent->config.loop->env;
    size_t i;

    stop_all(nat);
    atl_list_remove(&nat->node);
    for (i = 0; nat->servers != NULL && i < nat->server_count; i++) {
        atl_free(env, nat->servers[i]);
    }
    atl_free(env, nat->servers);
    atl_free(env, nat->families[0].seen);
    atl_free(env, nat->families[1].seen);
    atl_free(env, nat);
}

atlas_nat *atl_nat_of(atl_list *node) {
    return ATL_CONTAINER(node, atlas_nat, node);
}

void *atl_nat_owner(const atlas_nat *nat) {
    return nat->agent->config.user;
}

static int32_t copy_servers(atlas_nat *nat, const char *const *servers, size_t n) {
    atl_env *env = nat->agent->config.loop->env;
    size_t i;

    nat->servers = atl_calloc(env, n, sizeof(nat->servers[0]));
    for (i = 0; i < ATL_COUNT(nat->families); i++) {
        nat->families[i].seen_cap = n + 2;
        nat->families[i].seen = atl_calloc(env, n + 2, sizeof(atl_nat_observation));
    }
    if (nat->servers == NULL || nat->families[0].seen == NULL || nat->families[1].seen == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    for (nat->server_count = 0; nat->server_count < n; nat->server_count++) {
        const char *text = servers[nat->server_count];

        if (text == NULL) {
            return ATLAS_ERR_INVALID;
        }
        nat->servers[nat->server_count] = atl_strdup(env, text);
        if (nat->servers[nat->server_count] == NULL) {
            return ATLAS_ERR_NOMEM;
        }
    }
    return ATLAS_OK;
}

int32_t atl_nat_start(atl_stun_agent *agent, const char *const *servers, size_t n,
                      const atl_nat_config *config, atlas_nat_cb cb, void *user, atlas_nat **out) {
    atlas_nat *nat;
    size_t i;
    int32_t rc;

    if (n == 0 || n > ATL_STUN_SERVERS_MAX || cb == NULL) {
        return ATLAS_ERR_INVALID;
    }
    nat = atl_calloc(agent->config.loop->env, 1, sizeof(*nat));
    if (nat == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    nat->agent = agent;
    nat->cb = cb;
    nat->user = user;
    nat->config = *config;
    nat->last_error = ATLAS_ERR_STUN_TIMEOUT;
    atl_list_init(&nat->node);
    atl_task_init(&nat->final, deliver_final, nat);
    for (i = 0; i < ATL_COUNT(nat->families); i++) {
        atl_nat_family_init(&nat->families[i], nat, i == 0 ? 4 : 6);
        atl_task_init(&nat->families[i].event, deliver, &nat->families[i]);
    }
    rc = copy_servers(nat, servers, n);
    if (rc == ATLAS_OK) {
        rc = atl_stun_probe_start(agent, servers, n, config->timeout, NULL, on_answer, nat,
                                  &nat->probe);
    }
    if (rc != ATLAS_OK) {
        atl_nat_free(nat);
        return rc;
    }
    atl_list_append(&agent->nats, &nat->node);
    if (out != NULL) {
        *out = nat;
    }
    return ATLAS_OK;
}
