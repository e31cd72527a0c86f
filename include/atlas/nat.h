/* libatlas: what kind of NAT or firewall this host is behind (RFC 4787, RFC 5780).
 *
 * A NAT probe asks STUN servers and tells, for each address family, how the NAT maps and filters,
 * whether it sends back what is meant for its own outside (hairpinning), whether it keeps ports,
 * how long it remembers a mapping (on request), and which peers can be reached directly from here.
 *
 * A server with two addresses (RFC 5780: libatlas relays can have them, and coturn) shows all of
 * that. Other servers show the mapping only, when there are at least two. */
#ifndef ATLAS_NAT_H
#define ATLAS_NAT_H

#include <atlas/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A running NAT probe. */
typedef struct atlas_nat atlas_nat;

/* How local addresses become outside addresses. */
#define ATLAS_NAT_MAPPING_UNKNOWN 0
#define ATLAS_NAT_MAPPING_ENDPOINT_INDEPENDENT 1       /* the same towards everybody */
#define ATLAS_NAT_MAPPING_ADDRESS_DEPENDENT 2          /* another for each address, at least */
#define ATLAS_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT 3 /* another for each address and port */
#define ATLAS_NAT_MAPPING_NONE 4                       /* the address is not translated */

/* Who gets in through a mapping. */
#define ATLAS_NAT_FILTERING_UNKNOWN 0
#define ATLAS_NAT_FILTERING_ENDPOINT_INDEPENDENT 1       /* everybody */
#define ATLAS_NAT_FILTERING_ADDRESS_DEPENDENT 2          /* addresses that were written to */
#define ATLAS_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT 3 /* addresses and ports written to */
#define ATLAS_NAT_FILTERING_NONE 4 /* nothing translates, and everybody gets in */

/* Answers to yes-or-no questions. */
#define ATLAS_NAT_UNKNOWN 0
#define ATLAS_NAT_YES 1
#define ATLAS_NAT_NO 2

/* The verdict: what a host is behind, as the common names go. Each number is also the position of a
 * bit in `reaches` and `perhaps`. */
#define ATLAS_NAT_KIND_UNKNOWN 0
#define ATLAS_NAT_KIND_NONE 1
#define ATLAS_NAT_KIND_FULL_CONE 2
#define ATLAS_NAT_KIND_ADDRESS_RESTRICTED 3
#define ATLAS_NAT_KIND_PORT_RESTRICTED 4
#define ATLAS_NAT_KIND_CGNAT 5     /* of peers only: from behind it looks like one of the above */
#define ATLAS_NAT_KIND_SYMMETRIC 6 /* the mapping depends on the destination */
/* no server answered: UDP is blocked, or none of the servers is there */
#define ATLAS_NAT_KIND_BLOCKED 7

/* How the mapping was found out. */
#define ATLAS_NAT_METHOD_NONE 0    /* not at all, or by its being the local address */
#define ATLAS_NAT_METHOD_RFC5780 1 /* from a server with two addresses */
#define ATLAS_NAT_METHOD_SERVERS 2 /* by comparing what several servers see */

/* An address that a server saw. */
typedef struct atlas_nat_seen {
    const char *server;      /* as it was given; "" for another address of such a server */
    const char *server_addr; /* the address asked, "host:port" */
    const char *local;       /* the local address asked from, "host:port" */
    const char *reflexive;   /* what the server saw, "host:port" */
} atlas_nat_seen;

/* What an event is about. */
#define ATLAS_NAT_PROGRESS 1 /* something was found out; `text` says what. Fields are partial */
#define ATLAS_NAT_RESULT 2   /* all about one address family; one for each that was tried */

/* Strings and arrays are valid during the callback. */
typedef struct atlas_nat_event {
    uint64_t size;        /* bytes: sizeof(atlas_nat_event) */
    uint32_t what;        /* ATLAS_NAT_PROGRESS or ATLAS_NAT_RESULT */
    uint32_t family;      /* 4 or 6 */
    int32_t code;         /* ATLAS_OK, or why nothing is known: no server answered */
    uint32_t mapping;     /* ATLAS_NAT_MAPPING_* of the node's own socket */
    uint32_t filtering;   /* ATLAS_NAT_FILTERING_* */
    uint32_t hairpinning; /* ATLAS_NAT_YES, _NO or _UNKNOWN; unknown where nothing translates */
    uint32_t port_preservation; /* the outside port is the local one: ATLAS_NAT_YES, ... */
    uint32_t method;            /* ATLAS_NAT_METHOD_* */
    uint32_t kind;              /* ATLAS_NAT_KIND_*: the verdict */
    uint32_t reaches;     /* bits 1 << ATLAS_NAT_KIND_*: peers behind these are reached directly */
    uint32_t perhaps;     /* bits of those of which it is not known */
    uint32_t reserved;    /* zero */
    uint64_t lifetime_ns; /* longest silence, in nanoseconds, after which a mapping was still
                             there; 0 when it was not looked for or none is known */
    uint64_t lifetime_end_ns;   /* shortest silence after which it was gone; 0: none was found */
    const atlas_nat_seen *seen; /* the evidence: which servers saw what */
    uint64_t seen_count;
    const char *verdict; /* a sentence: which peers can be reached directly from here */
    const char *text;    /* a sentence: what was just found out; of a result, how it was */
} atlas_nat_event;

/* Called for progress, once with a result for every address family that was tried, and in the end
 * once with `event` NULL: the final event, after which the handle is invalid. `status` is ATLAS_OK
 * but in the final call, where it is ATLAS_OK when any server answered, else the last error
 * (ATLAS_ERR_CANCELLED after atlas_nat_cancel()). */
typedef void (*atlas_nat_cb)(void *user, atlas_nat *nat, const atlas_nat_event *event,
                             int32_t status);

typedef struct atlas_nat_options {
    uint64_t size;        /* bytes: sizeof(atlas_nat_options) */
    uint64_t timeout_ms;  /* for each step, milliseconds, 100..39500; 0 = ATLAS_OPT_STUN_TIMEOUT_MS.
                           * Whether a NAT filters is known when this has passed without answer */
    uint64_t lifetime_ms; /* how long to look for the lifetime of mappings at most, milliseconds,
                             8000..7200000; lifetimes up to nearly half of it are found. 0: not */
    uint64_t reserved;    /* zero */
} atlas_nat_options;

/* Starts a NAT probe with `n` STUN servers (1..64, in the forms of atlas_stun_probe(); with n = 0
 * those of atlas_stun_add_server()). `options` may be NULL. The mapping is that of the node's own
 * socket; the rest is found out with sockets of the probe's own, at most 9 of each family at a
 * time. Returns ATLAS_OK and stores a handle in *out (out may be NULL); ATLAS_ERR_INVALID,
 * ATLAS_ERR_NOMEM, ATLAS_ERR_NOT_FOUND when no server is given or configured, ATLAS_ERR_ADDRESS for
 * a server that is no address, or an error of atlas_open(). Callable from callbacks; `cb` is called
 * from a later drive call. */
ATLAS_API int32_t atlas_nat_probe(atlas_ctx *ctx, const char *const *servers, size_t n,
                                  const atlas_nat_options *options, atlas_nat_cb cb, void *user,
                                  atlas_nat **out);

/* Ends a probe early; its final event follows from the next drive call, and nothing before it.
 * Without effect from inside the final event. Returns ATLAS_OK, ATLAS_ERR_INVALID, or
 * ATLAS_ERR_REENTRANT from a hook. */
ATLAS_API int32_t atlas_nat_cancel(atlas_nat *nat);

#ifdef __cplusplus
}
#endif
#endif
