/* SPDX-License-Identifier: ISC */
#include "queue/spool_private.h"

#include "base/mem.h"
#include "base/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ID_TIME_DIGITS 9 /* 62^9 microseconds: until the year 2399 */
#define ID_SIZE_OLD (ID_TIME_DIGITS + SPOOL_ID_RANDOM)
#define ID_SIZE (ID_SIZE_OLD + 2) /* with the place in the file */

static const char id_digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* --- names --- */

void spool_due_name(const struct spool_due *due, char out[SPOOL_DUE_NAME_SIZE])
{
    if (due->number == 0)
        snprintf(out, SPOOL_DUE_NAME_SIZE, "%010" PRId64, due->seconds);
    else
        snprintf(out, SPOOL_DUE_NAME_SIZE, "%010" PRId64 ".%u", due->seconds, due->number);
}

bool spool_due_parse(const char *name, struct spool_due *out)
{
    struct spool_due due = {0};
    char again[SPOOL_DUE_NAME_SIZE];
    size_t digits = strspn(name, "0123456789");

    if (digits < 10 || digits > 12)
        return false;
    due.seconds = strtoll(name, NULL, 10);
    if (name[digits] == '.' && strlen(name + digits) <= 10)
        due.number = (unsigned)strtoul(name + digits + 1, NULL, 10);
    spool_due_name(&due, again);
    if (strcmp(name, again) != 0)
        return false;
    *out = due;
    return true;
}

int spool_due_compare(const struct spool_due *a, const struct spool_due *b)
{
    if (a->seconds != b->seconds)
        return a->seconds < b->seconds ? -1 : 1;
    return (a->number > b->number) - (a->number < b->number);
}

void spool_path(char out[SPOOL_PATH_SIZE], const char *destination, const char *due,
                const char *name)
{
    snprintf(out, SPOOL_PATH_SIZE, "%s%s%s%s%s", destination, due == NULL ? "" : "/",
             due == NULL ? "" : due, name == NULL ? "" : "/", name == NULL ? "" : name);
}

struct spool_place spool_place_queue(const char *destination, const struct spool_due *due)
{
    struct spool_place place = {.base = SPOOL_QUEUE, .due = *due};

    mem_copy_string(place.destination, sizeof place.destination, destination);
    return place;
}

struct spool_place spool_place_other(enum spool_base base, const char *destination)
{
    struct spool_place place = {.base = base};

    mem_copy_string(place.destination, sizeof place.destination, destination);
    return place;
}

void spool_place_path(const struct spool_place *place, const char *name, char out[SPOOL_PATH_SIZE])
{
    char due[SPOOL_DUE_NAME_SIZE];

    if (place->base == SPOOL_QUEUE) {
        spool_due_name(&place->due, due);
        spool_path(out, place->destination, due, name);
    } else {
        spool_path(out, place->destination, name, NULL);
    }
}

const char *spool_base_name(enum spool_base base)
{
    static const char *const names[SPOOL_BASES] = {"queue", "hold", "dead"};

    return names[base];
}

int spool_base_fd(const struct spool *s, enum spool_base base)
{
    const int fds[SPOOL_BASES] = {s->queue_fd, s->hold_fd, s->dead_fd};

    return fds[base];
}

void spool_new_id(struct spool *s, char out[QUEUE_ID_SIZE])
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    pthread_mutex_lock(&s->id_lock);
    if (us <= s->last_us)
        us = s->last_us + 1;
    s->last_us = us;
    pthread_mutex_unlock(&s->id_lock);
    for (int i = ID_TIME_DIGITS - 1; i >= 0; i--, us /= 62)
        out[i] = id_digits[us % 62];
    memcpy(out + ID_TIME_DIGITS, s->id_random, SPOOL_ID_RANDOM);
    out[ID_SIZE_OLD] = out[ID_SIZE_OLD + 1] = id_digits[0];
    out[ID_SIZE] = '\0';
}

unsigned spool_id_unit(const char *id)
{
    if (strlen(id) != ID_SIZE)
        return 0;
    const char *high = strchr(id_digits, id[ID_SIZE_OLD]);
    const char *low = strchr(id_digits, id[ID_SIZE_OLD + 1]);
    return high == NULL || low == NULL
               ? 0
               : (unsigned)(high - id_digits) * 62 + (unsigned)(low - id_digits);
}

void spool_id_set_unit(char *id, unsigned unit)
{
    id[ID_SIZE_OLD] = id_digits[unit / 62];
    id[ID_SIZE_OLD + 1] = id_digits[unit % 62];
}

bool spool_id_is_own(const struct spool *s, const char *id)
{
    return strlen(id) == ID_SIZE &&
           strncmp(id + ID_TIME_DIGITS, s->id_random, SPOOL_ID_RANDOM) == 0;
}

bool spool_id_time(const char *id, time_t *out)
{
    uint64_t us = 0;

    if (strlen(id) != ID_SIZE && strlen(id) != ID_SIZE_OLD)
        return false;
    for (int i = 0; i < ID_TIME_DIGITS; i++) {
        const char *digit = strchr(id_digits, id[i]);
        if (digit == NULL)
            return false;
        us = us * 62 + (uint64_t)(digit - id_digits);
    }
    *out = (time_t)(us / 1000000);
    return true;
}

static int choose_random(char out[SPOOL_ID_RANDOM + 1], struct err *err)
{
    unsigned char bytes[SPOOL_ID_RANDOM];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        err_set_errno(err, "getrandom");
        return -1;
    }
    for (size_t i = 0; i < sizeof bytes; i++)
        out[i] = id_digits[bytes[i] % 62];
    out[SPOOL_ID_RANDOM] = '\0';
    return 0;
}

/* --- opening --- */

