/* SPDX-License-Identifier: ISC */
/*
 * Three nested lists: queue, hold and dead, destinations, DUE directories; below them one directory
 * that is read entry by entry.
 */
#include "queue/spool_private.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct spool_walk {
    int base_fds[SPOOL_BASES]; /* -1 when there is none */
    char *only;                /* destination, or NULL for all */
    char only_id[QUEUE_ID_SIZE];
    enum spool_base base; /* the one at hand */
    char **destinations;  /* of it */
    size_t destination_count, destination_at;
    struct spool_due *due; /* of the destination at hand, in queue/ */
    size_t due_count, due_at;
    DIR *dir;
    int dir_fd;
    /* of the entry that was handed out */
    struct spool_envelope head;
    char name[256];
    bool has_name;
    struct err problem;
    int content_fd; /* with only_id; or -1 */
};

static int open_base(int root_fd, const char *name, int *fd_out, struct err *err)
{
    *fd_out = openat(root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*fd_out >= 0 || errno == ENOENT)
        return 0;
    err_set_errno(err, "cannot open %s", name);
    return -1;
}

static int list_destinations(struct spool_walk *w, struct err *err)
{
    w->destination_at = 0;
    if (w->base == SPOOL_BASES || w->base_fds[w->base] < 0)
        return 0;
    if (w->only != NULL) {
        w->destinations = mem_zalloc(sizeof *w->destinations);
        w->destinations[0] = mem_strdup(w->only);
        w->destination_count = 1;
        return 0;
    }
    return spool_names_read(w->base_fds[w->base], ".", &w->destinations, &w->destination_count,
                            err);
}

struct spool_walk *spool_walk_open(const char *directory, const char *destination, struct err *err)
{
    if (destination != NULL && !spool_destination_is_valid(destination)) {
        err_set(err, "%s is not the name of a destination", destination);
        return NULL;
    }
    int root_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0) {
        err_set_errno(err, "cannot open %s", directory);
        return NULL;
    }
    struct spool_walk *w = mem_zalloc(sizeof *w);
    for (enum spool_base i = SPOOL_QUEUE; i < SPOOL_BASES; i++)
        w->base_fds[i] = -1;
    w->content_fd = -1;
    w->only = destination == NULL ? NULL : mem_strdup(destination);
    int rc = 0;
    for (enum spool_base i = SPOOL_QUEUE; i < SPOOL_BASES && rc == 0; i++)
        rc = open_base(root_fd, spool_base_name(i), &w->base_fds[i], err);
    close(root_fd);
    if (rc < 0 || list_destinations(w, err) < 0) {
        spool_walk_close(w);
        return NULL;
    }
    return w;
}

struct spool_walk *spool_walk_open_id(const char *directory, const char *id, struct err *err)
{
    if (!spool_id_is_valid(id)) {
        err_set(err, "that is not the id of a copy");
        return NULL;
    }
    struct spool_walk *w = spool_walk_open(directory, NULL, err);
    if (w != NULL)
        mem_copy_string(w->only_id, sizeof w->only_id, id);
    return w;
}

/* What was handed out. */
static void forget_entry(struct spool_walk *w)
{
    spool_envelope_clear(&w->head);
    if (w->content_fd >= 0)
        close(w->content_fd);
    w->content_fd = -1;
}

void spool_walk_close(struct spool_walk *w)
{
    if (w == NULL)
        return;
    forget_entry(w);
    if (w->dir != NULL)
        closedir(w->dir);
    free(w->due);
    spool_names_free(w->destinations, w->destination_count);
    for (enum spool_base i = SPOOL_QUEUE; i < SPOOL_BASES; i++)
        if (w->base_fds[i] >= 0)
            close(w->base_fds[i]);
    free(w->only);
    free(w);
}

