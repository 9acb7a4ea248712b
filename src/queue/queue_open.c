/* SPDX-License-Identifier: ISC */
/* Open and close the queue, and remove what is left over or too old. */
#include "queue/queue_private.h"

#include "base/fdio.h"
#include "base/mem.h"
#include "base/process.h"
#include "config/config_queue.h"
#include "queue/db_pgsql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STOP_MS 1500 /* the longest wait for outcomes that the database does not take */
#define PRUNE_ROWS 200
#define PREPARED_MAX 50 /* messages that are removed at a time */

time_t queue_now(const struct db_queue *q)
{
    struct timespec now;

    if (q->options.clock != NULL)
        return q->options.clock(q->options.clock_ctx);
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

/* --- the directory --- */

/* Check that the directory belongs to the user of this process, and that no other user may write in
 * it. A missing directory passes. */
static int check_owner(const char *spool_directory, struct err *err)
{
    struct stat st;

    if (stat(spool_directory, &st) < 0 && errno == ENOENT)
        return 0;
    if (stat(spool_directory, &st) < 0) {
        err_set_errno(err, "%s", spool_directory);
        return -1;
    }
    if (!S_ISDIR(st.st_mode)) {
        err_set(err, "%s is no directory", spool_directory);
        return -1;
    }
    if (st.st_uid != geteuid()) {
        err_set(err, "spool_directory %s belongs to user %lu, and this process is user %lu",
                spool_directory, (unsigned long)st.st_uid, (unsigned long)geteuid());
        return -1;
    }
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return 0;
    err_set(err,
            "spool_directory %s: others than its owner may write there (mode %04o): chmod 0700 %s",
            spool_directory, (unsigned)st.st_mode & 07777, spool_directory);
    return -1;
}

/*
 * Sync the name of the spool directory. A directory that exists already is synced, too: it may have
 * been created by a process that was killed before its sync, or whose sync failed. A new directory
 * whose sync fails is removed, and the next start creates it anew. If the disk is full, splitrelay
 * starts only if an earlier one has done this and created the database.
 */
static int sync_parent(const struct db_queue *q, bool is_new, struct err *err)
{
    const char *directory = q->options.spool_directory;
    char *path = mem_printf("%s/..", directory), *file = mem_printf("%s/queue.db", directory);
    bool may_be_full = q->database != NULL || access(file, F_OK) == 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : is_new ? fsync(fd) : fdio_sync_names_again(fd, may_be_full);

    if (fd < 0 && !is_new && errno == EACCES)
        rc = 0; /* without this right no process of this user has created it */
    if (rc < 0)
        err_set_errno(err, "cannot sync the directory above %s", directory);
    if (rc < 0 && is_new)
        (void)rmdir(directory);
    if (fd >= 0)
        close(fd);
    free(path);
    free(file);
    return rc;
}

static int open_directory(struct db_queue *q, struct err *err)
{
    const char *directory = q->options.spool_directory;
    bool is_new = mkdir(directory, 0700) == 0;

    if (!is_new && errno != EEXIST) {
        err_set_errno(err, "cannot create %s", directory);
        return -1;
    }
    if (check_owner(directory, err) < 0 || queue_check_old_spool(directory, err) < 0 ||
        sync_parent(q, is_new, err) < 0)
        return -1;
    char *lock = mem_printf("%s/lock", directory);
    q->lock_fd = process_lock(lock, err);
    free(lock);
    return q->lock_fd < 0 ? -1 : 0;
}

/* --- the writer --- */

static struct db *open_shared(struct db_queue *q, enum db_access access, enum db_status *status_out,
                              struct err *err)
{
    const struct db_pgsql_options options = {.uri = q->database,
                                             .node = q->node,
                                             .program = "splitrelay",
                                             .access = access == DB_READ ? DB_SHARE : DB_WRITE,
                                             .must_replicate = q->options.must_replicate,
                                             .backend = &q->backend};
    bool is_missing;

    return db_pgsql_open(&options, status_out, &is_missing, err);
}

struct db *queue_open_database(struct db_queue *q, enum db_access access,
                               enum db_status *status_out, struct err *err)
{
    char *path = mem_printf("%s/queue.db", q->options.spool_directory);
    struct db *db = NULL;
    bool is_missing;
    struct stat st;

    if (queue_is_shared(q)) {
        free(path);
        return open_shared(q, access, status_out, err);
    }
    if (q->inode != 0 &&
        (stat(path, &st) != 0 || st.st_dev != q->device || st.st_ino != q->inode)) {
        *status_out = DB_FAULT;
        err_set(err, "%s was moved away or replaced: restart splitrelay", path);
    } else {
        db = db_sqlite_open(q->options.spool_directory, access, status_out, &is_missing, err);
    }
    if (db != NULL && q->inode == 0 && stat(path, &st) == 0) { /* the first one, by one thread */
        q->device = st.st_dev;
        q->inode = st.st_ino;
    }
    free(path);
    return db;
}

static struct db *open_writer(void *ctx, enum db_status *status_out, struct err *err)
{
    return queue_open_database(ctx, DB_WRITE, status_out, err);
}

struct prepared {
    int64_t ids[PREPARED_MAX];
    size_t count;
};

static bool take_prepared(void *ctx, const struct db_value *columns)
{
    struct prepared *p = ctx;

    p->ids[p->count++] = columns[0].number;
    return p->count < PREPARED_MAX;
}

/*
 * Remove messages that were left between prepare and commit. is_start: by an earlier run of this
 * node; otherwise: by nodes that are not alive. The number of the node is in the id. A node that is
 * not alive may just be slow, and storing such a message. So the rows are locked, and messages that
 * another transaction has locked are left out. The message is then either stored, or it is gone
 * when the slow node tries to store it, and that fails.
 */
static enum db_status remove_prepared(const struct db_queue *q, struct db *db, bool is_start,
                                      bool *has_more_out, struct err *err)
{
#define PREPARED "SELECT id FROM message WHERE state = 'prepared' AND (id >> 9) & 63 "
#define LOCKED " LIMIT $2 FOR UPDATE SKIP LOCKED"
    const char *sql = !is_start ? PREPARED
                          "NOT IN (SELECT number FROM alive UNION SELECT $1)" LOCKED
                      : db->is_shared ? PREPARED "= $1" LOCKED
                                      : PREPARED "= $1 LIMIT $2";
    const struct db_value values[] = {db_int(q->ids.node), db_int(PREPARED_MAX)};
    struct prepared found = {.count = 0};
    enum db_status status = db->ops->query(db, sql, values, 2, take_prepared, &found, err);

    for (size_t i = 0; i < found.count && status == DB_OK; i++)
        status = queue_insert_undo(db, found.ids[i], err);
    *has_more_out = *has_more_out || found.count == PREPARED_MAX;
    return status;
}

/* Remove rows of the history that are too old, suspensions that are over, and prepared messages of
 * nodes that are not alive. */
static enum db_status prune(void *ctx, struct db *db, bool *has_more_out, struct err *err)
{
    struct db_queue *q = ctx;
    const struct db_value now = db_int(queue_now(q));
    uint64_t removed = 0;
    enum db_status status = queue_write_prune(q, db, PRUNE_ROWS, &removed, err);

    *has_more_out = removed == PRUNE_ROWS;
    if (status == DB_OK)
        status = db->ops->run(db, "DELETE FROM suspended WHERE until > 0 AND until <= $1", &now, 1,
                              NULL, err);
    return status == DB_OK && queue_is_shared(q) && atomic_load(&q->is_open)
               ? remove_prepared(q, db, false, has_more_out, err)
               : status;
}

static void note_damage(void *ctx, const struct err *err)
{
    queue_report_damage(ctx, err);
}

struct cleaning {
    struct writer_request request; /* first */
    const struct db_queue *q;
};

static enum db_status apply_cleaning(struct writer_request *r, struct db *db, struct err *err)
{
    const struct db_queue *q = ((const struct cleaning *)r)->q;
    enum db_status status = DB_OK;

    for (bool has_more = true; has_more && status == DB_OK;) {
        has_more = false;
        status = remove_prepared(q, db, true, &has_more, err);
    }
    return status;
}

/* --- what is there --- */

struct row_check {
    struct db *db;
    enum db_status status;
    struct err *err;
};

/* For large_clean(). Returns true, so that the file stays, if the database cannot be read. */
static bool has_row(void *ctx, int64_t id)
{
    struct row_check *c = ctx;
    const struct db_value value = db_int(id);
    int64_t found = 0;

    if (c->status == DB_OK)
        c->status = db_get_number(c->db, "SELECT 1 FROM message WHERE id = $1 AND body_at = 'file'",
                                  &value, 1, &found, c->err);
    return found != 0 || c->status != DB_OK;
}

static int read_database(struct db_queue *q, unsigned node, struct err *err)
{
    struct row_check check = {.db = queue_borrow_reader(q, err), .err = err};
    int64_t last = 0;

    if (check.db == NULL)
        return -1;
    check.status = db_get_number(
        check.db,
        "SELECT max(id) FROM (SELECT max(id) AS id FROM message UNION ALL"
        " SELECT max(id) FROM copy UNION ALL SELECT max(copy) FROM"
        " (SELECT copy FROM history ORDER BY number DESC LIMIT 100) AS latest) AS ids",
        NULL, 0, &last, err);
    queue_id_source_init(&q->ids, node, last);
    int rc = check.status == DB_OK ? large_clean(q->large, has_row, &check, err) : -1;
    queue_give_back_reader(q, check.db, check.status, err);
    return check.status == DB_OK ? rc : -1;
}

/* --- opening --- */

static int start(struct db_queue *q, struct err *err)
{
    const struct writer_options options = {
        .open = open_writer, .idle = prune, .damaged = note_damage, .ctx = q};
    struct cleaning clean = {{.apply = apply_cleaning, .urgency = WRITER_DURABLE}, q};
    enum db_status status;
    unsigned node = 0;

    if (open_directory(q, err) < 0)
        return -1;
    q->large = large_open(q->options.spool_directory, true, err);
    if (q->large == NULL)
        return -1;
    q->writer = writer_start(&options, &status, err);
    if (q->writer == NULL || queue_node_start(q, &node, err) < 0)
        return -1;
    q->ids.node = node;
    queue_order_submit(q, true); /* is done before the next request, which is waited for */
    status = writer_do(q->writer, &clean.request, err);
    /* On a full disk the rows stay until the next start. They have no copies. */
    if ((status != DB_OK && status != DB_FULL) || read_database(q, node, err) < 0 ||
        queue_suspend_refresh(q, err) < 0)
        return -1;
    atomic_store(&q->is_open, true);
    return 0;
}

static void close_queue(struct queue *base)
{
    struct db_queue *q = (struct db_queue *)base;

    queue_next_end_looks(q);
    queue_sampler_free(q->sampler);
    queue_node_leave(q);
    if (q->writer != NULL)
        writer_stop(q->writer, STOP_MS);
    queue_node_free(q);
    queue_next_stop(q);
    queue_readers_free(q->readers);
    large_close(q->large);
    if (q->lock_fd >= 0)
        close(q->lock_fd);
    pthread_mutex_destroy(&q->suspending);
    free(q->spool_directory);
    free(q->database);
    free(q->node);
    free(q->place);
    free(q);
}

static const struct queue_ops ops = {
    .has_room = queue_put_has_room,
    .put_begin = queue_put_begin,
    .put_data = queue_put_data,
    .put_prepare = queue_put_prepare,
    .put_commit = queue_put_commit,
    .put_abort = queue_put_abort,
    .next = queue_next,
    .done = queue_return_done,
    .later = queue_return_later,
    .release = queue_return_release,
    .change = queue_change,
    .suspend = queue_suspend,
    .resume = queue_resume,
    .suspensions = queue_suspensions,
    .depths = queue_depths,
    .leave = queue_leave,
    .wake = queue_wake,
    .close = close_queue,
};

/* Set database, place and node from the options. */
static void set_place(struct db_queue *q, const struct queue_options *options)
{
    struct buf shown = {0};

    if (config_queue_is_postgresql(options->queue)) {
        q->database = mem_strdup(options->queue);
        config_queue_show(options->queue, &shown);
        q->place = buf_take(&shown);
    } else {
        q->place = mem_printf("%s/queue.db", q->spool_directory);
    }
    q->node = mem_strdup(queue_is_shared(q) ? options->node : "");
}

struct queue *queue_open(const struct queue_options *options, struct err *err)
{
    struct db_queue *q = mem_zalloc(sizeof *q);

    q->base.ops = &ops;
    q->base.needs_utf8 = config_queue_is_postgresql(options->queue);
    q->options = *options;
    q->options.spool_directory = q->spool_directory = mem_strdup(options->spool_directory);
    q->options.queue = q->options.node = NULL;
    set_place(q, options);
    pthread_mutex_init(&q->suspending, NULL);
    atomic_init(&q->delay_max_s, options->delay_max_s);
    atomic_init(&q->history_s, options->history_s);
    q->lock_fd = -1;
    q->readers = queue_readers_new();
    q->sampler = queue_sampler_new();
    queue_next_start(q);
    if (start(q, err) == 0)
        return &q->base;
    close_queue(&q->base);
    return NULL;
}

void queue_reconfigure(struct queue *base, int64_t delay_max_s, int64_t history_s)
{
    struct db_queue *q = (struct db_queue *)base;

    atomic_store(&q->delay_max_s, delay_max_s);
    atomic_store(&q->history_s, history_s);
}

void queue_get_figures(struct queue *base, struct queue_figures *out)
{
    struct db_queue *q = (struct db_queue *)base;
    struct writer_figures f;

    writer_get_figures(q->writer, &f);
    *out = (struct queue_figures){.database_bytes = f.db.size_bytes,
                                  .free_bytes = f.db.free_bytes,
                                  .log_bytes = f.db.log_bytes,
                                  .commits = f.commits,
                                  .commit_seconds = f.commit_seconds,
                                  .unwritten = writer_backlog(q->writer)};
    memcpy(out->commit_slower, f.commit_slower, sizeof out->commit_slower);
    queue_node_get_figures(q, out);
}
