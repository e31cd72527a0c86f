/* The context: what one node consists of, and the frame of every public function.
 *
 * A public function of a context begins with atl_ctx_enter() and ends with atl_ctx_leave(): enter
 * refuses calls from hooks and reads the clock; leave reports a new deadline, so that what a call
 * has left to do gets done. Inside the drive call both do nothing. */
#ifndef ATL_API_CONTEXT_H
#define ATL_API_CONTEXT_H

#include "api/discovery.h"
#include "api/hooks.h"
#include "api/idle.h"
#include "api/options.h"
#include "api/server.h"
#include "io/os.h"
#include "peer/manager.h"
#include "quic/endpoint.h"
#include "relay/server.h"
#include "stun/agent.h"

#define ATL_MAX_STUN_SERVERS 64

/* Where a context's sockets come from: the operating system, or the simulator. */
typedef struct atl_io_factory {
    void *user;
    /* Fills `io` for a context whose turn is `loop`. */
    int32_t (*open)(void *user, atl_loop *loop, atl_io *io);
    /* All sockets and look-ups have been closed before. */
    void (*close)(void *user, atl_io *io);
    /* In the drive call: hands out what has arrived, at most `budget` batches; 1 when some are
     * left. */
    int32_t (*process)(void *user, atl_io *io, size_t budget);
} atl_io_factory;

struct atlas_ctx {
    atl_env env; /* its hooks are wrappers that mark the time spent in hooks; see api/hooks.h */
    atl_loop loop;
    atl_hook_frame hooks; /* the hooks as the application gave them */
    atl_io io;
    atl_os *os; /* NULL with a factory */
    atl_io_factory factory;
    atlas_key *key;
    atl_peer_id self;
    char self_text[ATLAS_PEER_ID_MAX];
    atl_options options;

    atl_peers peers;  /* connections, relays (peer/relays.h), address book */
    atl_endpoint *ep; /* NULL before the sockets are open */
    atl_stun_agent
        *stun; /* NULL before the sockets are open; the user of its config is the context */
    char *stun_servers[ATL_MAX_STUN_SERVERS]; /* atlas_stun_add_server(), freed with the context */
    size_t stun_server_count;

    atl_relay_server *relay_server; /* the HTTP/3 server; NULL when none runs: api/server.h */
    atl_registry_http *registry;    /* NULL when this is no bootstrap node */
    atl_dialback *dialback;         /* with the HTTP/3 server */
    atlas_relay_policy policy;
    void *policy_user;
    atl_peer_id *relay_allow; /* lists given before the server runs are kept here too */
    size_t relay_allow_count;
    atl_peer_id *relay_deny;
    size_t relay_deny_count;

    atl_discovery *discovery; /* NULL before its first use */
    atl_discovery_limits discovery_limits;
    atl_discovery_events discovery_events;
    atl_list queries; /* atlas_query.node */
    size_t query_count;

    atlas_callbacks callbacks;
    atl_task wake_event;
    atl_task shutdown_event;
    atl_idle idle;
    uint64_t reported; /* the deadline that the timer hook knows */
    uint8_t left;      /* the last drive call stopped at its budget */
    uint8_t in_hook;   /* no function of this context may be called */
    uint8_t in_process;
    uint8_t in_callback;   /* application callbacks are being delivered */
    uint8_t shutdown;      /* ATL_SHUTDOWN_* */
    uint8_t relay_started; /* by the application, as a relay */
    uint8_t relay_drained;
};

#define ATL_SHUTDOWN_NO 0
#define ATL_SHUTDOWN_RUNS 1
#define ATL_SHUTDOWN_DONE 2

/* atlas_new() with another source of sockets; `factory` is copied, NULL means the operating system.
 */
int32_t atl_ctx_new_with_io(const atlas_hooks *hooks, const atlas_key *key,
                            const atl_io_factory *factory, atlas_ctx **out);

/* ATLAS_OK; ATLAS_ERR_INVALID when ctx is NULL; ATLAS_ERR_REENTRANT from a hook. */
int32_t atl_ctx_enter(atlas_ctx *ctx);
void atl_ctx_leave(atlas_ctx *ctx);

/* Opens the sockets, the endpoint and the STUN agent, once. For use after atl_ctx_enter().
 * ATLAS_ERR_SHUTDOWN, or as atlas_open(). */
int32_t atl_ctx_open(atlas_ctx *ctx);
/* Which protocols inbound connections may speak has changed. */
void atl_ctx_update_protocols(atlas_ctx *ctx);
/* Brings running parts up to date with the options. */
void atl_ctx_apply_options(atlas_ctx *ctx);
/* Looks whether a shutdown is complete. */
void atl_ctx_check_shutdown(atlas_ctx *ctx);

#endif
