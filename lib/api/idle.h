/* Telling the application that nothing is under way (on_idle of atlas_callbacks).
 *
 * Whatever the application asks for or is told counts as activity; one second after the last of it
 * the context is looked at, and again every second until it is quiet. Then the callback comes,
 * once, and nothing more is done before the next activity. Without the callback all this costs
 * nothing. */
#ifndef ATL_API_IDLE_H
#define ATL_API_IDLE_H

#include "base/loop.h"

#include <atlas/context.h>

typedef struct atl_idle {
    atl_timer timer;
    atl_task event;
    void (*on_relay)(void *user, atlas_ctx *ctx, const struct atlas_relay_event *event);
    uint64_t active; /* when there was activity last */
    size_t silent;   /* events of this turn that are no activity: on_idle, on_relay */
    uint8_t busy;    /* the application has not been told that it is quiet */
    uint8_t asleep;  /* atlas_set_idle() */
} atl_idle;

void atl_idle_init(atl_idle *idle, atlas_ctx *ctx);
/* Activity. */
void atl_idle_touch(atlas_ctx *ctx);
/* After the events of a turn, of which `n` ran. */
void atl_idle_after_events(atlas_ctx *ctx, size_t n);
/* The application's callbacks have changed. Relays announce themselves again and again, which is no
 * activity: on_relay is called by way of this module. */
void atl_idle_set_callbacks(atlas_ctx *ctx);

#endif
