#include "utf8.h"

size_t utf8_char(const uint8_t *data, size_t left, uint32_t *point) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len;
    size_t i;

    if (left == 0) {
        return 0;
    }
    if (data[0] < 0x80) {
        *point = data[0];
        return 1;
    }
    len = data[0] >= 0xf0 && data[0] < 0xf8 ? 4 : data[0] >= 0xe0 ? 3 : data[0] >= 0xc0 ? 2 : 0;
    if (len == 0 || data[0] >= 0xf8 || len > left) {
        return 0;
    }
    *point = data[0] & (0xffu >> (len + 1));
    for (i = 1; i < len; i++) {
        if ((data[i] & 0xc0) != 0x80) {
            return 0;
        }
        *point = *point << 6 | (data[i] & 0x3fu);
    }
    if (*point < least[len] || *point > 0x10ffff || (*point >= 0xd800 && *point < 0xe000)) {
        return 0;
    }
    return len;
}
