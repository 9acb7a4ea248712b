/* SPDX-License-Identifier: ISC */
/*
 * The embedded engine, and what its files hold after a power failure. All writes and syncs of this
 * process, SQLite's included, go through the functions below. They keep a second directory as the
 * disk: a write gets there with the next sync of its file that succeeds; a sync that fails forgets
 * the writes before it, as the kernel does, so that a later sync does not bring them back.
 */
#include "queue/db.h"

#include "base/mem.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* --- the disk --- */

enum { FILES = 2, RANGES_MAX = 200000 };

static struct file {
    const char *name;
    struct {
        off_t at;
        size_t len;
    } ranges[RANGES_MAX]; /* written, and not synced */
    size_t count;
    off_t cut_at; /* the shortest length since the last sync; -1: not cut */
} files[FILES] = {{.name = "queue.db"}, {.name = "queue.db-wal"}};

static char directory[64], disk[64];
static bool is_watching;
static const char *fail_sync_of;  /* of this file fails, once */
static const char *fail_write_of; /* to this file fails, */
static off_t fail_write_beyond;   /* from this place on, */
static int fail_write_with;       /* with this errno */
static void (*before_sync)(void);

static char *path_of(const char *dir, const char *name)
{
    return mem_printf("%s/%s", dir, name);
}

static struct file *file_of(int fd)
{
    char link[64], path[256];

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (!is_watching || n < 0)
        return NULL;
    path[n] = '\0';
    for (size_t i = 0; i < FILES; i++) {
        size_t len = strlen(directory);
        if (strncmp(path, directory, len) == 0 && strcmp(path + len + 1, files[i].name) == 0)
            return &files[i];
    }
    return NULL;
}

static ssize_t write_at(int fd, const void *data, size_t len, off_t at)
{
    struct file *f = file_of(fd);

    if (f != NULL && fail_write_of != NULL && strcmp(f->name, fail_write_of) == 0 &&
        at + (off_t)len > fail_write_beyond) {
        errno = fail_write_with;
        return -1;
    }
    ssize_t n = syscall(SYS_pwrite64, fd, data, len, at);
    if (f != NULL && n > 0) {
        ck_assert_uint_lt(f->count, RANGES_MAX);
        f->ranges[f->count].at = at;
        f->ranges[f->count++].len = (size_t)n;
    }
    return n;
}

/* The first `count` writes. */
static void bring_to(const char *disk_directory, const struct file *f, size_t count)
{
    char *from = path_of(directory, f->name), *to = path_of(disk_directory, f->name);
    int in = open(from, O_RDONLY), out = open(to, O_RDWR | O_CREAT, 0600);
    static char data[1 << 20];

    ck_assert_int_ge(in, 0);
    ck_assert_int_ge(out, 0);
    if (f->cut_at >= 0)
        ck_assert_int_eq(syscall(SYS_ftruncate, out, f->cut_at), 0);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_le(f->ranges[i].len, sizeof data);
        ssize_t n = pread(in, data, f->ranges[i].len, f->ranges[i].at);
        if (n > 0) /* else cut off meanwhile */
            ck_assert_int_eq(syscall(SYS_pwrite64, out, data, n, f->ranges[i].at), n);
    }
    close(in);
    close(out);
    free(from);
    free(to);
}

static int sync_fd(int fd)
{
    struct file *f = file_of(fd);

    if (f == NULL)
        return 0;
    if (before_sync != NULL)
        before_sync();
    bool fails = fail_sync_of != NULL && strcmp(f->name, fail_sync_of) == 0;
    if (fails)
        fail_sync_of = NULL;
    else
        bring_to(disk, f, f->count);
    f->count = 0;
    f->cut_at = -1;
    errno = EIO;
    return fails ? -1 : 0;
}

static int cut(int fd, off_t len)
{
    struct file *f = file_of(fd);

    if (f != NULL && (f->cut_at < 0 || len < f->cut_at))
        f->cut_at = len;
    return (int)syscall(SYS_ftruncate, fd, len);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at);
