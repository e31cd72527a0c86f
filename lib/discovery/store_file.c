#include "discovery/store_file_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION_ID 0x41544c52 /* "ATLR" */
#define VERSION 1
#define CREATE_TABLE                                                              \
    "CREATE TABLE records(peer BLOB NOT NULL UNIQUE, seq INTEGER NOT NULL, "      \
    "expires INTEGER NOT NULL, verified INTEGER NOT NULL, source BLOB NOT NULL, " \
    "data BLOB NOT NULL)"
#define CREATE_INDEX "CREATE INDEX records_by_expiry ON records(expires)"

#define VALUE_MAX 65536       /* bytes of anything in the file */
#define EXPIRE_MAX 1024       /* rows that one call removes */
#define EXPIRE_WITH_COMMIT 64 /* and a commit, besides two for each change */
#define COMMIT_MAX 100000     /* of these for changes */

static const char *const SQL[ATL_SQL_STATEMENTS] = {
    [ATL_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [ATL_SQL_COMMIT] = "COMMIT",
    [ATL_SQL_ROLLBACK] = "ROLLBACK",
    [ATL_SQL_PUT] =
        "INSERT INTO records(peer,seq,expires,verified,source,data) VALUES(?1,?2,?3,?4,?5,?6) "
        "ON CONFLICT(peer) DO UPDATE SET seq=excluded.seq,expires=excluded.expires,"
        "verified=excluded.verified,source=excluded.source,data=excluded.data",
    [ATL_SQL_BURY] =
        "INSERT INTO records(peer,seq,expires,verified,source,data) "
        "VALUES(?1,?2,?3,0,x'',x'') ON CONFLICT(peer) DO UPDATE SET seq=excluded.seq,"
        "expires=excluded.expires,verified=0,data=x''",
    [ATL_SQL_REMOVE] = "DELETE FROM records WHERE peer=?1",
    [ATL_SQL_REMOVE_ROW] = "DELETE FROM records WHERE rowid=?1",
    [ATL_SQL_EXPIRE] =
        /* parentheses for clang, which takes two strings for a forgotten comma */
    ("DELETE FROM records WHERE rowid IN "
     "(SELECT rowid FROM records WHERE expires<=?1 ORDER BY expires LIMIT ?2)"),
    [ATL_SQL_SELECT] =
        "SELECT rowid,peer,seq,expires,verified,source,data FROM records ORDER BY rowid",
};

/* ---- SQLite ---- */

static int32_t code_of_errno(int error) {
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return ATLAS_ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP:
        return ATLAS_ERR_PERMISSION;
    case ENAMETOOLONG:
        return ATLAS_ERR_INVALID;
    case ENOMEM:
        return ATLAS_ERR_NOMEM;
    default:
        return ATLAS_ERR_IO;
    }
}

static int32_t code_of(int rc) {
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return ATLAS_OK;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ATLAS_ERR_AGAIN;
    case SQLITE_NOMEM:
        return ATLAS_ERR_NOMEM;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
        return ATLAS_ERR_PERMISSION;
    case SQLITE_ERROR: /* none of our statements is wrong: the file's schema is */
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_MISMATCH:
    case SQLITE_FORMAT:
    case SQLITE_TOOBIG:
    case SQLITE_CONSTRAINT: /* an index that does not fit the table */
        return ATLAS_ERR_MALFORMED;
    default:
        return ATLAS_ERR_IO;
    }
}

int32_t atl_store_file_report(const atl_store_file *file, int rc, const char *doing) {
    atl_log(file->env, ATLAS_LOG_WARN, "registry file: %s: %s (SQLite %d)", doing,
            sqlite3_errmsg(file->db), rc);
    return (rc & 0xff) == SQLITE_CANTOPEN ? code_of_errno(sqlite3_system_errno(file->db))
                                          : code_of(rc);
}

