/* libatlas: the context, its hooks, and the loop contract.
 *
 * THE LOOP CONTRACT
 *
 * The library owns no thread and no loop. The application learns what to wait for in one of two
 * ways:
 *
 *  - by hooks: `interest` is called when the set of file descriptors or their wanted events
 * changes, `timer` when the one absolute deadline changes; or
 *  - by asking: atlas_fds() and atlas_next_deadline() before each wait.
 *
 * When a descriptor is ready or the deadline has passed the application calls atlas_process(). All
 * event callbacks are delivered from inside that call, after the library's own state is consistent;
 * from a callback every function may be called except atlas_process(), atlas_run_once() and
 * atlas_free(), which return ATLAS_ERR_REENTRANT. From a hook no function of the same context may
 * be called: it returns ATLAS_ERR_REENTRANT. A call made outside the drive call may leave work to
 * do: the deadline is then now. Spurious, late, early and repeated calls of atlas_process() are
 * harmless.
 *
 * One thread at a time per context. atlas_wakeup() alone may be called from any thread.
 *
 * Objects (connections, streams, probes) are handles. Each ends in exactly one final event; the
 * handle is valid until the callback of that event returns. Closing an object, in its own callback
 * too, is legal; its final event still follows, from a later drive call. After atlas_free() returns
 * no hook and no callback fires any more. */
#ifndef ATLAS_CONTEXT_H
#define ATLAS_CONTEXT_H

#include <atlas/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Wanted and ready events of a descriptor. */
#define ATLAS_FD_READ 1u
#define ATLAS_FD_WRITE 2u
#define ATLAS_FD_ERROR 4u /* ready only: an error or hang-up condition */

/* "No deadline": nothing to wait for but descriptors. */
#define ATLAS_NO_DEADLINE UINT64_MAX

/* Log levels. */
#define ATLAS_LOG_ERROR 1
#define ATLAS_LOG_WARN 2
#define ATLAS_LOG_INFO 3
#define ATLAS_LOG_DEBUG 4
#define ATLAS_LOG_TRACE 5

/* What the application supplies. Set `size` to sizeof(atlas_hooks); every pointer may be NULL,
 * which selects the default named. The table is copied. `user` is the first argument of every hook.
 */
typedef struct atlas_hooks {
    uint64_t size; /* bytes: sizeof(atlas_hooks) */
    void *user;    /* passed to every hook, never touched */

    /* The wanted events of `fd` are now `events` (ATLAS_FD_READ | ATLAS_FD_WRITE), 0 to stop
     * watching it. Called only on changes; removal always comes before the library closes the
     * descriptor.
     * `*slot` is the application's: NULL at first, kept by the library until removal.
     * Default: none (use atlas_fds()). */
    void (*interest)(void *user, int32_t fd, uint32_t events, void **slot);

    /* The next deadline is now `deadline_ns` (nanoseconds of the `now` clock), replacing the
     * previous one; ATLAS_NO_DEADLINE for none. Default: none (use atlas_next_deadline()). */
    void (*timer)(void *user, uint64_t deadline_ns);

    /* A monotonic clock in nanoseconds from any origin. A step back is clamped.
     * Default: CLOCK_MONOTONIC. Anything but the default must also drive deadlines. */
    uint64_t (*now)(void *user);

    /* Wall-clock time in milliseconds since 1970-01-01 UTC, for timestamps in messages only.
     * Default: CLOCK_REALTIME. */
    int64_t (*wall)(void *user);

    /* Memory: all three or none. `realloc` must accept NULL, `free` must accept NULL.
     * Default: malloc, realloc, free. (wolfSSL's own allocations do not pass through here.) */
    void *(*malloc)(void *user, size_t size);
    void *(*realloc)(void *user, void *ptr, size_t size);
    void (*free)(void *user, void *ptr);

    /* Fill `len` bytes with cryptographically secure random bytes; 0 or a negative code.
     * Default: the operating system's source by libsodium. */
    int32_t (*random)(void *user, uint8_t *buf, size_t len);

    /* One line of log without newline; `level` is one of ATLAS_LOG_*. `text` is valid during the
     * call. Default: no log. */
    void (*log)(void *user, int32_t level, const char *text);
} atlas_hooks;