ssize_t pwrite64(int fd, const void *data, size_t len, off_t at);
int fdatasync(int fd);
int fsync(int fd);
int ftruncate(int fd, off_t len);
int ftruncate64(int fd, off_t len);

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return write_at(fd, data, len, at);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
    return write_at(fd, data, len, at);
}

int fdatasync(int fd)
{
    return sync_fd(fd);
}

int fsync(int fd)
{
    return sync_fd(fd);
}

int ftruncate(int fd, off_t len)
{
    return cut(fd, len);
}

int ftruncate64(int fd, off_t len)
{
    return cut(fd, len);
}

/* --- a database --- */

static struct db *db;
static struct err err;

static struct db *try_open(const char *dir, enum db_access access, enum db_status *status)
{
    bool is_missing;

    return db_sqlite_open(dir, access, status, &is_missing, &err);
}

static struct db *open_at(const char *dir, enum db_access access)
{
    enum db_status status;
    struct db *opened = try_open(dir, access, &status);

    ck_assert_msg(opened != NULL, "%s", err.text);
    return opened;
}

static void remove_files(const char *dir)
{
    char *command = mem_printf("rm -rf %s", dir);

    ck_assert_int_eq(system(command), 0);
    free(command);
}

static void set_up(void)
{
    mem_copy_string(directory, sizeof directory, "/tmp/test_db.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    mem_copy_string(disk, sizeof disk, "/tmp/test_db.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(disk));
    for (size_t i = 0; i < FILES; i++) {
        files[i].count = 0;
        files[i].cut_at = -1;
    }
    is_watching = true;
    fail_sync_of = fail_write_of = NULL;
    before_sync = NULL;
    db = open_at(directory, DB_WRITE);
}

static void tear_down(void)
{
    if (db != NULL)
        db->ops->close(db);
    is_watching = false;
    remove_files(directory);
    remove_files(disk);
}

#define must(call)                                                                                 \
    do {                                                                                           \
        enum db_status status_ = (call);                                                           \
        ck_assert_msg(status_ == DB_OK, "%d: %s", (int)status_, err.text);                         \
    } while (0)

static enum db_status put(struct db *to, int64_t id, size_t len)
{
    static char data[DB_BODY_PART_BYTES];
    struct db_value values[] = {db_int(id), db_blob(data, len)};

    memset(data, (int)('a' + id % 26), len);
    return to->ops->run(to, "INSERT INTO body (message, part, data) VALUES ($1, 0, $2)", values, 2,
                        NULL, &err);
}

/* One row in a transaction of its own. */
static enum db_status put_one(struct db *to, int64_t id, bool is_durable)
{
    enum db_status status = to->ops->begin(to, is_durable, &err);

    if (status == DB_OK)
        status = put(to, id, 3000);
    if (status == DB_OK)
        status = to->ops->commit(to, &err);
    if (status != DB_OK)
        to->ops->rollback(to);
    return status;
}

static bool take_number(void *ctx, const struct db_value *columns)
{
    *(int64_t *)ctx = columns[0].number;
    return true;
}

static int64_t get(struct db *from, const char *sql)
{
    int64_t number = -1;

    must(from->ops->query_text(from, sql, NULL, 0, take_number, &number, &err));
    return number;
}

static bool has_row(struct db *from, int64_t id)
{
    struct db_value value = db_int(id);
    int64_t found = 0;

    must(from->ops->query(from, "SELECT 1 FROM body WHERE message = $1 AND length(data) = 3000",
                          &value, 1, take_number, &found, &err));
    return found == 1;
}

static bool take_text(void *ctx, const struct db_value *columns)
{
    snprintf(ctx, 100, "%s", columns[0].data);
    return false;
}

static void check_integrity(struct db *of)
{
    char text[100] = "";

    must(of->ops->query(of, "PRAGMA integrity_check", NULL, 0, take_text, text, &err));
    ck_assert_str_eq(text, "ok");
}

/* The machine fails now; what does the next start find? */
static struct db *open_after_power_failure(void)
{
    is_watching = false;
    return open_at(disk, DB_WRITE);
}

