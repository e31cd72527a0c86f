/* The command line. */
#ifndef ATLAS_PROGRAM_OPTIONS_H
#define ATLAS_PROGRAM_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#define MAX_REPEATED 64

/* Exit codes. */
#define EXIT_DONE 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* Groups of options; a command takes some of them. */
#define GROUP_COMMON 0x001u
#define GROUP_NET 0x002u
#define GROUP_DIAL 0x004u
#define GROUP_LISTEN 0x008u
#define GROUP_RELAY 0x010u
#define GROUP_PING 0x020u
#define GROUP_SEND 0x040u
#define GROUP_DISCONNECT 0x080u
#define GROUP_TIMEOUT 0x100u
#define GROUP_STUN 0x400u
#define GROUP_PEERS 0x200u /* commands that have connections to peers */
#define GROUP_NODES 0x800u /* commands where --bootstrap names a bootstrap node */
#define GROUP_SERVER 0x1000u
#define GROUP_DISCOVER 0x2000u

typedef struct list {
    const char *items[MAX_REPEATED];
    size_t count;
} list;

typedef struct options {
    const char *dir;
    const char *config;
    int json;
    int verbose;
    list relays;
    list stuns;
    list nodes;              /* bootstrap nodes */
    const char *node_option; /* which option named them */
    list addrs;
    list allow;
    const char *bind;
    uint64_t port;
    int port_given;
    int no_relay;
    int no_upgrade;
    int family;          /* 0: both, 4 or 6 */
    uint64_t timeout_ms; /* 0: the default */
    const char *out_dir;
    uint64_t max_size;
    uint64_t drain_ms;
    uint64_t stats_ms;
    uint64_t count;
    uint64_t interval_ms;
    int nat;
    uint64_t lifetime_ms; /* 0: not asked for */
    list alternates;      /* further addresses of the relay's STUN server */
    int serve;            /* the relay is a bootstrap node, too */
    const char *db;
    const char *metrics; /* NULL: the default */
    /* Options of the library; UINT64_MAX: not given. */
    uint64_t record_lifetime;
    uint64_t max_records;
    uint64_t autorelay;
    uint64_t autorelay_count;
    int offer_relay;
    int no_advertise;
    uint32_t offer; /* a bit of ATLAS_OFFER_* */
    uint64_t limit;
    int random;
    const char *file;
    const char *reason;
    char **args; /* what stands behind the options */
    int arg_count;
} options;

struct app;

typedef struct command {
    const char *name;
    const char *synopsis; /* behind the name */
    const char *does;
    uint32_t groups;
    int min_args;
    int max_args;
    int (*run)(struct app *app);
} command;

extern const command commands[];

const command *command_find(const char *name);
/* Returns -1 to go on, or an exit code: help was asked for, or the usage is wrong (said so
 * already). */
int options_parse(const command *cmd, int argc, char **argv, options *out);
void print_help(void);

#endif
