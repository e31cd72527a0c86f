#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTION_COUNT 27

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
    ID_BIND,
    ID_NO_RELAY,
    ID_NO_UPGRADE,
    ID_TIMEOUT,
    ID_ADDR,
    ID_OUT,
    ID_ALLOW,
    ID_MAX_SIZE,
    ID_DRAIN,
    ID_STATS,
    ID_STUN_ALTERNATE,
    ID_NAT,
    ID_LIFETIME,
    ID_FILE,
    ID_REASON
};

static const option_spec specs[OPTION_COUNT] = {
    {"help", NULL, 'h', GROUP_COMMON, "print this and exit", NULL},
    {"json", NULL, ID_JSON, GROUP_COMMON, "print one JSON object a line", NULL},
    {"dir", "DIR", ID_DIR, GROUP_COMMON,
     "the node's directory (~/.atlas); its key is DIR/state/node.key", NULL},
    {"config", "FILE", ID_CONFIG, GROUP_NET,
     "configuration file (DIR/state/config.toml where there is one)", NULL},
    {"verbose", NULL, 'v', GROUP_COMMON, "log to standard error; more with -vv, -vvv", NULL},
    {"relay", "ADDR", ID_RELAY, GROUP_NET,
     "use this relay, a multiaddr ending in /p2p/ID; repeatable", NULL},
    {"stun", "HOST:PORT", ID_STUN, GROUP_NET, "use this STUN server; repeatable", NULL},
    {"port", "N", 'p', GROUP_NET, "local UDP port", "a number from 0 to 65535"},
    {"bind", "IP", ID_BIND, GROUP_NET, "local address", NULL},
    {"no-relay", NULL, ID_NO_RELAY, GROUP_PEERS, "never use a relay", NULL},
    {"no-upgrade", NULL, ID_NO_UPGRADE, GROUP_PEERS,
     "do not look for a direct path where a relay serves", NULL},
    {"ipv4", NULL, '4', GROUP_NET, "IPv4 only", NULL},
    {"ipv6", NULL, '6', GROUP_NET, "IPv6 only", NULL},
    {"timeout", "SECS", ID_TIMEOUT, GROUP_TIMEOUT, "give up after this time",
     "seconds from 0.001 to 86400"},
    {"addr", "ADDR", ID_ADDR, GROUP_DIAL, "a direct address of the target, a multiaddr; repeatable",
     NULL},
    {"out", "DIR", ID_OUT, GROUP_LISTEN, "store received files here (the current directory)", NULL},
    {"allow", "PEER", ID_ALLOW, GROUP_LISTEN, "accept only these peers; repeatable", NULL},
    {"max-size", "BYTES", ID_MAX_SIZE, GROUP_LISTEN,
     "refuse longer files; K, M and G allowed (16G)",
     "a number of bytes, which K, M, G or T may follow"},
    {"drain", "SECS", ID_DRAIN, GROUP_RELAY, "at the end, give nodes this long to go elsewhere (5)",
     "seconds from 0 to 86400"},
    {"stats", "SECS", ID_STATS, GROUP_RELAY, "print counters at this interval",
     "seconds from 0.1 to 86400"},
    {"stun-alternate", "IP[:PORT]", ID_STUN_ALTERNATE, GROUP_RELAY,
     "a second address of this host for STUN, so that others can test their NAT; one a family",
     NULL},
    {"nat", NULL, ID_NAT, GROUP_STUN, "what NAT is this, and which peers are reached through it",
     NULL},
    {"lifetime", "SECS", ID_LIFETIME, GROUP_STUN,
     "with --nat: how long mappings live, found within this time", "seconds from 8 to 7200"},
    {"count", "N", 'c', GROUP_PING, "stop after this many (4)", "a number from 1 to 1000000000"},
    {"interval", "SECS", 'i', GROUP_PING, "time between two pings (1)",
     "seconds from 0.001 to 86400"},
    {"file", "PATH", ID_FILE, GROUP_SEND, "send this file", NULL},
    {"reason", "TEXT", ID_REASON, GROUP_DISCONNECT, "what to tell the peer", "at most 256 bytes"},
};

