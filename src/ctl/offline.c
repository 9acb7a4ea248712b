/* SPDX-License-Identifier: ISC */
#include "ctl/offline.h"

#include "base/log.h"
#include "queue/spool_owner.h"
#include "queue/spool_queue.h"

#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int become_owner(const char *directory, struct err *err)
{
    struct stat st;

    if (stat(directory, &st) < 0) {
        err_set_errno(err, "%s", directory);
        return -1;
    }
    if (!S_ISDIR(st.st_mode)) {
        err_set(err, "%s is no directory", directory);
        return -1;
    }
    if (geteuid() == st.st_uid)
        return 0;
    if (geteuid() != 0) {
        err_set(err, "%s belongs to another user", directory);
        return -1;
    }
    if (setgroups(1, &st.st_gid) < 0 || setgid(st.st_gid) < 0 || setuid(st.st_uid) < 0) {
        err_set_errno(err, "cannot become the owner of %s", directory);
        return -1;
    }
    return 0;
}

struct queue *offline_open(const struct config *config, struct err *err)
{
    struct spool_queue_options options = {
        .directory = config->relay.spool_directory,
        .min_free_space_bytes = config->relay.min_free_space_bytes,
    };

    if (become_owner(options.directory, err) < 0 || spool_owner_check(options.directory, err) < 0)
        return NULL;
    if (strcmp(config->log.target, "syslog") == 0 &&
        log_open("splitctl", "syslog", config->log.facility, "info", err) < 0)
        return NULL;
    return spool_queue_open(&options, err);
}
