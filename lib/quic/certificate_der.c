#include "quic/certificate_der.h"

#include <string.h>

#define SECONDS_A_DAY 86400

static int32_t read_length(atl_reader *reader, size_t *out) {
    uint8_t first;
    uint8_t one;
    uint16_t two;
    int32_t rv = atl_read_u8(reader, &first);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (first < 0x80) {
        *out = first;
        return ATLAS_OK;
    }
    if (first == 0x81) {
        rv = atl_read_u8(reader, &one);
        if (rv == ATLAS_OK && one < 0x80) {
            return ATLAS_ERR_MALFORMED;
        }
        *out = one;
        return rv;
    }
    if (first == 0x82) {
        rv = atl_read_u16(reader, &two);
        if (rv == ATLAS_OK && two < 0x100) {
            return ATLAS_ERR_MALFORMED;
        }
        *out = two;
        return rv;
    }
    return ATLAS_ERR_MALFORMED;
}

int atl_der_next_is(const atl_reader *reader, uint8_t tag) {
    return reader->left > 0 && reader->data[0] == tag;
}

int32_t atl_der_read(atl_reader *reader, uint8_t tag, atl_reader *content, atl_reader *whole) {
    atl_reader r = *reader;
    atl_reader inside;
    uint8_t got;
    size_t len = 0;
    int32_t rv = atl_read_u8(&r, &got);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (got != tag) {
        return ATLAS_ERR_MALFORMED;
    }
    rv = read_length(&r, &len);
    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_read_sub(&r, len, &inside);
    if (rv != ATLAS_OK) {
        return rv;
    }
    if (whole) {
        atl_reader_init(whole, reader->data, reader->left - r.left);
    }
    *content = inside;
    *reader = r;
    return ATLAS_OK;
}

int32_t atl_der_read_bits(atl_reader *reader, atl_reader *bytes) {
    atl_reader r = *reader;
    atl_reader content;
    uint8_t unused;
    int32_t rv = atl_der_read(&r, ATL_DER_BIT_STRING, &content, NULL);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_read_u8(&content, &unused);
    if (rv != ATLAS_OK || unused != 0) {
        return ATLAS_ERR_MALFORMED;
    }
    *bytes = content;
    *reader = r;
    return ATLAS_OK;
}

int atl_der_equal(const atl_reader *content, const uint8_t *bytes, size_t len) {
    return content->left == len && memcmp(content->data, bytes, len) == 0;
}

/* Days from 1970-01-01 to a day of the proleptic Gregorian calendar; years counted from March make
 * the leap day the last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t m = (month + 9) % 12;

    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static int64_t month_days(int64_t year, int64_t month) {
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return month == 2 && leap ? 29 : days[month - 1];
}

/* Two digits; -1 when they are not. */
static int64_t two_digits(const uint8_t *p) {
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9') {
        return -1;
    }
    return (p[0] - '0') * 10 + (p[1] - '0');
}

static int32_t parse_time(const atl_reader *content, int generalized, int64_t *out) {
    const uint8_t *p = content->data;
    int64_t field[5]; /* month, day, hour, minute, second */
    int64_t high = 0;
    int64_t year;
    size_t i;

    if (content->left != (generalized ? 15u : 13u) || p[content->left - 1] != 'Z') {
        return ATLAS_ERR_MALFORMED;
    }
    if (generalized) {
        high = two_digits(p);
        p += 2;
    }
    year = two_digits(p);
    if (high < 0 || year < 0) {
        return ATLAS_ERR_MALFORMED;
    }
    for (i = 0; i < 5; i++) {
        field[i] = two_digits(p + 2 + 2 * i);
        if (field[i] < 0) {
            return ATLAS_ERR_MALFORMED;
        }
    }
    year += generalized ? high * 100 : (year >= 50 ? 1900 : 2000);
    if (year < 1 || field[0] < 1 || field[0] > 12 || field[1] < 1 ||
        field[1] > month_days(year, field[0]) || field[2] > 23 || field[3] > 59 || field[4] > 59) {
        return ATLAS_ERR_MALFORMED;
    }
    *out = days_of(year, field[0], field[1]) * SECONDS_A_DAY + field[2] * 3600 + field[3] * 60 +
           field[4];
    return ATLAS_OK;
}

int32_t atl_der_read_time(atl_reader *reader, int64_t *out) {
    atl_reader r = *reader;
    atl_reader content;
    int generalized = atl_der_next_is(reader, ATL_DER_GENERALIZED_TIME);
    int32_t rv =
        atl_der_read(&r, generalized ? ATL_DER_GENERALIZED_TIME : ATL_DER_UTC_TIME, &content, NULL);

    if (rv == ATLAS_OK) {
        rv = parse_time(&content, generalized, out);
    }
    if (rv == ATLAS_OK) {
        *reader = r;
    }
    return rv;
}

static void write_header(atl_writer *writer, uint8_t tag, size_t len) {
    if (len > UINT16_MAX) {
        writer->error = ATLAS_ERR_BUFFER;
        return;
    }
    atl_write_u8(writer, tag);
    if (len >= 0x100) {
        atl_write_u8(writer, 0x82);
        atl_write_u16(writer, (uint16_t)len);
        return;
    }
    if (len >= 0x80) {
        atl_write_u8(writer, 0x81);
    }
    atl_write_u8(writer, (uint8_t)len);
}

void atl_der_write(atl_writer *writer, uint8_t tag, const void *content, size_t len) {
    write_header(writer, tag, len);
    atl_write_bytes(writer, content, len);
}

void atl_der_write_bits(atl_writer *writer, const void *bytes, size_t len) {
    write_header(writer, ATL_DER_BIT_STRING, len + 1);
    atl_write_u8(writer, 0);
    atl_write_bytes(writer, bytes, len);
}

static void put_two(uint8_t *out, int64_t value) {
    out[0] = (uint8_t)('0' + value / 10 % 10);
    out[1] = (uint8_t)('0' + value % 10);
}

void atl_der_write_time(atl_writer *writer, int64_t seconds) {
    int64_t days = seconds / SECONDS_A_DAY;
    int64_t rest = seconds % SECONDS_A_DAY;
    int64_t year = 1970 + days / 366;
    int64_t month = 1;
    uint8_t text[15];
    int generalized;

    while (days_of(year + 1, 1, 1) <= days) {
        year++;
    }
    while (month < 12 && days_of(year, month + 1, 1) <= days) {
        month++;
    }
    put_two(text, year / 100);
    put_two(text + 2, year % 100);
    put_two(text + 4, month);
    put_two(text + 6, days - days_of(year, month, 1) + 1);
    put_two(text + 8, rest / 3600);
    put_two(text + 10, rest / 60 % 60);
    put_two(text + 12, rest % 60);
    text[14] = 'Z';
    generalized = year >= 2050;
    if (generalized) {
        atl_der_write(writer, ATL_DER_GENERALIZED_TIME, text, 15);
    } else {
        atl_der_write(writer, ATL_DER_UTC_TIME, text + 2, 13);
    }
}