const command *command_find(const char *name) {
    const command *cmd;

    for (cmd = commands; cmd->name != NULL; cmd++) {
        if (strcmp(cmd->name, name) == 0) {
            return cmd;
        }
    }
    return NULL;
}

void print_help(void) {
    const command *cmd;

    printf("usage: atlas COMMAND [OPTION...] [ARGUMENT...]\n\n");
    for (cmd = commands; cmd->name != NULL; cmd++) {
        printf("  %-10s %-22s %s\n", cmd->name, cmd->synopsis, cmd->does);
    }
    printf(
        "\nTARGET is a peer id, dialled through the relays that are configured, or a multiaddr "
        "that\n"
        "ends in /p2p/ID, direct or .../p2p-circuit/p2p/ID. Each command has --help.\n"
        "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.\n");
}

static int in_use(const command *cmd, const option_spec *spec) {
    return (spec->group & (cmd->groups | GROUP_COMMON)) != 0;
}

static void print_command_help(const command *cmd) {
    size_t i;

    printf("usage: atlas %s [OPTION...]%s%s\n\n%s\n\n", cmd->name, *cmd->synopsis ? " " : "",
           cmd->synopsis, cmd->does);
    for (i = 0; i < OPTION_COUNT; i++) {
        char name[48];
        char letter[8] = "    ";

        if (!in_use(cmd, &specs[i])) {
            continue;
        }
        if (specs[i].id < 256) {
            (void)snprintf(letter, sizeof(letter), "-%c, ", specs[i].id);
        }
        (void)snprintf(name, sizeof(name), "%s--%s%s%s", letter, specs[i].name,
                       specs[i].argument ? " " : "", specs[i].argument ? specs[i].argument : "");
        printf("  %-24s %s\n", name, specs[i].help);
    }
}

/* ---- values ---- */

static int to_number(const char *text, uint64_t max, uint64_t *out) {
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value > max) {
        return 0;
    }
    *out = value;
    return 1;
}

static int to_ms(const char *text, uint64_t *out) {
    char *end;
    double value;

    errno = 0;
    value = strtod(text, &end);
    if ((text[0] != '.' && (text[0] < '0' || text[0] > '9')) || *end != '\0' || errno != 0 ||
        !(value >= 0 && value <= 86400)) {
        return 0;
    }
    *out = (uint64_t)(value * 1000 + 0.5);
    return 1;
}

static int to_bytes(const char *text, uint64_t *out) {
    static const char units[] = "KMGT";
    char digits[24];
    size_t len = strlen(text);
    const char *unit = len > 0 ? strchr(units, text[len - 1]) : NULL;
    uint64_t value;
    int shift = 0;

    if (unit != NULL && *unit != '\0') {
        shift = 10 * (int)(unit - units + 1);
        len--;
    }
    if (len >= sizeof(digits)) {
        return 0;
    }
    memcpy(digits, text, len);
    digits[len] = '\0';
    if (!to_number(digits, UINT64_MAX >> shift, &value)) {
        return 0;
    }
    *out = value << shift;
    return 1;
}

static int append(list *l, const char *text) {
    if (l->count >= MAX_REPEATED) {
        return 0;
    }
    l->items[l->count++] = text;
    return 1;
}

/* 1, or 0 when the value is wrong. */
static int take_net(int id, const char *value, options *out) {
    switch (id) {
    case ID_RELAY:
        return append(&out->relays, value);
    case ID_STUN:
        return append(&out->stuns, value);
    case ID_BIND:
        out->bind = value;
        return 1;
    case 'p':
        out->port_given = 1;
        return to_number(value, 65535, &out->port);
    case ID_NO_RELAY:
        out->no_relay = 1;
        return 1;
    case ID_NO_UPGRADE:
        out->no_upgrade = 1;
        return 1;
    case '4':
    case '6':
        out->family = id - '0';
        return 1;
    case ID_TIMEOUT:
        return to_ms(value, &out->timeout_ms) && out->timeout_ms > 0;
    case ID_ADDR:
        return append(&out->addrs, value);
    default:
        return 0;
    }
}

static int take_stun(int id, const char *value, options *out) {
    switch (id) {
    case ID_STUN_ALTERNATE:
        return append(&out->alternates, value);
    case ID_NAT:
        out->nat = 1;
        return 1;
    case ID_LIFETIME:
        out->nat = 1;
        return to_ms(value, &out->lifetime_ms) && out->lifetime_ms >= 8000 &&
               out->lifetime_ms <= 7200000;
    default:
        return take_net(id, value, out);
    }
}

