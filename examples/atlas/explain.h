/* What is wrong with something that the user gave, and what to do: where the library's sentence for
 * a code would not say. Each prints the error and returns the exit code. */
#ifndef ATLAS_PROGRAM_EXPLAIN_H
#define ATLAS_PROGRAM_EXPLAIN_H

#include "app.h"

/* The key file cannot be loaded. */
int explain_key(app *a, int32_t code);
/* The configuration file cannot be read. */
int explain_config(app *a, const char *file, int32_t code);
/* `text`, the value of `name` ("--relay", "TARGET"), is not taken. The context is there. */
int explain_addr(app *a, const char *name, const char *text, int32_t code);
/* 0 when this host can bind the address of --bind, else an exit code. */
int explain_bind(app *a);

#endif
