#include "discovery/registry_answer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- text that grows in a fixed buffer ---- */

typedef struct text {
    char *buf;
    size_t cap;
    size_t len;
    int full; /* something did not fit */
} text;

static void add_bytes(text *out, const char *bytes, size_t len) {
    if (out->full || len >= out->cap - out->len) {
        out->full = 1;
        return;
    }
    memcpy(out->buf + out->len, bytes, len);
    out->len += len;
    out->buf[out->len] = '\0';
}

static void add_text(text *out, const char *value) {
    add_bytes(out, value, strlen(value));
}

__attribute__((format(printf, 2, 3))) static void add(text *out, const char *format, ...) {
    va_list args;
    int n;

    if (out->full) {
        return;
    }
    va_start(args, format);
    n = vsnprintf(out->buf + out->len, out->cap - out->len, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= out->cap - out->len) {
        out->buf[out->len] = '\0';
        out->full = 1;
    } else {
        out->len += (size_t)n;
    }
}

static text begin(char *buf, size_t cap) {
    text out = {buf, cap, 0, cap == 0};

    return out;
}

static size_t finish(const text *out) {
    return out->full ? 0 : out->len;
}

static void add_json_string(text *out, const char *value) {
    add_text(out, "\"");
    for (; *value != '\0'; value++) {
        unsigned char c = (unsigned char)*value;

        if (c == '"' || c == '\\') {
            char pair[2] = {'\\', (char)c};

            add_bytes(out, pair, 2);
        } else if (c < 0x20 || c == 0x7f) {
            add(out, "\\u%04x", c);
        } else {
            add_bytes(out, value, 1);
        }
    }
    add_text(out, "\"");
}

static void add_html(text *out, const char *value) {
    for (; *value != '\0'; value++) {
        switch (*value) {
        case '&':
            add_text(out, "&amp;");
            break;
        case '<':
            add_text(out, "&lt;");
            break;
        case '>':
            add_text(out, "&gt;");
            break;
        case '"':
            add_text(out, "&quot;");
            break;
        case '\'':
            add_text(out, "&#39;");
            break;
        default:
            add_bytes(out, value, 1);
        }
    }
}

size_t atl_registry_escape_html(const char *value, char *buf, size_t cap) {
    text out = begin(buf, cap);

    add_html(&out, value);
    return finish(&out);
}

/* ---- lists ---- */

static size_t write_page(const atl_record_view *views, size_t n, atl_records_page *page) {
    size_t i;

    for (i = 0; i < n; i++) {
        if (atl_records_page_add(page, views[i].data, views[i].len) != ATLAS_OK) {
            break;
        }
    }
    return i;
}

/* One record; nothing of it stays when it does not fit. */
static int add_record(text *out, const atl_record_view *view) {
    char line[ATLAS_MULTIADDR_MAX];
    text before = *out;
    atl_record record;

    if (atl_record_reopen(view->data, view->len, &record) != ATLAS_OK) {
        return 1;
    }
    atl_peer_id_text(&view->peer, line);
    add_text(out, out->buf[out->len - 1] == '[' ? "{\"peer\":" : ",{\"peer\":");
    add_json_string(out, line);
    add(out, ",\"seq\":%" PRIu64 ",\"addrs\":[", view->seq);
    for (size_t i = 0; i < record.n_addrs; i++) {
        atl_maddr *addr = &record.addrs[i];

        addr->has_peer = 1;
        addr->peer = view->peer;
        if (atl_maddr_text(addr, line, sizeof(line)) == ATLAS_OK) {
            add_text(out, i == 0 ? "" : ",");
            add_json_string(out, line);
        }
    }
    add_text(out, "]}");
    if (out->full) {
        *out = before;
        return 0;
    }
    return 1;
}

#define JSON_TAIL 48 /* bytes that the end of the list takes at most */

static size_t write_json(const atl_record_view *views, size_t n, text *out) {
    size_t i;

    add_text(out, "{\"records\":[");
    for (i = 0; i < n; i++) {
        if (!add_record(out, &views[i])) {
            break;
        }
    }
    return i;
}

void atl_registry_list(atl_record_store *store, const atl_registry_target *target, uint64_t now,
                       uint8_t *buf, atl_registry_body *out) {
    atl_record_view views[ATL_REGISTRY_LIMIT_MAX + 1];
    text json = begin((char *)buf, ATL_REGISTRY_BODY_MAX - JSON_TAIL);
    atl_records_page page;
    uint64_t cursor = 0;
    size_t wanted;
    size_t written;
    size_t n;

    /* one more than wanted tells whether this page is the last */
    n = target->random ? atl_record_store_sample(store, target->offer, now, views, target->limit)
                       : atl_record_store_list(store, target->offer, target->after, now, views,
                                               target->limit + (size_t)1);
    wanted = n < target->limit ? n : target->limit;
    atl_records_page_begin(&page, buf, ATL_REGISTRY_BODY_MAX);
    written = target->json ? write_json(views, wanted, &json) : write_page(views, wanted, &page);
    if (!target->random && written > 0 && written < n) {
        cursor = views[written - 1].number;
    }
    if (!target->json) {
        out->type = ATL_RECORDS_PAGE_TYPE;
        out->data = atl_records_page_finish(&page, cursor, &out->len);
        return;
    }
    json.cap += JSON_TAIL;
    json.full = 0;
    if (cursor == 0) {
        add_text(&json, "],\"next\":null}\n");
    } else {
        add(&json, "],\"next\":%" PRIu64 "}\n", cursor);
    }
    out->type = ATL_REGISTRY_JSON;
    out->data = json.buf;
    out->len = json.len;
}

