#include "discovery/registry_parse.h"

#include <string.h>

/* A piece of the path: a view. */
typedef struct piece {
    const char *text;
    size_t len;
} piece;

static int is(const piece *p, const char *text) {
    return p->len == strlen(text) && memcmp(p->text, text, p->len) == 0;
}

/* Cuts `from` at the first `mark`: what stands before it is returned, what stands behind it stays;
 * without one everything is returned and nothing stays. */
static piece cut(piece *from, char mark) {
    const char *at = from->len == 0 ? NULL : memchr(from->text, mark, from->len);
    piece head = *from;

    if (at == NULL) {
        from->text += from->len;
        from->len = 0;
        return head;
    }
    head.len = (size_t)(at - from->text);
    from->text += head.len + 1;
    from->len -= head.len + 1;
    return head;
}

/* A decimal number without sign, from 0 to `max`. */
static int number(const piece *p, uint64_t max, uint64_t *out) {
    uint64_t value = 0;

    if (p->len == 0 || p->len > 20) {
        return 0;
    }
    for (size_t i = 0; i < p->len; i++) {
        uint64_t digit = (uint64_t)(unsigned char)p->text[i] - '0';

        if (digit > 9 || digit > max || value > (max - digit) / 10) {
            return 0;
        }
        value = value * 10 + digit;
    }
    *out = value;
    return 1;
}

static const char *take_offer(const piece *value, atl_registry_target *out) {
    if (out->offer != 0) {
        return "offer is given twice";
    }
    out->offer = is(value, "relay")       ? ATLAS_OFFER_RELAY
                 : is(value, "bootstrap") ? ATLAS_OFFER_BOOTSTRAP
                 : is(value, "dialback")  ? ATLAS_OFFER_DIALBACK
                                          : 0;
    return out->offer != 0 ? NULL : "offer must be relay, bootstrap or dialback";
}

static const char *take_limit(const piece *value, atl_registry_target *out) {
    uint64_t limit;

    if (out->has_limit || !number(value, ATL_REGISTRY_LIMIT_MAX, &limit) || limit == 0) {
        return out->has_limit ? "limit is given twice" : "limit must be 1 to 100";
    }
    out->has_limit = 1;
    out->limit = (uint32_t)limit;
    return NULL;
}

static const char *take_after(const piece *value, atl_registry_target *out) {
    if (out->has_after || !number(value, ATL_REGISTRY_CURSOR_MAX, &out->after)) {
        return out->has_after ? "after is given twice" : "after must be a cursor";
    }
    out->has_after = 1;
    return NULL;
}

static const char *take_random(const piece *value, atl_registry_target *out) {
    uint64_t on;

    if (out->has_random || !number(value, 1, &on)) {
        return out->has_random ? "random is given twice" : "random must be 0 or 1";
    }
    out->has_random = 1;
    out->random = (uint8_t)on;
    return NULL;
}

static const char *take_format(const piece *value, atl_registry_target *out) {
    if (out->has_format || !is(value, "json")) {
        return out->has_format ? "format is given twice" : "format must be json";
    }
    out->has_format = 1;
    out->json = 1;
    return NULL;
}

/* NULL, or what is wrong. */
static const char *take_query(piece query, atl_registry_target *out) {
    static const struct {
        const char *name;
        const char *(*take)(const piece *value, atl_registry_target *out);
    } known[] = {
        {"offer", take_offer},   {"limit", take_limit},   {"after", take_after},
        {"random", take_random}, {"format", take_format},
    };
    const char *why = NULL;

    while (query.len > 0 && why == NULL) {
        piece value = cut(&query, '&');
        piece name = cut(&value, '=');

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
            if (is(&name, known[i].name)) {
                why = known[i].take(&value, out);
            }
        }
    }
    if (why == NULL && out->offer == 0) {
        why = "offer is required";
    }
    if (why == NULL && out->random && out->has_after) {
        why = "after and random exclude each other";
    }
    return why;
}

int32_t atl_registry_parse(const char *path, atl_registry_target *out, const char **why) {
    size_t base = strlen(ATL_RECORDS_PATH);
    piece rest = {path, strlen(path)};
    piece name = cut(&rest, '?');

    if (is(&name, "/")) {
        memset(out, 0, sizeof(*out));
        out->what = ATL_REGISTRY_PAGE;
        return ATLAS_OK;
    }
    if (name.len < base || memcmp(name.text, ATL_RECORDS_PATH, base) != 0 ||
        (name.len > base && name.text[base] != '/')) {
        return ATLAS_ERR_NOT_FOUND;
    }
    memset(out, 0, sizeof(*out));
    if (name.len > base) {
        out->what = ATL_REGISTRY_RECORD;
        *why = "the path does not end in a peer id";
        return atl_peer_id_parse(name.text + base + 1, name.len - base - 1, &out->peer);
    }
    out->what = ATL_REGISTRY_LIST;
    out->limit = ATL_REGISTRY_LIMIT;
    *why = take_query(rest, out);
    return *why == NULL ? ATLAS_OK : ATLAS_ERR_MALFORMED;
}
