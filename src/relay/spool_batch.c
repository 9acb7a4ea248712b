/* SPDX-License-Identifier: ISC */
/*
 * Group commit: messages that arrive at the same time become one file, with one sync. What a commit
 * costs is the sync of its file: three waits for the disk, and a write of the inode that belongs to
 * all files of its block. With twenty sessions about ten messages share that.
 *
 * A group is a file like all others but that a message does not begin at its start: the last two
 * digits of an id say where it does, in units of SPOOL_GROUP_UNIT. Each copy has its own name, a
 * hard link, and goes its own way; the last name that goes takes the file along. It is used again
 * only if all names were in one directory: whoever removes the last one knows that (spool_pool.c).
 *
 * One thread leads, and commits for all that wait; whoever comes meanwhile waits for the next
 * group. When anything fails, nothing of the group is left, and each of its messages is committed
 * alone, which tells what is wrong with it. Two groups at a time cost more and were not faster: the
 * more wait, the more share.
 */
#include "spool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MEMBERS_MAX 32
#define DIR_TRIES 3

static const char first_unit[SPOOL_GROUP_UNIT] = SPOOL_GROUP_LINE;
static const char padding[SPOOL_GROUP_UNIT];

struct group {
    struct spool *spool;
    struct spool_batch_member *members;
    unsigned count;
    int base_fd; /* of name: tmp/ or free/ */
    char name[QUEUE_ID_SIZE];
    bool has_name;
};

static size_t padded(size_t len)
{
    return (len + SPOOL_GROUP_UNIT - 1) / SPOOL_GROUP_UNIT * SPOOL_GROUP_UNIT;
}

/* Off the waiting list, in order. With the lock. */
static struct spool_batch_member *take_group(struct spool *s)
{
    struct spool_batch_member *first = s->batch_waiting, *last = first;
    size_t bytes = SPOOL_GROUP_UNIT + padded(first->len);
    unsigned count = 1;

    while (last->next != NULL && count < MEMBERS_MAX &&
           bytes + padded(last->next->len) <= SPOOL_GROUP_MAX) {
        last = last->next;
        bytes += padded(last->len);
        count++;
    }
    s->batch_waiting = last->next;
    last->next = NULL;
    first->group_count = count;
    return first;
}

static bool is_in_one_directory(const struct group *g)
{
    const struct spool_batch_member *first = g->members, *m = first->next;

    while (m != NULL && spool_due_compare(&m->due, &first->due) == 0 &&
           strcmp(m->destination, first->destination) == 0)
        m = m->next;
    return m == NULL;
}

/* --- the file --- */

