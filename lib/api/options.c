#include "api/options.h"

#include "peer/relays.h"

#include <string.h>

typedef struct option_range {
    uint64_t min;
    uint64_t max;
    uint64_t initial;
    uint8_t before_start;
} option_range;

#define GIB (UINT64_C(1) << 30)
/* Rates are at most what a token bucket holds (base/bucket.h). */
#define RATE_MAX (UINT64_C(1) << 33)

/* Control connections of a relay server that have not announced themselves. */
#define RELAY_SPARE 1024

static const option_range ranges[ATL_OPT_COUNT] = {
    [ATLAS_OPT_PORT] = {0, 65535, 0, 1},
    [ATLAS_OPT_IPV4] = {0, 1, 1, 1},
    [ATLAS_OPT_IPV6] = {0, 1, 1, 1},
    [ATLAS_OPT_ENABLE_RELAY] = {0, 1, 1, 0},
    [ATLAS_OPT_OFFER_RELAY] = {0, 1, 0, 0},
    [ATLAS_OPT_IDLE_TIMEOUT_MS] = {1000, 600000, 90000, 0},
    [ATLAS_OPT_MAX_CONNECTIONS] = {1, 1000000, 1024, 0},
    [ATLAS_OPT_MAX_STREAMS] = {1, 65535, 128, 0},
    [ATLAS_OPT_MAX_MESSAGE_SIZE] = {1, GIB, 1048576, 0},
    [ATLAS_OPT_STREAM_BUFFER] = {16384, GIB, 1048576, 0},
    [ATLAS_OPT_HANDSHAKE_LIMIT] = {1, 1000000, 256, 0},
    [ATLAS_OPT_MAX_CLOCK_DRIFT_S] = {1, 86400, 300, 0},
    [ATLAS_OPT_PRESENCE_INTERVAL_MS] = {100, 60000, 2000, 0},
    [ATLAS_OPT_HANDSHAKE_TIMEOUT_MS] = {100, 120000, 10000, 0},
    [ATLAS_OPT_STUN_TIMEOUT_MS] = {100, 39500, 3000, 0},
    [ATLAS_OPT_RELAY_BANDWIDTH] = {0, RATE_MAX, 1048576, 0},
    [ATLAS_OPT_RELAY_TOTAL_BANDWIDTH] = {0, RATE_MAX, 0, 0},
    [ATLAS_OPT_RELAY_MAX_NODES] = {1, 10000000, 16384, 0},
    [ATLAS_OPT_RELAY_MAX_CIRCUITS] = {1, 10000000, 65536, 0},
    [ATLAS_OPT_RELAY_MAX_CIRCUITS_PER_NODE] = {1, 1000000, 64, 0},
    [ATLAS_OPT_RELAY_MAX_PER_IPV4] = {1, 10000000, 256, 0},
    [ATLAS_OPT_RELAY_MAX_PER_IPV6_64] = {1, 10000000, 256, 0},
    [ATLAS_OPT_RELAY_HANDSHAKES] = {1, 1000000, 32, 0},
    [ATLAS_OPT_STUN_SERVER] = {0, 1, 0, 0},
    [ATLAS_OPT_GSO] = {0, 1, 1, 1},
    [ATLAS_OPT_RELAY_DELAY_MS] = {0, 10000, 250, 0},
    [ATLAS_OPT_STUN_RATE] = {1, 1000000, 50, 0},
    [ATLAS_OPT_UPGRADE] = {0, 1, 1, 0},
    [ATLAS_OPT_KEEPALIVE_MAX_MS] = {1000, 600000, 60000, 0},
    [ATLAS_OPT_IDLE_MODE_MAX_S] = {0, 86400, 3600, 0},
    [ATLAS_OPT_AUTORELAY] = {0, 2, 1, 0},
    [ATLAS_OPT_AUTORELAY_COUNT] = {1, 8, 3, 0},
    [ATLAS_OPT_RECORD_LIFETIME_S] = {60, 86400, 3600, 0},
    [ATLAS_OPT_REGISTRY_MAX_RECORDS] = {1, 100000000, 1000000, 0},
    [ATLAS_OPT_REGISTRY_MAX_PER_IPV4] = {1, 100000000, 256, 0},
    [ATLAS_OPT_REGISTRY_MAX_PER_IPV6_64] = {1, 100000000, 256, 0},
};

