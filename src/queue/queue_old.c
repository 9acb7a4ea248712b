/* SPDX-License-Identifier: ISC */
/* Copies of version 0.1 were files: queue/DESTINATION/DUE/ID, hold/DESTINATION/ID and
 * dead/DESTINATION/ID in the spool. */
#include "queue/queue_open.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEVELS 3 /* of directories */

/* Return 1 if the directory has anything but directories in it, otherwise 0, or -1 with errno.
 * levels: how deep to look; whatever is in a directory at the last level counts as a file. Closes
 * fd. */
static int has_file(int fd, unsigned levels)
{
    DIR *dir = fdopendir(fd);
    struct dirent *entry;
    int found = 0;

    if (dir == NULL) {
        close(fd);
        return -1;
    }
    while (found == 0 && (errno = 0, entry = readdir(dir)) != NULL) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            found = errno == ENOENT ? 0 : -1;
        } else if (!S_ISDIR(st.st_mode) || levels == 1) {
            found = 1;
        } else {
            int sub = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            found = sub == -1 ? -1 : has_file(sub, levels - 1);
        }
    }
    if (found == 0 && errno != 0)
        found = -1;
    int error = errno;
    closedir(dir);
    errno = error;
    return found;
}

int queue_check_old_spool(const char *spool_directory, struct err *err)
{
    static const char *const places[] = {"queue", "hold", "dead"};
    int spool = open(spool_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (spool == -1 && errno == ENOENT)
        return 0;
    if (spool == -1) {
        err_set_errno(err, "%s", spool_directory);
        return -1;
    }
    int found = 0;
    for (size_t i = 0; i < sizeof places / sizeof places[0] && found == 0; i++) {
        int fd = openat(spool, places[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd == -1 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
            continue;
        found = fd == -1 ? -1 : has_file(fd, LEVELS);
        if (found == -1)
            err_set_errno(err, "%s/%s", spool_directory, places[i]);
        else if (found == 1)
            err_set(err,
                    "spool_directory %s holds copies of splitrelay 0.1 (in %s/): drain it with "
                    "splitrelay 0.1 first, or use another directory",
                    spool_directory, places[i]);
    }
    close(spool);
    return found == 0 ? 0 : -1;
}
