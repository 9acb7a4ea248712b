/* SPDX-License-Identifier: ISC */
#include "queue/db_sqlite_private.h"

#include "base/mem.h"
#include "queue/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WATCH_STEPS 50 /* of SQLite's machine, from one call of goes_on to the next: a few rows */
#define APPLICATION_ID 0x53706c74 /* "Splt", for file(1) */
#define TEXT_OF(number) TEXT_OF_(number)
#define TEXT_OF_(number) #number

/* {BODY_KEY}: an INTEGER PRIMARY KEY is the rowid, so the table body is one B-tree and has no
 * index. */
static const struct schema_word words[] = {
    {"{INT}", "INTEGER"},
    {"{REAL}", "REAL"},
    {"{BLOB}", "BLOB"},
    {"{ID}", "INTEGER"},
    {"{SERIAL}", "INTEGER"},
    {"{CLUSTERED}", "WITHOUT ROWID"},
    {"{BODY_KEY}", ", PRIMARY KEY (message)"},
    {"{CHURN}", ""},
    {"{CHURN_BODY}", ""},
    {"{NOW}", "CAST(strftime('%s', 'now') AS INTEGER)"},
    {NULL, NULL},
};

static enum db_status create_tables(struct db_sqlite *s, struct err *err)
{
    enum db_status status = s->base.ops->begin(&s->base, true, err);

    if (status == DB_OK)
        status = schema_create(&s->base, words, err);
    if (status == DB_OK)
        status =
            db_sqlite_exec(s,
                           "PRAGMA application_id = " TEXT_OF(
                               APPLICATION_ID) ";"
                                               "PRAGMA user_version = " TEXT_OF(SCHEMA_VERSION),
                           err);
    if (status == DB_OK)
        status = s->base.ops->commit(&s->base, err);
    if (status != DB_OK)
        s->base.ops->rollback(&s->base);
    return status;
}

/* Check the version of the schema. *has_tables_out: false if the database is empty. */
static enum db_status check_version(struct db_sqlite *s, bool *has_tables_out, struct err *err)
{
    int64_t found = 0, tables = 0;
    enum db_status status = db_sqlite_get(
        s, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema'", &found,
        err);

    *has_tables_out = found != 0;
    if (status == DB_OK && !*has_tables_out) {
        status = db_sqlite_get(s, "SELECT count(*) FROM sqlite_master", &tables, err);
        if (status == DB_OK && tables != 0) {
            err_set(err, "%s: this is not a queue of splitrelay", s->path);
            return DB_CORRUPT;
        }
        return status;
    }
    return status == DB_OK ? schema_check(&s->base, s->path, err) : status;
}

/* Create the file with mode 0600. An existing file is not opened, because close(2) of any
 * descriptor of it ends the POSIX locks of all connections in this process. */
static enum db_status create_file(const struct db_sqlite *s, struct err *err)
{
    int fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd >= 0) {
        close(fd);
        return DB_OK;
    }
    if (errno == EEXIST)
        return DB_OK;
    err_set_errno(err, "cannot create %s", s->path);
    return errno == ENOSPC || errno == EDQUOT ? DB_FULL : DB_FAULT;
}

