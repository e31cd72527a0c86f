#include "explain.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ---- */

int explain_key(app *a, int32_t code) {
    const char *file = a->key_path;
    struct stat info;

    if (code == ATLAS_ERR_NOT_FOUND) {
        out_error(&a->out, code, "no key in %s: make one with atlas init", file);
        return EXIT_USAGE;
    }
    if (code != ATLAS_ERR_PERMISSION || lstat(file, &info) != 0) {
        (void)app_error(a, code, file);
        return EXIT_USAGE;
    }
    if (S_ISLNK(info.st_mode)) {
        out_error(&a->out, code, "%s: is a symbolic link, which a key must not be", file);
    } else if (!S_ISREG(info.st_mode)) {
        out_error(&a->out, code, "%s: is not a regular file", file);
    } else if ((info.st_mode & 077) != 0) {
        out_error(&a->out, code, "%s: others can %s it; chmod 600 %s", file,
                  (info.st_mode & 044) != 0 ? "read" : "use", file);
    } else if (info.st_uid != geteuid() && info.st_uid != 0) {
        out_error(&a->out, code, "%s: belongs to another user", file);
    } else {
        out_error(&a->out, code, "%s: %s", file, strerror(EACCES));
    }
    return EXIT_USAGE;
}

int explain_config(app *a, const char *file, int32_t code) {
    const char *name = a->opt.config != NULL ? "--config" : "configuration";
    const char *why = atlas_error_text(code);

    switch (code) {
    case ATLAS_ERR_CONFIG:
        return EXIT_USAGE; /* the lines have been complained about */
    case ATLAS_ERR_NOT_FOUND:
        why = "there is no such file";
        break;
    case ATLAS_ERR_INVALID:
        why = "is not a regular file";
        break;
    case ATLAS_ERR_PERMISSION:
        why = "this user may not read it";
        break;
    case ATLAS_ERR_TOO_LARGE:
        why = "is longer than 1 MiB";
        break;
    default:
        break;
    }
    out_error(&a->out, code, "%s %s: %s", name, file, why);
    return EXIT_USAGE;
}

/* ---- addresses ---- */

/* 1 when `text` would be a target with `transport` behind its host and port, and `id` at its end.
 */
static int would_be(const char *text, const char *transport, const char *id) {
    atlas_target_info info = {.size = sizeof(info)};
    char whole[ATLAS_MULTIADDR_MAX];
    const char *end = strstr(text, "/p2p/");
    int head = end == NULL ? (int)strlen(text) : (int)(end - text);
    int n;

    if (text[0] != '/' || strlen(text) >= sizeof(whole)) {
        return 0;
    }
    n = snprintf(whole, sizeof(whole), "%.*s%s%s%s%s", head, text, transport, text + head,
                 *id != '\0' ? "/p2p/" : "", id);
    return n > 0 && (size_t)n < sizeof(whole) && atlas_target_parse(whole, &info) == ATLAS_OK;
}

static const char *addr_fault(app *a, const char *text, int32_t code) {
    const char *id = atlas_self_id(a->ctx);
    atlas_target_info info = {.size = sizeof(info)};

    if (code == ATLAS_ERR_SELF) {
        return "is this node itself";
    }
    if (would_be(text, "", id)) {
        return "must end in /p2p/ID";
    }
    if (would_be(text, "/quic-v1", "") || would_be(text, "/quic-v1", id)) {
        return "needs /quic-v1 behind the port";
    }
    if (code == ATLAS_ERR_UNSUPPORTED) {
        return "is a multiaddr, but none that can be dialled (/ip4/.../udp/PORT/quic-v1)";
    }
    return text[0] == '/' && atlas_target_parse(text, &info) == ATLAS_ERR_PEER_ID
               ? "the peer id in it is not valid"
               : NULL;
}

static const char *target_fault(const char *text) {
    return text[0] == '/' ? "is not a valid multiaddr (/ip4/.../udp/PORT/quic-v1/p2p/ID)"
                          : "is neither a peer id nor a multiaddr that ends in /p2p/ID";
}