/* One ready or wanted descriptor. */
typedef struct atlas_fd_event {
    int32_t fd;      /* descriptor */
    uint32_t events; /* bits ATLAS_FD_* */
} atlas_fd_event;

/* The library's version, "MAJOR.MINOR.PATCH". Static string; callable from anywhere. */
ATLAS_API const char *atlas_version(void);

/* Makes a context. `hooks` may be NULL (all defaults). `key` is the node's identity; it is copied,
 * the caller keeps its own. With `key` NULL the context has a fresh identity that ends with it. No
 * socket is opened before the first call that needs one. Returns ATLAS_OK and stores the context in
 * *out, which the caller frees with atlas_free(); ATLAS_ERR_INVALID, ATLAS_ERR_NOMEM,
 * ATLAS_ERR_RANDOM. */
ATLAS_API int32_t atlas_new(const atlas_hooks *hooks, const atlas_key *key, atlas_ctx **out);

/* Ends a context: closes every descriptor (after removing its interest) and frees all its objects
 * without further events. Peers and relays are told by one CONNECTION_CLOSE each, without waiting;
 * use atlas_shutdown() first to end gracefully. NULL is allowed.
 * Returns ATLAS_OK, or ATLAS_ERR_REENTRANT from a hook or callback of the same context. */
ATLAS_API int32_t atlas_free(atlas_ctx *ctx);

/* Begins a graceful end: no new connections; connections, relay presence and probes are closed and
 * end in their final events; a relay server drains first, for at most `drain_ms` milliseconds
 * (RelayDrain, then GOAWAY, then close). When all has ended, on_shutdown of atlas_callbacks is
 * called. Callable from callbacks. A second call shortens the drain to its own value. Returns
 * ATLAS_OK or ATLAS_ERR_INVALID. */
ATLAS_API int32_t atlas_shutdown(atlas_ctx *ctx, uint64_t drain_ms);

/* Drives the context. `events` names `n` ready descriptors (level-triggered; unknown descriptors
 * and n = 0 are allowed; with events NULL and n = 0 all descriptors are tried). Expired timers run
 * in every call. One call does a bounded amount of work; what is left sets a deadline of now.
 * Returns ATLAS_OK, ATLAS_ERR_INVALID, or ATLAS_ERR_REENTRANT. */
ATLAS_API int32_t atlas_process(atlas_ctx *ctx, const atlas_fd_event *events, size_t n);

/* The absolute deadline (nanoseconds of the `now` hook's clock) by which atlas_process() must be
 * called next, or ATLAS_NO_DEADLINE. Callable from callbacks. */
ATLAS_API uint64_t atlas_next_deadline(const atlas_ctx *ctx);

/* The context's clock, in nanoseconds (the `now` hook, never stepping back). */
ATLAS_API uint64_t atlas_now(atlas_ctx *ctx);

/* Stores up to `cap` watched descriptors and their wanted events in `out` and returns how many
 * there are in all (which may be more than `cap`). `out` may be NULL when cap is 0. */
ATLAS_API size_t atlas_fds(const atlas_ctx *ctx, atlas_fd_event *out, size_t cap);

/* Waits with poll(2) until something is ready, a deadline passes, `timeout_ms` milliseconds have
 * gone by (negative: no limit), or atlas_wakeup() is called; then drives once. The small built-in
 * loop for programs without one; needs the default clock. Returns ATLAS_OK, ATLAS_ERR_IO,
 * ATLAS_ERR_REENTRANT. */
ATLAS_API int32_t atlas_run_once(atlas_ctx *ctx, int32_t timeout_ms);

/* Makes a wait in progress return soon: on_wakeup is called from the next drive call. The only
 * function that may be called from any thread and from a signal handler, between the return of
 * atlas_new() and the call of atlas_free(). Returns ATLAS_OK, ATLAS_ERR_INVALID or ATLAS_ERR_IO. */
