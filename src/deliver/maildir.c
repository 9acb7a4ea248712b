/* SPDX-License-Identifier: ISC */
#include "deliver/maildir.h"

#include "base/fdio.h"
#include "base/mem.h"
#include "task/task.h"
#include "format/format.h"
#include "deliver/maildir_file.h"
#include "format/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME_SIZE 400  /* bytes of a file's name */
#define NAMES_TRIED 10 /* for one copy, if other files have its name */
#define BLOCK_SIZE 65536

enum { DIR_TMP, DIR_NEW, DIR_CUR, DIR_COUNT };

static const char *const dir_names[] = {"tmp", "new", "cur"};

/* A directory whose name is on the disk. ino 0: none. */
struct known {
    dev_t dev;
    ino_t ino;
};

struct maildir {
    struct transport transport; /* must be first */
    const struct config_destination *destination;
    const char *path;
    const char *hostname;
    char name[TRACE_HOSTNAME_SIZE]; /* the host name as it stands in file names */
    atomic_bool is_interrupted;
    struct format format;
    char *block; /* BLOCK_SIZE bytes, for content in a file; NULL until it is first needed */

    int dirs[DIR_COUNT];               /* open during a delivery, else -1 */
    struct known known[DIR_COUNT + 1]; /* by the index in dirs; the last one is `path` itself */
    struct outcome outcome;
    bool is_host_fault;
};

/* Set the outcome and is_host_fault from errno. doing: the step, for the reason. Always returns
 * -1. */
static int fail(struct maildir *m, const char *doing)
{
    int error = errno;
    char text[128];

    /* A full disk is no host fault, because smaller copies may still fit. */
    bool is_full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    m->is_host_fault = !is_full;
    m->outcome.result = OUTCOME_RETRY;
    snprintf(m->outcome.dsn, sizeof m->outcome.dsn, "%s", is_full ? "4.3.1" : "4.3.0");
    snprintf(m->outcome.reason, sizeof m->outcome.reason, "maildir %s: %s: %s", m->path, doing,
             strerror_r(error, text, sizeof text));
    return -1;
}

static int sync_dir(const char *path, bool is_new)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd == -1)
        return -1;
    int rc = is_new ? fsync(fd) : fdio_sync_names_again(fd, false);
    int error = errno;
    close(fd);
    errno = error;
    return rc;
}

/* Sync the directory that m->path is in. is_new: m->path was just created. */
static int sync_parent(const struct maildir *m, bool is_new)
{
    const char *slash = strrchr(m->path, '/');
    char *parent = mem_strndup(m->path, slash == m->path ? 1 : (size_t)(slash - m->path));
    int rc = sync_dir(parent, is_new);

    free(parent);
    return rc;
}

static void close_dirs(struct maildir *m)
{
    for (size_t i = 0; i < DIR_COUNT; i++) {
        if (m->dirs[i] != -1)
            close(m->dirs[i]);
        m->dirs[i] = -1;
    }
}

/*
 * Open a directory, create it if it is missing, and make sure that its name is on the disk. at: the
 * directory that it is in; AT_FDCWD for m->path. *known: the directory whose name is known to be on
 * the disk; it needs no sync. Any other directory does, even if it exists already: the process that
 * created it may have been killed before its sync, or the sync may have failed. A new directory
 * whose sync fails is removed, and the next attempt creates it anew.
 */
static int open_synced(const struct maildir *m, int at, const char *name, struct known *known)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_new = fd == -1 && errno == ENOENT && mkdirat(at, name, 0700) == 0;
    struct stat st;

    if (is_new)
        fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd == -1 ? -1 : fstat(fd, &st);
    if (rc == 0 && (st.st_dev != known->dev || st.st_ino != known->ino)) {
        rc = at == AT_FDCWD ? sync_parent(m, is_new)
             : is_new       ? fsync(at)
                            : fdio_sync_names_again(at, false);
        if (rc == 0)
            *known = (struct known){st.st_dev, st.st_ino};
    }
    if (rc == 0)
        return fd;
    int error = errno;
    if (is_new)
        (void)unlinkat(at, name, AT_REMOVEDIR);
    if (fd != -1)
        close(fd);
    errno = error;
    return -1;
}

