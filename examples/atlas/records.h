/* The records that a node knows, kept over restarts in the file `records` next to its key. */
#ifndef ATLAS_PROGRAM_RECORDS_H
#define ATLAS_PROGRAM_RECORDS_H

#include <stdint.h>

struct app;

typedef struct records records;

/* Reads the file where there is one. What is wrong with it is a warning: the records are found
 * again. Without the directory nothing is kept. */
void records_load(struct app *a);
/* Writes them when they have changed: under another name first, and with those that other processes
 * have written in the meantime. */
void records_save(struct app *a);
/* When they are to be written next; UINT64_MAX: never. */
uint64_t records_due(const struct app *a);
void records_free(records *r); /* NULL is allowed */

#endif
