#include "options.h"

#include "metrics.h"
#include "option_list.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        "\nTARGET is a peer id, looked up at the bootstrap nodes and dialled through the relays "
        "that "
        "are\n"
        "configured as well, or a multiaddr that ends in /p2p/ID, direct or "
        ".../p2p-circuit/p2p/ID.\n"
        "Each command has --help.\n"
        "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.\n");
}

static int in_use(const command *cmd, const option_spec *spec) {
    return (spec->group & (cmd->groups | GROUP_COMMON)) != 0;
}

static void print_command_help(const command *cmd) {
    size_t i;

    printf("usage: atlas %s [OPTION...]%s%s\n\n%s\n\n", cmd->name, *cmd->synopsis ? " " : "",
           cmd->synopsis, cmd->does);
    for (i = 0; i < option_spec_count; i++) {
        char name[48];
        char letter[8] = "    ";
        const option_spec *spec = &option_specs[i];

        if (!in_use(cmd, spec)) {
            continue;
        }
        if (spec->id < 256) {
            (void)snprintf(letter, sizeof(letter), "-%c, ", spec->id);
        }
        (void)snprintf(name, sizeof(name), "%s--%s%s%s", letter, spec->name,
                       spec->argument ? " " : "", spec->argument ? spec->argument : "");
        printf("  %-24s %s\n", name, spec->help);
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
    case ID_NODE:
        return append(&out->nodes, value);
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

/* The index of `value` in a list that ends with NULL, as `*out`. */
static int to_choice(const char *const *names, const char *value, uint64_t *out) {
    uint64_t i;

    for (i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], value) == 0) {
            *out = i;
            return 1;
        }
    }
    return 0;
}

static int to_range(const char *value, uint64_t min, uint64_t max, uint64_t *out) {
    return to_number(value, max, out) && *out >= min;
}

static int take_server(int id, const char *value, options *out) {
    switch (id) {
    case ID_SERVE:
        out->serve = 1;
        return 1;
    case ID_DB:
        out->db = value;
        return 1;
    case ID_METRICS:
        out->metrics = value;
        return strcmp(value, "off") == 0 || metrics_addr_parse(value, NULL);
    case ID_RECORD_LIFETIME:
        return to_range(value, 60, 86400, &out->record_lifetime);
    case ID_MAX_RECORDS:
        return to_range(value, 1, 100000000, &out->max_records);
    default:
        return take_net(id, value, out);
    }
}

static int take_discovery(int id, const char *value, options *out) {
    static const char *const whens[] = {"never", "auto", "always", NULL};
    static const char *const offers[] = {"relay", "bootstrap", "dialback", NULL};
    uint64_t choice = 0;

    switch (id) {
    case ID_NO_ADVERTISE:
        out->no_advertise = 1;
        return 1;
    case ID_AUTORELAY:
        return to_choice(whens, value, &out->autorelay);
    case ID_RELAYS:
        return to_range(value, 1, 8, &out->autorelay_count);
    case ID_OFFER_RELAY:
        out->offer_relay = 1;
        return 1;
    case ID_OFFER:
        if (!to_choice(offers, value, &choice)) {
            return 0;
        }
        out->offer = 1u << choice;
        return 1;
    case ID_LIMIT:
        return to_range(value, 1, 1000, &out->limit);
    case ID_RANDOM:
        out->random = 1;
        return 1;
    default:
        return take_server(id, value, out);
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
        return take_discovery(id, value, out);
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
    for (i = 0; i < option_spec_count; i++) {
        const option_spec *spec = &option_specs[i];

        if (!in_use(cmd, spec)) {
            continue;
        }
        longs[count].name = spec->name;
        longs[count].has_arg = spec->argument != NULL ? required_argument : no_argument;
        longs[count].flag = NULL;
        longs[count].val = spec->id;
        count++;
        if (spec->id < 256) {
            *shorts++ = (char)spec->id;
            if (spec->argument != NULL) {
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
    const option_spec *spec = option_specs;
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
    out->autorelay = UINT64_MAX;
    out->autorelay_count = UINT64_MAX;
    out->record_lifetime = UINT64_MAX;
    out->max_records = UINT64_MAX;
    out->offer = 1;
    out->limit = 20;
}

int options_parse(const command *cmd, int argc, char **argv, options *out) {
    struct option longs[OPTION_MAX + 1];
    char shorts[2 * OPTION_MAX + 2];
    int id;

    set_defaults(out);
    out->node_option = (cmd->groups & GROUP_RELAY) != 0 ? "--bootstrap-node" : "--bootstrap";
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
    if (out->arg_count > cmd->max_args && out->serve && out->args[0][0] == '/') {
        return wrong(cmd,
                     "--bootstrap runs a bootstrap node here and takes no value; "
                     "another one is named by --bootstrap-node ",
                     out->args[0]);
    }
    if (out->arg_count > cmd->max_args) {
        return wrong(cmd, "too many arguments: ", out->args[cmd->max_args]);
    }
    return -1;
}
