/* SPDX-License-Identifier: ISC */
#include "queue/spool_private.h"

#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- whole directories (of directories) --- */

/* NULL with errno. */
static DIR *open_dir(int base_fd, const char *path)
{
    int fd = openat(base_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return NULL;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int error = errno;
        close(fd);
        errno = error;
    }
    return dir;
}

/* The next name but "." and ".."; NULL at the end (errno 0) or on a fault. */
static const char *next_name(DIR *dir)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL)
            return NULL;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return entry->d_name;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void spool_names_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

int spool_names_read(int base_fd, const char *path, char ***out, size_t *count_out, struct err *err)
{
    size_t count = 0, cap = 0;
    char **names = NULL;
    const char *name = NULL;

    *out = NULL;
    *count_out = 0;
    DIR *dir = open_dir(base_fd, path);
    if (dir == NULL && errno == ENOENT)
        return 0;
    if (dir == NULL) {
        err_set_errno(err, "cannot open directory %s", path);
        return -1;
    }
    while (count < SPOOL_NAMES_MAX && (name = next_name(dir)) != NULL) {
        if (count == cap) {
            cap = cap == 0 ? 16 : 2 * cap;
            names = mem_grow(names, cap, sizeof *names);
        }
        names[count++] = mem_strdup(name);
    }
    int error = name == NULL ? errno : 0;
    closedir(dir);
    if (error != 0) {
        errno = error;
        err_set_errno(err, "cannot read directory %s", path);
        spool_names_free(names, count);
        return -1;
    }
    if (count > 1)
        qsort(names, count, sizeof *names, by_name);
    *out = names;
    *count_out = count;
    return 0;
}

/* NULL, or why this cannot be the directory of a destination. A symbolic link is none: copies would
 * go where nobody looks for them. */
