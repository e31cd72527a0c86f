#include "config/config.h"

#include "config/scan.h"
#include "stun/target.h"

#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COMPLAINT_MAX 1024
#define QUOTE_MAX 40

typedef struct parser {
    atl_env *env;
    atl_config *config;
    atl_config_sink *sink;
    atl_config_scan scan;
    int32_t failure; /* out of memory */
} parser;

void atl_config_complain(atl_config_sink *sink, int32_t code, uint32_t line, const char *format,
                         ...) {
    char text[COMPLAINT_MAX];
    int len;
    va_list args;

    sink->errors += code != ATLAS_OK;
    if (sink->cb == NULL || sink->count++ >= ATL_CONFIG_MAX_COMPLAINTS) {
        return;
    }
    len = snprintf(text, sizeof(text), "%.512s:%u: ", sink->file, (unsigned)line);
    if (len < 0) {
        len = 0;
    }
    va_start(args, format);
    (void)vsnprintf(text + len, sizeof(text) - (size_t)len, format, args);
    va_end(args);
    sink->cb(sink->user, code, sink->file, line, text);
}

/* What the file says there, short and fit to be shown. */
static const char *quote(const char *text, size_t len, char out[QUOTE_MAX]) {
    size_t i;

    for (i = 0; i < len && text[i] != '\n'; i++) {
        if (i + 4 >= QUOTE_MAX) {
            memcpy(out + i, "...", 4);
            return out;
        }
        out[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    }
    while (i > 0 && (out[i - 1] == ' ' || out[i - 1] == '?')) {
        i--;
    }
    out[i] = '\0';
    return out;
}

/* ---- entries of lists: NULL, or what is wrong with one ---- */

static const char *check_node(const char *text, const char *transport, const char *id) {
    atl_maddr addr;
    int32_t rv = atl_maddr_parse(text, &addr);

    if (rv == ATLAS_ERR_UNSUPPORTED) {
        return "this is a multiaddr, but not one over which a node can be reached "
               "(.../udp/PORT/quic-v1)";
    }
    if (rv != ATLAS_OK) {
        return atlas_error_text(rv);
    }
    if (addr.host_kind == ATL_HOST_NONE || !addr.quic || addr.has_relay) {
        return transport;
    }
    return addr.has_peer ? NULL : id;
}

static const char *check_relay(const char *text) {
    return check_node(text,
                      "a relay's address has a transport of its own (/ip4/.../udp/PORT/quic-v1)",
                      "the relay's peer id is missing at the end (/p2p/ID)");
}

static const char *check_bootstrap(const char *text) {
    return check_node(
        text, "a bootstrap node's address has a transport of its own (/ip4/.../udp/PORT/quic-v1)",
        "the bootstrap node's peer id is missing at the end (/p2p/ID)");
}

static const char *check_stun(const char *text) {
    atl_stun_target target;
    int32_t rv = atl_stun_target_parse(text, &target);

    return rv == ATLAS_OK ? NULL : "it is no STUN server";
}

static const char *check_peer(const char *text) {
    atl_peer_id id;
    int32_t rv = atl_peer_id_parse(text, strlen(text), &id);

    return rv == ATLAS_OK ? NULL : atlas_error_text(rv);
}

static const struct {
    const char *(*check)(const char *text);
    const char *expected;
} list_kinds[ATL_LIST_COUNT] = {
    [ATL_LIST_RELAYS] = {check_relay,
                         "an array of multiaddrs of relays in quotes, each ending in /p2p/ID"},
    [ATL_LIST_BOOTSTRAP] = {check_bootstrap,
                            "an array of multiaddrs of bootstrap nodes in quotes, each ending in "
                            "/p2p/ID"},
    [ATL_LIST_STUN] = {check_stun, "an array of STUN servers in quotes, \"HOST:PORT\" or \"HOST\""},
    [ATL_LIST_ALLOW] = {check_peer, "an array of peer ids in quotes"},
    [ATL_LIST_DENY] = {check_peer, "an array of peer ids in quotes"},
};

/* ---- values ---- */

static int list_has(const atl_config_list *list, const char *text) {
    size_t i;

    for (i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], text) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Keeps one entry, unless it is there already. */
static void list_add(parser *p, const atl_config_key *key, const char *text, uint32_t line) {
    atl_config_list *list = &p->config->lists[key->target];
    const char *why = list_kinds[key->target].check(text);
    char found[QUOTE_MAX];

    if (why != NULL) {
        atl_config_complain(p->sink, ATLAS_ERR_CONFIG, line, "%s: expected %s, found \"%s\": %s",
                            key->name, list_kinds[key->target].expected,
                            quote(text, strlen(text), found), why);
    } else if (list_has(list, text)) {
        atl_config_complain(p->sink, ATLAS_OK, line,
                            "%s: \"%s\" is there twice, the second is ignored", key->name,
                            quote(text, strlen(text), found));
    } else {
        list->items[list->count] = atl_strdup(p->env, text);
        if (list->items[list->count] == NULL) {
            p->failure = ATLAS_ERR_NOMEM;
        } else {
            list->count++;
        }
    }
}

static int32_t take_list(parser *p, const atl_config_key *key, atl_config_value *value) {
    atl_config_list *list = &p->config->lists[key->target];
    char text[ATL_CONFIG_STRING_MAX];
    size_t count;
    uint32_t more = 1;
    int32_t rv;

    list->line = value->line;
    list->items = atl_calloc(p->env, ATL_CONFIG_MAX_ENTRIES, sizeof(*list->items));
    if (list->items == NULL) {
        p->failure = ATLAS_ERR_NOMEM;
        return ATLAS_OK;
    }
    rv = atl_value_array_begin(value);
    for (count = 0; rv == ATLAS_OK && p->failure == ATLAS_OK; count++) {
        rv = atl_value_array_next(value, &more, text);
        if (rv != ATLAS_OK || !more) {
            break;
        }
        if (count >= ATL_CONFIG_MAX_ENTRIES) {
            value->why = "more than 64 entries";
            return ATLAS_ERR_CONFIG;
        }
        list_add(p, key, text, value->line);
    }
    return rv;
}

/* In the unit of the option, in words for the complaint in `expected`. */
static int32_t take_number(parser *p, const atl_config_key *key, atl_config_value *value,
                           char *expected, size_t cap) {
    uint64_t scale = key->kind == ATL_KEY_SECONDS ? 1000 : 1;
    atl_config_value start;
    uint64_t number = 0;
    int32_t rv;

    if (scale == 1) {
        (void)snprintf(expected, cap, "a number from %llu to %llu", (unsigned long long)key->min,
                       (unsigned long long)key->max);
    } else {
        (void)snprintf(expected, cap, "a number of seconds from %g to %g", (double)key->min / 1000,
                       (double)key->max / 1000);
    }
    start = *value;
    rv = atl_value_number(value, scale, &number);
    if (rv == ATLAS_OK && (number < key->min || number > key->max)) {
        *value = start;
        rv = ATLAS_ERR_CONFIG;
    }
    if (rv == ATLAS_OK) {
        p->config->value[key - atl_config_keys] = number;
    }
    return rv;
}

static void take_value(parser *p, const atl_config_key *key, atl_config_value *value) {
    char expected[96] = "true or false";
    char found[QUOTE_MAX];
    const char *wanted = expected;
    int32_t rv;

    if (key->kind == ATL_KEY_LIST) {
        wanted = list_kinds[key->target].expected;
        rv = take_list(p, key, value);
    } else if (key->kind == ATL_KEY_BOOL) {
        rv = atl_value_bool(value, &p->config->value[key - atl_config_keys]);
    } else {
        rv = take_number(p, key, value, expected, sizeof(expected));
    }
    if (rv == ATLAS_OK && p->failure == ATLAS_OK) {
        rv = atl_value_end(value);
    }
    if (rv != ATLAS_OK) {
        atl_config_complain(p->sink, ATLAS_ERR_CONFIG, value->line, "%s: expected %s, found %s%s%s",
                            key->name, wanted,
                            value->len == 0 ? "nothing" : quote(value->text, value->len, found),
                            value->why == NULL ? "" : ": ", value->why == NULL ? "" : value->why);
    }
}

/* ---- what inih finds ---- */

static void unknown_key(parser *p, const char *section, const char *name) {
    char shown[QUOTE_MAX];
    const char *other;
    const char *near = atl_config_key_near(section, name, &other);

    quote(name, strlen(name), shown);
    if (near != NULL) {
        atl_config_complain(p->sink, ATLAS_OK, p->scan.line,
                            "unknown key %s in [%s]; did you mean %s?", shown, section, near);
    } else if (other != NULL) {
        atl_config_complain(p->sink, ATLAS_OK, p->scan.line,
                            "unknown key %s in [%s]; it belongs in [%s]", shown, section, other);
    } else {
        atl_config_complain(p->sink, ATLAS_OK, p->scan.line, "unknown key %s in [%s]", shown,
                            section);
    }
}

static int on_key(void *user, const char *section, const char *name, const char *mark) {
    parser *p = user;
    atl_config_value value = p->scan.value;
    int32_t index;

    (void)mark;
    if (!p->scan.ours || p->failure != ATLAS_OK) {
        return 1;
    }
    index = atl_config_key_find(section, name);
    if (index < 0) {
        unknown_key(p, section, name);
    } else if (p->config->line[index] != 0) {
        atl_config_complain(p->sink, ATLAS_ERR_CONFIG, p->scan.line,
                            "%s is given twice, in line %u and here", name,
                            (unsigned)p->config->line[index]);
    } else if (value.len > ATL_CONFIG_MAX_VALUE) {
        atl_config_complain(
            p->sink, ATLAS_ERR_CONFIG, p->scan.line,
            "%s: the value is longer than %u bytes, or an array that begins here is not closed",
            name, (unsigned)ATL_CONFIG_MAX_VALUE);
    } else {
        p->config->line[index] = p->scan.line;
        take_value(p, &atl_config_keys[index], &value);
    }
    return 1;
}

static int is_ours(void *user, const char *section, size_t len, uint32_t line) {
    parser *p = user;
    const char *near;
    char shown[QUOTE_MAX];

    if (atl_config_section_known(section, len)) {
        return 1;
    }
    near = atl_config_section_near(section, len);
    if (near != NULL) {
        atl_config_complain(p->sink, ATLAS_OK, line, "section [%s] is ignored; did you mean [%s]?",
                            quote(section, len, shown), near);
    }
    return 0;
}

/* Others may have keys there, but one of ours is meant to do something. */
static void on_outside(void *user, const char *key, size_t len, uint32_t line) {
    parser *p = user;
    const char *section = atl_config_key_section(key, len);
    char shown[QUOTE_MAX];

    if (len == 0) {
        atl_config_complain(p->sink, ATLAS_OK, line,
                            "neither a section in brackets nor key = value; ignored");
    } else if (section != NULL) {
        atl_config_complain(p->sink, ATLAS_OK, line,
                            "unknown key %s outside a section; it belongs in [%s]",
                            quote(key, len, shown), section);
    } else {
        atl_config_complain(p->sink, ATLAS_OK, line, "unknown key %s outside a section",
                            quote(key, len, shown));
    }
}

static void on_scan_error(void *user, uint32_t line, const char *text) {
    parser *p = user;

    atl_config_complain(p->sink, ATLAS_ERR_CONFIG, line, "%s", text);
}

/* ---- the whole ---- */

static void check_text(parser *p, const char *text, size_t len) {
    const char *nul = memchr(text, '\0', len);
    uint32_t line = 1;
    const char *at;

    if (nul == NULL) {
        return;
    }
    for (at = text; at < nul; at++) {
        line += *at == '\n';
    }
    atl_config_complain(p->sink, ATLAS_ERR_CONFIG, line, "expected text, found a NUL byte");
}

static void check_whole(parser *p) {
    const atl_config *config = p->config;
    int32_t offer = atl_config_key_find("transport", "offer_relay");
    int32_t enable = atl_config_key_find("transport", "enable_relay");

    if (config->value[offer] && config->line[enable] != 0 && !config->value[enable]) {
        atl_config_complain(p->sink, ATLAS_ERR_CONFIG, config->line[offer],
                            "offer_relay: expected false, since enable_relay is false (line %u)",
                            (unsigned)config->line[enable]);
    }
}

static int32_t run(parser *p, const char *text, size_t len) {
    int line;

    check_text(p, text, len);
    if (p->sink->errors > 0) {
        return ATLAS_ERR_CONFIG;
    }
    atl_config_scan_init(&p->scan, text, len);
    p->scan.is_ours = is_ours;
    p->scan.on_error = on_scan_error;
    p->scan.on_outside = on_outside;
    p->scan.user = p;
    line = ini_parse_stream(atl_config_scan_line, &p->scan, on_key, p);
    if (p->failure != ATLAS_OK) {
        return p->failure;
    }
    if (line < 0) {
        return ATLAS_ERR_NOMEM;
    }
    if (line > 0 && p->sink->errors == 0) {
        atl_config_complain(p->sink, ATLAS_ERR_CONFIG, (uint32_t)line,
                            "expected a section in brackets or key = value");
    }
    check_whole(p);
    return p->sink->errors > 0 ? ATLAS_ERR_CONFIG : ATLAS_OK;
}

int32_t atl_config_parse(atl_env *env, const char *text, size_t len, atl_config_sink *sink,
                         atl_config **out) {
    parser p = {.env = env, .sink = sink};
    int32_t rv;

    sink->count = 0;
    sink->errors = 0;
    if (len > ATL_CONFIG_MAX_FILE) {
        return ATLAS_ERR_TOO_LARGE;
    }
    p.config = atl_calloc(env, 1, sizeof(*p.config));
    if (p.config == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    rv = run(&p, text, len);
    if (rv != ATLAS_OK) {
        atl_config_free(env, p.config);
        return rv;
    }
    *out = p.config;
    return ATLAS_OK;
}

void atl_config_free(atl_env *env, atl_config *config) {
    size_t i;
    size_t j;

    if (config == NULL) {
        return;
    }
    for (i = 0; i < ATL_LIST_COUNT; i++) {
        for (j = 0; j < config->lists[i].count; j++) {
            atl_free(env, config->lists[i].items[j]);
        }
        atl_free(env, config->lists[i].items);
    }
    atl_free(env, config);
}
