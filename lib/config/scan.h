/* Cuts the text of a configuration file into lines for inih, which does not know arrays over
 * several lines, cuts lines at a length set when it was built, and takes ; in quotes for a comment.
 * So inih sees sections and keys with a mark in the place of the value; the value itself stays
 * here, as a view of the text. */
#ifndef ATL_CONFIG_SCAN_H
#define ATL_CONFIG_SCAN_H

#include "config/value.h"

#define ATL_CONFIG_MAX_FILE (UINT32_C(1) << 20)
#define ATL_CONFIG_MAX_VALUE (UINT32_C(1) << 16)
#define ATL_CONFIG_NAME_MAX 48 /* a key of ours, its NUL included: inih keeps 50 bytes */
#define ATL_CONFIG_OTHERS "-"  /* what sections of others are called for inih */

typedef struct atl_config_scan {
    const char *text;
    size_t len;
    size_t at;
    uint32_t line;          /* of the line that was handed out last, from 1 */
    uint32_t blank;         /* empty lines still to hand out for the rest of a value */
    uint8_t ours;           /* the section is ours */
    uint8_t inside;         /* some section has begun */
    atl_config_value value; /* of the key that was handed out last */

    /* 1 when a section of this name is ours. */
    int (*is_ours)(void *user, const char *section, size_t len, uint32_t line);
    /* Something that is no section, no key and no comment, in a section of ours or as a section. */
    void (*on_error)(void *user, uint32_t line, const char *text);
    /* A key before any section, or a line that is none (len 0). */
    void (*on_outside)(void *user, const char *key, size_t len, uint32_t line);
    void *user;
} atl_config_scan;

/* `text` holds no NUL. The callbacks are set by the caller afterwards. */
void atl_config_scan_init(atl_config_scan *scan, const char *text, size_t len);
/* An ini_reader over an atl_config_scan: like fgets(). */
char *atl_config_scan_line(char *buf, int cap, void *scan);

#endif