/* ---- errors ---- */

void atl_registry_error_of(int32_t code, atl_registry_error *out) {
    static const struct {
        int32_t code;
        int32_t status;
        const char *name;
    } table[] = {
        {ATLAS_ERR_MALFORMED, 400, "malformed"},
        {ATLAS_ERR_SIGNATURE, 400, "signature"},
        {ATLAS_ERR_UNSUPPORTED, 400, "signature"},
        {ATLAS_ERR_RECORD_SIGNER, 400, "signer"},
        {ATLAS_ERR_RECORD_EXPIRED, 400, "expired"},
        {ATLAS_ERR_RECORD_FUTURE, 400, "future"},
        {ATLAS_ERR_PERMISSION, 401, "identity"},
        {ATLAS_ERR_RELAY_IDENTITY, 403, "identity"},
        {ATLAS_ERR_RECORD_NOT_FOUND, 404, "not found"},
        {ATLAS_ERR_STATE, 405, "method"},
        {ATLAS_ERR_TIMEOUT, 408, "timeout"},
        {ATLAS_ERR_RECORD_OLD, 409, "old"},
        {ATLAS_ERR_TOO_LARGE, 413, "too large"},
        {ATLAS_ERR_RATE_LIMITED, 429, "rate"},
        {ATLAS_ERR_LIMIT, 429, "rate"},
        {ATLAS_ERR_RECORD_LIMIT, 503, "full"},
        {ATLAS_ERR_NOMEM, 503, "full"},
        {ATLAS_ERR_IO, 507, "disk"},
    };
    size_t i = ATL_COUNT(table) - 1;

    while (i > 0 && table[i].code != code) {
        i--;
    }
    out->status = table[i].status;
    out->name = table[i].name;
    out->text = atlas_error_text(code);
    out->seq = 0;
}

size_t atl_registry_error_json(const atl_registry_error *error, char *buf, size_t cap) {
    text out = begin(buf, cap);

    add_text(&out, "{\"error\":");
    add_json_string(&out, error->name);
    add_text(&out, ",\"text\":");
    add_json_string(&out, error->text);
    if (error->seq != 0) {
        add(&out, ",\"seq\":%" PRIu64, error->seq);
    }
    add_text(&out, "}\n");
    return finish(&out);
}

size_t atl_registry_ttl_json(uint64_t seconds, char *buf, size_t cap) {
    text out = begin(buf, cap);

    add(&out, "{\"ttl\":%" PRIu64 "}\n", seconds);
    return finish(&out);
}

/* ---- the page for people ---- */

static void row(text *out, const char *name, uint64_t value) {
    add(out, "<tr><th>%s</th><td>%" PRIu64 "</td></tr>\n", name, value);
}

size_t atl_registry_page_html(const atl_registry_page *page, char *buf, size_t cap) {
    text out = begin(buf, cap);

    add_text(&out,
             "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width\">\n"
             "<title>atlas bootstrap node</title>\n"
             "<style>body{font-family:sans-serif;margin:2em}th{text-align:left;"
             "padding-right:2em}td{text-align:right}</style></head>\n"
             "<body><h1>atlas bootstrap node</h1>\n<p>");
    if (page->version != NULL) {
        add_text(&out, "libatlas ");
        add_html(&out, page->version);
        add_text(&out, ", ");
    }
    add(&out,
        "up for %" PRIu64 " days, %" PRIu64 " hours, %" PRIu64 " minutes, %" PRIu64
        " seconds. Records are %s.</p>\n<table>\n",
        page->uptime / 86400, page->uptime / 3600 % 24, page->uptime / 60 % 60, page->uptime % 60,
        page->file ? "on disk" : "in memory only");
    row(&out, "records", page->records);
    row(&out, "relays", page->relays);
    row(&out, "bootstrap nodes", page->bootstraps);
    row(&out, "dial-back nodes", page->dialbacks);
    row(&out, "gets", page->gets);
    row(&out, "of these found", page->found);
    row(&out, "lists", page->lists);
    row(&out, "puts", page->puts);
    row(&out, "of these taken", page->taken);
    row(&out, "deletes", page->deletes);
    row(&out, "refused", page->refused);
    row(&out, "bytes of memory", page->memory);
    add_text(&out, "</table>\n</body></html>\n");
    return finish(&out);
}
