/* SPDX-License-Identifier: ISC */
/*
 * Gather the writes to the log. SQLite makes two small writes for each page of a transaction. In a
 * transaction that is to be synced, these are gathered, and written 96 kB at a time, the last of
 * them when SQLite asks for the sync. Readers do not see the transaction before that sync, so no
 * reader looks for what is still in memory. If the write fails, the commit fails.
 *
 * Other transactions are not gathered: they end without a call that could write what is gathered.
 * Nothing is gathered either if the file lacks IOCAP_POWERSAFE_OVERWRITE, because SQLite then
 * writes more after the sync. All files of SQLite's own VFS have it.
 */
#include "queue/db_sqlite_private.h"

#include <stddef.h>

#define GATHER_BYTES (96 * 1024) /* SQLite's VFS passes less than 128 kB to one pwrite(2) */

/* file->pMethods points to `methods`, which is the first member of the structure. */
static struct db_sqlite_gather *gather_of(sqlite3_file *file)
{
    return (struct db_sqlite_gather *)(uintptr_t)file->pMethods;
}

/* Write what is gathered. After a fault the data is dropped, because SQLite rolls the transaction
 * back. */
static int flush(struct db_sqlite_gather *g, sqlite3_file *file)
{
    const int len = (int)g->data.len;

    if (len == 0)
        return SQLITE_OK;
    int rc = g->below->xWrite(file, g->data.data, len, g->end - len);
    buf_reset(&g->data);
    return rc;
}

static int gather_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 at)
{
    struct db_sqlite_gather *g = gather_of(file);
    int rc = SQLITE_OK;

    if (!*g->is_synchronous || at != g->end || g->data.len + (size_t)len > GATHER_BYTES)
        rc = flush(g, file);
    if (rc != SQLITE_OK)
        return rc;
    g->end = at + len;
    if (!*g->is_synchronous)
        return g->below->xWrite(file, data, len, at);
    buf_add(&g->data, data, (size_t)len);
    return SQLITE_OK;
}

static int gather_read(sqlite3_file *file, void *data, int len, sqlite3_int64 at)
{
    struct db_sqlite_gather *g = gather_of(file);
    int rc = flush(g, file);

    return rc == SQLITE_OK ? g->below->xRead(file, data, len, at) : rc;
}

static int gather_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct db_sqlite_gather *g = gather_of(file);
    int rc = flush(g, file);

    return rc == SQLITE_OK ? g->below->xTruncate(file, size) : rc;
}

static int gather_sync(sqlite3_file *file, int flags)
{
    struct db_sqlite_gather *g = gather_of(file);
    int rc = flush(g, file);

    return rc == SQLITE_OK ? g->below->xSync(file, flags) : rc;
}

static int gather_size(sqlite3_file *file, sqlite3_int64 *size_out)
{
    struct db_sqlite_gather *g = gather_of(file);
    int rc = flush(g, file);

    return rc == SQLITE_OK ? g->below->xFileSize(file, size_out) : rc;
}

void db_sqlite_gather_init(struct db_sqlite *s)
{
    struct db_sqlite_gather *g = &s->gather;
    sqlite3_file *file = NULL, *log = NULL;

    (void)sqlite3_file_control(s->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    (void)sqlite3_file_control(s->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    if (log == NULL || log->pMethods == NULL ||
        (file->pMethods->xDeviceCharacteristics(file) & SQLITE_IOCAP_POWERSAFE_OVERWRITE) == 0)
        return;
    g->below = log->pMethods;
    g->methods = *g->below;
    g->methods.xWrite = gather_write;
    g->methods.xRead = gather_read;
    g->methods.xTruncate = gather_truncate;
    g->methods.xSync = gather_sync;
    g->methods.xFileSize = gather_size;
    g->is_synchronous = &s->is_synchronous;
    g->end = -1;
    log->pMethods = &g->methods;
}

bool db_sqlite_gather_is_empty(const struct db_sqlite *s)
{
    return s->gather.data.len == 0;
}
