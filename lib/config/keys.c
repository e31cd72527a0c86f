#include "config/keys.h"

#include <string.h>

#define NAME_MAX_LEN 48

#define RATE_MAX (UINT64_C(1) << 33)
#define RECORDS_MAX 100000000
#define SIZE_MAX_1G (UINT64_C(1) << 30)

/* The ranges are those of the options in atlas/context.h; tests/unit/test_config_api.c compares
 * them. */
const atl_config_key atl_config_keys[ATL_CONFIG_KEYS] = {
    {"network", "port", ATL_KEY_NUMBER, ATLAS_OPT_PORT, 0, 65535},
    {"network", "ipv4", ATL_KEY_BOOL, ATLAS_OPT_IPV4, 0, 1},
    {"network", "ipv6", ATL_KEY_BOOL, ATLAS_OPT_IPV6, 0, 1},
    {"network", "relays", ATL_KEY_LIST, ATL_LIST_RELAYS, 0, 0},
    {"network", "bootstrap", ATL_KEY_LIST, ATL_LIST_BOOTSTRAP, 0, 0},
    {"stun", "servers", ATL_KEY_LIST, ATL_LIST_STUN, 0, 0},
    {"stun", "timeout", ATL_KEY_SECONDS, ATLAS_OPT_STUN_TIMEOUT_MS, 100, 39500},
    {"stun", "serve", ATL_KEY_BOOL, ATLAS_OPT_STUN_SERVER, 0, 1},
    {"stun", "rate", ATL_KEY_NUMBER, ATLAS_OPT_STUN_RATE, 1, 1000000},
    {"transport", "enable_relay", ATL_KEY_BOOL, ATLAS_OPT_ENABLE_RELAY, 0, 1},
    {"transport", "offer_relay", ATL_KEY_BOOL, ATLAS_OPT_OFFER_RELAY, 0, 1},
    {"transport", "relay_bandwidth_limit", ATL_KEY_NUMBER, ATLAS_OPT_RELAY_BANDWIDTH, 0, RATE_MAX},
    {"transport", "relay_delay", ATL_KEY_SECONDS, ATLAS_OPT_RELAY_DELAY_MS, 0, 10000},
    {"transport", "idle_timeout", ATL_KEY_SECONDS, ATLAS_OPT_IDLE_TIMEOUT_MS, 1000, 600000},
    {"transport", "max_connections", ATL_KEY_NUMBER, ATLAS_OPT_MAX_CONNECTIONS, 1, 1000000},
    {"transport", "max_streams_per_conn", ATL_KEY_NUMBER, ATLAS_OPT_MAX_STREAMS, 1, 65535},
    {"transport", "max_message_size", ATL_KEY_NUMBER, ATLAS_OPT_MAX_MESSAGE_SIZE, 1, SIZE_MAX_1G},
    {"transport", "stream_buffer", ATL_KEY_NUMBER, ATLAS_OPT_STREAM_BUFFER, 16384, SIZE_MAX_1G},
    {"transport", "presence_interval", ATL_KEY_SECONDS, ATLAS_OPT_PRESENCE_INTERVAL_MS, 100, 60000},
    {"transport", "handshake_timeout", ATL_KEY_SECONDS, ATLAS_OPT_HANDSHAKE_TIMEOUT_MS, 100,
     120000},
    {"transport", "upgrade", ATL_KEY_BOOL, ATLAS_OPT_UPGRADE, 0, 1},
    {"transport", "keepalive_max", ATL_KEY_SECONDS, ATLAS_OPT_KEEPALIVE_MAX_MS, 1000, 600000},
    {"transport", "idle_mode_max_secs", ATL_KEY_NUMBER, ATLAS_OPT_IDLE_MODE_MAX_S, 0, 86400},
    {"transport", "autorelay", ATL_KEY_NUMBER, ATLAS_OPT_AUTORELAY, 0, 2},
    {"transport", "autorelay_count", ATL_KEY_NUMBER, ATLAS_OPT_AUTORELAY_COUNT, 1, 8},
    {"transport", "gso", ATL_KEY_BOOL, ATLAS_OPT_GSO, 0, 1},
    {"security", "handshake_limit", ATL_KEY_NUMBER, ATLAS_OPT_HANDSHAKE_LIMIT, 1, 1000000},
    {"security", "max_clock_drift_secs", ATL_KEY_NUMBER, ATLAS_OPT_MAX_CLOCK_DRIFT_S, 1, 86400},
    {"relay", "total_bandwidth", ATL_KEY_NUMBER, ATLAS_OPT_RELAY_TOTAL_BANDWIDTH, 0, RATE_MAX},
    {"relay", "max_nodes", ATL_KEY_NUMBER, ATLAS_OPT_RELAY_MAX_NODES, 1, 10000000},
    {"relay", "max_circuits", ATL_KEY_NUMBER, ATLAS_OPT_RELAY_MAX_CIRCUITS, 1, 10000000},
    {"relay", "max_circuits_per_node", ATL_KEY_NUMBER, ATLAS_OPT_RELAY_MAX_CIRCUITS_PER_NODE, 1,
     1000000},
    {"relay", "max_per_ipv4", ATL_KEY_NUMBER, ATLAS_OPT_RELAY_MAX_PER_IPV4, 1, 10000000},
    {"relay", "max_per_ipv6_64", ATL_KEY_NUMBER, ATLAS_OPT_RELAY_MAX_PER_IPV6_64, 1, 10000000},
    {"relay", "handshakes", ATL_KEY_NUMBER, ATLAS_OPT_RELAY_HANDSHAKES, 1, 1000000},
    {"registry", "record_lifetime", ATL_KEY_NUMBER, ATLAS_OPT_RECORD_LIFETIME_S, 60, 86400},
    {"registry", "max_records", ATL_KEY_NUMBER, ATLAS_OPT_REGISTRY_MAX_RECORDS, 1, RECORDS_MAX},
    {"registry", "max_per_ipv4", ATL_KEY_NUMBER, ATLAS_OPT_REGISTRY_MAX_PER_IPV4, 1, RECORDS_MAX},
    {"registry", "max_per_ipv6_64", ATL_KEY_NUMBER, ATLAS_OPT_REGISTRY_MAX_PER_IPV6_64, 1,
     RECORDS_MAX},
    {"relay", "allow", ATL_KEY_LIST, ATL_LIST_ALLOW, 0, 0},
    {"relay", "deny", ATL_KEY_LIST, ATL_LIST_DENY, 0, 0},
};

