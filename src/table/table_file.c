/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "table/table_private.h"
#include "base/clock.h"
#include "base/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file that changes while it is read is read again, up to READ_ATTEMPTS times in all. While a
 * writer has the lock of a file, LOCK_ATTEMPTS attempts are made, LOCK_PAUSE_MS apart. */
enum { READ_ATTEMPTS = 5, LOCK_ATTEMPTS = 100, LOCK_PAUSE_MS = 50 };

/* Longer than a tick of the kernel's clock. A write that follows another within one tick does not
 * change the times of the file. */
enum { CLOCK_TICK_MS = 50 };

static struct table_stamp stamp_of(const struct stat *st)
{
    return (struct table_stamp){.exists = true,
                                .device = st->st_dev,
                                .inode = st->st_ino,
                                .size = st->st_size,
                                .mtime = st->st_mtim,
                                .ctime = st->st_ctim};
}

struct table_stamp table_stamp_of(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return (struct table_stamp){.exists = false};
    return stamp_of(&st);
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool table_stamp_equal(const struct table_stamp *a, const struct table_stamp *b)
{
    if (!a->exists || !b->exists)
        return a->exists == b->exists;
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           is_same_time(&a->mtime, &b->mtime) && is_same_time(&a->ctime, &b->ctime);
}

/* A file that was written just now may be written again without a change of its stamp. Its stamp
 * gets a time that no file has, so that the file is read once more. */
static void distrust_if_hot(struct table_stamp *s)
{
    struct timespec now = clock_realtime();
    int64_t age_ms =
        (int64_t)(now.tv_sec - s->ctime.tv_sec) * 1000 + (now.tv_nsec - s->ctime.tv_nsec) / 1000000;
    if (age_ms < CLOCK_TICK_MS)
        s->ctime.tv_nsec = -1;
}

static int open_file(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        err_set_errno(err, "cannot open %s", path);
    return fd;
}

/* Get the state of a file, and check that it is a regular file of at most `max` bytes. */
static int examine(int fd, const char *path, uint64_t max, struct stat *st, struct err *err)
{
    if (fstat(fd, st) < 0) {
        err_set_errno(err, "cannot stat %s", path);
        return -1;
    }
    if (!S_ISREG(st->st_mode)) {
        err_set(err, "%s is not a regular file", path);
        return -1;
    }
    if ((uint64_t)st->st_size > max) {
        err_set(err, "%s is too large: %lld bytes, allowed are %llu", path, (long long)st->st_size,
                (unsigned long long)max);
        return -1;
    }
    return 0;
}

/* Where the content of a file is stored. take: returns memory of this size (at least one byte), or
 * NULL with `err`. drop: releases this memory. */
struct target {
    char *(*take)(struct target *t, size_t size, struct err *err);
    void (*drop)(struct target *t);
    char *text;
    size_t size;
    int fd; /* of the anonymous file; -1: there is none */
};

/* Try to read the file. Returns 1; 0 if the file changed in the meantime; -1 with `err`. */
static int read_once(int fd, const char *path, uint64_t max, struct target *target,
                     struct table_stamp *stamp_out, struct err *err)
{
    struct stat st;

    if (examine(fd, path, max, &st, err) < 0)
        return -1;
    *stamp_out = stamp_of(&st);
    distrust_if_hot(stamp_out);
    size_t size = (size_t)st.st_size;
    char *text = target->take(target, size, err);
    if (text == NULL)
        return -1;
    struct table_stamp before = stamp_of(&st), after;
    ssize_t got = fdio_pread_full(fd, text, size, 0);
    if (got < 0 || fstat(fd, &st) < 0) {
        err_set_errno(err, "cannot read %s", path);
        target->drop(target);
        return -1;
    }
    after = stamp_of(&st);
    if ((size_t)got < size || !table_stamp_equal(&before, &after)) {
        target->drop(target);
        return 0;
    }
    return 1;
}

static int read_steady(int fd, const char *path, uint64_t max, struct target *target,
                       struct table_stamp *stamp_out, struct err *err)
{
    int rc = 0;

    for (int i = 0; i < READ_ATTEMPTS && rc == 0; i++)
        rc = read_once(fd, path, max, target, stamp_out, err);
    if (rc == 0)
        err_set(err, "%s keeps changing while it is read", path);
    return rc == 1 ? 0 : -1;
}

static char *heap_take(struct target *t, size_t size, struct err *err)
{
    (void)err;
    t->text = mem_grow(NULL, size + 1, 1);
    t->text[size] = '\0';
    t->size = size;
    return t->text;
}

static void heap_drop(struct target *t)
{
    free(t->text);
    t->text = NULL;
}

char *table_read_file(const char *path, uint64_t max, size_t *size_out,
                      struct table_stamp *stamp_out, struct err *err)
{
    struct target target = {.take = heap_take, .drop = heap_drop, .fd = -1};
    int fd = open_file(path, err);

    if (fd < 0)
        return NULL;
    int rc = read_steady(fd, path, max, &target, stamp_out, err);
    close(fd);
    *size_out = target.size;
    return rc == 0 ? target.text : NULL;
}

static void memfd_drop(struct target *t)
{
    if (t->text != NULL)
        munmap(t->text, t->size);
    if (t->fd >= 0)
        close(t->fd);
    t->text = NULL;
    t->fd = -1;
}

static char *memfd_take(struct target *t, size_t size, struct err *err)
{
    t->text = NULL;
    t->size = size == 0 ? 1 : size;
    t->fd = memfd_create("splitmilter-table", MFD_CLOEXEC);
    if (t->fd >= 0 && ftruncate(t->fd, (off_t)t->size) == 0) {
        char *text = mmap(NULL, t->size, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);
        t->text = text == MAP_FAILED ? NULL : text;
    }
    if (t->text == NULL) {
        err_set_errno(err, "no memory for a copy of %zu bytes", size);
        memfd_drop(t);
    }
    return t->text;
}

/* Take a shared lock, because postmap(1) locks a file that it writes in place. The lock belongs to
 * the open file description (F_OFD_SETLK). A lock of the process would end as soon as the process
 * closes any descriptor of the file. */
static int lock_shared(int fd, const char *path, struct err *err)
{
    static const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

    for (int i = 0; i < LOCK_ATTEMPTS; i++) {
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            break;
        nanosleep(&pause, NULL);
    }
    err_set_errno(err, "cannot lock %s", path);
    return -1;
}

int table_copy_file(const char *path, uint64_t max, size_t *size_out, struct table_stamp *stamp_out,
                    struct err *err)
{
    struct target target = {.take = memfd_take, .drop = memfd_drop, .fd = -1};
    int fd = open_file(path, err);

    if (fd < 0)
        return -1;
    int rc = lock_shared(fd, path, err);
    if (rc == 0)
        rc = read_steady(fd, path, max, &target, stamp_out, err);
    close(fd);
    if (rc < 0)
        return -1;
    *size_out = (size_t)stamp_out->size;
    munmap(target.text, target.size);
    return target.fd;
}
