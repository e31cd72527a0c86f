/* The configuration file: no text makes the parser misbehave, every complaint names a line that the
 * text has, and what was accepted says the same when it is written out and read again. */
#include "config/config.h"
#include "config/scan.h"
#include "io/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct heard {
    uint32_t lines;
    uint32_t count;
    uint32_t errors;
} heard;

static void must(int condition) {
    if (!condition) {
        abort();
    }
}

static void hear(void *user, int32_t code, const char *file, uint32_t line, const char *text) {
    heard *h = user;
    size_t i;

    (void)file;
    must(line >= 1 && line <= h->lines);
    for (i = 0; text[i] != '\0'; i++) {
        must((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
    }
    h->count++;
    h->errors += code != ATLAS_OK;
}

static int32_t parse(atl_env *env, const char *text, size_t len, heard *h, atl_config **out) {
    atl_config_sink sink = {.cb = hear, .user = h, .file = "f"};
    size_t i;
    int32_t rv;

    memset(h, 0, sizeof(*h));
    h->lines = 1;
    for (i = 0; i < len; i++) {
        h->lines += text[i] == '\n';
    }
    rv = atl_config_parse(env, text, len, &sink, out);
    must(h->count <= ATL_CONFIG_MAX_COMPLAINTS);
    must(rv == ATLAS_OK ? h->errors == 0 : sink.errors > 0 || rv == ATLAS_ERR_TOO_LARGE);
    return rv;
}

/* Writes in quotes what was a string. */
static void write_string(FILE *out, const char *text) {
    (void)fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            (void)fputc('\\', out);
        }
        (void)fputc(*text, out);
    }
    (void)fputs("\",\n", out);
}

static void write_key(FILE *out, const atl_config *config, size_t i) {
    const atl_config_key *key = &atl_config_keys[i];
    size_t j;

    (void)fprintf(out, "[%s]\n%s = ", key->section, key->name);
    if (key->kind == ATL_KEY_LIST) {
        (void)fputs("[\n", out);
        for (j = 0; j < config->lists[key->target].count; j++) {
            write_string(out, config->lists[key->target].items[j]);
        }
        (void)fputs("]\n", out);
    } else if (key->kind == ATL_KEY_BOOL) {
        (void)fputs(config->value[i] ? "true\n" : "false\n", out);
    } else if (key->kind == ATL_KEY_SECONDS) {
        (void)fprintf(out, "%llu.%03llu\n", (unsigned long long)(config->value[i] / 1000),
                      (unsigned long long)(config->value[i] % 1000));
    } else {
        (void)fprintf(out, "%llu\n", (unsigned long long)config->value[i]);
    }
}

static void same(const atl_config *a, const atl_config *b) {
    size_t i;
    size_t j;

    for (i = 0; i < ATL_CONFIG_KEYS; i++) {
        must((a->line[i] == 0) == (b->line[i] == 0) && a->value[i] == b->value[i]);
    }
    for (i = 0; i < ATL_LIST_COUNT; i++) {
        must(a->lists[i].count == b->lists[i].count);
        for (j = 0; j < a->lists[i].count; j++) {
            must(strcmp(a->lists[i].items[j], b->lists[i].items[j]) == 0);
        }
    }
}

static void round_trip(atl_env *env, const atl_config *config) {
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    atl_config *again;
    heard h;
    size_t i;

    must(out != NULL);
    for (i = 0; i < ATL_CONFIG_KEYS; i++) {
        if (config->line[i] != 0) {
            write_key(out, config, i);
        }
    }
    must(fclose(out) == 0);
    must(parse(env, text, len, &h, &again) == ATLAS_OK && h.count == 0);
    same(config, again);
    atl_config_free(env, again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    atlas_hooks hooks;
    atl_env env;
    atl_config *config;
    heard h;

    memset(&hooks, 0, sizeof(hooks));
    hooks.size = sizeof(hooks);
    must(atl_os_default_hooks(&hooks) == ATLAS_OK);
    atl_env_init(&env, &hooks);
    if (parse(&env, (const char *)data, size, &h, &config) == ATLAS_OK) {
        round_trip(&env, config);
        atl_config_free(&env, config);
    }
    return 0;
}