/* --- opening --- */

START_TEST(the_files_are_the_owners_alone)
{
    static const char *const names[] = {"queue.db", "queue.db-wal", "queue.db-shm"};
    struct stat st;

    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        char *path = path_of(directory, names[i]);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0600);
        free(path);
    }
    ck_assert_int_eq(get(db, "PRAGMA auto_vacuum"), 2);
    ck_assert_int_eq(get(db, "PRAGMA user_version"), 1);
}
END_TEST

START_TEST(a_reader_says_when_there_is_no_database)
{
    char *empty = path_of(directory, "empty"), *path = path_of(empty, "queue.db");
    enum db_status status;
    bool is_missing = false;

    ck_assert_int_eq(mkdir(empty, 0700), 0);
    ck_assert_ptr_null(db_sqlite_open(empty, DB_READ, &status, &is_missing, &err));
    ck_assert_int_eq(status, DB_FAULT);
    ck_assert(is_missing);
    int fd = open(path, O_WRONLY | O_CREAT, 0600); /* it is about to be created */
    ck_assert_int_ge(fd, 0);
    close(fd);
    is_missing = false;
    ck_assert_ptr_null(db_sqlite_open(empty, DB_READ, &status, &is_missing, &err));
    ck_assert(is_missing);
    free(path);
    free(empty);
}
END_TEST

static sqlite3_syscall_ptr real_open;
static bool fail_open_of_index; /* for writing, once */

static int open_for_sqlite(const char *path, int flags, int mode)
{
    if (fail_open_of_index && strstr(path, "-shm") != NULL && (flags & O_ACCMODE) == O_RDWR) {
        fail_open_of_index = false;
        errno = EMFILE;
        return -1;
    }
    return ((int (*)(const char *, int, int))real_open)(path, flags, mode);
}

/* SQLite would share an index that it has opened for reading among all connections. */
START_TEST(an_index_that_cannot_be_opened_once_does_not_keep_others_from_writing)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    enum db_status status;

    db->ops->close(db);
    real_open = vfs->xGetSystemCall(vfs, "open");
    vfs->xSetSystemCall(vfs, "open", (sqlite3_syscall_ptr)open_for_sqlite);
    fail_open_of_index = true;
    struct db *reader = try_open(directory, DB_READ, &status);
    ck_assert(!fail_open_of_index);
    db = open_at(directory, DB_WRITE);
    must(put_one(db, 1, true));
    if (reader != NULL)
        reader->ops->close(reader);
    vfs->xSetSystemCall(vfs, "open", real_open);
}
END_TEST

static const struct {
    const char *sql; /* NULL: a text instead of a database */
    enum db_status status;
    const char *text;
} strangers[] = {
    {"UPDATE schema SET version = 99", DB_FAULT, "version 99"},
    {"DROP TABLE schema", DB_CORRUPT, "not a queue"},
    {NULL, DB_CORRUPT, "not a database"},
};

START_TEST(what_is_not_ours_is_refused)
{
    char *path = path_of(directory, "queue.db");
    enum db_status status;

    if (strangers[_i].sql != NULL)
        must(db->ops->run(db, strangers[_i].sql, NULL, 0, NULL, &err));
    db->ops->close(db);
    db = NULL;
    is_watching = false;
    if (strangers[_i].sql == NULL) {
        static const char text[1000] = "a text, longer than the header of a database";
        int fd = open(path, O_WRONLY);
        ck_assert_int_eq(write(fd, text, sizeof text), sizeof text);
        close(fd);
    }
    for (int access = DB_READ; access <= DB_WRITE; access++) {
        struct db *opened = try_open(directory, (enum db_access)access, &status);
        ck_assert_ptr_null(opened);
        ck_assert_int_eq(status, strangers[_i].status);
        ck_assert_msg(strstr(err.text, strangers[_i].text) != NULL, "%s", err.text);
    }
    free(path);
}
END_TEST

/* --- power failures --- */

static size_t writes_before_sync;

static void count_writes(void)
{
    if (files[1].count > 0)
        writes_before_sync = files[1].count;
}

