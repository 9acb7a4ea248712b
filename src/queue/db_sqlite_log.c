/* SPDX-License-Identifier: ISC */
/*
 * The write-ahead log (queue.db-wal) and the size of the file.
 *
 * A checkpoint copies the log into the database. Only this connection makes checkpoints, between
 * its transactions, so commits wait meanwhile. The time of a checkpoint depends on the disk and on
 * the number of different pages, so it is measured. The number of pages from one checkpoint to the
 * next grows while checkpoints are fast, and shrinks after a slow one. After a complete checkpoint
 * the next transaction begins at the start of the log again, unless a reader still needs its end.
 * So the file of the log keeps its size and its blocks. This makes syncs cheap, and outcomes can be
 * written on a full disk.
 */
#include "queue/db_sqlite_private.h"

#include "base/clock.h"
#include "base/fdio.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KB 1024
#define CHECKPOINT_MIN_PAGES (256 * KB / DB_SQLITE_PAGE_BYTES)
#define CHECKPOINT_START_PAGES (1024 * KB / DB_SQLITE_PAGE_BYTES)
#define CHECKPOINT_MAX_PAGES (8192 * KB / DB_SQLITE_PAGE_BYTES)
#define CHECKPOINT_SLOW_MS 50
#define CHECKPOINT_FAST_MS 10
#define RESTART_WAIT_MS 20 /* for readers */
#define RESTART_EVERY_MS 200
#define VACUUM_STEP "PRAGMA incremental_vacuum(64)"
#define KEEP_FREE_PAGES (8192 * KB / DB_SQLITE_PAGE_BYTES)
#define RENEW_BYTES (256 * KB)
#define START_BYTES (4 * KB)      /* less than the first frame of a log needs */
#define LOG_MIN_BYTES (1024 * KB) /* more than WRITER_KEPT_MAX outcomes need */

static int count_pages(void *ctx, sqlite3 *handle, const char *name, int pages)
{
    struct db_sqlite *s = ctx;

    (void)handle;
    (void)name;
    if (pages < s->log_pages) { /* the log began at its start again */
        s->copied_pages = 0;
        s->checkpoint_at = s->checkpoint_pages;
    }
    s->log_pages = pages;
    return SQLITE_OK;
}

void db_sqlite_log_init(struct db_sqlite *s)
{
    int chunk = DB_SQLITE_CHUNK_BYTES;

    (void)sqlite3_file_control(s->handle, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk);
    s->checkpoint_pages = s->checkpoint_at = CHECKPOINT_START_PAGES;
    (void)sqlite3_wal_hook(s->handle, count_pages, s); /* in place of the automatic checkpoints */
}

static void adapt(struct db_sqlite *s, int64_t ms)
{
    if (ms > CHECKPOINT_SLOW_MS && s->checkpoint_pages > CHECKPOINT_MIN_PAGES)
        s->checkpoint_pages /= 2;
    else if (ms < CHECKPOINT_FAST_MS && s->checkpoint_pages < CHECKPOINT_MAX_PAGES)
        s->checkpoint_pages *= 2;
}

/* Sync the size of the file. While the log is empty, SQLite computes the number of pages from that
 * size, and the next commit writes the number into the log. If the file were shorter after a power
 * failure, SQLite would call the database damaged. So the size is on the disk before that commit.
 */