ATLAS_API int32_t atlas_wakeup(atlas_ctx *ctx);

/* ---- options ----------------------------------------------------------------------------------
 */

/* Options with a number as value (atlas_set_u64). Booleans are 0 or 1. "Before start" options must
 * be set before the first call that opens a socket (ATLAS_ERR_STATE otherwise). */
#define ATLAS_OPT_PORT 1 /* local UDP port, 0..65535; 0 = any (default). Before start */
#define ATLAS_OPT_IPV4 2 /* use IPv4: boolean, default 1. Before start */
/* use IPv6: boolean, default 1; no error when the host has none. Before start */
#define ATLAS_OPT_IPV6 3
#define ATLAS_OPT_ENABLE_RELAY 4 /* may use relays: boolean, default 1 */
#define ATLAS_OPT_OFFER_RELAY 5  /* may serve as relay: boolean, default 0; needs enable_relay */
/* a connection that has heard nothing for so long ends: milliseconds, 1000..600000, default 90000.
 * Keepalives stay well below it. A peer in idle mode is waited for longer */
#define ATLAS_OPT_IDLE_TIMEOUT_MS 6
#define ATLAS_OPT_MAX_CONNECTIONS 7 /* at once, in and out, 1..1000000, default 1024 */
/* streams a peer may have open per connection and direction, 1..65535, default 128 */
#define ATLAS_OPT_MAX_STREAMS 8
#define ATLAS_OPT_MAX_MESSAGE_SIZE 9 /* longest message, bytes, 1..2^30, default 1 MiB */
/* bytes that a stream buffers per direction, 16384..2^30, default 1 MiB */
#define ATLAS_OPT_STREAM_BUFFER 10
/* inbound handshakes per second before Retry is demanded, 1..1000000, default 256 */
#define ATLAS_OPT_HANDSHAKE_LIMIT 11
#define ATLAS_OPT_MAX_CLOCK_DRIFT_S 12 /* seconds, 1..86400, default 300 */
/* between announcements, milliseconds, 100..60000, default 2000 */
#define ATLAS_OPT_PRESENCE_INTERVAL_MS 13
/* circuit and connection set-up, milliseconds, 100..120000, default 10000 */
#define ATLAS_OPT_HANDSHAKE_TIMEOUT_MS 14
#define ATLAS_OPT_STUN_TIMEOUT_MS 15 /* STUN deadline, milliseconds, 100..39500, default 3000 */
/* relay server: bytes per second per circuit and direction, 0 = unlimited, default 1048576 */
#define ATLAS_OPT_RELAY_BANDWIDTH 16
/* relay server: bytes per second in all, 0 = unlimited (default) */
#define ATLAS_OPT_RELAY_TOTAL_BANDWIDTH 17
#define ATLAS_OPT_RELAY_MAX_NODES 18             /* relay server: announced nodes, default 16384 */
#define ATLAS_OPT_RELAY_MAX_CIRCUITS 19          /* relay server: circuits in all, default 65536 */
#define ATLAS_OPT_RELAY_MAX_CIRCUITS_PER_NODE 20 /* relay server: default 64 */
/* relay server: registrations per IPv4 address, default 256 */
#define ATLAS_OPT_RELAY_MAX_PER_IPV4 21
/* relay server: registrations per IPv6 /64, default 256 */
#define ATLAS_OPT_RELAY_MAX_PER_IPV6_64 22
/* relay server: circuit requests per second per node, default 32 */
#define ATLAS_OPT_RELAY_HANDSHAKES 23
/* answer STUN Binding requests: boolean, default 0, set to 1 by atlas_relay_start() */
#define ATLAS_OPT_STUN_SERVER 24
/* use GSO and GRO where the kernel has them: boolean, default 1. Before start */
#define ATLAS_OPT_GSO 25
/* head start of direct candidates over relays in a dial, milliseconds, 0..10000, default 250 */
#define ATLAS_OPT_RELAY_DELAY_MS 26
/* STUN server: answers per second per source address, 1..1000000, default 50 */
#define ATLAS_OPT_STUN_RATE 27
/* look for direct paths of relayed connections (hole punching): boolean, default 1 */
#define ATLAS_OPT_UPGRADE 28
/* longest pause between keepalives that may be learned from a NAT, milliseconds, 1000..600000,
 * default 60000 */