START_TEST(a_durable_transaction_is_written_in_few_calls)
{
    must(db->ops->begin(db, true, &err));
    for (int64_t id = 1; id <= 15; id++)
        must(put(db, id, 3000));
    writes_before_sync = 0;
    before_sync = count_writes;
    must(db->ops->commit(db, &err));
    ck_assert_uint_ge(writes_before_sync, 1);
    ck_assert_uint_le(writes_before_sync, 3);
    before_sync = NULL;
    struct db *reader = open_at(directory, DB_READ);
    for (int64_t id = 1; id <= 15; id++)
        ck_assert(has_row(reader, id));
    reader->ops->close(reader);
}
END_TEST

/* What a process that is killed after the commit leaves. */
START_TEST(a_commit_is_in_the_files_when_it_returns)
{
    for (int64_t id = 1; id <= 6; id++) {
        must(put_one(db, id, id % 3 == 1));
        remove_files(disk);
        char *command = mem_printf("cp -r %s %s && rm %s/queue.db-shm", directory, disk, disk);
        ck_assert_int_eq(system(command), 0);
        free(command);
        struct db *other = open_at(disk, DB_WRITE);
        for (int64_t i = 1; i <= id; i++)
            ck_assert(has_row(other, i));
        other->ops->close(other);
    }
}
END_TEST

START_TEST(what_was_durable_outlasts_a_power_failure)
{
    must(put_one(db, 1, true));
    must(put_one(db, 2, false));
    struct db *after = open_after_power_failure();
    ck_assert(has_row(after, 1));
    ck_assert(!has_row(after, 2)); /* or the test would prove nothing */
    check_integrity(after);
    after->ops->close(after);
}
END_TEST

START_TEST(a_durable_commit_brings_those_before_it)
{
    must(put_one(db, 1, false));
    must(put_one(db, 2, true));
    struct db *after = open_after_power_failure();
    ck_assert(has_row(after, 1) && has_row(after, 2));
    check_integrity(after);
    after->ops->close(after);
}
END_TEST

/*
 * The sync of a commit fails, and what was written before it without a sync is gone, though the
 * file has it in memory. After the connection was opened anew, nothing may be built upon that.
 */
START_TEST(a_failed_sync_is_not_taken_for_a_success_later)
{
    bool has_reader = _i % 2 == 1; /* keeps SQLite's index of the log */
    bool fails_log = _i / 2 == 0;
    struct db *reader = has_reader ? open_at(directory, DB_READ) : NULL;
    bool has_more;

    if (reader != NULL)
        ck_assert(!has_row(reader, 1));
    must(put_one(db, 1, true));
    must(put_one(db, 2, false));
    fail_sync_of = fails_log ? "queue.db-wal" : "queue.db";
    if (fails_log)
        ck_assert_int_eq(put_one(db, 3, true), DB_FAULT);
    else
        ck_assert_int_eq(db->ops->maintain(db, true, &has_more, &err), DB_FAULT);
    ck_assert_ptr_null(fail_sync_of);
    db->ops->close(db);
    db = open_at(directory, DB_WRITE);
    must(put_one(db, 4, true));
    /* Now, and after the log was copied. */
    for (int i = 0; i < 2; i++) {
        struct db *after = open_after_power_failure();
        ck_assert(has_row(after, 1) && has_row(after, 2) && has_row(after, 4));
        check_integrity(after);
        after->ops->close(after);
        is_watching = true;
        must(db->ops->maintain(db, true, &has_more, &err));
    }
    if (reader != NULL) {
        ck_assert(has_row(reader, 4));
        reader->ops->close(reader);
    }
}
END_TEST

/* The disk has got none, half, or all of what was written to the file since its last sync; of the
 * log nothing. */
static unsigned failures_tried;

