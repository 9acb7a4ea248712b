/* SPDX-License-Identifier: ISC */
#include "deliver/maildir.h"

#include "base/fdio.h"
#include "base/mem.h"
#include "task/task.h"
#include "format/format.h"
#include "deliver/maildir_dirs.h"
#include "deliver/maildir_file.h"
#include "format/trace.h"
#include "mail/template.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAME_SIZE 400  /* bytes of a file's name */
#define NAMES_TRIED 10 /* for one copy, if other files have its name */
#define BLOCK_SIZE 65536
/* Directories that one attempt to deliver a copy may create. The domains of recipients may be those
 * that a sender wants, so their number has a limit; the others follow in further attempts. */
#define MADE_MAX 100

/* Where a file for a recipient goes, and what stands in it as sender. */
struct place {
    char *path; /* NULL: none for this recipient (any more) */
    size_t made_at;
    char *sender;
};

struct maildir {
    struct transport transport; /* must be first */
    const struct config_destination *destination;
    const char *path; /* a template */
    const char *hostname;
    char name[TRACE_HOSTNAME_SIZE]; /* the host name as it stands in file names */
    atomic_bool is_interrupted;
    struct format format;
    char *block; /* BLOCK_SIZE bytes, for content in a file; NULL until it is first needed */

    struct maildir_dirs dirs;
    const struct place *place; /* of the present file; NULL: there is none yet */
    struct outcome outcome;    /* of its recipients */
    bool is_host_fault;
};

/* Set the outcome and is_host_fault from errno. doing: the step, for the reason. Always returns
 * -1. */
static int fail(struct maildir *m, const char *doing)
{
    int error = errno;
    char text[128];

    /* A full disk is no host fault, because smaller copies may still fit. Nor is a fault in one of
     * several Maildirs, because copies for others have it not. */
    bool is_full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    m->is_host_fault = !is_full && (error == EINTR || !template_varies(m->path));
    outcome_set(&m->outcome, OUTCOME_RETRY, is_full ? "4.3.1" : "4.3.0", "maildir %s: %s: %s",
                m->place->path, doing, strerror_r(error, text, sizeof text));
    return -1;
}

static int open_dirs(struct maildir *m)
{
    if (maildir_dirs_open(&m->dirs, m->place->path, m->place->made_at, MADE_MAX) == 0)
        return 0;
    bool is_limit = errno == EDQUOT && m->dirs.made >= MADE_MAX;
    (void)fail(m, m->dirs.step);
    m->is_host_fault = m->is_host_fault || m->dirs.is_base_fault;
    if (is_limit)
        outcome_set(&m->outcome, OUTCOME_RETRY, "4.3.0",
                    "maildir %s: not created now: this attempt has created %d directories",
                    m->place->path, MADE_MAX);
    return -1;
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
            outcome_set(&m->outcome, OUTCOME_RETRY, "4.3.0", "%.200s", err.text);
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
    format_address(m->place->sender, &top);
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
    int a = openat(m->dirs.fds[MAILDIR_TMP], tmp, O_RDONLY | O_CLOEXEC);
    /* O_NONBLOCK: other programs may write there, and the open of a FIFO with that name would wait
     * for ever. */
    int b = openat(m->dirs.fds[MAILDIR_NEW], name,
                   O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
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
        if (linkat(m->dirs.fds[MAILDIR_TMP], tmp, m->dirs.fds[MAILDIR_NEW], name, 0) == 0)
            break;
        if (errno != EEXIST)
            return fail(m, "link");
        if (is_there(m, tmp, name)) /* the file is from an attempt before a crash */
            break;
        errno = EEXIST;
        if (i + 1 == NAMES_TRIED)
            return fail(m, "link");
    }
    if (fsync(m->dirs.fds[MAILDIR_NEW]) == 0)
        return 0;
    /* After a sync that failed, the kernel takes the name for written, and no later sync would
     * write it. So the name is removed, and the next attempt links the file again. */
    (void)fail(m, "sync");
    (void)unlinkat(m->dirs.fds[MAILDIR_NEW], name, 0);
    return -1;
}

