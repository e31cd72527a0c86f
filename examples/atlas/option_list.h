/* The options that there are, and what their help says. */
#ifndef ATLAS_PROGRAM_OPTION_LIST_H
#define ATLAS_PROGRAM_OPTION_LIST_H

#include <stddef.h>
#include <stdint.h>

#define OPTION_MAX 64 /* at least as many as there are */

typedef struct option_spec {
    const char *name;
    const char *argument; /* what it is called in the help; NULL: none */
    int id;               /* the short form where it is a letter */
    uint32_t group;
    const char *help;
    const char *expected; /* of a value that can be wrong; NULL: it can only be too many */
} option_spec;

enum {
    ID_JSON = 256,
    ID_CONFIG,
    ID_DIR,
    ID_RELAY,
    ID_STUN,
    ID_NODE,
    ID_SERVE,
    ID_BIND,
    ID_NO_RELAY,
    ID_NO_UPGRADE,
    ID_TIMEOUT,
    ID_ADDR,
    ID_OUT,
    ID_ALLOW,
    ID_MAX_SIZE,
    ID_NO_ADVERTISE,
    ID_AUTORELAY,
    ID_RELAYS,
    ID_OFFER_RELAY,
    ID_DRAIN,
    ID_STATS,
    ID_STUN_ALTERNATE,
    ID_DB,
    ID_METRICS,
    ID_RECORD_LIFETIME,
    ID_MAX_RECORDS,
    ID_NAT,
    ID_LIFETIME,
    ID_FILE,
    ID_REASON,
    ID_OFFER,
    ID_LIMIT,
    ID_RANDOM
};

extern const option_spec option_specs[];
extern const size_t option_spec_count;

#endif
