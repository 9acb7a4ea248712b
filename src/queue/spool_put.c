/* SPDX-License-Identifier: ISC */
#include "queue/spool_private.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY_MAX (64 * 1024)       /* of head and content, before there is a file */
#define ROOM_EVERY (4 * 1024 * 1024) /* bytes of content between two looks at the free space */
#define NAME_TRIES 20                /* taken ids, directories that vanish */

struct spool_put {
    struct spool *spool;
    const struct queue_message *message; /* borrowed */
    struct queue_new_copy *copies;       /* borrowed */
    size_t copy_count;
    size_t *id_at; /* offset of each copy's id in the head */
    uint64_t min_free_bytes;
    struct buf buf; /* what is not in the file yet, from the head's first byte on */
    int fd;         /* tmp/NAME, or -1 as long as everything is in buf */
    int tmp_fd;     /* the directory of tmp_name: tmp/, or free/ for a file that is used again */
    char tmp_name[QUEUE_ID_SIZE];
    uint64_t size_bytes; /* of the content */
    uint64_t room_at;    /* size at which to look at the free space again */
    bool has_tmp;
    bool keeps_ids; /* they are known elsewhere already */
    bool is_prepared;
    struct spool_batch_member group; /* with is_prepared and a file: it is there, and in buf */
    size_t linked; /* copies[0 .. linked - 1] are below dirs[], but for those left out */
    struct spool_dir **dirs;
};

static void put_free(struct spool_put *p)
{
    if (p->fd >= 0)
        close(p->fd);
    spool_batch_drop(&p->group);
    if (p->dirs != NULL)
        for (size_t i = 0; i < p->copy_count; i++)
            if (p->dirs[i] != NULL)
                spool_dir_release(p->spool, p->dirs[i]);
    free(p->dirs);
    free(p->id_at);
    buf_clear(&p->buf);
    free(p);
}

static enum queue_put_status begin(struct spool *s, const struct queue_message *message,
                                   struct queue_new_copy *copies, size_t copy_count,
                                   uint64_t min_free_bytes, bool keeps_ids, struct spool_put **out,
                                   struct err *err)
{
    if (copy_count == 0 || copy_count > QUEUE_RECIPIENTS_MAX) {
        err_set(err, "message has no copies, or too many");
        return QUEUE_PUT_FAULT;
    }
    struct spool_put *p = mem_zalloc(sizeof *p);
    p->spool = s;
    p->message = message;
    p->copies = copies;
    p->copy_count = copy_count;
    p->id_at = mem_zalloc(copy_count * sizeof *p->id_at);
    p->dirs = mem_zalloc(copy_count * sizeof(struct spool_dir *));
    p->fd = -1;
    p->tmp_fd = s->tmp_fd;
    p->min_free_bytes = min_free_bytes;
    p->room_at = ROOM_EVERY;
    p->keeps_ids = keeps_ids;
    for (size_t i = 0; i < copy_count && !keeps_ids; i++)
        spool_new_id(s, copies[i].id);
    if (spool_envelope_format(message, copies, copy_count, &p->buf, p->id_at, err) < 0) {
        put_free(p);
        return QUEUE_PUT_FAULT;
    }
    *out = p;
    return QUEUE_PUT_OK;
}

enum queue_put_status spool_put_begin(struct spool *s, const struct queue_message *message,
                                      struct queue_new_copy *copies, size_t copy_count,
                                      uint64_t min_free_bytes, struct spool_put **out,
                                      struct err *err)
{
    return begin(s, message, copies, copy_count, min_free_bytes, false, out, err);
}

enum queue_put_status spool_put_begin_again(struct spool *s, const struct queue_message *message,
                                            struct queue_new_copy *copies, size_t copy_count,
                                            uint64_t min_free_bytes, struct spool_put **out,
                                            struct err *err)
{
    return begin(s, message, copies, copy_count, min_free_bytes, true, out, err);
}

/* --- the file --- */

static enum queue_put_status fault(struct spool_put *p, const char *what, int error,
                                   struct err *err)
{
    errno = error;
    err_set_errno(err, "%s/tmp/%s: %s", p->spool->directory, p->tmp_name, what);
    return spool_put_status(error);
}

static enum queue_put_status create(struct spool_put *p, struct err *err)
{
    p->fd = spool_pool_take(p->spool, p->tmp_name);
    if (p->fd >= 0) {
        p->tmp_fd = p->spool->free_fd;
        p->has_tmp = true;
        return QUEUE_PUT_OK;
    }
    for (int i = 0; i < NAME_TRIES; i++) {
        spool_new_id(p->spool, p->tmp_name);
        p->fd = openat(p->tmp_fd, p->tmp_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                       0600);
        if (p->fd >= 0) {
            p->has_tmp = true;
            return QUEUE_PUT_OK;
        }
        if (errno != EEXIST)
            break;
    }
    return fault(p, "cannot create", errno, err);
}

