/* SPDX-License-Identifier: ISC */
/*
 * From one place to another: link, sync the directory, unlink. The new name is on stable storage
 * before the old one goes: a rename alone may lose both on a file system without journal.
 */
#include "queue/spool_private.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_TRIES 20

/* A second name for a file; it is fine if it is there already (a crash came before the first was
 * removed). 0 or an errno. */
static int link_again(int from_fd, const char *from, const struct spool_dir *dir, const char *id)
{
    struct stat a, b;

    if (linkat(from_fd, from, dir->fd, id, 0) == 0)
        return 0;
    if (errno != EEXIST)
        return errno;
    if (fstatat(from_fd, from, &a, AT_SYMLINK_NOFOLLOW) < 0 ||
        fstatat(dir->fd, id, &b, AT_SYMLINK_NOFOLLOW) < 0)
        return errno;
    return a.st_ino == b.st_ino && a.st_dev == b.st_dev ? 0 : EEXIST;
}

/* *dir_out (NULL at first) is the directory; it is to be released if it is not NULL. 0, or an errno
 * (with `err` if there is no directory); ENOENT: `from` is gone. */
static int link_into(struct spool *s, int from_fd, const char *from, const struct spool_place *to,
                     const char *id, struct spool_dir **dir_out, struct err *err)
{
    int error = 0;

    for (int tries = 0; tries < NAME_TRIES; tries++) {
        if (*dir_out == NULL)
            error = spool_dir_get(s, spool_base_fd(s, to->base), to->destination,
                                  to->base == SPOOL_QUEUE ? &to->due : NULL, SPOOL_DIR_MOVE,
                                  dir_out, err);
        if (*dir_out == NULL && error == ENOENT)
            continue;
        if (*dir_out == NULL)
            return error;
        error = link_again(from_fd, from, *dir_out, id);
        if (error != ENOENT || faccessat(from_fd, from, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            break;
        spool_dir_forget(s, *dir_out); /* it was empty, and removed */
        spool_dir_release(s, *dir_out);
        *dir_out = NULL;
    }
    return error;
}

/* Move a copy, never over another. 0 or an errno with `err`; ENOENT: it is gone. */
static int move_file(struct spool *s, const struct spool_place *from, const struct spool_place *to,
                     const char *id, struct err *err)
{
    int from_fd = spool_base_fd(s, from->base);
    struct spool_dir *dir = NULL;
    char path[SPOOL_PATH_SIZE];

    spool_place_path(from, id, path);
    if (spool_id_unit(id) > 0 && fchmodat(from_fd, path, 0600 | SPOOL_MOVED_MODE, 0) < 0) {
        int fault = errno;
        err_set_errno(err, "cannot mark %s/%s", spool_base_name(from->base), path);
        return fault;
    }
    int error = link_into(s, from_fd, path, to, id, &dir, err);
    if (error == 0) {
        error = spool_dirs_sync(s, &dir, 1);
        if (error != 0)
            (void)unlinkat(dir->fd, id, 0); /* the old name is there for sure */
        else if (unlinkat(from_fd, path, 0) < 0 && errno != ENOENT)
            error = errno;
    }
    if (dir != NULL)
        spool_dir_release(s, dir);
    if (error != 0) {
        errno = error;
        err_set_errno(err, "cannot move %s/%s to %s/%s", spool_base_name(from->base), path,
                      spool_base_name(to->base), to->destination);
    }
    return error;
}

/* Before a copy gets a second name its marks are on stable storage: that it was deferred, for one,
 * keeps its file out of spool_pool.c's hands. */
static int sync_marks(const struct spool_copy *c, struct err *err)
{
    char path[SPOOL_PATH_SIZE];

    if (fdatasync(c->copy.content_fd) == 0)
        return 0;
    spool_place_path(&c->place, c->copy.id, path);
    err_set_errno(err, "%s/%s: cannot sync", spool_base_name(c->place.base), path);
    return -1;
}

int spool_copy_move(struct spool *s, struct spool_copy *c, const struct spool_due *due,
                    struct err *err)
{
    struct spool_place to = spool_place_queue(c->place.destination, due);

    if (spool_due_compare(&c->place.due, due) == 0)
        return 0;
    if (sync_marks(c, err) < 0)
        return -1;
    int error = move_file(s, &c->place, &to, c->copy.id, err);
    if (error != 0 && error != ENOENT)
        return -1;
    c->place = to;
    return 0;
}

int spool_copy_bury(struct spool *s, struct spool_copy *c, struct err *err)
{
    struct spool_place to = spool_place_other(SPOOL_DEAD, c->place.destination);

    if (sync_marks(c, err) < 0)
        return -1;
    int error = move_file(s, &c->place, &to, c->copy.id, err);
    if (error != 0 && error != ENOENT)
        return -1;
    c->place = to;
    return 0;
}

enum spool_result spool_move_id(struct spool *s, const char *destination,
                                const struct spool_due *from, const struct spool_due *to,
                                const char *id, struct err *err)
{
    struct spool_place old = spool_place_queue(destination, from);
    struct spool_place new = spool_place_queue(destination, to);
    int error = move_file(s, &old, &new, id, err);

    if (error == ENOENT)
        return SPOOL_GONE;
    return error == 0 ? SPOOL_OK : SPOOL_FAULT;
}

bool spool_place_has(struct spool *s, const struct spool_place *place, const char *id)
{
    char path[SPOOL_PATH_SIZE];

    spool_place_path(place, id, path);
    return faccessat(spool_base_fd(s, place->base), path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- several at once --- */

/* -1: all of them have their result. */
static int open_source(struct spool *s, const struct spool_place *from, struct spool_item *items,
                       size_t count, struct err *err)
{
    char path[SPOOL_PATH_SIZE];

    spool_place_path(from, NULL, path);
    int fd =
        openat(spool_base_fd(s, from->base), path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    bool is_gone = errno == ENOENT;
    err_set_errno(err, "cannot open directory %s/%s", spool_base_name(from->base), path);
    for (size_t i = 0; i < count; i++)
        if (items[i].result == SPOOL_OK)
            items[i].result = is_gone ? SPOOL_GONE : SPOOL_FAULT;
    return -1;
}

static void item_fault(struct spool_item *item, const struct spool_place *from, int error,
                       struct err *err)
{
    item->result = error == ENOENT ? SPOOL_GONE : SPOOL_FAULT;
    if (error == ENOENT)
        return;
    errno = error;
    err_set_errno(err, "cannot move or remove %s of %s", item->id, from->destination);
}

/* Remove the names of all that are OK, and have the disk know. If it does not, a name may come back
 * after a power failure, and with it a copy: no harm as long as its file holds that copy. */
static void unlink_items(struct spool *s, const struct spool_place *from, int from_fd,
                         struct spool_item *items, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++)
        if (items[i].result == SPOOL_OK && unlinkat(from_fd, items[i].id, 0) < 0)
            item_fault(&items[i], from, errno, err);
    if (fsync(from_fd) < 0) {
        struct err fault;
        atomic_store(&s->is_pool_closed, true);
        err_set_errno(&fault, "%s/%s", spool_base_name(from->base), from->destination);
        log_warning("spool: %s: cannot sync (after a power failure some copies may be back)",
                    fault.text);
    }
}

void spool_items_move(struct spool *s, const struct spool_place *from, const struct spool_place *to,
                      struct spool_item *items, size_t count, struct err *err)
{
    int from_fd = open_source(s, from, items, count, err);
    struct spool_dir *dir = NULL;
    int error = 0;

    if (from_fd < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        if (items[i].result != SPOOL_OK)
            continue;
        error = link_into(s, from_fd, items[i].id, to, items[i].id, &dir, err);
        if (error != 0)
            item_fault(&items[i], from, error, err);
    }
    error = dir == NULL ? 0 : spool_dirs_sync(s, &dir, 1);
    for (size_t i = 0; i < count && error != 0; i++)
        if (items[i].result == SPOOL_OK) {
            (void)unlinkat(dir->fd, items[i].id, 0);
            item_fault(&items[i], from, error, err);
            items[i].result = SPOOL_FAULT;
        }
    unlink_items(s, from, from_fd, items, count, err);
    if (dir != NULL)
        spool_dir_release(s, dir);
    close(from_fd);
}

void spool_items_remove(struct spool *s, const struct spool_place *from, struct spool_item *items,
                        size_t count, struct err *err)
{
    int from_fd = open_source(s, from, items, count, err);

    if (from_fd < 0)
        return;
    unlink_items(s, from, from_fd, items, count, err);
    close(from_fd);
}
