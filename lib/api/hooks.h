/* The application's hooks, wrapped so that a call of the library from inside one is noticed and
 * refused. */
#ifndef ATL_API_HOOKS_H
#define ATL_API_HOOKS_H

#include <atlas/context.h>

/* Fills `out`: a wrapper for each hook that the application gave in `app`, the default for each
 * other one. `flag` is not zero while the application is in a hook. `out->user` is to be the
 * atl_hook_frame. ATLAS_ERR_INVALID. */
typedef struct atl_hook_frame {
    atlas_hooks app;
    uint8_t *flag;
} atl_hook_frame;

/* `hooks` may be NULL. */
int32_t atl_hooks_wrap(const atlas_hooks *hooks, atl_hook_frame *frame, uint8_t *flag,
                       atlas_hooks *out);

#endif