static enum queue_put_status write_all(struct spool_put *p, const char *data, size_t len,
                                       struct err *err)
{
    while (len > 0) {
        ssize_t n = write(p->fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fault(p, "cannot write", n < 0 ? errno : ENOSPC, err);
        data += n;
        len -= (size_t)n;
    }
    return QUEUE_PUT_OK;
}

static enum queue_put_status overwrite(struct spool_put *p, int fd, const char *data, size_t len,
                                       size_t at, struct err *err)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fault(p, "cannot write", n < 0 ? errno : ENOSPC, err);
        data += n;
        len -= (size_t)n;
        at += (size_t)n;
    }
    return QUEUE_PUT_OK;
}

static enum queue_put_status flush(struct spool_put *p, struct err *err)
{
    enum queue_put_status status = p->fd >= 0 ? QUEUE_PUT_OK : create(p, err);

    if (status == QUEUE_PUT_OK)
        status = write_all(p, buf_str(&p->buf), p->buf.len, err);
    buf_reset(&p->buf);
    return status;
}

/* What is done with a message where it may block, for task_block(). */
struct call {
    struct spool_put *put;
    const void *data;
    size_t len;
    const struct spool_due *due;
    struct err *err;
    enum queue_put_status status;
};

static void write_out(void *arg)
{
    struct call *c = arg;

    c->status = flush(c->put, c->err);
    if (c->status == QUEUE_PUT_OK)
        c->status = write_all(c->put, c->data, c->len, c->err);
}

enum queue_put_status spool_put_data(struct spool_put *p, const void *data, size_t len,
                                     struct err *err)
{
    struct call c = {.put = p, .data = data, .len = len, .err = err};
    enum queue_put_status status = QUEUE_PUT_OK;

    p->size_bytes += len;
    if (p->size_bytes >= p->room_at) {
        p->room_at = p->size_bytes + ROOM_EVERY;
        status = spool_has_room(p->spool, 0, p->min_free_bytes, err);
    }
    if (status != QUEUE_PUT_OK)
        return status;
    if (p->buf.len + len > MEMORY_MAX) {
        task_block(write_out, &c);
        return c.status;
    }
    buf_add(&p->buf, data, len);
    return QUEUE_PUT_OK;
}

/* Remove what is left of an older, longer content behind the end of what was written. */
static int cut_off(struct spool_put *p)
{
    off_t end = lseek(p->fd, 0, SEEK_CUR);
    struct stat st;

    if (end < 0 || fstat(p->fd, &st) < 0)
        return -1;
    return st.st_size > end ? ftruncate(p->fd, end) : 0;
}

/* Everything on stable storage under tmp/. */
static enum queue_put_status sync_file(struct spool_put *p, struct err *err)
{
    char size[SPOOL_SIZE_DIGITS + 1];
    bool is_in_memory = p->fd < 0;
    enum queue_put_status status;

    spool_envelope_size_text(p->size_bytes, size);
    if (is_in_memory)
        memcpy(p->buf.data + SPOOL_SIZE_AT, size, SPOOL_SIZE_DIGITS);
    status = flush(p, err);
    if (status == QUEUE_PUT_OK && !is_in_memory)
        status = overwrite(p, p->fd, size, SPOOL_SIZE_DIGITS, SPOOL_SIZE_AT, err);
    if (status != QUEUE_PUT_OK)
        return status;
    if (p->tmp_fd == p->spool->free_fd && cut_off(p) < 0)
        return fault(p, "cannot cut", errno, err);
    if (fdatasync(p->fd) < 0)
        return fault(p, "cannot sync", errno, err);
    int fd = p->fd;
    p->fd = -1;
    return close(fd) < 0 ? fault(p, "cannot close", errno, err) : QUEUE_PUT_OK;
}

static void prepare_alone(void *arg)
{
    struct call *c = arg;

    c->status = sync_file(c->put, c->err);
}

/* Small, to be delivered, and nothing of it known elsewhere: it can share a file with others. */
static bool is_for_group(const struct spool_put *p)
{
    bool is_fit = p->fd < 0 && !p->keeps_ids && !p->is_prepared;

    for (size_t i = 0; is_fit && i < p->copy_count; i++) {
        const struct queue_new_copy *c = &p->copies[i];
        is_fit = !c->is_dead;
        for (size_t k = 0; is_fit && k < c->recipient_count; k++)
            is_fit = c->recipients[k].state == QUEUE_PENDING;
    }
    return is_fit;
}

