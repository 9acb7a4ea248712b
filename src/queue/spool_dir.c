/* SPDX-License-Identifier: ISC */
/*
 * Directories that copies are linked into. What a session waits for at its commit is the disk: once
 * for its file, once for the directory. Measured (docs/queue.md, "Groups"): it is fastest when each
 * session syncs its own file, side by side with all others, and one of them syncs the directories
 * for all.
 */
#include "queue/spool_private.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- making --- */

static int make_one(int base_fd, const char *path, int parent_fd, struct err *err)
{
    if (mkdirat(base_fd, path, 0700) < 0 && errno != EEXIST) {
        int error = errno;
        err_set_errno(err, "cannot create directory %s", path);
        return error;
    }
    /* Also when it exists: whoever made it may not have come to its sync yet. */
    if (fsync(parent_fd) < 0) {
        int error = errno;
        err_set_errno(err, "cannot sync the directory above %s", path);
        return error;
    }
    return 0;
}

/* Create DEST and DEST/DUE (due: "" for none) if they are missing, and sync what holds them. 0, or
 * an errno with `err`. */
static int make_dir(int base_fd, const char *destination, const char *due, struct err *err)
{
    char path[SPOOL_PATH_SIZE];
    int error = make_one(base_fd, destination, base_fd, err);

    if (error != 0 || due[0] == '\0')
        return error;
    int parent_fd = openat(base_fd, destination, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (parent_fd < 0) {
        error = errno;
        err_set_errno(err, "cannot open directory %s", destination);
        return error;
    }
    spool_path(path, destination, due, NULL);
    error = make_one(base_fd, path, parent_fd, err);
    close(parent_fd);
    return error;
}

/* --- cache --- */

static struct spool_dir **find(struct spool *s, int base_fd, const char *destination,
                               enum spool_dir_use use)
{
    struct spool_dir **at = &s->dirs;

    while (*at != NULL && ((*at)->base_fd != base_fd || (*at)->use != use ||
                           strcmp((*at)->destination, destination) != 0))
        at = &(*at)->next;
    return at;
}

static void unref(struct spool_dir *d)
{
    if (--d->refs > 0)
        return;
    close(d->fd);
    free(d);
}

static struct spool_dir *from_cache(struct spool *s, int base_fd, const char *destination,
                                    const char *due, enum spool_dir_use use)
{
    pthread_mutex_lock(&s->dir_lock);
    struct spool_dir *d = *find(s, base_fd, destination, use);
    if (d != NULL && strcmp(d->due, due) != 0)
        d = NULL;
    if (d != NULL)
        d->refs++;
    pthread_mutex_unlock(&s->dir_lock);
    return d;
}

/* d takes the place of its predecessor. */
static void into_cache(struct spool *s, struct spool_dir *d)
{
    pthread_mutex_lock(&s->dir_lock);
    struct spool_dir **at = find(s, d->base_fd, d->destination, d->use);
    struct spool_dir *old = *at;
    d->next = old == NULL ? NULL : old->next;
    *at = d;
    d->refs++;
    if (old != NULL)
        unref(old);
    pthread_mutex_unlock(&s->dir_lock);
}

int spool_dir_get(struct spool *s, int base_fd, const char *destination,
                  const struct spool_due *due, enum spool_dir_use use, struct spool_dir **out,
                  struct err *err)
{
    char name[SPOOL_DUE_NAME_SIZE] = "", path[SPOOL_PATH_SIZE];

    if (due != NULL)
        spool_due_name(due, name);
    *out = from_cache(s, base_fd, destination, name, use);
    if (*out != NULL)
        return 0;
    int error = make_dir(base_fd, destination, name, err);
    if (error != 0)
        return error;
    spool_path(path, destination, due == NULL ? NULL : name, NULL);
    int fd = openat(base_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        error = errno;
        err_set_errno(err, "cannot open directory %s", path);
        return error;
    }
    struct spool_dir *d = mem_zalloc(sizeof *d);
    d->refs = 1;
    d->use = use;
    d->base_fd = base_fd;
    mem_copy_string(d->destination, sizeof d->destination, destination);
    mem_copy_string(d->due, sizeof d->due, name);
    d->fd = fd;
    pthread_mutex_lock(&s->dir_lock);
    d->serial = ++s->dir_serial;
    pthread_mutex_unlock(&s->dir_lock);
    into_cache(s, d);
    *out = d;
    return 0;
}

void spool_dir_release(struct spool *s, struct spool_dir *d)
{
    pthread_mutex_lock(&s->dir_lock);
    unref(d);
    pthread_mutex_unlock(&s->dir_lock);
}

void spool_dir_forget(struct spool *s, struct spool_dir *d)
{
    pthread_mutex_lock(&s->dir_lock);
    struct spool_dir **at = find(s, d->base_fd, d->destination, d->use);
    if (*at == d) {
        *at = d->next;
        unref(d);
    }
    pthread_mutex_unlock(&s->dir_lock);
}

void spool_dir_drop(struct spool *s, int base_fd, const char *destination)
{
    static const enum spool_dir_use uses[] = {SPOOL_DIR_COMMIT, SPOOL_DIR_MOVE};

    pthread_mutex_lock(&s->dir_lock);
    for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
        struct spool_dir **at = find(s, base_fd, destination, uses[i]);
        struct spool_dir *d = *at;
        if (d != NULL) {
            *at = d->next;
            unref(d);
        }
    }
    pthread_mutex_unlock(&s->dir_lock);
}