static int open_dirs_locked(struct maildir *m)
{
    int top = open_synced(m, AT_FDCWD, m->path, &m->known[DIR_COUNT]);
    int rc = 0;

    if (top == -1)
        return fail(m, "open");
    for (size_t i = 0; i < DIR_COUNT && rc == 0; i++) {
        m->dirs[i] = open_synced(m, top, dir_names[i], &m->known[i]);
        if (m->dirs[i] == -1)
            rc = fail(m, dir_names[i]);
    }
    close(top);
    return rc;
}

/* All directories are known after the first delivery of this worker. Until then only one worker at
 * a time opens them: otherwise a worker could use a directory that another worker has created,
 * before its name is on the disk. */
static int open_dirs(struct maildir *m)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    bool is_known = m->known[DIR_CUR].ino != 0;

    if (!is_known)
        pthread_mutex_lock(&lock);
    int rc = open_dirs_locked(m);
    if (!is_known)
        pthread_mutex_unlock(&lock);
    return rc;
}

static int write_part(struct maildir *m, struct maildir_file *f, const char *data, size_t len)
{
    return maildir_file_write(f, data, len) == 0 ? 0 : fail(m, "write");
}

static int write_content(struct maildir *m, struct maildir_file *f)
{
    const struct queue_copy *copy = m->format.copy;
    uint64_t size = copy->message.size_bytes;
    struct err err;

    for (uint64_t offset = 0; offset < size; offset += BLOCK_SIZE) {
        size_t len = size - offset < BLOCK_SIZE ? (size_t)(size - offset) : BLOCK_SIZE;
        if (atomic_load(&m->is_interrupted)) {
            errno = EINTR;
            return fail(m, "write");
        }
        const char *data = format_read(copy, m->block, offset, len, &err);
        if (data == NULL) {
            m->outcome = (struct outcome){.result = OUTCOME_RETRY, .dsn = "4.3.0"};
            snprintf(m->outcome.reason, sizeof m->outcome.reason, "%.200s", err.text);
            return -1;
        }
        if (write_part(m, f, data, len) != 0)
            return -1;
    }
    return 0;
}

static int write_all(struct maildir *m, struct maildir_file *f)
{
    const struct format *format = &m->format;
    struct buf top = {0};

    buf_adds(&top, "Return-Path: ");
    format_address(format_sender(m->destination, format->copy), &top);
    buf_adds(&top, "\r\n");
    int rc = write_part(m, f, buf_str(&top), top.len);
    buf_clear(&top);
    if (rc != 0 || write_part(m, f, buf_str(&format->head), format->head.len) != 0 ||
        write_content(m, f) != 0 || write_part(m, f, buf_str(&format->tail), format->tail.len) != 0)
        return -1;
    return maildir_file_finish(f) == 0 ? 0 : fail(m, "write");
}