/* --relay, --bootstrap */
static const char *server_fault(const char *name, const char *text) {
    atlas_target_info info = {.size = sizeof(info)};

    if (strstr(text, "/p2p-circuit") == NULL && atlas_target_parse(text, &info) != ATLAS_OK) {
        return "is not a valid multiaddr (/ip4/.../udp/PORT/quic-v1/p2p/ID)";
    }
    return strcmp(name, "--relay") == 0
               ? "a relay has a transport of its own (/ip4/.../udp/PORT/quic-v1/p2p/ID)"
               : "a bootstrap node has a transport of its own (/ip4/.../udp/PORT/quic-v1/p2p/ID)";
}

/* --addr: the peer id may be missing, but not be another. */
static const char *direct_fault(const char *text) {
    atlas_target_info info = {.size = sizeof(info)};

    if (strstr(text, "/p2p-circuit") == NULL && atlas_target_parse(text, &info) != ATLAS_OK) {
        return "is not a valid multiaddr (/ip4/.../udp/PORT/quic-v1)";
    }
    return info.path == ATLAS_PATH_DIRECT ? "names another peer than TARGET"
                                          : "is not a direct address (/ip4/.../udp/PORT/quic-v1)";
}

int explain_addr(app *a, const char *name, const char *text, int32_t code) {
    int circuit = strcmp(name, "TARGET") != 0 && strstr(text, "/p2p-circuit") != NULL;
    const char *why = NULL;

    if (code == ATLAS_ERR_LIMIT || code == ATLAS_ERR_NOMEM) {
        why = atlas_error_text(code);
    } else if (strcmp(name, "--stun") == 0 || strcmp(name, "server") == 0) {
        why = "is no STUN server (HOST or HOST:PORT)";
    } else if (strcmp(name, "--allow") == 0 || strcmp(name, "ID") == 0) {
        why = "is not a valid peer id";
    } else if (code == ATLAS_ERR_RELAY_DISABLED) {
        why = "leads through a relay, and relays are disabled";
    } else if (!circuit) {
        why = addr_fault(a, text, code);
    }
    if (why == NULL) {
        why = strcmp(name, "--addr") == 0   ? direct_fault(text)
              : strcmp(name, "TARGET") == 0 ? target_fault(text)
                                            : server_fault(name, text);
    }
    out_error(&a->out, code, "%s %s: %s", name, text, why);
    return EXIT_USAGE;
}

/* ---- the local address ---- */

/* 1 when a socket can have this address, or when the reason why not is another. */
static int is_local(const struct addrinfo *info) {
    int fd = socket(info->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int ok = fd < 0 || bind(fd, info->ai_addr, info->ai_addrlen) == 0 || errno != EADDRNOTAVAIL;

    if (fd >= 0) {
        (void)close(fd);
    }
    return ok;
}

int explain_bind(app *a) {
    struct addrinfo want = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *info = NULL;
    const char *ip = a->opt.bind;
    int is_v6 = strchr(ip, ':') != NULL;
    const char *why = NULL;
    int32_t code = ATLAS_ERR_ADDRESS;

    want.ai_family = is_v6 ? AF_INET6 : AF_INET;
    if (atlas_set_str(a->ctx, is_v6 ? ATLAS_OPT_BIND6 : ATLAS_OPT_BIND4, ip) != ATLAS_OK) {
        why = "is not an IP address (without a port)";
    } else if (a->opt.family != 0 && a->opt.family != (is_v6 ? 6 : 4)) {
        why = is_v6 ? "is an IPv6 address, and -4 is given" : "is an IPv4 address, and -6 is given";
    } else if (getaddrinfo(ip, NULL, &want, &info) == 0 && !is_local(info)) {
        why = "this host has no such address";
        code = ATLAS_ERR_NO_ADDRESS;
    }
    if (info != NULL) {
        freeaddrinfo(info);
    }
    if (why != NULL) {
        out_error(&a->out, code, "--bind %s: %s", ip, why);
        return EXIT_USAGE;
    }
    return 0;
}