static void join_group(struct spool_put *p)
{
    char size[SPOOL_SIZE_DIGITS + 1];

    p->group = (struct spool_batch_member){.data = p->buf.data,
                                           .len = p->buf.len,
                                           .copies = p->copies,
                                           .copy_count = p->copy_count,
                                           .id_at = p->id_at};
    spool_envelope_size_text(p->size_bytes, size);
    memcpy(p->buf.data + SPOOL_SIZE_AT, size, SPOOL_SIZE_DIGITS);
}

/* It goes on alone, with all that it has in buf. */
static void leave_group(struct spool_put *p)
{
    spool_batch_drop(&p->group);
    p->is_prepared = false;
    for (size_t i = 0; i < p->copy_count; i++) {
        spool_id_set_unit(p->copies[i].id, 0);
        memcpy(p->buf.data + p->id_at[i], p->copies[i].id, strlen(p->copies[i].id));
    }
}

enum queue_put_status spool_put_prepare(struct spool_put *p, struct err *err)
{
    struct call c = {.put = p, .err = err, .status = QUEUE_PUT_OK};

    if (is_for_group(p)) {
        join_group(p);
        p->is_prepared = spool_batch_write(p->spool, &p->group);
        if (p->is_prepared)
            return QUEUE_PUT_OK;
        leave_group(p);
    }
    task_block(prepare_alone, &c);
    p->is_prepared = c.status == QUEUE_PUT_OK;
    return c.status;
}

/* --- the copies --- */

bool spool_put_is_left_out(const struct queue_new_copy *copy)
{
    size_t sent = 0;

    while (sent < copy->recipient_count && copy->recipients[sent].state == QUEUE_SENT)
        sent++;
    return sent == copy->recipient_count;
}

static enum queue_put_status rewrite(struct spool_put *p, const char *data, size_t len, size_t at,
                                     struct err *err)
{
    bool is_in_group = p->group.file != NULL;
    int fd = is_in_group ? spool_batch_open(&p->group)
                         : openat(p->tmp_fd, p->tmp_name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return fault(p, "cannot open", errno, err);
    if (is_in_group)
        at += p->group.begin;
    enum queue_put_status status = overwrite(p, fd, data, len, at, err);
    if (status == QUEUE_PUT_OK && fdatasync(fd) < 0)
        status = fault(p, "cannot sync", errno, err);
    if (close(fd) < 0 && status == QUEUE_PUT_OK)
        status = fault(p, "cannot close", errno, err);
    return status;
}

static bool has_changed_states(const struct spool_put *p)
{
    bool has_changed = false;

    for (size_t i = 0; i < p->copy_count; i++)
        for (size_t k = 0; k < p->copies[i].recipient_count; k++)
            has_changed = has_changed || p->copies[i].recipients[k].state != QUEUE_PENDING;
    return has_changed;
}

/* States that changed after begin go into the file: the head of the same length, once more. */
static enum queue_put_status rewrite_states(struct spool_put *p, struct err *err)
{
    char size[SPOOL_SIZE_DIGITS + 1];
    struct buf head = {0};
    enum queue_put_status status = QUEUE_PUT_OK;

    if (!has_changed_states(p))
        return QUEUE_PUT_OK;
    if (spool_envelope_format(p->message, p->copies, p->copy_count, &head, p->id_at, err) < 0)
        return QUEUE_PUT_FAULT;
    spool_envelope_size_text(p->size_bytes, size);
    memcpy(head.data + SPOOL_SIZE_AT, size, SPOOL_SIZE_DIGITS);
    status = rewrite(p, head.data, head.len, 0, err);
    buf_clear(&head);
    return status;
}

/* Give copy i a new id, in the file as well. */
static enum queue_put_status change_id(struct spool_put *p, size_t i, struct err *err)
{
    char id[QUEUE_ID_SIZE];

