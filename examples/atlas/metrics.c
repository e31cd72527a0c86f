#include "metrics.h"

#include "app.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECTIONS 32u
#define CONNECTIONS_PER_IP 16u
#define QUIET_S 10u      /* a connection that says nothing for so long is closed */
#define MEMORY 8192u     /* of a connection, for its request's head */
#define ANSWER_CAP 65536 /* what the library's texts need at most */
#define BACKLOG 16

struct metrics {
    app *app;
    struct MHD_Daemon *daemon;
    int fd; /* of its epoll */
    char url[96];
};

/* ---- the address ---- */

static int port_parse(const char *text, uint16_t *port) {
    char *end;
    unsigned long value;

    if (text[0] < '0' || text[0] > '9') {
        return 0;
    }
    errno = 0;
    value = strtoul(text, &end, 10);
    if (*end != '\0' || errno != 0 || value > 65535) {
        return 0;
    }
    *port = htons((uint16_t)value);
    return 1;
}

int metrics_addr_parse(const char *text, struct sockaddr_storage *addr) {
    struct sockaddr_storage found = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&found;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&found;
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2] = "127.0.0.1";
    size_t len = colon == NULL ? 0 : (size_t)(colon - text);
    uint16_t port = 0;
    int ok;

    if (len >= sizeof(host) || !port_parse(colon == NULL ? text : colon + 1, &port)) {
        return 0;
    }
    if (colon != NULL) {
        memcpy(host, text, len);
        host[len] = '\0';
    }
    if (host[0] == '[' && len > 2 && host[len - 1] == ']') {
        host[len - 1] = '\0';
        v6->sin6_family = AF_INET6;
        v6->sin6_port = port;
        ok = inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1;
    } else {
        v4->sin_family = AF_INET;
        v4->sin_port = port;
        ok = inet_pton(AF_INET, host, &v4->sin_addr) == 1;
    }
    if (ok && addr != NULL) {
        *addr = found;
    }
    return ok;
}

static socklen_t addr_len(const struct sockaddr_storage *addr) {
    return addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* A listening socket of our own: what is wrong with an address is known then. -1 and errno. */
static int listen_at(const struct sockaddr_storage *addr) {
    int on = 1;
    int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error;

    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, (const struct sockaddr *)addr, addr_len(addr)) == 0 && listen(fd, BACKLOG) == 0) {
        return fd;
    }
    error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

static void make_url(metrics *http, int fd) {
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    char host[INET6_ADDRSTRLEN] = "?";

    (void)getsockname(fd, (struct sockaddr *)&addr, &len);
    if (addr.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&addr;

        (void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        (void)snprintf(http->url, sizeof(http->url), "http://[%s]:%u/metrics", host,
                       (unsigned)ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&addr;

        (void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        (void)snprintf(http->url, sizeof(http->url), "http://%s:%u/metrics", host,
                       (unsigned)ntohs(v4->sin_port));
    }
}

/* ---- answers ---- */

static enum MHD_Result respond(struct MHD_Connection *conn, unsigned status, const char *type,
                               struct MHD_Response *response) {
    enum MHD_Result rv;

    if (response == NULL) {
        return MHD_NO; /* closes the connection */
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    (void)MHD_add_response_header(response, "Content-Security-Policy",
                                  "default-src 'none'; style-src 'unsafe-inline'");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    rv = MHD_queue_response(conn, status, response);
    MHD_destroy_response(response);
    return rv;
}

static enum MHD_Result refuse(struct MHD_Connection *conn, unsigned status, char *text) {
    return respond(conn, status, "text/plain; charset=utf-8",
                   MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_PERSISTENT));
}

static enum MHD_Result answer(const metrics *http, struct MHD_Connection *conn, const char *type,
                              int32_t (*fill)(const atlas_ctx *, char *, size_t, size_t *)) {
    static char failed[] = "no memory\n";
    char *text = malloc(ANSWER_CAP);
    struct MHD_Response *response;
    size_t len = 0;

    if (text == NULL || fill(http->app->ctx, text, ANSWER_CAP, &len) != ATLAS_OK) {
        free(text);
        return refuse(conn, MHD_HTTP_INTERNAL_SERVER_ERROR, failed);
    }
    response = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(text);
    }
    return respond(conn, MHD_HTTP_OK, type, response);
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *conn, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *len, void **state) {
    static char no_method[] = "only GET and HEAD\n";
    static char no_page[] = "there are / and /metrics\n";
    const metrics *http = user;

    (void)version;
    (void)data;
    (void)len;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        return refuse(conn, MHD_HTTP_METHOD_NOT_ALLOWED, no_method);
    }
    if (*state == NULL) {
        *state = user; /* the request's end is waited for, so that the connection can go on */
        return MHD_YES;
    }
    if (*len != 0) {
        *len = 0; /* a body means nothing here */
        return MHD_YES;
    }
    if (strcmp(url, "/metrics") == 0) {
        return answer(http, conn, "text/plain; version=0.0.4; charset=utf-8", atlas_metrics);
    }
    if (strcmp(url, "/") == 0) {
        return answer(http, conn, "text/html; charset=utf-8", atlas_status_page);
    }
    return refuse(conn, MHD_HTTP_NOT_FOUND, no_page);
}

/* ---- life ---- */

static int start_error(app *a, const char *text, int error) {
    out_error(&a->out, error == EADDRINUSE ? ATLAS_ERR_ADDR_IN_USE : ATLAS_ERR_IO,
              "--metrics %s: %s; say another [IP:]PORT, or off", text,
              error == EADDRINUSE      ? "another program has this port"
              : error == EADDRNOTAVAIL ? "this host has no such address"
                                       : strerror(error));
    return EXIT_FAILED;
}

int metrics_start(app *a, const char *text) {
    struct sockaddr_storage addr;
    const union MHD_DaemonInfo *info;
    metrics *http;
    int fd;

    if (!metrics_addr_parse(text, &addr)) {
        return start_error(a, text, EINVAL);
    }
    fd = listen_at(&addr);
    if (fd < 0) {
        return start_error(a, text, errno);
    }
    http = calloc(1, sizeof(*http));
    if (http == NULL) {
        (void)close(fd);
        return start_error(a, text, ENOMEM);
    }
    http->app = a;
    make_url(http, fd);
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, on_request, http, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        CONNECTIONS_PER_IP, MHD_OPTION_CONNECTION_TIMEOUT, QUIET_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY, MHD_OPTION_END);
    if (http->daemon == NULL) {
        (void)close(fd);
        free(http);
        return start_error(a, text, ENOMEM);
    }
    info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    http->fd = info == NULL ? -1 : info->epoll_fd;
    a->http = http;
    return 0;
}

const char *metrics_url(const metrics *http) {
    return http == NULL ? NULL : http->url;
}

int metrics_fd(const metrics *http) {
    return http == NULL ? -1 : http->fd;
}

uint64_t metrics_due(const metrics *http, uint64_t now) {
    MHD_UNSIGNED_LONG_LONG ms = 0;

    return http == NULL || MHD_get_timeout(http->daemon, &ms) != MHD_YES ? UINT64_MAX
                                                                         : now + ms * NS_PER_MS;
}

void metrics_run(metrics *http) {
    if (http != NULL) {
        (void)MHD_run(http->daemon);
    }
}

void metrics_stop(metrics *http) {
    if (http != NULL) {
        MHD_stop_daemon(http->daemon);
        free(http);
    }
}