#define ATLAS_OPT_KEEPALIVE_MAX_MS 29
/* how long peers are asked to wait for this node in idle mode, and how long this node waits for
 * theirs at most: seconds, 0..86400, default 3600 */
#define ATLAS_OPT_IDLE_MODE_MAX_S 30
/* relays are chosen by measurement (atlas_advertise()): 0 never, 1 where this node cannot be
 * reached otherwise (default), 2 always */
#define ATLAS_OPT_AUTORELAY 31
#define ATLAS_OPT_AUTORELAY_COUNT 32 /* how many of them, 1..8, default 3 */
/* how long a record is kept without being put again: seconds, 60..86400, default 3600. Of this
 * node's own record, and as a bootstrap server of those of others */
#define ATLAS_OPT_RECORD_LIFETIME_S 33
/* bootstrap server: records in all, 1..100000000, default 1000000 */
#define ATLAS_OPT_REGISTRY_MAX_RECORDS 34
/* bootstrap server: records put from one IPv4 address, default 256 */
#define ATLAS_OPT_REGISTRY_MAX_PER_IPV4 35
/* bootstrap server: records put from one IPv6 /64, default 256 */
#define ATLAS_OPT_REGISTRY_MAX_PER_IPV6_64 36

/* Options with a string as value (atlas_set_str). The string is copied. */
#define ATLAS_OPT_BIND4 100 /* local IPv4 address, default "0.0.0.0". Before start */
#define ATLAS_OPT_BIND6 101 /* local IPv6 address, default "::". Before start */

/* Sets an option. Callable from callbacks.
 * Returns ATLAS_OK; ATLAS_ERR_INVALID when the option or the value is out of range; ATLAS_ERR_STATE
 * when it may no longer be set; ATLAS_ERR_NOMEM. */
ATLAS_API int32_t atlas_set_u64(atlas_ctx *ctx, uint32_t option, uint64_t value);
ATLAS_API int32_t atlas_set_str(atlas_ctx *ctx, uint32_t option, const char *value);

/* Reads a numeric option. Returns ATLAS_OK and stores the value in *out, or ATLAS_ERR_INVALID. */
ATLAS_API int32_t atlas_get_u64(const atlas_ctx *ctx, uint32_t option, uint64_t *out);

/* This node's peer id in text. Valid as long as the context. */
ATLAS_API const char *atlas_self_id(const atlas_ctx *ctx);

/* Opens the sockets now instead of at first use, so that errors such as a taken port show here and
 * the local port is known. Returns ATLAS_OK (also when it was done before), ATLAS_ERR_ADDR_IN_USE,
 * ATLAS_ERR_PERMISSION, ATLAS_ERR_IO, ATLAS_ERR_FAMILY when no family could be opened. */
ATLAS_API int32_t atlas_open(atlas_ctx *ctx);

/* The local addresses: the `index`th of the node's own listen multiaddrs,
 * ".../udp/PORT/quic-v1/p2p/ID" (one per address of the host's interfaces, loopback last), as
 * NUL-terminated text in buf[cap]. Returns ATLAS_OK, ATLAS_ERR_NOT_FOUND past the last,
 * ATLAS_ERR_BUFFER, ATLAS_ERR_STATE before atlas_open(). */
ATLAS_API int32_t atlas_local_addr(atlas_ctx *ctx, uint32_t index, char *buf, size_t cap);

/* ---- events of the context ----------------------------------------------------------------------
 */

struct atlas_relay_event;     /* atlas/relay.h */
struct atlas_reach_event;     /* atlas/discovery.h */
struct atlas_advertise_event; /* atlas/discovery.h */
struct atlas_autorelay_event; /* atlas/discovery.h */