static int open_file(struct group *g)
{
    int fd = spool_pool_take(g->spool, g->name);

    g->base_fd = g->spool->free_fd;
    if (fd < 0) {
        g->base_fd = g->spool->tmp_fd;
        spool_new_id(g->spool, g->name);
        fd =
            openat(g->base_fd, g->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    }
    g->has_name = fd >= 0;
    return fd;
}

/* Give each its place and its id; a lone one begins where the file does. Returns the length. */
static size_t lay_out(struct group *g, struct iovec *parts, int *part_count)
{
    size_t at = 0;
    int n = 0;

    if (g->count > 1) {
        parts[n++] = (struct iovec){(void *)first_unit, SPOOL_GROUP_UNIT};
        at = SPOOL_GROUP_UNIT;
    }
    for (struct spool_batch_member *m = g->members; m != NULL; m = m->next) {
        spool_id_set_unit(m->id, (unsigned)(at / SPOOL_GROUP_UNIT));
        memcpy(m->data + m->id_at, m->id, strlen(m->id));
        parts[n++] = (struct iovec){m->data, m->len};
        at += m->len;
        if (m->next != NULL && padded(m->len) > m->len) {
            parts[n++] = (struct iovec){(void *)padding, padded(m->len) - m->len};
            at += padded(m->len) - m->len;
        }
    }
    *part_count = n;
    return at;
}

/* Written and on stable storage, or -1. */
static int write_file(struct group *g)
{
    struct iovec parts[1 + 2 * MEMBERS_MAX];
    struct stat st;
    int part_count;
    size_t len = lay_out(g, parts, &part_count);
    int fd = open_file(g);

    if (fd < 0)
        return -1;
    int rc = writev(fd, parts, part_count) == (ssize_t)len ? 0 : -1;
    if (rc == 0 && g->base_fd == g->spool->free_fd &&
        (fstat(fd, &st) < 0 || (st.st_size > (off_t)len && ftruncate(fd, (off_t)len) < 0)))
        rc = -1;
    if (rc == 0 && !is_in_one_directory(g))
        rc = fchmod(fd, 0600 | SPOOL_MOVED_MODE);
    if (rc == 0)
        rc = fdatasync(fd);
    if (close(fd) < 0)
        rc = -1;
    return rc;
}

/* --- the names --- */

/* One name; the last one is that of the file so far, moved. 0 or an errno. */
static int link_one(struct group *g, const struct spool_batch_member *m)
{
    if (m->next == NULL &&
        renameat2(g->base_fd, g->name, m->dir->fd, m->id, RENAME_NOREPLACE) == 0) {
        g->has_name = false;
        return 0;
    }
    if (m->next == NULL && errno != EINVAL && errno != ENOSYS)
        return errno;
    return linkat(g->base_fd, g->name, m->dir->fd, m->id, 0) < 0 ? errno : 0;
}

/* On success m->dir is set, and to be released. */
static int place_one(struct group *g, struct spool_batch_member *m)
{
    struct spool *s = g->spool;
    struct err err;
    int error = ENOENT;

    for (int tries = 0; tries < DIR_TRIES && error == ENOENT; tries++) {
        error =
            spool_dir_get(s, s->queue_fd, m->destination, &m->due, SPOOL_DIR_COMMIT, &m->dir, &err);
        if (error != 0)
            continue;
        error = link_one(g, m);
        if (error == 0)
            return 0;
        if (error == ENOENT) /* it was empty, and removed: spool_remove_due() */
            spool_dir_forget(s, m->dir);
        spool_dir_release(s, m->dir);
    }
    return error;
}

/* -1: nothing is linked. */
static int place(struct group *g)
{
    struct spool_dir *dirs[MEMBERS_MAX];
    struct spool_batch_member *m = g->members;
    size_t linked = 0;
    int error = 0;

    for (; m != NULL && error == 0; m = m->next) {
        error = place_one(g, m);
        if (error == 0)
            dirs[linked++] = m->dir;
    }
    if (error == 0)
        error = spool_dirs_sync(g->spool, dirs, linked);
    m = g->members;
    for (size_t i = 0; i < linked; i++, m = m->next) {
        if (error != 0)
            (void)unlinkat(dirs[i]->fd, m->id, 0);
        spool_dir_release(g->spool, dirs[i]);
    }
    return error == 0 ? 0 : -1;
}

static void commit_group(struct spool *s, struct spool_batch_member *members)
{
    struct group g = {.spool = s, .members = members, .count = members->group_count};
    bool is_done = write_file(&g) == 0 && place(&g) == 0;

    if (g.has_name)
        (void)unlinkat(g.base_fd, g.name, 0);
    for (struct spool_batch_member *m = members; m != NULL; m = m->next)
        m->is_done = is_done;
}

/* --- together --- */

/* Let the next group begin, if there is one and none is at work. With the lock. */
static void appoint(struct spool *s)
{
    if (s->batch_waiting == NULL || s->has_batch_leader)
        return;
    s->has_batch_leader = true;
    sem_post(&take_group(s)->woken);
}

/* The members go on as soon as they are woken; the next group begins before. */
static void lead(struct spool *s, struct spool_batch_member *own)
{
    struct spool_batch_member *m = own->next;

    commit_group(s, own);
    pthread_mutex_lock(&s->batch_lock);
    s->has_batch_leader = false;
    appoint(s);
    pthread_mutex_unlock(&s->batch_lock);
    while (m != NULL) {
        struct spool_batch_member *next = m->next;
        sem_post(&m->woken); /* m is gone from here on */
        m = next;
    }
}

bool spool_batch_commit(struct spool *s, struct spool_batch_member *m)
{
    struct spool_batch_member **at = &s->batch_waiting;

    sem_init(&m->woken, 0, 0);
    m->next = NULL;
    m->group_count = 0;
    m->is_done = false;
    pthread_mutex_lock(&s->batch_lock);
    while (*at != NULL)
        at = &(*at)->next;
    *at = m;
    appoint(s);
    pthread_mutex_unlock(&s->batch_lock);
    while (sem_wait(&m->woken) != 0) /* EINTR */
        continue;
    if (m->group_count > 0)
        lead(s, m);
    sem_destroy(&m->woken);
    return m->is_done;
}
