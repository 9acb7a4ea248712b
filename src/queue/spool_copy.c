/* SPDX-License-Identifier: ISC */
#include "queue/spool_private.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WARM_BYTES (64 * 1024)
#define FIRST_READ 4096

/* --- reading --- */

/* Exactly len bytes, or -1 with errno (EIO at the end of the file). */
static int read_at(int fd, char *data, size_t len, uint64_t at)
{
    while (len > 0) {
        ssize_t n = task_pread(fd, data, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            return -1;
        data += n;
        len -= (size_t)n;
        at += (size_t)n;
    }
    return 0;
}

static enum spool_result read_fault(struct err *err)
{
    err_set_errno(err, "cannot read");
    return SPOOL_FAULT;
}

/* Read `begin` and on until the head is complete; its length, or 0 with *result. size: what there
 * is of the file from there on. */
static size_t read_head(int fd, uint64_t begin, uint64_t size, struct buf *head,
                        enum spool_result *result, struct err *err)
{
    uint64_t limit = size < SPOOL_HEAD_MAX ? size : SPOOL_HEAD_MAX;
    uint64_t want = FIRST_READ;

    while (head->len < limit) {
        if (want > limit)
            want = limit;
        size_t more = (size_t)want - head->len;
        if (read_at(fd, buf_reserve(head, more), more, begin + head->len) < 0) {
            *result = read_fault(err);
            return 0;
        }
        size_t known = head->len < 4 ? 0 : head->len - 4; /* the end may lie across */
        head->len += more;
        size_t found = spool_envelope_length(head->data + known, head->len - known);
        if (found > 0)
            return known + found;
        want *= 2;
    }
    err_set(err, "the head has no end");
    *result = SPOOL_INVALID;
    return 0;
}

/* Where the message of this copy is. What its id says holds in the file of a group only: a requeued
 * copy has its old id, and a file of its own. -1 with errno. */
static int find_begin(int fd, const char *id, uint64_t *begin_out)
{
    char line[sizeof SPOOL_GROUP_LINE - 1];

    *begin_out = 0;
    if (spool_id_unit(id) == 0)
        return 0;
    ssize_t n = task_pread(fd, line, sizeof line, 0);
    if (n == (ssize_t)sizeof line && memcmp(line, SPOOL_GROUP_LINE, sizeof line) == 0)
        *begin_out = (uint64_t)spool_id_unit(id) * SPOOL_GROUP_UNIT;
    return n < 0 ? -1 : 0;
}

static enum spool_result parse_file(int fd, const char *id, struct spool_envelope *out,
                                    struct err *err)
{
    enum spool_result result = SPOOL_INVALID;
    struct buf head = {0};
    struct stat st;

    if (fstat(fd, &st) < 0)
        return read_fault(err);
    if (!S_ISREG(st.st_mode)) {
        err_set(err, "not a regular file");
        return SPOOL_INVALID;
    }
    uint64_t begin;
    if (find_begin(fd, id, &begin) < 0)
        return read_fault(err);
    /* A message in a group has others behind it. */
    uint64_t size = begin < (uint64_t)st.st_size ? (uint64_t)st.st_size - begin : 0;
    size_t len = read_head(fd, begin, size, &head, &result, err);
    if (len > 0 && spool_envelope_parse(head.data, len, id, out, err) == 0) {
        if (out->message.size_bytes == size - len ||
            (begin > 0 && out->message.size_bytes < size - len)) {
            result = SPOOL_OK;
            out->head_len += begin;
            for (size_t i = 0; i < out->copy_count; i++)
                out->copies[i].section_at += begin;
        } else {
            err_set(err, "the file has not the length that its head says");
            spool_envelope_clear(out);
        }
    }
    buf_clear(&head);
    return result;
}

enum spool_result spool_head_open(int base_fd, const char *path, int flags, const char *id,
                                  int *fd_out, struct spool_envelope *out, struct err *err)
{
    int fd = openat(base_fd, path, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return SPOOL_GONE;
    if (fd < 0) {
        bool is_odd = errno == ELOOP || errno == EISDIR || errno == ENXIO;
        err_set_errno(err, "cannot open");
        return is_odd ? SPOOL_INVALID : SPOOL_FAULT;
    }
    enum spool_result result = parse_file(fd, id, out, err);
    if (result == SPOOL_OK)
        *fd_out = fd;
    else
        close(fd);
    return result;
}

/* --- a copy --- */

static void fill_copy(struct spool_copy *c, int fd)
{
    struct spool_envelope_copy *section = &c->head.copies[0];

    mem_copy_string(c->copy.id, sizeof c->copy.id, section->id);
    c->copy.destination = c->place.destination;
    c->copy.message = c->head.message;
    c->copy.recipients = section->recipients;
    c->copy.recipient_count = section->recipient_count;
    c->copy.attempts = section->attempts;
    c->copy.content_fd = fd;
    c->copy.content_offset = c->head.head_len;
}

enum spool_result spool_copy_open_at(struct spool *s, const struct spool_place *place,
                                     const char *id, struct spool_copy **out, struct err *err)
{
    char path[SPOOL_PATH_SIZE];
    struct spool_copy *c = mem_zalloc(sizeof *c);
    int fd;

    spool_place_path(place, id, path);
    enum spool_result result =
        spool_head_open(spool_base_fd(s, place->base), path, O_RDWR, id, &fd, &c->head, err);
    if (result != SPOOL_OK) {
        free(c);
        return result;
    }
    c->place = *place;
    fill_copy(c, fd);
    *out = c;
    return SPOOL_OK;
}

enum spool_result spool_copy_open(struct spool *s, const char *destination,
                                  const struct spool_due *due, const char *id,
                                  struct spool_copy **out, struct err *err)
{
    struct spool_place place = spool_place_queue(destination, due);

    return spool_copy_open_at(s, &place, id, out, err);
}

void spool_warm(struct spool *s, const char *destination, const struct spool_due *due,
                const char *id)
{
    struct spool_place place = spool_place_queue(destination, due);
    char path[SPOOL_PATH_SIZE];

    spool_place_path(&place, id, path);
    int fd = openat(s->queue_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return; /* whoever opens it in earnest says why */
    off_t begin = (off_t)spool_id_unit(id) * SPOOL_GROUP_UNIT;
    (void)posix_fadvise(fd, begin, WARM_BYTES, POSIX_FADV_WILLNEED);
    close(fd);
}

void spool_copy_park(struct spool_copy *c)
{
    if (c->copy.content_fd >= 0)
        close(c->copy.content_fd);
    c->copy.content_fd = -1;
}

void spool_copy_close(struct spool_copy *c)
{
    if (c == NULL)
        return;
    spool_copy_park(c);
    spool_envelope_clear(&c->head);
    free(c);
}

/* --- changing --- */

static int copy_fault(const struct spool_copy *c, const char *what, struct err *err)
{
    char path[SPOOL_PATH_SIZE];

    spool_place_path(&c->place, c->copy.id, path);
    err_set_errno(err, "%s/%s: %s", spool_base_name(c->place.base), path, what);
    return -1;
}

enum spool_result spool_copy_unpark(struct spool *s, struct spool_copy *c, struct err *err)
{
    char path[SPOOL_PATH_SIZE];

    if (c->copy.content_fd >= 0)
        return SPOOL_OK;
    spool_place_path(&c->place, c->copy.id, path);
    c->copy.content_fd =
        openat(spool_base_fd(s, c->place.base), path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (c->copy.content_fd >= 0)
        return SPOOL_OK;
    if (errno == ENOENT)
        return SPOOL_GONE;
    copy_fault(c, "cannot open", err);
    return SPOOL_FAULT;
}

static int overwrite(int fd, const char *text, size_t len, uint64_t at)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, text, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return -1;
        text += n;
        len -= (size_t)n;
        at += (size_t)n;
    }
    return 0;
}

/* The section as a whole, in one write however many recipients there are; none if nothing changed.
 */
int spool_copy_mark(struct spool_copy *c, struct err *err)
{
    struct spool_envelope_copy *section = &c->head.copies[0];
    size_t len = section->section_len;
    int fd = c->copy.content_fd;
    char *old = mem_zalloc(len), *new = mem_zalloc(len);

    int rc = read_at(fd, old, len, section->section_at);
    if (rc == 0) {
        memcpy(new, old, len);
        section->attempts = c->copy.attempts;
        spool_envelope_patch(section, new);
        if (memcmp(old, new, len) != 0)
            rc = overwrite(fd, new, len, section->section_at);
    }
    if (rc < 0)
        copy_fault(c, "cannot mark recipients", err);
    free(old);
    free(new);
    return rc;
}

int spool_copy_remove(struct spool *s, struct spool_copy *c, struct err *err)
{
    if (spool_pool_put(s, c) < 0 && errno != ENOENT)
        return copy_fault(c, "cannot remove", err);
    return 0;
}

/* --- quarantine --- */

int spool_quarantine_file(struct spool *s, int base_fd, const char *base, const char *path,
                          const char *reason)
{
    const char *slash = strrchr(path, '/');
    char id[QUEUE_ID_SIZE], target[QUEUE_ID_SIZE + 202];
    struct err err;

    spool_new_id(s, id);
    snprintf(target, sizeof target, "%s-%.200s", id, slash == NULL ? path : slash + 1);
    if (renameat(base_fd, path, s->quarantine_fd, target) == 0) {
        log_error("spool: %s/%s is no valid copy (%s): moved to quarantine/%s", base, path, reason,
                  target);
        return 0;
    }
    if (errno == ENOENT)
        return 0;
    err_set_errno(&err, "cannot be moved to quarantine");
    log_error("spool: %s/%s is no valid copy (%s), and %s", base, path, reason, err.text);
    return -1;
}

void spool_quarantine(struct spool *s, const char *destination, const char *due, const char *name,
                      const char *reason)
{
    char *path =
        mem_printf("%s%s%s%s%s", destination, due == NULL ? "" : "/", due == NULL ? "" : due,
                   name == NULL ? "" : "/", name == NULL ? "" : name);

    (void)spool_quarantine_file(s, s->queue_fd, "queue", path, reason); /* a failure is logged */
    free(path);
}