static void fail_now(void)
{
    is_watching = false;
    before_sync = NULL;
    for (int halves = 0; halves <= 2; halves++) {
        char *copy = mem_printf("%s.copy", disk);
        char *command = mem_printf("rm -rf %s; cp -r %s %s", copy, disk, copy);
        ck_assert_int_eq(system(command), 0);
        bring_to(copy, &files[0], files[0].count * (size_t)halves / 2);
        struct db *after = open_at(copy, DB_WRITE);
        ck_assert(has_row(after, 1));
        check_integrity(after);
        after->ops->close(after);
        remove_files(copy);
        free(copy);
        free(command);
        failures_tried++;
    }
    is_watching = true;
    before_sync = fail_now;
}

START_TEST(the_power_may_fail_while_it_is_opened_after_a_failed_sync)
{
    bool has_more;

    must(put_one(db, 1, true));
    must(db->ops->maintain(db, true, &has_more, &err));
    for (int64_t i = 2; i < 30; i++)
        must(put_one(db, i, false));
    fail_sync_of = "queue.db-wal";
    ck_assert_int_eq(put_one(db, 30, true), DB_FAULT);
    before_sync = fail_now;
    db->ops->close(db);
    db = open_at(directory, DB_WRITE);
    must(put_one(db, 31, true));
    must(db->ops->maintain(db, true, &has_more, &err));
    before_sync = NULL;
    ck_assert_uint_ge(failures_tried, 9);
}
END_TEST

/* The failed commit may come back with the next start, but only whole. */
START_TEST(a_commit_whose_sync_failed_is_there_or_not)
{
    must(put_one(db, 1, true));
    fail_sync_of = "queue.db-wal";
    must(db->ops->begin(db, true, &err));
    must(put(db, 2, 3000));
    must(put(db, 3, 3000));
    ck_assert_int_eq(db->ops->commit(db, &err), DB_FAULT);
    db->ops->rollback(db);
    db->ops->close(db);
    db = open_at(directory, DB_WRITE);
    ck_assert(has_row(db, 1));
    ck_assert_int_eq(has_row(db, 2), has_row(db, 3));
    check_integrity(db);
}
END_TEST

/* --- no space --- */

START_TEST(a_log_that_cannot_grow_is_full_and_works_again)
{
    struct db_figures figures;
    enum db_status status = DB_OK;
    int64_t last = 0;

    must(put_one(db, 1000, true));
    must(db->ops->figures(db, &figures, &err));
    fail_write_of = "queue.db-wal";
    fail_write_beyond = (off_t)figures.log_bytes + 40000;
    fail_write_with = _i == 0 ? ENOSPC : EDQUOT;
    while (status == DB_OK && last < 100)
        status = put_one(db, ++last, true);
    ck_assert_int_eq(status, DB_FULL);
    ck_assert_int_gt(last, 1);
    db->ops->close(db);
    db = open_at(directory, DB_WRITE); /* copies the log: the next one is written over it */
    ck_assert(has_row(db, last - 1) && !has_row(db, last));
    must(db->ops->begin(db, true, &err));
    must(db->ops->run(db, "DELETE FROM body WHERE message = 1000", NULL, 0, NULL, &err));
    must(db->ops->commit(db, &err));
    fail_write_of = NULL;
    must(put_one(db, last, true));
    check_integrity(db);
}
END_TEST

static enum db_status delete_one(int64_t id)
{
    struct db_value value = db_int(id);
    enum db_status status = db->ops->begin(db, true, &err);

    if (status == DB_OK)
        status = db->ops->run(db, "DELETE FROM body WHERE message = $1", &value, 1, NULL, &err);
    if (status == DB_OK)
        status = db->ops->commit(db, &err);
    if (status != DB_OK)
        db->ops->rollback(db);
    return status;
}

/* What cannot be copied into the file later is not committed. So the log can always be emptied, and
 * outcomes, which make room, find room in it. */
