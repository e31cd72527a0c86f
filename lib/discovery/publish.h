/* This node's record: made anew when what is true has changed, put to every bootstrap node and told
 * to every connected peer, renewed before it expires, deleted when the node no longer wants to be
 * found. */
#ifndef ATL_DISCOVERY_PUBLISH_H
#define ATL_DISCOVERY_PUBLISH_H

#include "base/loop.h"
#include "discovery/link.h"
#include "discovery/record.h"

#include <atlas/discovery.h>

struct atl_discovery;
struct atl_boot_node;

#define ATL_PUBLISH_SOON (100 * ATL_MS)  /* changes within this come together */
#define ATL_PUBLISH_PAUSE (500 * ATL_MS) /* between two records */
/* A bootstrap node that has forgotten everything has the record again after so long at most, a
 * quarter more or less. */
#define ATL_PUBLISH_AGAIN (5 * 60 * ATL_SECOND)

/* What one bootstrap node has. */
typedef struct atl_published {
    struct atl_boot_node *node;
    atl_link_request *request;
    uint64_t asked;    /* the record that is on its way: its sequence number */
    uint64_t seq;      /* the record that it has; 0: none */
    uint32_t failures; /* in a row */
    uint8_t deleting;  /* the request is a DELETE */
    uint8_t again;     /* the same record is to be put once more */
    uint8_t ahead;     /* times in a row that it has claimed to know a higher number */
    int32_t code;      /* of the last one */
    atl_timer retry;
} atl_published;

typedef struct atl_publish {
    struct atl_discovery *disc;
    uint8_t on;
    uint8_t paused;   /* idle mode */
    uint32_t deletes; /* on their way */
    uint64_t seq;     /* of the record; 0: none */
    uint64_t signed_at;
    uint64_t floor;     /* the next record's number is above this */
    uint8_t renewing;   /* the next record is made whatever it says */
    atl_record current; /* what it says */
    uint8_t record[ATL_RECORD_MAX];
    size_t len; /* 0: none */
    atl_timer sign;
    atl_timer renew;
} atl_publish;

void atl_publish_init(atl_publish *publish, struct atl_discovery *disc);
void atl_publish_free(atl_publish *publish);
/* A bootstrap node is new. */
void atl_publish_add(atl_publish *publish, struct atl_boot_node *node);
void atl_publish_node_free(atl_publish *publish, struct atl_boot_node *node);
/* Publishing begins; or ends, and what was published is deleted. */
void atl_publish_set(atl_publish *publish, int on);
/* What is true may have changed: looks, and makes a new record when it has. */
void atl_publish_update(atl_publish *publish);
/* Idle mode: nothing is renewed. */
void atl_publish_pause(atl_publish *publish, int on);
/* The network has changed: what has failed is tried again now. */
void atl_publish_retry(atl_publish *publish);
/* Deletes are still on their way. */
int atl_publish_busy(const atl_publish *publish);

#endif
