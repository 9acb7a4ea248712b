/* SPDX-License-Identifier: ISC */
/*
 * Why the time of a directory tells whether it is to be read again: making and removing names sets
 * it, and files do not change their size once they are linked. The clock of that time has coarse
 * steps, so a directory that changed within SETTLED_S before it was read is read again next time.
 */
#include "queue/spool_depth.h"

#include "base/mem.h"
#include "queue/spool_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTLED_S 2
#define STOP_EVERY 256 /* entries between two looks at *stop */

enum base { QUEUE, HOLD, DEAD, QUARANTINE, BASES };

static const char *const base_names[BASES] = {"queue", "hold", "dead", "quarantine"};

/* One directory of copies. */
struct counted {
    enum base base;
    char destination[SPOOL_DESTINATION_MAX + 1]; /* "" in quarantine */
    char due[SPOOL_DUE_NAME_SIZE];               /* "" but in queue */
    ino_t inode;
    struct timespec changed;
    bool is_settled;
    struct queue_amount amount;
};

struct counted_list {
    struct counted *items;
    size_t count, cap;
};

struct spool_depth {
    struct counted_list last; /* sorted by compare() */
};

/* What one call of spool_depth_read() works on. */
struct count {
    const struct counted_list *last;
    struct counted_list now;
    const atomic_bool *stop;
    int base_fd;
    enum base base;
    struct timespec began;
    struct err *err;
};

struct spool_depth *spool_depth_new(void)
{
    return mem_zalloc(sizeof(struct spool_depth));
}

void spool_depth_free(struct spool_depth *d)
{
    if (d == NULL)
        return;
    free(d->last.items);
    free(d);
}

void spool_depth_add(struct queue_amount *a, const struct queue_amount *b)
{
    a->copies += b->copies;
    a->bytes += b->bytes;
    if (b->oldest != 0 && (a->oldest == 0 || b->oldest < a->oldest))
        a->oldest = b->oldest;
}

static int compare(const void *x, const void *y)
{
    const struct counted *a = x, *b = y;

    if (a->base != b->base)
        return a->base < b->base ? -1 : 1;
    int rc = strcmp(a->destination, b->destination);
    return rc != 0 ? rc : strcmp(a->due, b->due);
}

static bool is_stopped(const struct count *c)
{
    if (c->stop == NULL || !atomic_load(c->stop))
        return false;
    err_set(c->err, "stopped");
    return true;
}

/* Add the file `name` of a directory, if it is one. */
static void count_file(enum base base, int dir_fd, const char *name, struct queue_amount *amount)
{
    struct queue_amount one = {.copies = 1};
    struct stat st;

    if (name[0] == '.' || (base != QUARANTINE && !spool_id_is_valid(name)) ||
        fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    one.bytes = (uint64_t)st.st_size;
    if (spool_id_unit(name) > 0) /* the file of a group: its share */
        one.bytes /= st.st_nlink;
    if (base == QUARANTINE || !spool_id_time(name, &one.oldest) || one.oldest > st.st_mtime)
        one.oldest = st.st_mtime;
    spool_depth_add(amount, &one);
}

/* dir_fd is closed. -1 with `err`. */
static int count_files(const struct count *c, int dir_fd, struct queue_amount *amount)
{
    DIR *dir = fdopendir(dir_fd);
    const struct dirent *entry;
    unsigned seen = 0;
    int rc = 0;

    if (dir == NULL) {
        err_set_errno(c->err, "cannot read directory");
        close(dir_fd);
        return -1;
    }
    errno = 0;
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        count_file(c->base, dir_fd, entry->d_name, amount);
        if (++seen % STOP_EVERY == 0 && is_stopped(c))
            rc = -1;
        errno = 0;
    }
    if (rc == 0 && errno != 0) {
        err_set_errno(c->err, "cannot read directory");
        rc = -1;
    }
    closedir(dir);
    return rc;
}

static void append(struct counted_list *list, const struct counted *item)
{
    if (list->count == list->cap) {
        list->cap = list->cap == 0 ? 64 : 2 * list->cap;
        list->items = mem_grow(list->items, list->cap, sizeof *list->items);
    }
    list->items[list->count++] = *item;
}

