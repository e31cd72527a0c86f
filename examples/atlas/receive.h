/* Files that peers send to atlas listen. */
#ifndef ATLAS_PROGRAM_RECEIVE_H
#define ATLAS_PROGRAM_RECEIVE_H

#include "app.h"

typedef struct receiver {
    app *app;
    int dir;           /* of store_dir_open() */
    uint64_t max_size; /* bytes */
    uint32_t files;    /* being received now */
} receiver;

/* An incoming stream: takes it over, or resets it. */
void receive_stream(receiver *r, atlas_stream *stream);

#endif
