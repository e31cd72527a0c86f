/* The registry's file, as store_file.c (opening, changes) and store_load.c see it. */
#ifndef ATL_DISCOVERY_STORE_FILE_INTERNAL_H
#define ATL_DISCOVERY_STORE_FILE_INTERNAL_H

#include "discovery/store_file.h"

#include <sqlite3.h>

enum {
    ATL_SQL_BEGIN,
    ATL_SQL_COMMIT,
    ATL_SQL_ROLLBACK,
    ATL_SQL_PUT,
    ATL_SQL_BURY,
    ATL_SQL_REMOVE,
    ATL_SQL_REMOVE_ROW,
    ATL_SQL_EXPIRE,
    ATL_SQL_SELECT,
    ATL_SQL_STATEMENTS,
};

struct atl_store_file {
    atl_env *env;
    sqlite3 *db;
    atl_record_store *store; /* that hears what makes way there; NULL: not loaded */
    size_t pending;
    int32_t failed; /* of what is pending */
    uint8_t begun;
    sqlite3_stmt *statements[ATL_SQL_STATEMENTS];
};

/* Logs what SQLite says of an error, and returns our code for it. */
int32_t atl_store_file_report(const atl_store_file *file, int rc, const char *doing);
/* Before each change: the first one begins the transaction; after an error nothing more is tried in
 * it. */
int32_t atl_store_file_begin(atl_store_file *file);
/* Runs one of the statements with what is bound to it, as a part of the transaction. */
int32_t atl_store_file_change(atl_store_file *file, int which);

#endif