START_TEST(a_commit_for_which_the_file_cannot_grow_is_full)
{
    struct stat st;
    bool has_more;
    int64_t last = 1;
    enum db_status status = DB_OK;
    char *path = path_of(directory, "queue.db"), *log = path_of(directory, "queue.db-wal");

    must(put_one(db, 1, true));
    ck_assert_int_eq(stat(path, &st), 0);
    fail_write_of = "queue.db";
    fail_write_beyond = st.st_size;
    fail_write_with = _i == 0 ? ENOSPC : EDQUOT;
    while (status == DB_OK && last < 10000)
        status = put_one(db, ++last, true);
    ck_assert_int_eq(status, DB_FULL);
    ck_assert_int_gt(last, 100);
    db->ops->close(db);
    db = open_at(directory, DB_WRITE);
    ck_assert_int_eq(stat(log, &st), 0);
    fail_write_of = "queue.db-wal";
    fail_write_beyond = st.st_size;
    for (int64_t i = 2; i < last; i++) {
        status = delete_one(i);
        if (status == DB_FULL) { /* the end of the log, before a checkpoint was due */
            db->ops->close(db);
            db = open_at(directory, DB_WRITE);
            status = delete_one(i);
        }
        must(status);
        must(db->ops->maintain(db, false, &has_more, &err));
    }
    struct db *after = open_after_power_failure();
    ck_assert(has_row(after, 1));
    ck_assert_int_eq(get(after, "SELECT count(*) FROM body"), 1);
    check_integrity(after);
    after->ops->close(after);
    is_watching = true;
    ck_assert_int_eq(stat(path, &st), 0);
    fail_write_of = "queue.db";
    fail_write_beyond = st.st_size;
    for (int64_t i = 2; i < last; i++) /* the pages that are free are used */
        must(put_one(db, i, true));
    free(path);
    free(log);
}
END_TEST

/* --- size --- */

static uint64_t log_bytes(void)
{
    struct db_figures figures;

    must(db->ops->figures(db, &figures, &err));
    return figures.log_bytes;
}

static void write_much(int64_t first, int transactions)
{
    bool has_more;

    for (int i = 0; i < transactions; i++) {
        must(db->ops->begin(db, false, &err));
        must(put(db, first + i, 100000));
        must(db->ops->commit(db, &err));
        must(db->ops->maintain(db, false, &has_more, &err));
    }
}

START_TEST(the_log_stays_small)
{
    write_much(1, 1000);
    ck_assert_uint_lt(log_bytes(), 20 << 20);
}
END_TEST

START_TEST(the_log_shrinks_after_a_reader_has_held_it_up)
{
    struct db *reader = open_at(directory, DB_READ);

    write_much(1, 10);
    must(reader->ops->begin(reader, false, &err));
    ck_assert_int_eq(get(reader, "SELECT count(*) FROM body"), 10);
    write_much(11, 700);
    ck_assert_uint_gt(log_bytes(), 60 << 20);
    ck_assert_int_eq(get(reader, "SELECT count(*) FROM body"), 10);
    reader->ops->rollback(reader);
    write_much(1000, 200);
    ck_assert_uint_lt(log_bytes(), 20 << 20);
    reader->ops->close(reader);
}
END_TEST

static atomic_bool is_over;

/* Each view ends soon, but there is always one. */
static void *read_all_the_time(void *ctx)
{
    const struct timespec *pause = ctx;
    enum db_status status;
    bool is_missing;
    int64_t number;
    struct err problem;
    struct db *reader = db_sqlite_open(directory, DB_READ, &status, &is_missing, &problem);

    while (status == DB_OK && !atomic_load(&is_over)) {
        status = reader->ops->begin(reader, false, &problem);
        if (status == DB_OK)
            status = reader->ops->query(reader, "SELECT count(*) FROM schema", NULL, 0, take_number,
                                        &number, &problem);
        nanosleep(pause, NULL);
        reader->ops->rollback(reader);
    }
    reader->ops->close(reader);
    return status == DB_OK ? ctx : NULL;
}

START_TEST(readers_without_end_do_not_let_the_log_grow)
{
    static struct timespec pauses[3] = {
        {.tv_nsec = 2000000}, {.tv_nsec = 3000000}, {.tv_nsec = 5000000}};
    pthread_t threads[3];
    void *result;
    uint64_t largest = 0;

    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_all_the_time, &pauses[i]), 0);
    for (int64_t i = 0; i < 100; i++) {
        write_much(1 + 20 * i, 20);
        largest = log_bytes() > largest ? log_bytes() : largest;
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], &result);
        ck_assert_ptr_nonnull(result);
    }
    ck_assert_uint_lt(largest, 80 << 20);
}
END_TEST

