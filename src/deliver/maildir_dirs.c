/* SPDX-License-Identifier: ISC */
#include "deliver/maildir_dirs.h"

#include "base/fdio.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KNOWN_PATHS 64

static const char *const dir_names[] = {"tmp", "new", "cur"};

/* A directory whose name is on the disk. ino 0: none. */
struct synced {
    dev_t dev;
    ino_t ino;
};

/* What is known of a path: its components from made_at on, then tmp, new and cur. */
struct maildir_known {
    char *path;
    struct synced *dirs;
    size_t count;
    bool is_complete; /* all of them were opened once */
};

void maildir_dirs_init(struct maildir_dirs *d)
{
    *d = (struct maildir_dirs){.fds = {-1, -1, -1},
                               .known = mem_zalloc(KNOWN_PATHS * sizeof *d->known)};
}

void maildir_dirs_clear(struct maildir_dirs *d)
{
    maildir_dirs_close(d);
    for (size_t i = 0; i < KNOWN_PATHS; i++) {
        free(d->known[i].path);
        free(d->known[i].dirs);
    }
    free(d->known);
}

void maildir_dirs_close(struct maildir_dirs *d)
{
    int error = errno;

    for (size_t i = 0; i < MAILDIR_DIRS; i++) {
        if (d->fds[i] != -1)
            close(d->fds[i]);
        d->fds[i] = -1;
    }
    errno = error;
}

static struct maildir_known *find_known(struct maildir_dirs *d, const char *path, size_t made_at)
{
    for (size_t i = 0; i < KNOWN_PATHS; i++)
        if (d->known[i].path != NULL && strcmp(d->known[i].path, path) == 0)
            return &d->known[i];
    struct maildir_known *k = &d->known[d->next];
    d->next = (d->next + 1) % KNOWN_PATHS;
    free(k->path);
    free(k->dirs);
    *k = (struct maildir_known){.path = mem_strdup(path), .count = 1 + MAILDIR_DIRS};
    for (const char *p = path + made_at; *p != '\0'; p++)
        k->count += *p == '/';
    k->dirs = mem_zalloc(k->count * sizeof *k->dirs);
    return k;
}

/*
 * Open a directory, create it if it is missing and may_make is set, and make sure that its name is
 * on the disk. at: the directory that it is in. *known: the directory whose name is known to be on
 * the disk; it needs no sync. Any other directory does, even if it exists already: the process that
 * created it may have been killed before its sync, or the sync may have failed. A new directory
 * whose sync fails is removed, and the next attempt creates it anew.
 */
static int open_synced(int at, const char *name, bool may_make, struct synced *known,
                       bool *is_new_out)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_new = fd == -1 && errno == ENOENT && may_make && mkdirat(at, name, 0700) == 0;
    struct stat st;

    if (fd == -1 && errno == ENOENT && !may_make)
        errno = EDQUOT;
    if (is_new)
        fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd == -1 ? -1 : fstat(fd, &st);
    if (rc == 0 && (st.st_dev != known->dev || st.st_ino != known->ino)) {
        rc = is_new ? fsync(at) : fdio_sync_names_again(at, false);
        if (rc == 0)
            *known = (struct synced){st.st_dev, st.st_ino};
    }
    *is_new_out = is_new;
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

/* Open the directory that must exist. */
static int open_base(const char *path, size_t made_at)
{
    char *base = made_at <= 1 ? mem_strdup("/") : mem_strndup(path, made_at - 1);
    int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = errno;

    free(base);
    errno = error;
    return fd;
}

/* Open the Maildir itself, component by component. known: one for each. */
static int open_top(struct maildir_dirs *d, const char *path, size_t made_at, unsigned made_max,
                    struct synced *known)
{
    int at = open_base(path, made_at);

    d->is_base_fault = at == -1;
    for (const char *p = path + made_at, *end; at != -1 && *p != '\0'; p = end + (*end == '/')) {
        end = strchrnul(p, '/');
        char *name = mem_strndup(p, (size_t)(end - p));
        bool is_new;
        int fd = open_synced(at, name, d->made < made_max, known++, &is_new);
        int error = errno;
        d->made += is_new;
        close(at);
        free(name);
        errno = error;
        at = fd;
    }
    return at;
}

static int open_all(struct maildir_dirs *d, struct maildir_known *k, size_t made_at,
                    unsigned made_max)
{
    d->step = "open";
    int top = open_top(d, k->path, made_at, made_max, k->dirs);
    bool is_new;

    if (top == -1)
        return -1;
    for (size_t i = 0; i < MAILDIR_DIRS; i++) {
        d->step = dir_names[i];
        d->fds[i] =
            open_synced(top, dir_names[i], true, &k->dirs[k->count - MAILDIR_DIRS + i], &is_new);
        if (d->fds[i] == -1)
            break;
    }
    int error = errno;
    close(top);
    errno = error;
    return d->fds[MAILDIR_DIRS - 1] == -1 ? -1 : 0;
}

/* All directories of a path are known after the first delivery of this worker. Until then only one
 * worker at a time opens them: otherwise a worker could use a directory that another worker has
 * created, before its name is on the disk. */
int maildir_dirs_open(struct maildir_dirs *d, const char *path, size_t made_at, unsigned made_max)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct maildir_known *k = find_known(d, path, made_at);
    bool is_known = k->is_complete;

    if (!is_known)
        pthread_mutex_lock(&lock);
    int rc = open_all(d, k, made_at, made_max);
    int error = errno;
    if (!is_known)
        pthread_mutex_unlock(&lock);
    k->is_complete = is_known || rc == 0;
    errno = error;
    return rc;
}