static int32_t run_sql(const atl_store_file *file, const char *sql) {
    int rc = sqlite3_exec(file->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? ATLAS_OK : atl_store_file_report(file, rc, sql);
}

/* Runs a statement that gives no rows, with what is bound to it. */
static int32_t run(const atl_store_file *file, int which) {
    sqlite3_stmt *statement = file->statements[which];
    int rc = sqlite3_step(statement);
    int32_t code = rc == SQLITE_DONE ? ATLAS_OK : atl_store_file_report(file, rc, SQL[which]);

    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return code;
}

/* The first column of the first row of a query. */
static int32_t ask(const atl_store_file *file, const char *sql, char *out, size_t cap) {
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(file->db, sql, -1, &statement, NULL);
    int32_t code;

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(statement);
    }
    if (rc == SQLITE_ROW) {
        const unsigned char *text = sqlite3_column_text(statement, 0);

        (void)snprintf(out, cap, "%s", text == NULL ? "" : (const char *)text);
        code = ATLAS_OK;
    } else {
        code = rc == SQLITE_DONE ? ATLAS_ERR_MALFORMED : atl_store_file_report(file, rc, sql);
    }
    (void)sqlite3_finalize(statement);
    return code;
}

/* ---- opening ---- */

/* Makes the file where there is none: SQLite would heed the umask. One that is there is not opened:
 * closing it again would drop the locks that this process may have on it. */
static int32_t make_file(const char *path) {
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int32_t rc = ATLAS_OK;

    if (fd >= 0) {
        if (fchmod(fd, 0600) != 0) {
            rc = code_of_errno(errno);
        }
        return close(fd) == 0 || rc != ATLAS_OK ? rc : ATLAS_ERR_IO;
    }
    if (errno != EEXIST) {
        return code_of_errno(errno);
    }
    if (stat(path, &st) != 0) {
        return code_of_errno(errno);
    }
    if (!S_ISREG(st.st_mode)) {
        return ATLAS_ERR_MALFORMED;
    }
    return access(path, R_OK | W_OK) == 0 ? ATLAS_OK : code_of_errno(errno);
}