START_TEST(free_pages_are_given_back_when_there_is_nothing_to_do)
{
    struct db_figures figures;
    bool has_more = true;
    struct stat st;
    char *path = path_of(directory, "queue.db");

    write_much(1, 400);
    must(db->ops->run(db, "DELETE FROM body", NULL, 0, NULL, &err));
    must(db->ops->maintain(db, false, &has_more, &err));
    ck_assert(!has_more);
    must(db->ops->figures(db, &figures, &err));
    ck_assert_uint_gt(figures.free_bytes, 35 << 20);
    for (has_more = true; has_more;)
        must(db->ops->maintain(db, true, &has_more, &err));
    must(db->ops->maintain(db, true, &has_more, &err));
    must(db->ops->figures(db, &figures, &err));
    ck_assert_uint_lt(figures.size_bytes, 10 << 20);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_lt(st.st_size, 10 << 20);
    free(path);
}
END_TEST

/* Made from a dump: nothing can be given back, so nothing is tried again and again. */
START_TEST(a_database_without_auto_vacuum_keeps_its_pages)
{
    char *path = path_of(directory, "queue.db");
    bool has_more = true;
    sqlite3 *raw;

    db->ops->close(db);
    is_watching = false;
    ck_assert_int_eq(sqlite3_open(path, &raw), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(raw,
                                  "PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_close(raw), SQLITE_OK);
    db = open_at(directory, DB_WRITE);
    write_much(1, 400);
    must(db->ops->run(db, "DELETE FROM body", NULL, 0, NULL, &err));
    for (int i = 0; i < 10 && has_more; i++)
        must(db->ops->maintain(db, true, &has_more, &err));
    ck_assert(!has_more);
    free(path);
}
END_TEST

START_TEST(a_clean_end_leaves_no_log)
{
    struct stat st;
    char *path = path_of(directory, "queue.db-wal");

    must(put_one(db, 1, false));
    db->ops->close(db);
    db = NULL;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 0);
    struct db *after = open_after_power_failure();
    ck_assert(has_row(after, 1));
    after->ops->close(after);
    free(path);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("db");

    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, the_files_are_the_owners_alone);
    tcase_add_test(tests, a_reader_says_when_there_is_no_database);
    tcase_add_test(tests, an_index_that_cannot_be_opened_once_does_not_keep_others_from_writing);
    tcase_add_loop_test(tests, what_is_not_ours_is_refused, 0, UNIT_COUNT(strangers));
    tcase_add_test(tests, a_durable_transaction_is_written_in_few_calls);
    tcase_add_test(tests, a_commit_is_in_the_files_when_it_returns);
    tcase_add_test(tests, what_was_durable_outlasts_a_power_failure);
    tcase_add_test(tests, a_durable_commit_brings_those_before_it);
    tcase_add_loop_test(tests, a_failed_sync_is_not_taken_for_a_success_later, 0, 4);
    tcase_add_test(tests, the_power_may_fail_while_it_is_opened_after_a_failed_sync);
    tcase_add_test(tests, a_commit_whose_sync_failed_is_there_or_not);
    tcase_add_loop_test(tests, a_log_that_cannot_grow_is_full_and_works_again, 0, 2);
    tcase_add_loop_test(tests, a_commit_for_which_the_file_cannot_grow_is_full, 0, 2);
    tcase_add_test(tests, the_log_stays_small);
    tcase_add_test(tests, the_log_shrinks_after_a_reader_has_held_it_up);
    tcase_add_test(tests, readers_without_end_do_not_let_the_log_grow);
    tcase_add_test(tests, free_pages_are_given_back_when_there_is_nothing_to_do);
    tcase_add_test(tests, a_database_without_auto_vacuum_keeps_its_pages);
    tcase_add_test(tests, a_clean_end_leaves_no_log);
    return unit_run("db", tests);
}
