/* The program: which commands there are. */
#include "app.h"

#include <stdio.h>
#include <string.h>

#define DIALS (GROUP_NET | GROUP_NODES | GROUP_TIMEOUT | GROUP_PEERS | GROUP_DIAL)

const command commands[] = {
    {"init", "", "make the node's key and print its peer id", 0, 0, 0, run_init},
    {"id", "", "print the node's peer id", 0, 0, 0, run_id},
    {"stun", "[HOST:PORT...]", "ask STUN servers how this host looks from outside",
     GROUP_NET | GROUP_NODES | GROUP_TIMEOUT | GROUP_STUN, 0, MAX_REPEATED, run_stun},
    {"relay", "", "run a relay, which also answers STUN on its port",
     GROUP_NET | GROUP_RELAY | GROUP_SERVER, 0, 0, run_relay},
    {"bootstrap", "", "run a bootstrap node: it holds the records by which nodes are found",
     GROUP_NET | GROUP_NODES | GROUP_SERVER, 0, 0, run_bootstrap},
    {"listen", "", "run a node: accept peers, print messages, store files",
     GROUP_NET | GROUP_NODES | GROUP_PEERS | GROUP_LISTEN, 0, 0, run_listen},
    {"connect", "TARGET", "hold a connection and print its events", DIALS, 1, 1, run_connect},
    {"ping", "TARGET", "measure round trips", DIALS | GROUP_PING, 1, 1, run_ping},
    {"send", "TARGET [TEXT]", "send a message, or a file with --file", DIALS | GROUP_SEND, 1, 2,
     run_send},
    {"disconnect", "TARGET", "tell a peer to close its sessions with this node",
     DIALS | GROUP_DISCONNECT, 1, 1, run_disconnect},
    {"lookup", "ID", "print the record of a peer: where it can be reached, and what it offers",
     GROUP_NET | GROUP_NODES | GROUP_TIMEOUT, 1, 1, run_lookup},
    {"discover", "", "list nodes that offer something: relays, unless --offer says otherwise",
     GROUP_NET | GROUP_NODES | GROUP_TIMEOUT | GROUP_DISCOVER, 0, 0, run_discover},
    {"reach", "", "find out whether strangers can reach this host",
     GROUP_NET | GROUP_NODES | GROUP_TIMEOUT, 0, 0, run_reach},
    {"status", "", "print the configuration, and which servers of it answer",
     GROUP_NET | GROUP_NODES | GROUP_TIMEOUT, 0, 0, run_status},
    {NULL, NULL, NULL, 0, 0, 0, NULL},
};

static int run(const command *cmd, int argc, char **argv) {
    static app a;
    int code = options_parse(cmd, argc, argv, &a.opt);

    if (code >= 0) {
        return code;
    }
    a.out.json = a.opt.json;
    app_catch_signals();
    code = cmd->run(&a);
    app_close(&a);
    if (code == EXIT_DONE && (a.out.failed || fflush(stdout) != 0)) {
        code = EXIT_FAILED;
    }
    return code;
}

int main(int argc, char **argv) {
    const command *cmd = argc > 1 ? command_find(argv[1]) : NULL;

    if (cmd != NULL) {
        return run(cmd, argc - 1, argv + 1);
    }
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
                     strcmp(argv[1], "help") == 0)) {
        print_help();
        return EXIT_DONE;
    }
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("atlas %s\n", atlas_version());
        return EXIT_DONE;
    }
    fprintf(stderr,
            argc > 1 ? "atlas: unknown command %s\nTry: atlas --help\n" : "Try: atlas --help\n",
            argc > 1 ? argv[1] : "");
    return EXIT_USAGE;
}
