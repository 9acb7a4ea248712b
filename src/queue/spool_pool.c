/* SPDX-License-Identifier: ISC */
/*
 * Files of copies that are done with, kept in free/ for the next messages. A file system works hard
 * to give an inode out and to take it back (ext4 without journal looks at every inode that was
 * freed within the last minute before it hands out one), and does both under the lock of the
 * directory.
 *
 * What is overwritten must not be found under its old name again. After a power failure it could
 * be, with the old head and a part of the new content: that would send some message to the
 * recipients of another. So only a file that never had a second name is kept (one copy, never
 * deferred), or whose other names are gone from the disk for good: what an administrator moved
 * (spool_move.c). An earlier process may have died in between, so the file must be of this one. And
 * it is used only when the directory that it came from was synced since, which each message does
 * that arrives for that destination. If no such sync will come, since messages go into another
 * directory by now, it is removed.
 */
#include "queue/spool_private.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REMOVE_MAX 16 /* files that one message removes */

static bool is_wanted(struct spool *s, const struct spool_copy *c, const char *path)
{
    struct stat st;

    return c->head.section_count == 1 && c->copy.attempts == 0 && spool_id_is_own(s, c->copy.id) &&
           c->place.base == SPOOL_QUEUE && !atomic_load(&s->is_pool_closed) &&
           fstatat(s->queue_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           st.st_nlink == 1 && (st.st_mode & SPOOL_MOVED_MODE) == 0 &&
           st.st_size <= SPOOL_POOL_FILE_MAX;
}

bool spool_copy_is_slow_to_remove(const struct spool *s, const struct spool_copy *c)
{
    return !spool_id_is_own(s, c->copy.id);
}

int spool_pool_put(struct spool *s, const struct spool_copy *c)
{
    char path[SPOOL_PATH_SIZE];
    struct spool_pool_file f = {.dir_serial =
                                    spool_dir_serial(s, c->place.destination, &c->place.due)};

    spool_place_path(&c->place, c->copy.id, path);
    bool is_kept = f.dir_serial != 0 && is_wanted(s, c, path);
    pthread_mutex_lock(&s->pool_lock);
    is_kept = is_kept && s->pool_count + s->pool_coming < SPOOL_POOL_MAX;
    if (is_kept)
        s->pool_coming++;
    pthread_mutex_unlock(&s->pool_lock);
    if (!is_kept)
        return unlinkat(s->queue_fd, path, 0);

    spool_new_id(s, f.name);
    mem_copy_string(f.destination, sizeof f.destination, c->place.destination);
    int rc = renameat(s->queue_fd, path, s->free_fd, f.name);
    f.came = atomic_fetch_add(&s->pool_clock, 1) + 1; /* after the rename: see sync_all() */
    pthread_mutex_lock(&s->pool_lock);
    s->pool_coming--;
    if (rc == 0)
        s->pool[s->pool_count++] = f;
    pthread_mutex_unlock(&s->pool_lock);
    return rc;
}

int spool_pool_take(struct spool *s, char name_out[QUEUE_ID_SIZE])
{
    char removed[REMOVE_MAX][QUEUE_ID_SIZE];
    unsigned removed_count = 0;
    bool is_there = false;

    pthread_mutex_lock(&s->pool_lock);
    for (unsigned i = s->pool_count; i-- > 0 && !is_there && removed_count < REMOVE_MAX;) {
        enum spool_dir_state state = spool_dir_state(s, &s->pool[i]);
        if (state == SPOOL_DIR_UNSYNCED)
            continue;
        is_there = state == SPOOL_DIR_SYNCED;
        if (is_there)
            mem_copy_string(name_out, QUEUE_ID_SIZE, s->pool[i].name);
        else
            mem_copy_string(removed[removed_count++], QUEUE_ID_SIZE, s->pool[i].name);
        s->pool[i] = s->pool[--s->pool_count];
    }
    pthread_mutex_unlock(&s->pool_lock);
    while (removed_count > 0)
        (void)unlinkat(s->free_fd, removed[--removed_count],
                       0); /* what stays is removed at start */
    return is_there ? openat(s->free_fd, name_out, O_WRONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
}
