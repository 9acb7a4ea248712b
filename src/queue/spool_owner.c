/* SPDX-License-Identifier: ISC */
#include "queue/spool_owner.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

int spool_owner_check(const char *directory, struct err *err)
{
    struct stat st;

    if (stat(directory, &st) < 0 && errno == ENOENT)
        return 0;
    if (stat(directory, &st) < 0) {
        err_set_errno(err, "%s", directory);
        return -1;
    }
    if (!S_ISDIR(st.st_mode)) {
        err_set(err, "%s is no directory", directory);
        return -1;
    }
    if (st.st_uid != geteuid()) {
        err_set(err, "spool_directory %s belongs to user %lu, and this process is user %lu",
                directory, (unsigned long)st.st_uid, (unsigned long)geteuid());
        return -1;
    }
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return 0;
    err_set(err,
            "spool_directory %s: others than its owner may write there (mode %04o): chmod 0700 %s",
            directory, (unsigned)st.st_mode & 07777, directory);
    return -1;
}