static int take(int id, const char *value, options *out) {
    switch (id) {
    case ID_JSON:
        out->json = 1;
        return 1;
    case ID_CONFIG:
        out->config = value;
        return 1;
    case ID_DIR:
        out->dir = value;
        return 1;
    case 'v':
        out->verbose++;
        return 1;
    case ID_OUT:
        out->out_dir = value;
        return 1;
    case ID_ALLOW:
        return append(&out->allow, value);
    case ID_MAX_SIZE:
        return to_bytes(value, &out->max_size);
    case ID_DRAIN:
        return to_ms(value, &out->drain_ms);
    case ID_STATS:
        return to_ms(value, &out->stats_ms) && out->stats_ms >= 100;
    case 'c':
        return to_number(value, 1000000000, &out->count) && out->count > 0;
    case 'i':
        return to_ms(value, &out->interval_ms) && out->interval_ms >= 1;
    case ID_FILE:
        out->file = value;
        return 1;
    case ID_REASON:
        out->reason = value;
        return strlen(value) <= 256;
    default:
        return take_stun(id, value, out);
    }
}

/* ---- the whole ---- */

static void build(const command *cmd, struct option *longs, char *shorts) {
    size_t count = 0;
    size_t i;

    *shorts++ = ':'; /* a missing value is told from an unknown option */
    for (i = 0; i < OPTION_COUNT; i++) {
        if (!in_use(cmd, &specs[i])) {
            continue;
        }
        longs[count].name = specs[i].name;
        longs[count].has_arg = specs[i].argument != NULL ? required_argument : no_argument;
        longs[count].flag = NULL;
        longs[count].val = specs[i].id;
        count++;
        if (specs[i].id < 256) {
            *shorts++ = (char)specs[i].id;
            if (specs[i].argument != NULL) {
                *shorts++ = ':';
            }
        }
    }
    memset(&longs[count], 0, sizeof(longs[count]));
    *shorts = '\0';
}

static int wrong(const command *cmd, const char *what, const char *which) {
    fprintf(stderr, "atlas %s: %s%s\nTry: atlas %s --help\n", cmd->name, what, which, cmd->name);
    return EXIT_USAGE;
}

static int wrong_value(const command *cmd, int id, const char *value) {
    const option_spec *spec = specs;
    char text[160];

    while (spec->id != id) {
        spec++;
    }
    if (spec->expected == NULL) {
        (void)snprintf(text, sizeof(text), "--%s: at most %d of them, one too many is ", spec->name,
                       MAX_REPEATED);
    } else {
        (void)snprintf(text, sizeof(text), "--%s: expected %s, found ", spec->name, spec->expected);
    }
    return wrong(cmd, text, value);
}

static void set_defaults(options *out) {
    memset(out, 0, sizeof(*out));
    out->out_dir = ".";
    out->max_size = UINT64_C(16) << 30;
    out->drain_ms = 5000;
    out->count = 4;
    out->interval_ms = 1000;
}

int options_parse(const command *cmd, int argc, char **argv, options *out) {
    struct option longs[OPTION_COUNT + 1];
    char shorts[2 * OPTION_COUNT + 2];
    int id;

    set_defaults(out);
    build(cmd, longs, shorts);
    opterr = 0;
    while ((id = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (id == 'h') {
            print_command_help(cmd);
            return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
        }
        if (id == '?') {
            return wrong(cmd, "unknown or ambiguous option ", argv[optind - 1]);
        }
        if (id == ':') {
            return wrong(cmd, "a value is missing after ", argv[optind - 1]);
        }
        if (!take(id, optarg, out)) {
            return wrong_value(cmd, id, optarg == NULL ? "" : optarg);
        }
    }
    out->args = argv + optind;
    out->arg_count = argc - optind;
    if (out->arg_count < cmd->min_args) {
        return wrong(cmd, "something is missing: ", cmd->synopsis);
    }
    if (out->arg_count > cmd->max_args) {
        return wrong(cmd, "too many arguments: ", out->args[cmd->max_args]);
    }
    return -1;
}