static int sync_file(struct db_sqlite *s)
{
    sqlite3_file *file = NULL;

    (void)sqlite3_file_control(s->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    return file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
}

/*
 * The pages that a transaction adds are written to the file by a later checkpoint. If the disk were
 * full then, the log could not begin at its start again, and no outcome could be recorded, although
 * recording outcomes makes room. So the file grows before the commit.
 */
enum db_status db_sqlite_reserve(struct db_sqlite *s, struct err *err)
{
    int64_t pages;
    enum db_status status = db_sqlite_get(s, "PRAGMA page_count", &pages, err);
    sqlite3_int64 size = pages * s->page_bytes;

    if (status != DB_OK || size <= s->reserved_bytes)
        return status;
    if (sqlite3_file_control(s->handle, "main", SQLITE_FCNTL_SIZE_HINT, &size) == SQLITE_OK) {
        if (s->log_pages == 0 && sync_file(s) != SQLITE_OK) {
            err_set(err, "%s: cannot sync its size", s->path);
            return DB_FAULT;
        }
        s->reserved_bytes = size / DB_SQLITE_CHUNK_BYTES * DB_SQLITE_CHUNK_BYTES;
        return DB_OK;
    }
    int error = db_sqlite_system_error(s);
    err_set(err, "%s: cannot grow: %s", s->path, strerror(error));
    return error == ENOSPC || error == EDQUOT ? DB_FULL : DB_FAULT;
}

/* Make a checkpoint. mode: SQLITE_CHECKPOINT_... Pages that a reader still needs stay in the log.
 */
static enum db_status checkpoint(struct db_sqlite *s, int mode, struct err *err)
{
    int64_t begin_ms = clock_now_ms();
    int pages = 0, copied = 0;
    int rc = sqlite3_wal_checkpoint_v2(s->handle, "main", mode, &pages, &copied);

    s->checkpoint_at = s->log_pages + s->checkpoint_pages;
    s->reserved_bytes = 0; /* the file may have been cut */
    if (rc != SQLITE_OK && rc != SQLITE_BUSY)
        return db_sqlite_fault(s, "checkpoint", err);
    if (mode == SQLITE_CHECKPOINT_PASSIVE && s->log_pages - s->copied_pages >= s->checkpoint_pages)
        adapt(s, clock_now_ms() - begin_ms);
    s->copied_pages = copied;
    return DB_OK;
}

/* Make a checkpoint that waits up to RESTART_WAIT_MS for readers. Without such checkpoints,
 * overlapping readers would let the log grow without limit. */
static enum db_status restart(struct db_sqlite *s, struct err *err)
{
    s->restart_at_ms = clock_now_ms() + RESTART_EVERY_MS;
    sqlite3_busy_timeout(s->handle, RESTART_WAIT_MS);
    enum db_status status = checkpoint(s, SQLITE_CHECKPOINT_RESTART, err);
    sqlite3_busy_timeout(s->handle, DB_SQLITE_BUSY_MS);
    return status;
}

/* Give some of the free pages back to the file system. A database that was created with sqlite3,
 * without auto_vacuum, keeps them all. */
static enum db_status vacuum(struct db_sqlite *s, bool *has_more_out, struct err *err)
{
    int64_t free_pages, left = 0;
    enum db_status status = db_sqlite_get(s, "PRAGMA freelist_count", &free_pages, err);

    if (status != DB_OK || free_pages <= KEEP_FREE_PAGES)
        return status;
    status = s->base.ops->begin(&s->base, false, err);
    if (status == DB_OK)
        status = s->base.ops->run(&s->base, VACUUM_STEP, NULL, 0, NULL, err);
    if (status == DB_OK)
        status = db_sqlite_get(s, "PRAGMA freelist_count", &left, err);
    if (status == DB_OK)
        status = s->base.ops->commit(&s->base, err);
    *has_more_out = status == DB_OK && left < free_pages;
    if (status != DB_OK)
        s->base.ops->rollback(&s->base);
    return status;
}

enum db_status db_sqlite_maintain(struct db *db, bool is_idle, bool *has_more_out, struct err *err)
{
    struct db_sqlite *s = (struct db_sqlite *)db;
    enum db_status status = DB_OK;

    *has_more_out = false;
    if (s->log_pages >= s->checkpoint_at || (is_idle && s->copied_pages < s->log_pages))
        status = checkpoint(s, SQLITE_CHECKPOINT_PASSIVE, err);
    if (status == DB_OK && s->log_pages >= 2 * CHECKPOINT_MAX_PAGES &&
        clock_now_ms() >= s->restart_at_ms)
        status = restart(s, err);
    if (status == DB_OK && is_idle)
        status = vacuum(s, has_more_out, err);
    return status;
}

/* --- the log as a file --- */

/* Write the log over itself, and sync it. A short log is then filled with zeros up to
 * LOG_MIN_BYTES, which SQLite takes for the end of the log: allocated blocks make syncs fast, and
 * can be written to when the disk is full.
 *
 * The file may have been longer a moment ago, and after a power failure its old frames may be there
 * again. Some old frames with zeros behind them would pass for a complete log, and the database is
 * ahead of it. So the start of the file is synced before the zeros behind it are written. In an
 * empty log that start is START_BYTES of zeros. It ends before the end of the first frame, so
 * whichever part of it gets to the disk, no old frame before its end is valid. */
static int rewrite(int fd, char *data)
{
    off_t at = 0;
    ssize_t n;

    while ((n = fdio_pread_full(fd, data, RENEW_BYTES, at)) > 0) {
        if (pwrite(fd, data, (size_t)n, at) != n)
            return -1;
        at += n;
    }
    if (n < 0)
        return -1;
    memset(data, 0, RENEW_BYTES);
    if (at == 0 && (n = pwrite(fd, data, START_BYTES, at)) > 0)
        at = n;
    if (at < LOG_MIN_BYTES && fsync(fd) != 0)
        return -1;
    while (at < LOG_MIN_BYTES && (n = pwrite(fd, data, RENEW_BYTES, at)) > 0)
        at += n;
    return fsync(fd);
}

/* Sync SPOOL, the directory of SPOOL/queue.db. -1 with errno. */
static int sync_directory(const struct db_sqlite *s)
{
    char *directory = mem_strndup(s->path, (size_t)(strrchr(s->path, '/') - s->path));
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : fdio_sync_names_again(fd, true);
    int error = errno;

    free(directory);
    if (fd >= 0)
        close(fd);
    errno = error;
    return rc;
}

/* Write the log again. Called with SQLite's lock for writers. */
static enum db_status rewrite_log(struct db_sqlite *s, struct err *err)
{
    char *path = mem_printf("%s-wal", s->path);
    char *data = mem_zalloc(RENEW_BYTES);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    bool is_done = fd >= 0 && rewrite(fd, data) == 0;
    int error = errno;

    if (fd >= 0)
        close(fd);
    free(data);
    if (is_done) {
        is_done = sync_directory(s) == 0;
        error = errno;
    }
    errno = error;
    if (!is_done)
        err_set_errno(err, "%s: cannot write and sync it again", path);
    free(path);
    return is_done ? DB_OK : error == ENOSPC || error == EDQUOT ? DB_FULL : DB_FAULT;
}

/* Cut the file to the size of its pages. db_sqlite_reserve() may have made it larger, without a
 * sync, for a commit that did not come (see sync_file()). */
static enum db_status cut_file(struct db_sqlite *s, struct err *err)
{
    int frames = 0, copied = 0, chunk = 0;
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    int64_t pages = 0;

    if (sqlite3_wal_checkpoint_v2(s->handle, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &copied) !=
            SQLITE_OK ||
        frames > 0)
        return DB_OK;
    enum db_status status = s->base.ops->begin(&s->base, true, err);
    if (status == DB_OK)
        status = db_sqlite_get(s, "PRAGMA page_count", &pages, err);
    (void)sqlite3_file_control(s->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    (void)sqlite3_file_control(s->handle, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk);
    if (status == DB_OK && pages > 0 && file->pMethods->xFileSize(file, &size) == SQLITE_OK &&
        size > pages * s->page_bytes &&
        file->pMethods->xTruncate(file, pages * s->page_bytes) != SQLITE_OK) {
        err_set(err, "%s: cannot be cut", s->path);
        status = DB_FAULT;
    }
    chunk = DB_SQLITE_CHUNK_BYTES;
    (void)sqlite3_file_control(s->handle, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk);
    s->base.ops->rollback(&s->base);
    return status;
}

/*
 * After a sync that failed, the kernel may take pages for clean that are not on the disk, and the
 * next sync succeeds without them. Pages of the log that are only in memory would then be copied
 * into the database, or be followed by further transactions, and a power failure would damage both.
 * So before anything is built upon the log, all of it is written once more. Bytes that were on the
 * disk stay the same. SQLite does not report a failed sync of the directory, which has the log's
 * name, so the directory is synced here, too.
 */
enum db_status db_sqlite_log_renew(struct db_sqlite *s, struct err *err)
{
    enum db_status status = s->base.ops->begin(&s->base, true, err);

    if (status != DB_OK)
        return status;
    status = rewrite_log(s, err);
    s->base.ops->rollback(&s->base);
    if (status != DB_OK)
        return status;
    status = checkpoint(s, SQLITE_CHECKPOINT_PASSIVE, err); /* so that the log can restart */
    return status == DB_OK ? cut_file(s, err) : status;
}

void db_sqlite_log_empty(struct db_sqlite *s)
{
    (void)sqlite3_wal_checkpoint_v2(s->handle, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

enum db_status db_sqlite_figures(struct db *db, struct db_figures *out, struct err *err)
{
    struct db_sqlite *s = (struct db_sqlite *)db;
    int64_t pages, free_pages = 0;
    enum db_status status = db_sqlite_get(s, "PRAGMA page_count", &pages, err);
    char *path = mem_printf("%s-wal", s->path);
    struct stat st;

    if (status == DB_OK)
        status = db_sqlite_get(s, "PRAGMA freelist_count", &free_pages, err);
    *out = (struct db_figures){.size_bytes = (uint64_t)(pages * s->page_bytes),
                               .free_bytes = (uint64_t)(free_pages * s->page_bytes),
                               .log_bytes = stat(path, &st) == 0 ? (uint64_t)st.st_size : 0};
    free(path);
    return status;
}