static void configure_library(void)
{
    /* Switch off the statistics of memory, which cost a lock at each allocation. In a program that
     * has used SQLite before, the call has no effect, and the statistics stay on. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* open(2) for SQLite, with the signature that it wants. If the index of the log cannot be opened
 * for writing (EMFILE, EIO), SQLite would open it for reading, and all connections of the process,
 * later ones too, could not write for as long as one of them is open. */
static int open_file(const char *path, int flags, int mode)
{
    static const char suffix[] = "-shm";
    size_t len = strlen(path);

    if ((flags & O_ACCMODE) == O_RDONLY && len >= sizeof suffix - 1 &&
        strcmp(path + len - (sizeof suffix - 1), suffix) == 0) {
        errno = EACCES;
        return -1;
    }
    return open(path, flags, mode);
}

static bool uses_open_file;

static void configure_for_writing(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

    uses_open_file = vfs->xSetSystemCall(vfs, "open", (sqlite3_syscall_ptr)open_file) == SQLITE_OK;
}

static enum db_status open_handle(struct db_sqlite *s, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT, once_for_writing = PTHREAD_ONCE_INIT;
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                (s->access == DB_WRITE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);

    pthread_once(&once, configure_library);
    if (s->access == DB_WRITE)
        pthread_once(&once_for_writing, configure_for_writing);
    if (s->access == DB_WRITE && !uses_open_file) {
        err_set(err, "%s: this SQLite does not open files by the function that it is given",
                s->path);
        return DB_FAULT;
    }
    if (sqlite3_open_v2(s->path, &s->handle, flags, NULL) != SQLITE_OK) {
        if (s->handle != NULL)
            return db_sqlite_fault(s, "open", err);
        err_set(err, "%s: no memory", s->path);
        return DB_FAULT;
    }
    if (s->access == DB_WRITE && sqlite3_db_readonly(s->handle, "main") != 0) {
        err_set(err, "%s cannot be opened for writing", s->path);
        return DB_FAULT;
    }
    sqlite3_extended_result_codes(s->handle, 1);
    sqlite3_busy_timeout(s->handle, DB_SQLITE_BUSY_MS);
    /* LIKE calls itself for each `%`, so the length of a pattern limits the stack that it needs. */
    sqlite3_limit(s->handle, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, DB_SQLITE_PATTERN_MAX);
    /* SQLite would make a checkpoint when the last connection is closed, perhaps after a sync that
     * failed; see db_sqlite_log_renew(). */
    sqlite3_db_config(s->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return DB_OK;
}

static enum db_status open_reader(struct db_sqlite *s, bool *is_missing_out, struct err *err)
{
    bool has_tables = false;

    if (access(s->path, F_OK) != 0 && errno == ENOENT) {
        *is_missing_out = true;
        err_set_errno(err, "%s", s->path);
        return DB_FAULT;
    }
    enum db_status status = open_handle(s, err);
    if (status == DB_OK)
        status = db_sqlite_exec(s, "PRAGMA cache_size = -1000", err);
    if (status == DB_OK)
        status = db_sqlite_get(s, "PRAGMA page_size", &s->page_bytes, err);
    if (status == DB_OK)
        status = check_version(s, &has_tables, err);
    if (status == DB_OK && !has_tables) {
        *is_missing_out = true;
        err_set(err, "%s: it has no tables yet", s->path);
        return DB_FAULT;
    }
    return status;
}

/* Set the pragmas. Those that are stored in the file are set only before its first page is written.
 * On an existing database setting them would be a transaction, and none may come before
 * db_sqlite_log_renew(). */
static enum db_status set_up(struct db_sqlite *s, struct err *err)
{
    char *limit = sqlite3_mprintf("PRAGMA journal_size_limit = %d", DB_SQLITE_LOG_KEEP_BYTES);
    int64_t pages;
    enum db_status status = db_sqlite_get(s, "PRAGMA page_count", &pages, err);

    if (status == DB_OK && pages == 0)
        status = db_sqlite_exec(s,
                                "PRAGMA page_size = " TEXT_OF(
                                    DB_SQLITE_PAGE_BYTES) "; PRAGMA auto_vacuum = INCREMENTAL",
                                err);
    if (status == DB_OK)
        status = db_sqlite_exec(s,
                                "PRAGMA journal_mode = WAL;"
                                "PRAGMA synchronous = FULL;"
                                "PRAGMA secure_delete = FAST;"
                                "PRAGMA cache_size = -8000;"
                                "PRAGMA temp_store = MEMORY;"
                                "PRAGMA mmap_size = 0",
                                err);
    s->is_synchronous = true;
    if (status == DB_OK)
        status = db_sqlite_exec(s, limit, err);
    if (status == DB_OK)
        status = db_sqlite_get(s, "PRAGMA page_size", &s->page_bytes, err);
    sqlite3_free(limit);
    db_sqlite_log_init(s);
    return status;
}

static bool is_wal(void *ctx, const struct db_value *columns)
{
    *(bool *)ctx = strcmp(db_string(&columns[0]), "wal") == 0;
    return false;
}

static enum db_status open_writer(struct db_sqlite *s, struct err *err)
{
    bool has_tables = false, has_log = false;
    enum db_status status = create_file(s, err);

    if (status == DB_OK)
        status = open_handle(s, err);
    if (status == DB_OK)
        status = set_up(s, err);
    if (status == DB_OK)
        status =
            s->base.ops->query(&s->base, "PRAGMA journal_mode", NULL, 0, is_wal, &has_log, err);
    if (status == DB_OK && !has_log) {
        err_set(err, "%s: the file system does not allow a write-ahead log", s->path);
        status = DB_FAULT;
    }
    if (status == DB_OK)
        status = check_version(s, &has_tables, err);
    if (status == DB_OK)
        status = db_sqlite_log_renew(s, err);
    if (status == DB_OK)
        db_sqlite_gather_init(s);
    if (status == DB_OK && !has_tables)
        status = create_tables(s, err);
    return status;
}

static int on_progress(void *ctx)
{
    const struct db_sqlite *s = ctx;

    return s->goes_on(s->goes_on_ctx) ? 0 : 1;
}

void db_sqlite_watch(struct db *db, bool (*goes_on)(void *ctx), void *ctx)
{
    struct db_sqlite *s = (struct db_sqlite *)(void *)db;

    s->goes_on = goes_on;
    s->goes_on_ctx = ctx;
    sqlite3_progress_handler(s->handle, WATCH_STEPS, on_progress, s);
}

struct db *db_sqlite_open(const char *spool_directory, enum db_access access,
                          enum db_status *status_out, bool *is_missing_out, struct err *err)
{
    struct db_sqlite *s = mem_zalloc(sizeof *s);

    s->base.ops = &db_sqlite_ops;
    s->access = access;
    s->path = mem_printf("%s/queue.db", spool_directory);
    *is_missing_out = false;
    *status_out = access == DB_WRITE ? open_writer(s, err) : open_reader(s, is_missing_out, err);
    if (*status_out == DB_OK)
        return &s->base;
    s->has_failed = true;
    s->base.ops->close(&s->base);
    return NULL;
}