static void derive(atl_options *options) {
    options->presence_ns = options->u64[ATLAS_OPT_PRESENCE_INTERVAL_MS] * ATL_MS;
    options->handshake_ns = options->u64[ATLAS_OPT_HANDSHAKE_TIMEOUT_MS] * ATL_MS;
    options->drift_s = options->u64[ATLAS_OPT_MAX_CLOCK_DRIFT_S];
}

void atl_options_init(atl_options *options) {
    static const uint8_t any[16] = {0};
    uint32_t i;

    memset(options, 0, sizeof(*options));
    for (i = 1; i < ATL_OPT_COUNT; i++) {
        options->u64[i] = ranges[i].initial;
    }
    atl_addr_set4(&options->bind4, any, 0);
    atl_addr_set6(&options->bind6, any, 0, 0);
    derive(options);
}

int32_t atl_options_set_u64(atl_options *options, uint32_t option, uint64_t value, int started) {
    if (option == 0 || option >= ATL_OPT_COUNT || value < ranges[option].min ||
        value > ranges[option].max) {
        return ATLAS_ERR_INVALID;
    }
    if (started && ranges[option].before_start) {
        return ATLAS_ERR_STATE;
    }
    options->u64[option] = value;
    derive(options);
    return ATLAS_OK;
}

int32_t atl_options_set_str(atl_options *options, uint32_t option, const char *value, int started) {
    uint8_t family = option == ATLAS_OPT_BIND4 ? 4 : 6;
    atl_addr addr;

    if ((option != ATLAS_OPT_BIND4 && option != ATLAS_OPT_BIND6) || value == NULL ||
        atl_addr_parse_ip(value, strlen(value), 0, &addr) != ATLAS_OK || addr.family != family ||
        atl_addr_is_multicast(&addr)) {
        return ATLAS_ERR_INVALID;
    }
    if (started) {
        return ATLAS_ERR_STATE;
    }
    if (family == 4) {
        options->bind4 = addr;
    } else {
        options->bind6 = addr;
    }
    return ATLAS_OK;
}

int32_t atl_options_get_u64(const atl_options *options, uint32_t option, uint64_t *out) {
    if (option == 0 || option >= ATL_OPT_COUNT) {
        return ATLAS_ERR_INVALID;
    }
    *out = options->u64[option];
    return ATLAS_OK;
}

void atl_options_quic(const atl_options *options, int relay, atl_quic_params *out) {
    out->idle_timeout = options->u64[ATLAS_OPT_IDLE_TIMEOUT_MS] * ATL_MS;
    out->handshake_timeout = options->handshake_ns;
    out->max_conns = options->u64[ATLAS_OPT_MAX_CONNECTIONS] + ATL_MAX_RELAYS;
    if (relay) {
        out->max_conns += options->u64[ATLAS_OPT_RELAY_MAX_NODES] + RELAY_SPARE;
    }
    out->max_streams = options->u64[ATLAS_OPT_MAX_STREAMS];
    out->stream_window = options->u64[ATLAS_OPT_STREAM_BUFFER];
    out->handshake_limit = options->u64[ATLAS_OPT_HANDSHAKE_LIMIT];
}

void atl_options_relay(const atl_options *options, atl_relay_limits *out) {
    const uint64_t *u64 = options->u64;

    out->bandwidth = u64[ATLAS_OPT_RELAY_BANDWIDTH];
    out->total_bandwidth = u64[ATLAS_OPT_RELAY_TOTAL_BANDWIDTH];
    out->max_nodes = u64[ATLAS_OPT_RELAY_MAX_NODES];
    out->max_circuits = u64[ATLAS_OPT_RELAY_MAX_CIRCUITS];
    out->max_circuits_per_node = u64[ATLAS_OPT_RELAY_MAX_CIRCUITS_PER_NODE];
    out->max_per_ipv4 = u64[ATLAS_OPT_RELAY_MAX_PER_IPV4];
    out->max_per_ipv6_64 = u64[ATLAS_OPT_RELAY_MAX_PER_IPV6_64];
    out->handshakes = u64[ATLAS_OPT_RELAY_HANDSHAKES];
    out->presence_interval = options->presence_ns;
    out->handshake_timeout = options->handshake_ns;
    out->max_clock_drift = options->drift_s;
}

void atl_options_registry(const atl_options *options, atl_record_store_limits *out) {
    out->max_records = options->u64[ATLAS_OPT_REGISTRY_MAX_RECORDS];
    out->max_per_ipv4 = options->u64[ATLAS_OPT_REGISTRY_MAX_PER_IPV4];
    out->max_per_ipv6_64 = options->u64[ATLAS_OPT_REGISTRY_MAX_PER_IPV6_64];
    out->drift = options->drift_s;
}