    spool_new_id(p->spool, id); /* all ids of a process have the same length */
    enum queue_put_status status = rewrite(p, id, strlen(id), p->id_at[i], err);
    if (status == QUEUE_PUT_OK)
        mem_copy_string(p->copies[i].id, sizeof p->copies[i].id, id);
    return status;
}

/* Never over an existing file. 0 or an errno. */
static int link_one(struct spool_put *p, const struct spool_dir *dir, const char *id, bool is_last)
{
    int tmp_fd = p->tmp_fd;

    if (is_last) {
        if (renameat2(tmp_fd, p->tmp_name, dir->fd, id, RENAME_NOREPLACE) == 0) {
            p->has_tmp = false;
            return 0;
        }
        if (errno != EINVAL && errno != ENOSYS) /* file systems without it */
            return errno;
    }
    if (linkat(tmp_fd, p->tmp_name, dir->fd, id, 0) < 0)
        return errno;
    if (is_last && unlinkat(tmp_fd, p->tmp_name, 0) == 0)
        p->has_tmp = false;
    return 0;
}

static enum queue_put_status place(struct spool_put *p, size_t i, bool is_last,
                                   const struct spool_due *due, struct err *err)
{
    struct queue_new_copy *c = &p->copies[i];
    int base_fd = c->is_dead ? p->spool->dead_fd : p->spool->queue_fd;
    int error = 0;

    for (int tries = 0; tries < NAME_TRIES; tries++) {
        if (p->dirs[i] == NULL) {
            error = spool_dir_get(p->spool, base_fd, c->destination, c->is_dead ? NULL : due,
                                  SPOOL_DIR_COMMIT, &p->dirs[i], err);
            if (error == ENOENT)
                continue;
            if (error != 0)
                return spool_put_status(error);
        }
        error = link_one(p, p->dirs[i], c->id, is_last);
        if (error == 0) {
            p->linked = i + 1;
            return QUEUE_PUT_OK;
        }
        if (error == EEXIST && p->keeps_ids)
            break;
        if (error == EEXIST) {
            enum queue_put_status status = change_id(p, i, err);
            if (status != QUEUE_PUT_OK)
                return status;
        } else if (error == ENOENT) { /* it was empty, and removed: spool_remove_due() */
            spool_dir_forget(p->spool, p->dirs[i]);
            spool_dir_release(p->spool, p->dirs[i]);
            p->dirs[i] = NULL;
        } else {
            break;
        }
    }
    errno = error;
    err_set_errno(err, "cannot link %s for %s", c->id, c->destination);
    return spool_put_status(error);
}

static void undo(struct spool_put *p)
{
    for (size_t i = 0; i < p->linked; i++)
        if (p->dirs[i] != NULL)
            (void)unlinkat(p->dirs[i]->fd, p->copies[i].id, 0);
    if (p->has_tmp)
        (void)unlinkat(p->tmp_fd, p->tmp_name, 0);
}

/* Link all that are wanted, and sync. */
static enum queue_put_status place_all(struct spool_put *p, const struct spool_due *due,
                                       struct err *err)
{
    struct spool_dir **dirs = mem_zalloc(p->copy_count * sizeof(struct spool_dir *));
    enum queue_put_status status = QUEUE_PUT_OK;
    size_t last = p->copy_count, count = 0;

    while (last > 0 && spool_put_is_left_out(&p->copies[last - 1]))
        last--;
    for (size_t i = 0; i < last && status == QUEUE_PUT_OK; i++) {
        if (spool_put_is_left_out(&p->copies[i]))
            continue;
        status = place(p, i, i + 1 == last, due, err);
        dirs[count++] = p->dirs[i];
    }
    if (status == QUEUE_PUT_OK && count > 0) {
        int error = spool_dirs_sync(p->spool, dirs, count);
        if (error != 0) {
            errno = error;
            err_set_errno(err, "cannot sync the directory of %s", p->copies[0].id);
            status = spool_put_status(error);
        }
    }
    free(dirs);
    return status;
}

static void commit_alone(void *arg)
{
    struct call *c = arg;
    struct spool_put *p = c->put;

    c->status = p->is_prepared ? QUEUE_PUT_OK : sync_file(p, c->err);
    if (c->status == QUEUE_PUT_OK)
        c->status = rewrite_states(p, c->err);
    if (c->status == QUEUE_PUT_OK)
        c->status = place_all(p, c->due, c->err);
    if (c->status != QUEUE_PUT_OK || p->linked == 0)
        undo(p);
}

struct rewriting {
    struct spool_put *put;
    bool is_done;
};

static void rewrite_group_states(void *arg)
{
    struct rewriting *r = arg;
    struct err err;

    r->is_done = rewrite_states(r->put, &err) == QUEUE_PUT_OK;
}

/* What was prepared is placed now, unless nothing is left to be delivered. False: nothing of it is
 * in the queue. */
static bool place_prepared(struct spool_put *p)
{
    struct rewriting r = {.put = p, .is_done = true};

    if (has_changed_states(p))
        task_block(rewrite_group_states, &r);
    return r.is_done && spool_batch_place(p->spool, &p->group);
}

static bool commit_in_group(struct spool_put *p, const struct spool_due *due)
{
    bool is_done;

    if (p->group.file != NULL) {
        p->group.due = *due;
        is_done = place_prepared(p);
    } else if (is_for_group(p)) {
        join_group(p);
        p->group.due = *due;
        is_done = spool_batch_commit(p->spool, &p->group);
    } else {
        return false;
    }
    if (!is_done)
        leave_group(p);
    return is_done;
}

enum queue_put_status spool_put_commit(struct spool_put *p, const struct spool_due *due,
                                       struct err *err)
{
    struct call c = {.put = p, .due = due, .err = err, .status = QUEUE_PUT_OK};

    if (!commit_in_group(p, due))
        task_block(commit_alone, &c);
    put_free(p);
    return c.status;
}

void spool_put_abort(struct spool_put *p)
{
    undo(p);
    put_free(p);
}