/* What a hostile file could have SQLite do is switched off before anything of it is read. */
static int32_t harden(const atl_store_file *file) {
    static const int OFF[] = {SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_VIEW,
                              SQLITE_DBCONFIG_TRUSTED_SCHEMA, SQLITE_DBCONFIG_DQS_DDL,
                              SQLITE_DBCONFIG_DQS_DML};
    size_t i;

    for (i = 0; i < ATL_COUNT(OFF); i++) {
        (void)sqlite3_db_config(file->db, OFF[i], 0, NULL);
    }
    (void)sqlite3_db_config(file->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_limit(file->db, SQLITE_LIMIT_LENGTH, VALUE_MAX);
    (void)sqlite3_limit(file->db, SQLITE_LIMIT_ATTACHED, 0);
    (void)sqlite3_busy_timeout(file->db, 0);
    /* a file that shrinks under a mapping would be a SIGBUS */
    return run_sql(file,
                   "PRAGMA mmap_size=0;PRAGMA cell_size_check=ON;PRAGMA temp_store=MEMORY;"
                   "PRAGMA cache_size=-4096;PRAGMA locking_mode=EXCLUSIVE");
}

/* 1 in *is_new when nothing is in the file. It has our schema to the letter, or none. */
static int32_t check_schema(const atl_store_file *file, int *is_new) {
    static const char WANTED[] = "index|records_by_expiry|" CREATE_INDEX
                                 ";"
                                 "index|sqlite_autoindex_records_1|;"
                                 "table|records|" CREATE_TABLE ";";
    char have[sizeof(WANTED) + 8];
    char id[32];
    char version[32];
    int32_t rc = ask(file,
                     "SELECT ifnull(group_concat(s,''),'') FROM (SELECT type||'|'||name||'|'"
                     "||ifnull(sql,'')||';' AS s FROM sqlite_schema ORDER BY type,name)",
                     have, sizeof(have));

    if (rc == ATLAS_OK) {
        rc = ask(file, "PRAGMA application_id", id, sizeof(id));
    }
    if (rc == ATLAS_OK) {
        rc = ask(file, "PRAGMA user_version", version, sizeof(version));
    }
    if (rc != ATLAS_OK) {
        return rc;
    }
    *is_new = strcmp(have, "") == 0 && strcmp(id, "0") == 0 && strcmp(version, "0") == 0;
    if (!*is_new &&
        (strcmp(have, WANTED) != 0 || strcmp(id, "1096043602") != 0 || strcmp(version, "1") != 0)) {
        atl_log(file->env, ATLAS_LOG_WARN, "registry file: it is none, or of another version");
        return ATLAS_ERR_MALFORMED;
    }
    return ATLAS_OK;
}

static int32_t set_up(atl_store_file *file) {
    char text[256];
    int is_new = 0;
    int32_t rc = harden(file);
    size_t i;

    if (rc == ATLAS_OK) {
        rc = check_schema(file, &is_new);
    }
    if (rc == ATLAS_OK) {
        rc = ask(file, "PRAGMA journal_mode=WAL", text, sizeof(text));
    }
    if (rc == ATLAS_OK && strcmp(text, "wal") != 0) {
        atl_log(file->env, ATLAS_LOG_WARN, "registry file: no write-ahead log here, but %s", text);
        return ATLAS_ERR_IO;
    }
    if (rc == ATLAS_OK) {
        rc = run_sql(file, "PRAGMA synchronous=FULL;PRAGMA journal_size_limit=16777216");
    }
    if (rc == ATLAS_OK && is_new) {
        rc = run_sql(file, "BEGIN IMMEDIATE;" CREATE_TABLE ";" CREATE_INDEX
                           ";"
                           "PRAGMA application_id=0x41544c52;PRAGMA user_version=1;COMMIT");
    }
    if (rc == ATLAS_OK) {
        rc = ask(file, "PRAGMA integrity_check(1)", text, sizeof(text));
    }
    if (rc == ATLAS_OK && strcmp(text, "ok") != 0) {
        atl_log(file->env, ATLAS_LOG_WARN, "registry file: damaged: %s", text);
        return ATLAS_ERR_MALFORMED;
    }
    for (i = 0; rc == ATLAS_OK && i < ATL_SQL_STATEMENTS; i++) {
        int sqlite = sqlite3_prepare_v3(file->db, SQL[i], -1, SQLITE_PREPARE_PERSISTENT,
                                        &file->statements[i], NULL);

        rc = sqlite == SQLITE_OK ? ATLAS_OK : atl_store_file_report(file, sqlite, SQL[i]);
    }
    return rc;
}

int32_t atl_store_file_open(atl_env *env, const char *path, atl_store_file **out) {
    atl_store_file *file = NULL;
    char *name = NULL;
    size_t len = strlen(path);
    int sqlite;
    int32_t rc;

    if (len == 0) {
        return ATLAS_ERR_INVALID;
    }
    rc = make_file(path);
    if (rc != ATLAS_OK) {
        return rc;
    }
    rc = ATLAS_ERR_NOMEM;
    file = atl_calloc(env, 1, sizeof(*file));
    name = atl_malloc(env, len + 3);
    if (file != NULL) {
        file->env = env;
    }
    if (file == NULL || name == NULL) {
        goto done;
    }
    /* so that ":memory:" and "file:..." are names like all others */
    (void)snprintf(name, len + 3, "%s%s", path[0] == '/' ? "" : "./", path);
    sqlite = sqlite3_open_v2(name, &file->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (file->db == NULL) {
        goto done;
    }
    (void)sqlite3_extended_result_codes(file->db, 1);
    rc = sqlite == SQLITE_OK ? set_up(file) : atl_store_file_report(file, sqlite, "open");
done:
    atl_free(env, name);
    if (rc != ATLAS_OK) {
        atl_store_file_close(file);
        return rc;
    }
    *out = file;
    return ATLAS_OK;
}

void atl_store_file_close(atl_store_file *file) {
    size_t i;

    if (file == NULL) {
        return;
    }
    if (file->pending > 0) {
        (void)atl_store_file_commit(file);
    }
    if (file->store != NULL) {
        atl_record_store_on_evict(file->store, NULL, NULL);
    }
    for (i = 0; i < ATL_SQL_STATEMENTS; i++) {
        (void)sqlite3_finalize(file->statements[i]);
    }
    (void)sqlite3_close(file->db);
    atl_free(file->env, file);
}

/* ---- changes ---- */

size_t atl_store_file_pending(const atl_store_file *file) {
    return file->pending;
}

/* The first change begins the transaction; after an error nothing more is tried in it. */
int32_t atl_store_file_begin(atl_store_file *file) {
    file->pending++;
    if (file->failed == ATLAS_OK && !file->begun) {
        file->failed = run(file, ATL_SQL_BEGIN);
        file->begun = file->failed == ATLAS_OK;
    }
    return file->failed;
}

int32_t atl_store_file_change(atl_store_file *file, int which) {
    file->failed = run(file, which);
    return file->failed;
}

static void bind_peer(const atl_store_file *file, int which, const atl_peer_id *peer) {
    (void)sqlite3_bind_blob(file->statements[which], 1, peer->key, sizeof(peer->key),
                            SQLITE_STATIC);
}

int32_t atl_store_file_put(atl_store_file *file, const atl_record_put *put, int64_t expires) {
    sqlite3_stmt *statement = file->statements[ATL_SQL_PUT];
    uint8_t source[8];
    size_t source_len = put->source == NULL ? 0 : atl_addr_limit_key(put->source, source);

    if (put->len > ATL_RECORD_MAX || put->head->seq > INT64_MAX) {
        return ATLAS_ERR_INVALID;
    }
    if (atl_store_file_begin(file) != ATLAS_OK) {
        return file->failed;
    }
    bind_peer(file, ATL_SQL_PUT, &put->head->peer);
    (void)sqlite3_bind_int64(statement, 2, (sqlite3_int64)put->head->seq);
    (void)sqlite3_bind_int64(statement, 3, expires);
    (void)sqlite3_bind_int(statement, 4, put->verified != 0);
    (void)sqlite3_bind_blob(statement, 5, source, (int)source_len, SQLITE_STATIC);
    /* an empty blob, where NULL would be SQL's */
    (void)sqlite3_bind_blob(statement, 6, put->len == 0 ? source : put->data, (int)put->len,
                            SQLITE_STATIC);
    return atl_store_file_change(file, ATL_SQL_PUT);
}

int32_t atl_store_file_tombstone(atl_store_file *file, const atl_peer_id *peer, uint64_t seq,
                                 int64_t expires) {
    sqlite3_stmt *statement = file->statements[ATL_SQL_BURY];

    if (seq > INT64_MAX) {
        return ATLAS_ERR_INVALID;
    }
    if (atl_store_file_begin(file) != ATLAS_OK) {
        return file->failed;
    }
    bind_peer(file, ATL_SQL_BURY, peer);
    (void)sqlite3_bind_int64(statement, 2, (sqlite3_int64)seq);
    (void)sqlite3_bind_int64(statement, 3, expires);
    return atl_store_file_change(file, ATL_SQL_BURY);
}

int32_t atl_store_file_remove(atl_store_file *file, const atl_peer_id *peer) {
    if (atl_store_file_begin(file) != ATLAS_OK) {
        return file->failed;
    }
    bind_peer(file, ATL_SQL_REMOVE, peer);
    return atl_store_file_change(file, ATL_SQL_REMOVE);
}

int32_t atl_store_file_sync(atl_store_file *file, const atl_record_store *store,
                            const atl_peer_id *peer, int64_t wall, uint64_t now) {
    atl_record_head head;
    atl_record_put put;
    atl_addr source;

    if (!atl_record_store_state(store, peer, &head, &source, &put) || put.expires <= now) {
        return atl_store_file_remove(file, peer);
    }
    return atl_store_file_put(file, &put, wall + (int64_t)((put.expires - now) / ATL_MS));
}

static int32_t remove_expired(atl_store_file *file, int64_t wall, size_t most) {
    (void)sqlite3_bind_int64(file->statements[ATL_SQL_EXPIRE], 1, wall);
    (void)sqlite3_bind_int64(file->statements[ATL_SQL_EXPIRE], 2, (sqlite3_int64)most);
    return run(file, ATL_SQL_EXPIRE);
}

int32_t atl_store_file_commit(atl_store_file *file) {
    size_t changes = file->pending < COMMIT_MAX ? file->pending : COMMIT_MAX;
    int32_t rc = file->failed;

    if (file->begun) {
        /* so many that rows cannot pile up, whatever is put */
        if (rc == ATLAS_OK) {
            rc = remove_expired(file, atl_env_wall_ms(file->env), EXPIRE_WITH_COMMIT + 2 * changes);
        }
        if (rc == ATLAS_OK) {
            rc = run(file, ATL_SQL_COMMIT);
        }
        /* after some errors SQLite has rolled back by itself */
        if (rc != ATLAS_OK && !sqlite3_get_autocommit(file->db)) {
            (void)run(file, ATL_SQL_ROLLBACK);
        }
    }
    file->begun = 0;
    file->pending = 0;
    file->failed = ATLAS_OK;
    return rc;
}

int32_t atl_store_file_expire(atl_store_file *file, int64_t wall) {
    if (file->begun) {
        return ATLAS_OK; /* the commit does it */
    }
    return remove_expired(file, wall, EXPIRE_MAX);
}