static const char *not_a_destination(int base_fd, const char *name)
{
    struct stat st;

    if (!spool_destination_is_valid(name))
        return "not the name of a destination";
    if (fstatat(base_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
        return "not a directory";
    return NULL;
}

static int list_destinations(struct spool *s, int base_fd, const char *base, char ***names_out,
                             size_t *count_out, struct err *err)
{
    char **names;
    size_t count, kept = 0;

    if (spool_names_read(base_fd, ".", &names, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const char *reason = not_a_destination(base_fd, names[i]);
        if (reason == NULL) {
            names[kept++] = names[i];
        } else {
            (void)spool_quarantine_file(s, base_fd, base, names[i], reason);
            free(names[i]);
        }
    }
    *names_out = names;
    *count_out = kept;
    return 0;
}

int spool_list_destinations(struct spool *s, char ***names_out, size_t *count_out, struct err *err)
{
    char **others;
    size_t other_count;

    if (list_destinations(s, s->dead_fd, "dead", &others, &other_count, err) < 0)
        return -1;
    spool_names_free(others, other_count);
    if (list_destinations(s, s->hold_fd, "hold", &others, &other_count, err) < 0)
        return -1;
    spool_names_free(others, other_count);
    return list_destinations(s, s->queue_fd, "queue", names_out, count_out, err);
}

int spool_list_everywhere(struct spool *s, char ***names_out, size_t *count_out, struct err *err)
{
    char **all = NULL;
    size_t total = 0, kept = 0;

    for (enum spool_base base = SPOOL_QUEUE; base < SPOOL_BASES; base++) {
        char **names;
        size_t count;
        if (list_destinations(s, spool_base_fd(s, base), spool_base_name(base), &names, &count,
                              err) < 0) {
            spool_names_free(all, total);
            return -1;
        }
        all = mem_grow(all, total + count + 1, sizeof *all);
        if (count > 0)
            memcpy(all + total, names, count * sizeof *all);
        total += count;
        free(names);
    }
    if (total > 1)
        qsort(all, total, sizeof *all, by_name);
    for (size_t i = 0; i < total; i++) {
        if (kept > 0 && strcmp(all[kept - 1], all[i]) == 0)
            free(all[i]);
        else
            all[kept++] = all[i];
    }
    *names_out = all;
    *count_out = kept;
    return 0;
}

static int by_due(const void *a, const void *b)
{
    return spool_due_compare(a, b);
}

void spool_names_due(char **names, size_t count, struct spool_due **out, size_t *count_out)
{
    struct spool_due *due = mem_zalloc(count * sizeof *due);
    size_t valid = 0;

    for (size_t i = 0; i < count; i++)
        valid += spool_due_parse(names[i], &due[valid]) ? 1 : 0;
    if (valid > 1)
        qsort(due, valid, sizeof *due, by_due);
    *out = due;
    *count_out = valid;
}

int spool_list_due(struct spool *s, const char *destination, struct spool_due **out,
                   size_t *count_out, struct err *err)
{
    struct spool_due due;
    char **names;
    size_t count;

    if (spool_names_read(s->queue_fd, destination, &names, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (!spool_due_parse(names[i], &due))
            spool_quarantine(s, destination, names[i], NULL, "not the name of a time");
    spool_names_due(names, count, out, count_out);
    spool_names_free(names, count);
    return 0;
}

/* --- one directory of copies, little by little --- */

struct spool_scan {
    struct spool *spool;
    DIR *dir;
    enum spool_base base;
    char path[SPOOL_PATH_SIZE]; /* below it */
};

enum spool_result spool_scan_open_at(struct spool *s, const struct spool_place *place,
                                     struct spool_scan **out, struct err *err)
{
    char path[SPOOL_PATH_SIZE];
    const char *base = spool_base_name(place->base);

    spool_place_path(place, NULL, path);
    DIR *dir = open_dir(spool_base_fd(s, place->base), path);
    if (dir == NULL && errno == ENOENT)
        return SPOOL_GONE;
    if (dir == NULL) {
        bool is_odd = errno == ENOTDIR || errno == ELOOP;
        err_set_errno(err, "cannot open directory %s/%s", base, path);
        if (!is_odd)
            return SPOOL_FAULT;
        (void)spool_quarantine_file(s, spool_base_fd(s, place->base), base, path,
                                    "not a directory");
        return SPOOL_INVALID;
    }
    struct spool_scan *scan = mem_zalloc(sizeof *scan);
    scan->spool = s;
    scan->dir = dir;
    scan->base = place->base;
    mem_copy_string(scan->path, sizeof scan->path, path);
    *out = scan;
    return SPOOL_OK;
}

enum spool_result spool_scan_open(struct spool *s, const char *destination,
                                  const struct spool_due *due, struct spool_scan **out,
                                  struct err *err)
{
    struct spool_place place = spool_place_queue(destination, due);

    return spool_scan_open_at(s, &place, out, err);
}

static void quarantine(const struct spool_scan *scan, const char *name)
{
    char *path = mem_printf("%s/%s", scan->path, name);

    (void)spool_quarantine_file(scan->spool, spool_base_fd(scan->spool, scan->base),
                                spool_base_name(scan->base), path, "not the name of a copy");
    free(path);
}

int spool_scan_next(struct spool_scan *scan, char id_out[QUEUE_ID_SIZE], struct err *err)
{
    const char *name;

    while ((name = next_name(scan->dir)) != NULL) {
        if (spool_id_is_valid(name)) {
            mem_copy_string(id_out, QUEUE_ID_SIZE, name);
            return 1;
        }
        quarantine(scan, name);
    }
    if (errno == 0)
        return 0;
    err_set_errno(err, "cannot read directory %s/%s", spool_base_name(scan->base), scan->path);
    return -1;
}

void spool_scan_close(struct spool_scan *scan)
{
    if (scan == NULL)
        return;
    closedir(scan->dir);
    free(scan);
}

void spool_remove_due(struct spool *s, const char *destination, const struct spool_due *due)
{
    char path[SPOOL_PATH_SIZE], name[SPOOL_DUE_NAME_SIZE];

    spool_due_name(due, name);
    spool_path(path, destination, name, NULL);
    if (unlinkat(s->queue_fd, path, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != EEXIST &&
        errno != ENOENT) {
        struct err err;
        err_set_errno(&err, "cannot remove directory queue/%s", path);
        log_warning("spool: %s", err.text);
    }
}

int spool_sync_due(struct spool *s, const char *destination, struct err *err)
{
    int fd = openat(s->queue_fd, destination, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return 0;
    int rc = fd < 0 ? -1 : fsync(fd);
    if (rc < 0)
        err_set_errno(err, "cannot sync queue/%s", destination);
    if (fd >= 0)
        close(fd);
    return rc;
}

enum spool_result spool_rename_due(struct spool *s, const char *destination,
                                   const struct spool_due *from, struct spool_due *to,
                                   struct err *err)
{
    char old_path[SPOOL_PATH_SIZE], new_path[SPOOL_PATH_SIZE], name[SPOOL_DUE_NAME_SIZE];

    spool_due_name(from, name);
    spool_path(old_path, destination, name, NULL);
    for (; to->number < SPOOL_NAMES_MAX; to->number++) {
        spool_due_name(to, name);
        spool_path(new_path, destination, name, NULL);
        /* over an empty directory it succeeds, which does no harm */
        if (renameat(s->queue_fd, old_path, s->queue_fd, new_path) == 0) {
            spool_dir_drop(s, s->queue_fd, destination); /* in case that it was one of these */
            return SPOOL_OK;
        }
        if (errno == ENOENT)
            return SPOOL_GONE;
        if (errno != ENOTEMPTY && errno != EEXIST)
            break;
    }
    err_set_errno(err, "cannot rename queue/%s to %s", old_path, new_path);
    return SPOOL_FAULT;
}