static int open_directory(struct spool *s, const char *name, int *fd_out, struct err *err)
{
    if (mkdirat(s->root_fd, name, 0700) < 0 && errno != EEXIST) {
        err_set_errno(err, "cannot create %s/%s", s->directory, name);
        return -1;
    }
    *fd_out = openat(s->root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*fd_out < 0) {
        err_set_errno(err, "cannot open %s/%s", s->directory, name);
        return -1;
    }
    return 0;
}

/* What is in tmp/ was never answered with 250, what is in free/ is done with. */
static int empty(struct spool *s, int fd, const char *name, struct err *err)
{
    char **names;
    size_t count;
    int rc = 0;

    do {
        if (spool_names_read(fd, ".", &names, &count, err) < 0)
            return -1;
        for (size_t i = 0; i < count && rc == 0; i++) {
            if (unlinkat(fd, names[i], 0) == 0 || errno == ENOENT)
                continue;
            bool is_directory = errno == EISDIR;
            err_set_errno(err, "cannot remove %s/%s/%s", s->directory, name, names[i]);
            if (!is_directory || spool_quarantine_file(s, fd, name, names[i], "a directory") < 0)
                rc = -1;
        }
        spool_names_free(names, count);
    } while (rc == 0 && count == SPOOL_NAMES_MAX);
    return rc;
}

static int open_root(struct spool *s, struct err *err)
{
    bool is_new = mkdir(s->directory, 0700) == 0;

    if (!is_new && errno != EEXIST) {
        err_set_errno(err, "cannot create %s", s->directory);
        return -1;
    }
    s->root_fd = open(s->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->root_fd < 0) {
        err_set_errno(err, "cannot open %s", s->directory);
        return -1;
    }
    if (!is_new)
        return 0;
    int parent_fd = openat(s->root_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = parent_fd < 0 ? -1 : fsync(parent_fd);
    if (rc < 0)
        err_set_errno(err, "cannot sync the directory above %s", s->directory);
    if (parent_fd >= 0)
        close(parent_fd);
    return rc;
}

static int open_all(struct spool *s, struct err *err)
{
    char lock[4096];

    if (open_root(s, err) < 0)
        return -1;
    if (snprintf(lock, sizeof lock, "%s/lock", s->directory) >= (int)sizeof lock) {
        err_set(err, "spool directory: name is too long");
        return -1;
    }
    s->lock_fd = process_lock(lock, err);
    if (s->lock_fd < 0)
        return -1;
    if (open_directory(s, "tmp", &s->tmp_fd, err) < 0 ||
        open_directory(s, "free", &s->free_fd, err) < 0 ||
        open_directory(s, "queue", &s->queue_fd, err) < 0 ||
        open_directory(s, "hold", &s->hold_fd, err) < 0 ||
        open_directory(s, "dead", &s->dead_fd, err) < 0 ||
        open_directory(s, "quarantine", &s->quarantine_fd, err) < 0)
        return -1;
    if (fsync(s->root_fd) < 0) {
        err_set_errno(err, "cannot sync %s", s->directory);
        return -1;
    }
    if (empty(s, s->tmp_fd, "tmp", err) < 0)
        return -1;
    return empty(s, s->free_fd, "free", err);
}

struct spool *spool_open(const char *directory, struct err *err)
{
    struct spool *s = mem_zalloc(sizeof *s);

    s->root_fd = s->tmp_fd = s->free_fd = s->queue_fd = s->hold_fd = s->dead_fd = s->quarantine_fd =
        s->lock_fd = -1;
    s->directory = mem_strdup(directory);
    pthread_mutex_init(&s->id_lock, NULL);
    pthread_mutex_init(&s->dir_lock, NULL);
    pthread_mutex_init(&s->batch_lock, NULL);
    pthread_mutex_init(&s->pool_lock, NULL);
    pthread_mutex_init(&s->sync_lock, NULL);
    if (choose_random(s->id_random, err) < 0 || open_all(s, err) < 0) {
        spool_close(s);
        return NULL;
    }
    return s;
}

void spool_close(struct spool *s)
{
    if (s == NULL)
        return;
    spool_dirs_clear(s);
    const int fds[] = {s->tmp_fd,  s->free_fd,       s->queue_fd, s->hold_fd,
                       s->dead_fd, s->quarantine_fd, s->root_fd,  s->lock_fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_mutex_destroy(&s->id_lock);
    pthread_mutex_destroy(&s->dir_lock);
    pthread_mutex_destroy(&s->batch_lock);
    pthread_mutex_destroy(&s->pool_lock);
    pthread_mutex_destroy(&s->sync_lock);
    free(s->directory);
    free(s);
}

int spool_root_fd(const struct spool *s)
{
    return s->root_fd;
}

/* --- space --- */

enum queue_put_status spool_put_status(int error)
{
    return error == ENOSPC || error == EDQUOT ? QUEUE_PUT_FULL : QUEUE_PUT_FAULT;
}

enum queue_put_status spool_has_room(struct spool *s, uint64_t size_bytes, uint64_t min_free_bytes,
                                     struct err *err)
{
    struct statvfs fs;

    if (fstatvfs(s->root_fd, &fs) < 0) {
        err_set_errno(err, "statvfs %s", s->directory);
        return QUEUE_PUT_FAULT;
    }
    uint64_t block = fs.f_frsize == 0 ? fs.f_bsize : fs.f_frsize;
    uint64_t available = (uint64_t)fs.f_bavail * block;
    if (available >= min_free_bytes && available - min_free_bytes >= size_bytes)
        return QUEUE_PUT_OK;
    err_set(err,
            "%s: %" PRIu64 " bytes are free, message has %" PRIu64 ", %" PRIu64 " are to stay free",
            s->directory, available, size_bytes, min_free_bytes);
    return QUEUE_PUT_FULL;
}