uint64_t spool_dir_serial(struct spool *s, const char *destination, const struct spool_due *due)
{
    char name[SPOOL_DUE_NAME_SIZE];

    spool_due_name(due, name);
    pthread_mutex_lock(&s->dir_lock);
    const struct spool_dir *d = *find(s, s->queue_fd, destination, SPOOL_DIR_COMMIT);
    uint64_t serial = d == NULL || strcmp(d->due, name) != 0 ? 0 : d->serial;
    pthread_mutex_unlock(&s->dir_lock);
    return serial;
}

enum spool_dir_state spool_dir_state(struct spool *s, const struct spool_pool_file *f)
{
    enum spool_dir_state state = SPOOL_DIR_GONE;

    pthread_mutex_lock(&s->dir_lock);
    struct spool_dir *d = *find(s, s->queue_fd, f->destination, SPOOL_DIR_COMMIT);
    if (d != NULL && d->serial == f->dir_serial)
        state = atomic_load(&d->synced_to) >= f->came ? SPOOL_DIR_SYNCED : SPOOL_DIR_UNSYNCED;
    pthread_mutex_unlock(&s->dir_lock);
    return state;
}

void spool_dirs_clear(struct spool *s)
{
    while (s->dirs != NULL) {
        struct spool_dir *d = s->dirs;
        s->dirs = d->next;
        unref(d);
    }
}

/* --- syncing together --- */

struct spool_sync {
    struct spool_sync *next;
    /* It is done, or it is its turn to lead. A semaphore each: nobody wakes in vain, nor to wait
     * for the lock at once. */
    sem_t woken;
    struct spool_dir **dirs;
    size_t count;
    int error;
    bool is_leader;
};

static void sync_all(struct spool *s, struct spool_sync *list, uint64_t round)
{
    for (struct spool_sync *r = list; r != NULL; r = r->next)
        for (size_t i = 0; i < r->count; i++) {
            struct spool_dir *d = r->dirs[i];
            if (d->sync_round != round) {
                uint64_t came = atomic_load(&s->pool_clock);
                d->sync_round = round;
                d->sync_error = fsync(d->fd) < 0 ? errno : 0;
                if (d->sync_error == 0)
                    atomic_store(&d->synced_to, came);
            }
            if (r->error == 0)
                r->error = d->sync_error;
        }
}

/* Sync for all that wait now, then hand the lead to one of those who came meanwhile. Called with
 * the lock held, returns without. */
static void lead(struct spool *s, const struct spool_sync *own)
{
    struct spool_sync *list = s->sync_waiting;
    uint64_t round = ++s->sync_round;

    s->sync_waiting = NULL;
    s->has_sync_leader = true;
    pthread_mutex_unlock(&s->sync_lock);
    sync_all(s, list, round);
    pthread_mutex_lock(&s->sync_lock);
    struct spool_sync *next = s->sync_waiting;
    s->has_sync_leader = next != NULL;
    if (next != NULL)
        next->is_leader = true;
    pthread_mutex_unlock(&s->sync_lock);
    if (next != NULL)
        sem_post(&next->woken); /* first: the disk has nothing to do */
    while (list != NULL) {
        struct spool_sync *r = list;
        list = r->next;
        if (r != own)
            sem_post(&r->woken); /* r is gone from here on */
    }
}

int spool_dirs_sync(struct spool *s, struct spool_dir **dirs, size_t count)
{
    struct spool_sync request = {.dirs = dirs, .count = count};

    sem_init(&request.woken, 0, 0);
    pthread_mutex_lock(&s->sync_lock);
    request.next = s->sync_waiting;
    // cppcheck-suppress autoVariables ; it is out of the list before we return
    s->sync_waiting = &request;
    if (!s->has_sync_leader) {
        lead(s, &request);
    } else {
        pthread_mutex_unlock(&s->sync_lock);
        while (sem_wait(&request.woken) != 0) /* EINTR */
            continue;
        if (request.is_leader) {
            pthread_mutex_lock(&s->sync_lock);
            lead(s, &request);
        }
    }
    sem_destroy(&request.woken);
    return request.error;
}