/* Open a directory of copies. 1: open; 0: there is none (any more); -1 with `err`. */
static int enter(struct spool_walk *w, const char *path, struct err *err)
{
    int fd = openat(w->base_fds[w->base], path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
        return 0;
    if (fd >= 0 && (w->dir = fdopendir(fd)) != NULL) {
        w->dir_fd = fd;
        return 1;
    }
    err_set_errno(err, "cannot read %s/%s", spool_base_name(w->base), path);
    if (fd >= 0)
        close(fd);
    return -1;
}

static int list_due(struct spool_walk *w, struct err *err)
{
    char **names;
    size_t count;

    if (spool_names_read(w->base_fds[SPOOL_QUEUE], w->destinations[w->destination_at], &names,
                         &count, err) < 0)
        return errno == ENOTDIR || errno == ELOOP ? 0 : -1;
    free(w->due);
    spool_names_due(names, count, &w->due, &w->due_count);
    w->due_at = 0;
    spool_names_free(names, count);
    return 0;
}

/* One step towards the next directory of copies; w->dir is set when it is open. 1: go on; 0: the
 * end; -1 with `err`. */
static int advance(struct spool_walk *w, struct err *err)
{
    char path[SPOOL_PATH_SIZE], name[SPOOL_DUE_NAME_SIZE];

    if (w->due_at < w->due_count) {
        spool_due_name(&w->due[w->due_at++], name);
        spool_path(path, w->destinations[w->destination_at - 1], name, NULL);
        w->has_name = false;
        return enter(w, path, err) < 0 ? -1 : 1;
    }
    while (w->destination_at == w->destination_count) {
        spool_names_free(w->destinations, w->destination_count);
        w->destinations = NULL;
        w->destination_count = 0;
        if (w->base == SPOOL_BASES || ++w->base == SPOOL_BASES)
            return 0;
        if (list_destinations(w, err) < 0)
            return -1;
    }
    const char *destination = w->destinations[w->destination_at];
    int rc = 0;
    w->due_count = w->due_at = 0;
    if (!spool_destination_is_valid(destination))
        rc = 0;
    else if (w->base != SPOOL_QUEUE)
        rc = enter(w, destination, err);
    else
        rc = list_due(w, err);
    w->destination_at++;
    w->has_name = false;
    return rc < 0 ? -1 : 1;
}

/* 1: w->name may be set (has_name); 0: the directory is at its end; -1 with `err`. */
static int next_name(struct spool_walk *w, struct err *err)
{
    bool is_one = w->only_id[0] != '\0';

    if (is_one && !w->has_name) {
        snprintf(w->name, sizeof w->name, "%s", w->only_id);
        w->has_name = true;
        return 1;
    }
    errno = 0;
    const struct dirent *entry = is_one ? NULL : readdir(w->dir);
    if (entry != NULL) {
        snprintf(w->name, sizeof w->name, "%s", entry->d_name);
        w->has_name = strcmp(w->name, ".") != 0 && strcmp(w->name, "..") != 0;
        return 1;
    }
    int error = errno;
    closedir(w->dir);
    w->dir = NULL;
    errno = error;
    if (error != 0)
        err_set_errno(err, "cannot read %s/%s", spool_base_name(w->base),
                      w->destinations[w->destination_at - 1]);
    return error != 0 ? -1 : 0;
}

/* False if the file is gone. */
static bool fill_entry(struct spool_walk *w, struct spool_entry *out)
{
    int fd;

    memset(out, 0, sizeof *out);
    out->base = w->base;
    out->destination = w->destinations[w->destination_at - 1];
    out->id = w->name;
    out->due = w->base == SPOOL_QUEUE ? (time_t)w->due[w->due_at - 1].seconds : 0;
    out->problem = w->problem.text;
    w->problem.text[0] = '\0';
    enum spool_result result = SPOOL_INVALID;
    if (spool_id_is_valid(w->name))
        result = spool_head_open(w->dir_fd, w->name, O_RDONLY, w->name, &fd, &w->head, &w->problem);
    else
        err_set(&w->problem, "not the name of a copy");
    if (result == SPOOL_OK && w->only_id[0] != '\0')
        w->content_fd = fd;
    else if (result == SPOOL_OK)
        close(fd);
    /* a file that went while it was read may hold another message already (spool_pool.c) */
    if (result == SPOOL_GONE || faccessat(w->dir_fd, w->name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    if (result != SPOOL_OK)
        return true;
    out->message = &w->head.message;
    out->recipients = w->head.copies[0].recipients;
    out->recipient_count = w->head.copies[0].recipient_count;
    out->attempts = w->head.copies[0].attempts;
    return true;
}

ssize_t spool_walk_content(struct spool_walk *w, uint64_t at, void *data, size_t size,
                           struct err *err)
{
    uint64_t end = w->head.message.size_bytes;
    struct stat file, name;
    ssize_t n = 0;

    if (at >= end)
        return 0;
    do
        n = pread(w->content_fd, data, size < end - at ? size : (size_t)(end - at),
                  (off_t)(w->head.head_len + at));
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        err_set_errno(err, "cannot read");
        return -1;
    }
    if (fstat(w->content_fd, &file) < 0 ||
        fstatat(w->dir_fd, w->name, &name, AT_SYMLINK_NOFOLLOW) < 0 || n == 0 ||
        file.st_ino != name.st_ino || file.st_dev != name.st_dev) {
        err_set(err, "the copy is gone meanwhile");
        return -1;
    }
    return n;
}

int spool_walk_quarantine(const char *directory,
                          void (*each)(void *ctx, const char *name, uint64_t size_bytes,
                                       time_t since),
                          void *ctx, struct err *err)
{
    char *path = mem_printf("%s/quarantine", directory);
    const struct dirent *entry;
    struct stat st;

    DIR *dir = opendir(path);
    int error = dir == NULL ? errno : 0;
    if (dir == NULL && error != ENOENT)
        err_set_errno(err, "cannot open %s", path);
    free(path);
    if (dir == NULL)
        return error == ENOENT ? 0 : -1;
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' &&
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            each(ctx, entry->d_name, (uint64_t)st.st_size, st.st_ctime);
    closedir(dir);
    return 0;
}

int spool_walk_next(struct spool_walk *w, struct spool_entry *out, struct err *err)
{
    for (;;) {
        forget_entry(w);
        int rc = w->dir == NULL ? advance(w, err) : next_name(w, err);
        if (rc < 0 || w->base == SPOOL_BASES)
            return rc;
        if (rc == 1 && w->has_name && fill_entry(w, out))
            return 1;
    }
}
