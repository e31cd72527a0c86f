/* What the modules of the registry's HTTP side share: the registry (registry_http.c), and puts and
 * deletes (registry_put.c). */
#ifndef ATL_DISCOVERY_REGISTRY_INTERNAL_H
#define ATL_DISCOVERY_REGISTRY_INTERNAL_H

#include "base/bucket.h"
#include "base/loop.h"
#include "discovery/registry_answer.h"
#include "discovery/registry_http.h"

/* A put or a delete that is not answered yet, or was, and whose stream is still there. */
typedef struct atl_registry_request {
    atl_list node; /* in `coming` or `waiting`; in none once it is answered */
    atl_registry_http *registry;
    atl_h3_stream *stream; /* NULL once it is answered */
    atl_peer_id id;        /* of the path */
    atl_peer_id peer;      /* who asks */
    atl_addr from;
    uint8_t has_peer;
    uint8_t is_delete;
    uint8_t verified;
    int32_t code;         /* of a request that waits for the disk */
    uint64_t deadline;    /* for the body to come */
    uint64_t left;        /* nanoseconds that the record will be kept */
    atl_record_head head; /* of the body, once it was checked */
    uint8_t *body;        /* ATL_RECORD_MAX bytes; NULL for a delete, or when it is answered */
    size_t len;
} atl_registry_request;

struct atl_registry_http {
    atl_env *env;
    atl_loop *loop;
    atl_registry_http_config config;
    atl_registry_http_stats stats;
    atl_record_store *store;
    atl_store_file *file; /* NULL: memory only */
    atl_source_limit *put_limit;
    atl_source_limit *get_limit;
    uint64_t started;
    atl_list coming;  /* puts whose body is not complete, the oldest first */
    atl_list waiting; /* complete requests that wait for the disk */
    size_t n_puts;    /* of both lists */
    atl_timer coming_timer;
    atl_task commit;
    atl_timer expiry;
    uint64_t file_expiry; /* not before this are expired rows removed again */
    uint8_t file_stale;   /* the file may hold expired rows */
    uint8_t body[ATL_REGISTRY_BODY_MAX];
};

/* registry_http.c */
/* Answers, or resets the stream when that fails. The stream may be gone afterwards. */
void atl_registry_respond(atl_h3_stream *stream, int32_t status, const atl_h3_field *field,
                          const atl_registry_body *body);
/* Answers with an error (atl_registry_error_of), and counts it. `text` NULL: the code's own. */
void atl_registry_refuse(atl_registry_http *registry, atl_h3_stream *stream, int32_t code,
                         const char *text, uint64_t seq);
/* The store has changed: sees to it that what expires is dropped. */
void atl_registry_arm(atl_registry_http *registry);
/* 1 when this address may do one more of what is limited. */
int atl_registry_may(atl_registry_http *registry, atl_source_limit *limit, const atl_addr *from);

/* registry_put.c */
void atl_registry_put_init(atl_registry_http *registry);
/* Drops everything that waits. */
void atl_registry_put_done(atl_registry_http *registry);
/* A put or delete of one record; the request that hears more of it, or NULL when it was answered.
 */
atl_registry_request *atl_registry_put_begin(atl_registry_http *registry, atl_h3_stream *stream,
                                             const atl_peer_id *id, const atl_requester *from,
                                             int is_delete);
void atl_registry_put_data(atl_registry_request *request, const uint8_t *data, size_t len);
void atl_registry_put_end(atl_registry_request *request);
void atl_registry_put_closed(atl_registry_request *request);

#endif
