#include "config/value.h"

#include <string.h>

#define NUMBER_MAX UINT64_C(1000000000000000)

static int peek(const atl_config_value *value) {
    return value->len > 0 ? (unsigned char)value->text[0] : -1;
}

static void advance(atl_config_value *value, size_t n) {
    size_t i;

    for (i = 0; i < n; i++) {
        if (value->text[i] == '\n') {
            value->line++;
        }
    }
    value->text += n;
    value->len -= n;
}

static int32_t fail(atl_config_value *value, const char *why) {
    value->why = why;
    return ATLAS_ERR_CONFIG;
}

/* Skips spaces and comments, and with `lines` ends of lines as well. */
static void skip(atl_config_value *value, int lines) {
    for (;;) {
        int c = peek(value);

        if (c == ' ' || c == '\t' || c == '\r' || (c == '\n' && lines)) {
            advance(value, 1);
        } else if (c == '#' || c == ';') {
            const char *end = memchr(value->text, '\n', value->len);

            advance(value, end == NULL ? value->len : (size_t)(end - value->text));
        } else {
            return;
        }
    }
}

static int is_word(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-' || c == '+';
}

int32_t atl_value_bool(atl_config_value *value, uint64_t *out) {
    static const char *const words[] = {"false", "true"};
    uint64_t i;

    skip(value, 0);
    for (i = 0; i < 2; i++) {
        size_t len = strlen(words[i]);

        if (value->len >= len && memcmp(value->text, words[i], len) == 0 &&
            !(value->len > len && is_word((unsigned char)value->text[len]))) {
            advance(value, len);
            *out = i;
            return ATLAS_OK;
        }
    }
    return fail(value, NULL);
}

static int is_digit(int c) {
    return c >= '0' && c <= '9';
}

/* Digits with single underscores between them; `at` moves behind. 0 when there is no digit or too
 * many. */
static int digits(const atl_config_value *value, size_t *at, uint64_t *out) {
    size_t i = *at;
    uint64_t sum = 0;

    if (i >= value->len || !is_digit(value->text[i])) {
        return 0;
    }
    for (; i < value->len; i++) {
        if (value->text[i] == '_' && i + 1 < value->len && is_digit(value->text[i + 1]) &&
            value->text[i - 1] != '_') {
            continue;
        }
        if (!is_digit(value->text[i])) {
            break;
        }
        sum = sum * 10 + (uint64_t)(value->text[i] - '0');
        if (sum > NUMBER_MAX) {
            return 0;
        }
    }
    *at = i;
    *out = sum;
    return 1;
}

/* The decimals behind the point, in units of 1/scale. */
static int fraction(const atl_config_value *value, size_t *at, uint64_t scale, uint64_t *out) {
    uint64_t unit = scale;
    size_t start = *at;
    uint64_t sum = 0;

    while (*at < value->len && is_digit(value->text[*at])) {
        if (unit < 10) {
            return 0;
        }
        unit /= 10;
        sum += unit * (uint64_t)(value->text[*at] - '0');
        *at += 1;
    }
    *out = sum;
    return *at > start;
}

int32_t atl_value_number(atl_config_value *value, uint64_t scale, uint64_t *out) {
    uint64_t whole;
    uint64_t part = 0;
    size_t at = 0;

    skip(value, 0);
    if (!digits(value, &at, &whole)) {
        return fail(value, NULL);
    }
    if (scale > 1 && at < value->len && value->text[at] == '.') {
        at++;
        if (!fraction(value, &at, scale, &part)) {
            return fail(value, NULL);
        }
    }
    if (at < value->len && is_word((unsigned char)value->text[at])) {
        return fail(value, NULL);
    }
    advance(value, at);
    *out = whole * scale + part;
    return ATLAS_OK;
}

/* One character of a string at `*at`, an escape sequence too. */
static int32_t string_char(atl_config_value *value, size_t *at, int quote, char *out) {
    unsigned char c = (unsigned char)value->text[*at];

    if (c < 0x20 || c == 0x7f) {
        return fail(value, c == '\n' || c == '\r' ? "the string is not closed"
                                                  : "the string has a control character");
    }
    if (c == '\\' && quote == '"') {
        *at += 1;
        c = *at < value->len ? (unsigned char)value->text[*at] : 0;
        if (c != '\\' && c != '"') {
            return fail(value, "in double quotes only \\\\ and \\\" are known after a backslash");
        }
    }
    *at += 1;
    *out = (char)c;
    return ATLAS_OK;
}

int32_t atl_value_string(atl_config_value *value, char out[ATL_CONFIG_STRING_MAX]) {
    char text[ATL_CONFIG_STRING_MAX];
    int quote;
    size_t at = 1;
    size_t len = 0;

    skip(value, 0);
    quote = peek(value);
    if (quote != '"' && quote != '\'') {
        return fail(value, NULL);
    }
    while (at < value->len && value->text[at] != quote) {
        if (len + 1 >= sizeof(text)) {
            return fail(value, "the string is too long");
        }
        if (string_char(value, &at, quote, &text[len]) != ATLAS_OK) {
            return ATLAS_ERR_CONFIG;
        }
        len++;
    }
    if (at >= value->len) {
        return fail(value, "the string is not closed");
    }
    text[len] = '\0';
    memcpy(out, text, len + 1);
    advance(value, at + 1);
    return ATLAS_OK;
}

int32_t atl_value_end(atl_config_value *value) {
    skip(value, 0);
    return value->len == 0 ? ATLAS_OK : fail(value, "more follows the value");
}

int32_t atl_value_array_begin(atl_config_value *value) {
    skip(value, 0);
    if (peek(value) != '[') {
        return fail(value, NULL);
    }
    advance(value, 1);
    return ATLAS_OK;
}

int32_t atl_value_array_next(atl_config_value *value, uint32_t *more,
                             char out[ATL_CONFIG_STRING_MAX]) {
    skip(value, 1);
    if (peek(value) == ']') {
        advance(value, 1);
        *more = 0;
        return ATLAS_OK;
    }
    if (atl_value_string(value, out) != ATLAS_OK) {
        if (value->why == NULL) {
            value->why =
                value->len == 0 ? "the array is not closed" : "an entry is not a quoted string";
        }
        return ATLAS_ERR_CONFIG;
    }
    skip(value, 1);
    if (peek(value) == ',') {
        advance(value, 1);
    } else if (peek(value) != ']') {
        return fail(value, value->len == 0 ? "the array is not closed" : "a comma is missing");
    }
    *more = 1;
    return ATLAS_OK;
}