int32_t atl_config_key_find(const char *section, const char *name) {
    int32_t i;

    for (i = 0; i < ATL_CONFIG_KEYS; i++) {
        if (strcmp(atl_config_keys[i].section, section) == 0 &&
            strcmp(atl_config_keys[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

const char *atl_config_key_section(const char *name, size_t len) {
    size_t i;

    for (i = 0; i < ATL_CONFIG_KEYS; i++) {
        if (strlen(atl_config_keys[i].name) == len &&
            memcmp(atl_config_keys[i].name, name, len) == 0) {
            return atl_config_keys[i].section;
        }
    }
    return NULL;
}

int atl_config_section_known(const char *name, size_t len) {
    size_t i;

    for (i = 0; i < ATL_CONFIG_KEYS; i++) {
        if (strlen(atl_config_keys[i].section) == len &&
            memcmp(atl_config_keys[i].section, name, len) == 0) {
            return 1;
        }
    }
    return 0;
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c == '-' ? '_' : c;
}

static size_t min3(size_t a, size_t b, size_t c) {
    size_t low = a < b ? a : b;

    return low < c ? low : c;
}

/* Edit distance with neighbours swapped as one step (optimal string alignment); case and - for _ do
 * not count. NAME_MAX_LEN when one of the two is too long to matter. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len) {
    size_t rows[3][NAME_MAX_LEN + 1];
    size_t i;
    size_t j;

    if (a_len > NAME_MAX_LEN || b_len > NAME_MAX_LEN) {
        return NAME_MAX_LEN;
    }
    for (j = 0; j <= b_len; j++) {
        rows[0][j] = j;
    }
    for (i = 1; i <= a_len; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *before = rows[(i + 1) % 3];

        row[0] = i;
        for (j = 1; j <= b_len; j++) {
            size_t differs = lower(a[i - 1]) != lower(b[j - 1]);

            row[j] = min3(row[j - 1] + 1, above[j] + 1, above[j - 1] + differs);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1]) && before[j - 2] + 1 < row[j]) {
                row[j] = before[j - 2] + 1;
            }
        }
    }
    return rows[a_len % 3][b_len];
}

const char *atl_config_section_near(const char *name, size_t len) {
    size_t i;

    for (i = 0; i < ATL_CONFIG_KEYS; i++) {
        const char *section = atl_config_keys[i].section;

        if (distance(name, len, section, strlen(section)) <= 1) {
            return section;
        }
    }
    return NULL;
}

const char *atl_config_key_near(const char *section, const char *name, const char **other) {
    size_t len = strlen(name);
    size_t best = 1 + len / 4;
    const char *found = NULL;
    size_t i;

    *other = NULL;
    for (i = 0; i < ATL_CONFIG_KEYS; i++) {
        const atl_config_key *key = &atl_config_keys[i];
        size_t steps;

        if (strcmp(key->section, section) != 0) {
            if (strcmp(key->name, name) == 0) {
                *other = key->section;
            }
            continue;
        }
        steps = distance(name, len, key->name, strlen(key->name));
        if (steps <= best && (found == NULL || steps < best)) {
            best = steps;
            found = key->name;
        }
    }
    return found;
}