/* Callbacks for events that belong to the context. Set `size` to sizeof(atlas_callbacks), by which
 * the library knows programs that were built with an older version of it; each may be NULL. The
 * table is copied. `user` is passed to each. */
typedef struct atlas_callbacks {
    uint64_t size; /* bytes: sizeof(atlas_callbacks) */
    void *user;

    /* A peer has connected (authenticated, confirmed). The application gives the connection its
     * callbacks with atlas_conn_set_callbacks() here, or closes it. A connection without callbacks
     * when this returns is closed with "refused". NULL: every inbound connection is refused. */
    void (*on_connection)(void *user, atlas_ctx *ctx, atlas_conn *conn);

    /* The state of a configured relay changed (see atlas/relay.h). */
    void (*on_relay)(void *user, atlas_ctx *ctx, const struct atlas_relay_event *event);

    /* atlas_shutdown() has completed: nothing is left but atlas_free(). */
    void (*on_shutdown)(void *user, atlas_ctx *ctx);

    /* atlas_wakeup() was called (several calls may give one event). */
    void (*on_wakeup)(void *user, atlas_ctx *ctx);

    /* Nothing is under way any more (no dial, no transfer, no check): from now on there are only
     * keepalives and announcements, and none before `quiet_ns` nanoseconds from now. In idle mode
     * (atlas_set_idle(), which may be called from here) the application could sleep as long as it
     * likes; `quiet_ns` is ATLAS_NO_DEADLINE there. Comes a second after the last activity, once,
     * and again after the next activity has ended. Never while this node serves as a relay. */
    void (*on_idle)(void *user, atlas_ctx *ctx, uint64_t quiet_ns);

    /* A family's reachability was judged (atlas_reach_start(), atlas_advertise()). */
    void (*on_reach)(void *user, atlas_ctx *ctx, const struct atlas_reach_event *event);

    /* What this node says of itself has changed, or who has it (atlas_advertise()). */
    void (*on_advertise)(void *user, atlas_ctx *ctx, const struct atlas_advertise_event *event);

    /* A relay was chosen, serves, has failed, or was given up (atlas_advertise()). */
    void (*on_autorelay)(void *user, atlas_ctx *ctx, const struct atlas_autorelay_event *event);
} atlas_callbacks;

/* The host's network may have changed: an interface came or went, another network was joined, the
 * machine slept. On Linux the library notices by itself (netlink); elsewhere, and on mobile systems
 * that tell applications, call this. Candidates are gathered again, paths from addresses that are
 * gone move, relays and peers are probed. Calling it too often is harmless (once a second is
 * heeded), from callbacks too. Returns ATLAS_OK, ATLAS_ERR_INVALID or ATLAS_ERR_REENTRANT. */
ATLAS_API int32_t atlas_network_changed(atlas_ctx *ctx);

/* Idle mode, for an application that is about to sleep: with `on` 1 keepalives and announcements
 * stop altogether, peers are told (one small packet each) that this node will not be heard for up
 * to ATLAS_OPT_IDLE_MODE_MAX_S seconds, and wait for it that long. Relays forget the registration
 * after their expiry. What arrives is processed; what the application sends is sent. With `on` 0
 * the node is awake again: everything is probed and mended as by atlas_network_changed(),
 * registrations are renewed. A call that changes nothing does nothing. Callable from callbacks.
 * Returns ATLAS_OK, ATLAS_ERR_INVALID (neither 0 nor 1) or ATLAS_ERR_REENTRANT. */
ATLAS_API int32_t atlas_set_idle(atlas_ctx *ctx, uint32_t on);

/* Sets the context's callbacks (NULL: none). Callable from callbacks.
 * Returns ATLAS_OK or ATLAS_ERR_INVALID (size is not one this library knows). */
ATLAS_API int32_t atlas_set_callbacks(atlas_ctx *ctx, const atlas_callbacks *callbacks);

#ifdef __cplusplus
}
#endif
#endif