/* One directory of copies: taken over from last time, or counted. One that is gone has none. */
static int count_directory(struct count *c, const char *destination, const char *due)
{
    struct counted item = {.base = c->base};
    char path[SPOOL_PATH_SIZE] = ".";
    struct stat st;

    if (is_stopped(c))
        return -1;
    mem_copy_string(item.destination, sizeof item.destination, destination);
    mem_copy_string(item.due, sizeof item.due, due);
    if (destination[0] != '\0')
        spool_path(path, destination, due[0] == '\0' ? NULL : due, NULL);
    int fd = openat(c->base_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
        return 0;
    if (fd < 0 || fstat(fd, &st) < 0) {
        err_set_errno(c->err, "cannot open directory %s/%s", base_names[c->base], path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    const struct counted *old =
        c->last->count == 0 ? NULL
                            : bsearch(&item, c->last->items, c->last->count, sizeof item, compare);
    item.inode = st.st_ino;
    item.changed = st.st_mtim;
    item.is_settled = st.st_mtim.tv_sec < c->began.tv_sec - SETTLED_S;
    if (old != NULL && old->is_settled && old->inode == item.inode &&
        old->changed.tv_sec == item.changed.tv_sec &&
        old->changed.tv_nsec == item.changed.tv_nsec) {
        close(fd);
        append(&c->now, old);
        return 0;
    }
    if (count_files(c, fd, &item.amount) < 0) {
        err_wrap(c->err, "%s/%s", base_names[c->base], path);
        return -1;
    }
    append(&c->now, &item);
    return 0;
}

static int count_due(struct count *c, const char *destination)
{
    struct spool_due due;
    char **names;
    size_t count;
    int rc = 0;

    if (spool_names_read(c->base_fd, destination, &names, &count, c->err) < 0)
        return errno == ENOTDIR || errno == ELOOP ? 0 : -1;
    if (count == 0) { /* it is known all the same */
        struct counted none = {.base = c->base};
        mem_copy_string(none.destination, sizeof none.destination, destination);
        append(&c->now, &none);
    }
    for (size_t i = 0; i < count && rc == 0; i++)
        if (spool_due_parse(names[i], &due))
            rc = count_directory(c, destination, names[i]);
    spool_names_free(names, count);
    return rc;
}

static int count_destinations(struct count *c)
{
    char **names;
    size_t count;
    int rc = 0;

    if (spool_names_read(c->base_fd, ".", &names, &count, c->err) < 0)
        return -1;
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (!spool_destination_is_valid(names[i]))
            continue;
        rc = c->base == QUEUE ? count_due(c, names[i]) : count_directory(c, names[i], "");
    }
    spool_names_free(names, count);
    return rc;
}

static int count_base(struct count *c, int root_fd)
{
    c->base_fd =
        openat(root_fd, base_names[c->base], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (c->base_fd < 0 && errno == ENOENT)
        return 0;
    if (c->base_fd < 0) {
        err_set_errno(c->err, "cannot open directory %s", base_names[c->base]);
        return -1;
    }
    int rc = c->base == QUARANTINE ? count_directory(c, "", "") : count_destinations(c);
    close(c->base_fd);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct queue_depth *)a)->destination,
                  ((const struct queue_depth *)b)->destination);
}

static struct queue_depth *depth_of(struct queue_depths *out, const char *destination)
{
    for (size_t i = out->count; i-- > 0;) /* mostly the one before */
        if (strcmp(out->items[i].destination, destination) == 0)
            return &out->items[i];
    out->items = mem_grow(out->items, out->count + 1, sizeof *out->items);
    struct queue_depth *depth = &out->items[out->count++];
    memset(depth, 0, sizeof *depth);
    mem_copy_string(depth->destination, sizeof depth->destination, destination);
    return depth;
}

static void sum_up(const struct counted_list *list, time_t now, struct queue_depths *out)
{
    struct spool_due due = {0};

    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < list->count; i++) {
        const struct counted *item = &list->items[i];
        if (item->base == QUARANTINE) {
            spool_depth_add(&out->quarantine, &item->amount);
            continue;
        }
        struct queue_depth *depth = depth_of(out, item->destination);
        bool is_deferred = spool_due_parse(item->due, &due) && due.seconds > now;
        if (item->base == QUEUE)
            spool_depth_add(is_deferred ? &depth->deferred : &depth->due, &item->amount);
        else
            spool_depth_add(item->base == HOLD ? &depth->held : &depth->dead, &item->amount);
    }
    if (out->count > 1)
        qsort(out->items, out->count, sizeof *out->items, by_name);
}

int spool_depth_read(struct spool_depth *d, int root_fd, time_t now, const atomic_bool *stop,
                     struct queue_depths *out, struct err *err)
{
    struct count c = {.last = &d->last, .stop = stop, .err = err};
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &c.began);
    for (c.base = QUEUE; c.base < BASES && rc == 0; c.base++)
        rc = count_base(&c, root_fd);
    if (rc < 0) {
        free(c.now.items);
        return -1;
    }
    sum_up(&c.now, now, out);
    free(d->last.items);
    d->last = c.now;
    return 0;
}
