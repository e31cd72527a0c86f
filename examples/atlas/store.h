/* A file that comes in: written under a temporary name in one directory, hashed on the way, and
 * given its name only when it is whole. */
#ifndef ATLAS_PROGRAM_STORE_H
#define ATLAS_PROGRAM_STORE_H

#include "transfer.h"

typedef struct store {
    int dir; /* the directory, not ours to close */
    int fd;  /* -1: nothing is open */
    char temporary[64];
    uint64_t written;
    crypto_generichash_state hash;
} store;

/* The directory for received files, made when only its last part is missing; -1 and errno. */
int store_dir_open(const char *path);
/* Removes temporary files of ours that nobody has written to for a day: a crash left them. How many
 * those were. */
unsigned store_clean(int dir);

/* All return 0, or an errno value. `size` is checked against the space that is left. */
int store_begin(store *s, int dir, uint64_t size);
int store_write(store *s, const uint8_t *data, size_t len);
/* Gives the file its name, or "name (1)", "name (2)" ... where that is taken; `name` receives the
 * one it got. */
int store_commit(store *s, const char *safe_name, char *name, size_t cap);
void store_hash(store *s, uint8_t out[FILE_HASH]);
/* Removes what is not committed. */
void store_abort(store *s);

#endif
