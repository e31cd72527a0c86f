#include "transfer.h"

#include "utf8.h"

#include <stdio.h>
#include <string.h>

static const uint8_t magic[5] = {'A', 'T', 'L', 'F', 1};

static void put_u16(uint8_t *at, size_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static size_t get_u16(const uint8_t *at) {
    return (size_t)at[0] << 8 | at[1];
}

size_t file_head_encode(const file_head *head, uint8_t out[FILE_HEAD_LONGEST]) {
    size_t i;

    memcpy(out, magic, sizeof(magic));
    put_u16(out + 5, head->name_len);
    for (i = 0; i < 8; i++) {
        out[7 + i] = (uint8_t)(head->size >> (56 - 8 * i));
    }
    memcpy(out + FILE_HEAD_FIXED, head->name, head->name_len);
    return FILE_HEAD_FIXED + head->name_len;
}

int file_head_decode(const uint8_t *data, size_t len, file_head *out) {
    size_t name_len;
    size_t i;

    if (memcmp(data, magic, len < sizeof(magic) ? len : sizeof(magic)) != 0) {
        return -1;
    }
    if (len < FILE_HEAD_FIXED) {
        return 0;
    }
    name_len = get_u16(data + 5);
    if (name_len > FILE_NAME_LONGEST) {
        return -1;
    }
    if (len - FILE_HEAD_FIXED < name_len) {
        return 0;
    }
    out->size = 0;
    for (i = 0; i < 8; i++) {
        out->size = out->size << 8 | data[7 + i];
    }
    out->name_len = name_len;
    memcpy(out->name, data + FILE_HEAD_FIXED, name_len);
    return (int)(FILE_HEAD_FIXED + name_len);
}

size_t file_answer_encode(const file_answer *answer, uint8_t out[FILE_ANSWER_LONGEST]) {
    size_t len = strnlen(answer->text, FILE_TEXT_LONGEST);

    out[0] = answer->status;
    put_u16(out + 1, len);
    memcpy(out + 3, answer->hash, FILE_HASH);
    memcpy(out + FILE_ANSWER_FIXED, answer->text, len);
    return FILE_ANSWER_FIXED + len;
}

int file_answer_decode(const uint8_t *data, size_t len, file_answer *out) {
    size_t text_len;

    if (len < FILE_ANSWER_FIXED) {
        return 0;
    }
    text_len = get_u16(data + 1);
    if (text_len > FILE_TEXT_LONGEST || len != FILE_ANSWER_FIXED + text_len ||
        memchr(data + FILE_ANSWER_FIXED, 0, text_len) != NULL) {
        return 0;
    }
    out->status = data[0];
    memcpy(out->hash, data + 3, FILE_HASH);
    memcpy(out->text, data + FILE_ANSWER_FIXED, text_len);
    out->text[text_len] = '\0';
    return 1;
}

void file_safe_name(const uint8_t *name, size_t len, char out[FILE_SAFE_LONGEST + 1]) {
    size_t at;
    size_t n = 0;

    for (at = len; at > 0 && name[at - 1] != '/' && name[at - 1] != '\\'; at--) {
    }
    while (at < len) {
        uint32_t point = 0;
        size_t width = utf8_char(name + at, len - at, &point);
        int bad = width == 0 || point < 0x20 || (point >= 0x7f && point < 0xa0);

        width = width == 0 ? 1 : width;
        if (n + width > FILE_SAFE_LONGEST) {
            break;
        }
        if (bad || (n == 0 && point == '.')) {
            out[n++] = '_';
        } else {
            memcpy(out + n, name + at, width);
            n += width;
        }
        at += width;
    }
    out[n] = '\0';
    if (n == 0) {
        (void)snprintf(out, FILE_SAFE_LONGEST + 1, "unnamed");
    }
}
