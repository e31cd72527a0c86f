#include "config/scan.h"

#include <string.h>

void atl_config_scan_init(atl_config_scan *scan, const char *text, size_t len) {
    memset(scan, 0, sizeof(*scan));
    scan->text = text;
    scan->len = len;
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        scan->at = 3;
    }
}

static int is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static size_t end_of_line(const atl_config_scan *scan, size_t at) {
    const char *end = memchr(scan->text + at, '\n', scan->len - at);

    return end == NULL ? scan->len : (size_t)(end - scan->text);
}

/* Behind a string that begins at `at`. One that is not closed ends with its line, or with the text
 * when it has three quotes. */
static size_t skip_string(const atl_config_scan *scan, size_t at) {
    char quote = scan->text[at];
    size_t width = 1;

    if (scan->len - at >= 3 && scan->text[at + 1] == quote && scan->text[at + 2] == quote) {
        width = 3;
    }
    for (at += width; at < scan->len; at++) {
        if (scan->text[at] == '\\' && quote == '"' && at + 1 < scan->len &&
            scan->text[at + 1] != '\n') {
            at++;
        } else if (scan->text[at] == '\n' && width == 1) {
            return at;
        } else if (scan->text[at] == quote &&
                   (width == 1 || (scan->len - at >= 3 && scan->text[at + 1] == quote &&
                                   scan->text[at + 2] == quote))) {
            return at + width;
        }
    }
    return scan->len;
}

/* Where the value that begins at `at` ends: at the end of a line, but not inside brackets or a
 * string. *open is 1 when the text ends before the value. */
static size_t end_of_value(const atl_config_scan *scan, size_t at, int *open) {
    size_t depth = 0;

    *open = 0;
    if (at >= scan->len || strchr("[{\"'", scan->text[at]) == NULL) {
        return end_of_line(scan, at);
    }
    while (at < scan->len) {
        char c = scan->text[at];

        if (c == '"' || c == '\'') {
            at = skip_string(scan, at);
            continue;
        }
        if (c == '#' || c == ';') {
            at = end_of_line(scan, at);
            continue;
        }
        if (c == '\n' && depth == 0) {
            return at;
        }
        if (c == '[' || c == '{') {
            depth++;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
        at++;
    }
    *open = depth > 0;
    return scan->len;
}

static uint32_t count_lines(const char *text, size_t len) {
    uint32_t count = 0;
    size_t i;

    for (i = 0; i < len; i++) {
        count += text[i] == '\n';
    }
    return count;
}

/* Hands out `name` between `before` and `after`, or an empty line where that does not fit. */
static char *emit(char *buf, int cap, const char *before, const char *name, size_t len,
                  const char *after) {
    size_t b = strlen(before);
    size_t a = strlen(after);

    if (cap < 2) {
        return NULL;
    }
    if (b + len + a + 2 > (size_t)cap) {
        b = len = a = 0;
    }
    memcpy(buf, before, b);
    memcpy(buf + b, name, len);
    memcpy(buf + b + len, after, a);
    memcpy(buf + b + len + a, "\n", 2);
    return buf;
}

static char *emit_blank(char *buf, int cap) {
    return emit(buf, cap, "", "", 0, "");
}

/* A line that begins with a bracket. */
static char *section_line(atl_config_scan *scan, size_t at, size_t end, char *buf, int cap) {
    const char *close = memchr(scan->text + at, ']', end - at);
    const char *name = scan->text + at + 1;
    size_t len;
    size_t rest;

    scan->ours = 0;
    scan->inside = 1;
    if (close == NULL) {
        scan->on_error(scan->user, scan->line, "the section's name is not closed by ]");
        return emit(buf, cap, "[", ATL_CONFIG_OTHERS, strlen(ATL_CONFIG_OTHERS), "]");
    }
    for (len = (size_t)(close - name); len > 0 && is_space(*name); len--) {
        name++;
    }
    while (len > 0 && is_space(name[len - 1])) {
        len--;
    }
    scan->ours = (uint8_t)scan->is_ours(scan->user, name, len, scan->line);
    if (!scan->ours) {
        return emit(buf, cap, "[", ATL_CONFIG_OTHERS, strlen(ATL_CONFIG_OTHERS), "]");
    }
    rest = (size_t)(close - scan->text) + 1;
    while (rest < end && is_space(scan->text[rest])) {
        rest++;
    }
    if (rest < end && scan->text[rest] != '#' && scan->text[rest] != ';') {
        scan->on_error(scan->user, scan->line, "more follows the section's name");
    }
    return emit(buf, cap, "[", name, len, "]");
}

/* A line with a key, up to the end of its value. */
static char *key_line(atl_config_scan *scan, size_t at, size_t end, char *buf, int cap) {
    const char *equals = memchr(scan->text + at, '=', end - at);
    const char *name = scan->text + at;
    size_t len = equals == NULL ? 0 : (size_t)(equals - name);
    size_t from;
    int open;

    while (len > 0 && is_space(name[len - 1])) {
        len--;
    }
    if (!scan->inside) {
        scan->on_outside(scan->user, name, len, scan->line);
    }
    if (len == 0) {
        if (scan->ours) {
            scan->on_error(scan->user, scan->line, "expected a section in brackets or key = value");
        }
        return emit_blank(buf, cap);
    }
    from = (size_t)(equals - scan->text) + 1;
    while (from < end && is_space(scan->text[from])) {
        from++;
    }
    scan->at = end_of_value(scan, from, &open);
    scan->value.text = scan->text + from;
    scan->value.len = scan->at - from;
    scan->value.line = scan->line;
    scan->value.why = NULL;
    scan->blank = count_lines(scan->value.text, scan->value.len);
    if (scan->at < scan->len) {
        scan->at++;
    }
    /* what is wrong with a value of ours is seen when it is read */
    if (open && !scan->ours) {
        scan->on_error(scan->user, scan->line, "a bracket that opens here is not closed");
    }
    if (scan->ours && (len >= ATL_CONFIG_NAME_MAX || memchr(name, ':', len) != NULL)) {
        scan->on_error(scan->user, scan->line, "this is not the name of a key");
        return emit_blank(buf, cap);
    }
    return scan->ours ? emit(buf, cap, "", name, len, "=*") : emit_blank(buf, cap);
}

char *atl_config_scan_line(char *buf, int cap, void *user) {
    atl_config_scan *scan = user;
    size_t at = scan->at;
    size_t end;

    if (scan->blank > 0) {
        scan->blank--;
        scan->line++;
        return emit_blank(buf, cap);
    }
    if (at >= scan->len) {
        return NULL;
    }
    scan->line++;
    end = end_of_line(scan, at);
    while (at < end && is_space(scan->text[at])) {
        at++;
    }
    scan->at = end < scan->len ? end + 1 : end;
    if (at == end || scan->text[at] == '#' || scan->text[at] == ';') {
        return emit_blank(buf, cap);
    }
    if (scan->text[at] == '[') {
        return section_line(scan, at, end, buf, cap);
    }
    return key_line(scan, at, end, buf, cap);
}