/* Has the file of this name in new/ the same content as the one in tmp/? */
static bool is_there(const struct maildir *m, const char *tmp, const char *name)
{
    int a = openat(m->dirs[DIR_TMP], tmp, O_RDONLY | O_CLOEXEC);
    /* O_NONBLOCK: other programs may write there, and the open of a FIFO with that name would wait
     * for ever. */
    int b =
        openat(m->dirs[DIR_NEW], name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    bool is_same = a != -1 && b != -1 && maildir_file_is_same(a, b);

    if (a != -1)
        close(a);
    if (b != -1)
        close(b);
    return is_same;
}

/* Give the file in tmp/ its name in new/, and sync that directory. */
static int link_file(struct maildir *m, const char *tmp, uint64_t size_bytes)
{
    const struct queue_copy *copy = m->format.copy;
    char name[NAME_SIZE];
    char number[16] = "";

    for (int i = 0; i < NAMES_TRIED; i++) {
        if (i > 0)
            snprintf(number, sizeof number, "_%d", i);
        snprintf(name, sizeof name, "%lld.%s%s.%s,S=%" PRIu64,
                 (long long)copy->message.arrival.tv_sec, copy->id, number, m->name, size_bytes);
        if (linkat(m->dirs[DIR_TMP], tmp, m->dirs[DIR_NEW], name, 0) == 0)
            break;
        if (errno != EEXIST)
            return fail(m, "link");
        if (is_there(m, tmp, name)) /* the file is from an attempt before a crash */
            break;
        errno = EEXIST;
        if (i + 1 == NAMES_TRIED)
            return fail(m, "link");
    }
    if (fsync(m->dirs[DIR_NEW]) == 0)
        return 0;
    /* After a sync that failed, the kernel takes the name for written, and no later sync would
     * write it. So the name is removed, and the next attempt links the file again. */
    (void)fail(m, "sync");
    (void)unlinkat(m->dirs[DIR_NEW], name, 0);
    return -1;
}

static int write_file(struct maildir *m, const char *tmp)
{
    int fd = openat(m->dirs[DIR_TMP], tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd == -1)
        return fail(m, "create");
    struct maildir_file *f = maildir_file_new(fd);
    int rc = write_all(m, f);
    uint64_t size_bytes = maildir_file_size(f);
    maildir_file_free(f);
    if (close(fd) != 0 && rc == 0)
        rc = fail(m, "close");
    if (rc == 0)
        rc = link_file(m, tmp, size_bytes);
    if (unlinkat(m->dirs[DIR_TMP], tmp, 0) != 0 && rc == 0 && errno != ENOENT)
        return fail(m, "unlink"); /* delivered, but tmp/ cannot be changed */
    return rc;
}

static int write_copy(struct maildir *m, const struct queue_copy *copy)
{
    static atomic_uint counter;
    bool *is_included = mem_grow(NULL, copy->recipient_count, sizeof *is_included);
    char tmp[NAME_SIZE];
    struct err err;
    int rc = -1;

    for (size_t i = 0; i < copy->recipient_count; i++)
        is_included[i] = copy->recipients[i].state == QUEUE_PENDING;
    if (format_begin(&m->format, copy, m->destination, m->hostname, &err) != 0) {
        m->outcome = (struct outcome){.result = OUTCOME_RETRY, .dsn = "4.3.0"};
        snprintf(m->outcome.reason, sizeof m->outcome.reason, "%.200s", err.text);
    } else {
        format_make(&m->format, is_included);
        snprintf(tmp, sizeof tmp, "%lld.P%ldQ%u_%s.%s", (long long)time(NULL), (long)getpid(),
                 atomic_fetch_add(&counter, 1), copy->id, m->name);
        rc = write_file(m, tmp);
    }
    free(is_included);
    return rc;
}

struct delivery {
    struct maildir *maildir;
    const struct queue_copy *copy;
};

/* Deliver the copy. This waits for the disk, so it runs on a helper thread (task_block()). */
static void write_durably(void *arg)
{
    const struct delivery *d = arg;
    struct maildir *m = d->maildir;

    if (open_dirs(m) == 0 && write_copy(m, d->copy) == 0)
        m->outcome = (struct outcome){
            .result = OUTCOME_OK, .dsn = "2.0.0", .reason = "delivered to maildir"};
    close_dirs(m);
}

static void deliver(struct transport *t, const struct queue_copy *copy,
                    struct outcome_report *report)
{
    struct maildir *m = (struct maildir *)t;
    struct delivery d = {m, copy};
    int64_t begin_ms = task_now_ms();

    if (m->block == NULL && copy->content == NULL)
        m->block = mem_grow(NULL, BLOCK_SIZE, 1);
    m->is_host_fault = false;
    task_block(write_durably, &d);
    for (size_t i = 0; i < copy->recipient_count; i++)
        if (copy->recipients[i].state == QUEUE_PENDING)
            report->outcomes[i] = m->outcome;
    snprintf(report->relay, sizeof report->relay, "maildir:%s", m->path);
    report->conn_use = 0;
    report->is_host_fault = m->is_host_fault;
    report->is_connection_fault = false;
    report->setup_ms = 0;
    report->transmit_ms = task_now_ms() - begin_ms;
}

static bool is_connected(const struct transport *t)
{
    (void)t;
    return false;
}

static void interrupt(struct transport *t, bool only_setup)
{
    if (!only_setup)
        atomic_store(&((struct maildir *)t)->is_interrupted, true);
}

static void free_maildir(struct transport *t)
{
    struct maildir *m = (struct maildir *)t;

    format_clear(&m->format);
    free(m->block);
    free(m);
}

struct transport *maildir_new(const struct config_destination *d, const char *hostname)
{
    static const struct transport_ops ops = {deliver, is_connected, interrupt, free_maildir};
    struct maildir *m = mem_zalloc(sizeof *m);

    m->transport.ops = &ops;
    m->destination = d;
    m->path = d->relay_to[0].path;
    m->hostname = hostname;
    trace_hostname(hostname, m->name);
    for (char *p = m->name; *p != '\0'; p++)
        if (*p == ':' || *p == '?') /* ':' begins the flags of a file; '/' does not occur */
            *p = '_';
    for (size_t i = 0; i < DIR_COUNT; i++)
        m->dirs[i] = -1;
    return &m->transport;
}
