/* SPDX-License-Identifier: ISC */
#include "queue/large.h"

#include "base/fdio.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue_id.h"
#include "task/task.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct large {
    char *path; /* SPOOL/large */
    int fd;
};

struct large_file {
    struct large *large;
    char name[QUEUE_ID_SIZE];
    int fd;
    /* The directory, opened for this file alone. The kernel reports a failed write-back once to
     * each open description. If all files had one description in common, the sync for another file
     * could get the report, and the sync for this one would succeed. */
    int directory_fd;
};

/* Arguments and result of a function that runs in task_block(). */
struct call {
    struct large_file *file;
    const void *data;
    size_t len;
    struct err *err;
    enum queue_put_status status;
};

static enum queue_put_status fault(const struct large_file *f, const char *what, struct err *err)
{
    enum queue_put_status status =
        errno == ENOSPC || errno == EDQUOT ? QUEUE_PUT_FULL : QUEUE_PUT_FAULT;

    err_set_errno(err, "%s/%s: cannot %s", f->large->path, f->name, what);
    return status;
}

struct large *large_open(const char *spool_directory, bool create, struct err *err)
{
    int spool_fd = open(spool_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = -1;

    if (spool_fd < 0) {
        err_set_errno(err, "cannot open %s", spool_directory);
        return NULL;
    }
    /* A directory that exists already is synced, too, because an earlier sync may have failed. */
    bool is_there = !create || ((mkdirat(spool_fd, "large", 0700) == 0 || errno == EEXIST) &&
                                fsync(spool_fd) == 0);
    if (is_there)
        fd = openat(spool_fd, "large", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        err_set_errno(err, "cannot %s %s/large", create ? "create" : "open", spool_directory);
    close(spool_fd);
    if (fd < 0)
        return NULL;
    struct large *l = mem_zalloc(sizeof *l);
    l->path = mem_printf("%s/large", spool_directory);
    l->fd = fd;
    return l;
}

void large_close(struct large *l)
{
    if (l == NULL)
        return;
    close(l->fd);
    free(l->path);
    free(l);
}

/* --- writing --- */

static void create_file(void *arg)
{
    struct call *c = arg;
    struct large_file *f = c->file;

    f->directory_fd = openat(f->large->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->directory_fd >= 0)
        f->fd = openat(f->directory_fd, f->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                       0600);
    if (f->fd < 0)
        c->status = fault(f, "create it", c->err);
}

enum queue_put_status large_begin(struct large *l, int64_t id, struct large_file **out,
                                  struct err *err)
{
    struct large_file *f = mem_zalloc(sizeof *f);
    struct call c = {.file = f, .err = err, .status = QUEUE_PUT_OK};

    f->large = l;
    f->fd = -1;
    queue_id_format(id, f->name);
    task_block(create_file, &c);
    if (c.status == QUEUE_PUT_OK)
        *out = f;
    else
        large_keep(f);
    return c.status;
}

enum queue_put_status large_begin_unnamed(struct large *l, int64_t id, struct large_file **out,
                                          struct err *err)
{
    enum queue_put_status status = large_begin(l, id, out, err);

    if (status == QUEUE_PUT_OK)
        large_remove(l, id);
    return status;
}

int large_take(struct large_file *f)
{
    int fd = f->fd;

    f->fd = -1;
    large_keep(f);
    return fd;
}

static void write_data(void *arg)
{
    struct call *c = arg;

    if (fdio_write_all(c->file->fd, c->data, c->len) != 0) {
        c->status = fault(c->file, "write", c->err);
        return;
    }
#ifdef SYNC_FILE_RANGE_WRITE
    /* Start the write-back, so that the sync at the end is short. That sync reports failures, too.
     */
    (void)sync_file_range(c->file->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
#endif
}

enum queue_put_status large_write(struct large_file *f, const void *data, size_t len,
                                  struct err *err)
{
    struct call c = {.file = f, .data = data, .len = len, .err = err, .status = QUEUE_PUT_OK};

    task_block(write_data, &c);
    return c.status;
}

static void sync_file(void *arg)
{
    struct call *c = arg;
    struct large_file *f = c->file;
    int fd = f->fd;

    if (fdatasync(fd) != 0) {
        c->status = fault(f, "sync it", c->err);
        return;
    }
    f->fd = -1;
    if (close(fd) != 0)
        c->status = fault(f, "close it", c->err);
    else if (fsync(f->directory_fd) != 0)
        c->status = fault(f, "sync its directory", c->err);
}

enum queue_put_status large_finish(struct large_file *f, struct err *err)
{
    struct call c = {.file = f, .err = err, .status = QUEUE_PUT_OK};

    task_block(sync_file, &c);
    return c.status;
}

void large_keep(struct large_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    if (f->directory_fd >= 0)
        close(f->directory_fd);
    free(f);
}

static void remove_file(struct large *l, const char *name)
{
    if (unlinkat(l->fd, name, 0) != 0 && errno != ENOENT)
        log_warning("cannot remove %s/%s: %s (it is removed at the next start)", l->path, name,
                    strerror(errno));
}

static void drop_file(void *arg)
{
    struct large_file *f = arg;

    remove_file(f->large, f->name);
    large_keep(f); /* the last link is gone: the close frees the blocks, which may take long */
}

void large_drop(struct large_file *f)
{
    task_block(drop_file, f);
}

/* --- reading, removing --- */

int large_read(struct large *l, int64_t id, uint64_t size_bytes, struct err *err)
{
    char name[QUEUE_ID_SIZE];
    struct stat st;

    queue_id_format(id, name);
    int fd = openat(l->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int error = errno;
        err_set_errno(err, "cannot open %s/%s", l->path, name);
        if (fd >= 0)
            close(fd);
        errno = error;
        return -1;
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size_bytes) {
        err_set(err, "%s/%s has %lld bytes instead of %" PRIu64, l->path, name,
                (long long)st.st_size, size_bytes);
        close(fd);
        errno = EBADMSG;
        return -1;
    }
    return fd;
}

void large_remove(struct large *l, int64_t id)
{
    char name[QUEUE_ID_SIZE];

    queue_id_format(id, name);
    remove_file(l, name);
}

int large_clean(struct large *l, bool (*has_row)(void *ctx, int64_t id), void *ctx, struct err *err)
{
    int fd = openat(l->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    int64_t id;

    if (dir == NULL) {
        err_set_errno(err, "cannot read %s", l->path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    for (errno = 0; (e = readdir(dir)) != NULL; errno = 0) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (!queue_id_parse(e->d_name, &id))
            log_warning("%s/%s is not a file of the queue: it stays there", l->path, e->d_name);
        else if (!has_row(ctx, id))
            remove_file(l, e->d_name);
    }
    int error = errno;
    closedir(dir);
    if (error == 0)
        return 0;
    errno = error;
    err_set_errno(err, "cannot read %s", l->path);
    return -1;
}
