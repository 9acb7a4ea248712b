/* SPDX-License-Identifier: ISC */
/*
 * Files of copies that are done with, kept in free/ for the next messages. A file system works hard
 * to give an inode out and to take it back (ext4 without journal looks at every inode that was
 * freed within the last minute before it hands out one), and does both under the lock of the
 * directory.
 */
#include "spool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int spool_pool_put(struct spool *s, int base_fd, const char *path)
{
    char name[QUEUE_ID_SIZE];
    struct stat st;

    /* A further link is another copy of the message. Whoever holds the last one is alone. */
    bool is_wanted = fstatat(base_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
                     st.st_nlink == 1 && st.st_size <= SPOOL_POOL_FILE_MAX;
    pthread_mutex_lock(&s->pool_lock);
    is_wanted = is_wanted && s->pool_count + s->pool_coming < SPOOL_POOL_MAX;
    if (is_wanted)
        s->pool_coming++;
    pthread_mutex_unlock(&s->pool_lock);
    if (!is_wanted)
        return unlinkat(base_fd, path, 0);

    spool_new_id(s, name);
    int rc = renameat(base_fd, path, s->free_fd, name);
    pthread_mutex_lock(&s->pool_lock);
    s->pool_coming--;
    if (rc == 0)
        strcpy(s->pool[s->pool_count++], name);
    pthread_mutex_unlock(&s->pool_lock);
    return rc;
}

int spool_pool_take(struct spool *s, char name_out[QUEUE_ID_SIZE])
{
    pthread_mutex_lock(&s->pool_lock);
    bool is_there = s->pool_count > 0;
    if (is_there)
        strcpy(name_out, s->pool[--s->pool_count]);
    pthread_mutex_unlock(&s->pool_lock);
    return is_there ? openat(s->free_fd, name_out, O_WRONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
}