static int write_file(struct maildir *m, const char *tmp)
{
    int fd = openat(m->dirs.fds[MAILDIR_TMP], tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

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
    if (unlinkat(m->dirs.fds[MAILDIR_TMP], tmp, 0) != 0 && rc == 0 && errno != ENOENT)
        return fail(m, "unlink"); /* delivered, but tmp/ cannot be changed */
    return rc;
}

/* Write the file of m->place. */
static int write_copy(struct maildir *m, const bool *is_included)
{
    static atomic_uint counter;
    char tmp[NAME_SIZE];

    format_make(&m->format, is_included);
    snprintf(tmp, sizeof tmp, "%lld.P%ldQ%u_%s.%s", (long long)time(NULL), (long)getpid(),
             atomic_fetch_add(&counter, 1), m->format.copy->id, m->name);
    return write_file(m, tmp);
}

struct delivery {
    struct maildir *maildir;
    const struct queue_copy *copy;
    struct outcome_report *report;
    struct place *places; /* for each recipient */
    bool *is_included;    /* for each recipient: the present file is for it */
};

/* Find out where the file for a pending recipient goes. If a template makes no path or no sender,
 * the recipient has its outcome. */
static void find_place(const struct delivery *d, size_t i)
{
    const struct maildir *m = d->maildir;
    const char *recipient = d->copy->recipients[i].address;
    struct buf path = {0}, sender = {0};
    struct place *p = &d->places[i];
    struct err err;

    if (template_path(m->path, recipient, d->copy->message.arrival.tv_sec, &path, &p->made_at,
                      &err) < 0) {
        outcome_set(&d->report->outcomes[i], OUTCOME_REFUSED, "5.1.3",
                    "the template of \"relay_to\" makes no path: %.200s", err.text);
    } else if (format_sender(m->destination, d->copy->message.sender, recipient, &sender, &err) <
               0) {
        outcome_set(&d->report->outcomes[i], OUTCOME_REFUSED, "5.1.3", "%.200s", err.text);
    } else {
        p->path = buf_take(&path);
        p->sender = buf_take(&sender);
        d->report->is_untried = false;
    }
    buf_clear(&path);
    buf_clear(&sender);
}

static void include_same(const struct delivery *d, size_t first)
{
    const struct place *p = &d->places[first];

    for (size_t i = 0; i < d->copy->recipient_count; i++)
        d->is_included[i] = d->places[i].path != NULL && strcmp(d->places[i].path, p->path) == 0 &&
                            strcmp(d->places[i].sender, p->sender) == 0;
}

/* Write the file for this recipient and for all others with the same place. After a fault of the
 * destination nothing is written, and they have the outcome of that fault. */
static void write_place(const struct delivery *d, size_t first)
{
    struct maildir *m = d->maildir;

    include_same(d, first);
    if (!m->is_host_fault) {
        m->place = &d->places[first];
        if (open_dirs(m) == 0 && write_copy(m, d->is_included) == 0) {
            bool varies = template_varies(m->path);
            outcome_set(&m->outcome, OUTCOME_OK, "2.0.0", "delivered to maildir%s%s",
                        varies ? " " : "", varies ? m->place->path : "");
        }
        maildir_dirs_close(&m->dirs);
    }
    for (size_t i = 0; i < d->copy->recipient_count; i++)
        if (d->is_included[i]) {
            d->report->outcomes[i] = m->outcome;
            free(d->places[i].path);
            free(d->places[i].sender);
            d->places[i].path = NULL;
        }
}

/* The content cannot be read. */
static void fail_format(const struct delivery *d, const struct err *err)
{
    for (size_t i = 0; i < d->copy->recipient_count; i++)
        if (d->copy->recipients[i].state == QUEUE_PENDING)
            outcome_set(&d->report->outcomes[i], OUTCOME_RETRY, "4.3.0", "%.200s", err->text);
}

/* Deliver the copy. This waits for the disk, so it runs on a helper thread (task_block()). */
static void write_durably(void *arg)
{
    const struct delivery *d = arg;
    struct maildir *m = d->maildir;
    size_t count = d->copy->recipient_count;
    struct err err;

    if (format_begin(&m->format, d->copy, m->destination, m->hostname, &err) != 0) {
        fail_format(d, &err);
        return;
    }
    d->report->is_untried = true;
    for (size_t i = 0; i < count; i++)
        if (d->copy->recipients[i].state == QUEUE_PENDING)
            find_place(d, i);
    for (size_t i = 0; i < count; i++)
        if (d->places[i].path != NULL)
            write_place(d, i);
}

static void deliver(struct transport *t, const struct queue_copy *copy,
                    struct outcome_report *report)
{
    struct maildir *m = (struct maildir *)t;
    struct delivery d = {.maildir = m, .copy = copy, .report = report};
    int64_t begin_ms = task_now_ms();

    if (m->block == NULL && copy->content == NULL)
        m->block = mem_grow(NULL, BLOCK_SIZE, 1);
    d.places = mem_zalloc(copy->recipient_count * sizeof *d.places);
    d.is_included = mem_zalloc(copy->recipient_count * sizeof *d.is_included);
    m->is_host_fault = report->is_untried = false;
    m->dirs.made = 0;
    task_block(write_durably, &d);
    free(d.places);
    free(d.is_included);
    snprintf(report->relay, sizeof report->relay, "maildir:%s", m->path);
    report->conn_use = 0;
    report->is_host_fault = m->is_host_fault;
    report->fault = m->outcome;
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
    maildir_dirs_clear(&m->dirs);
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
    maildir_dirs_init(&m->dirs);
    return &m->transport;
}
