/* SPDX-License-Identifier: ISC */
#include "ctl/offline.h"

#include "base/log.h"
#include "base/process.h"
#include "ctl/ctl.h"
#include "relay/control.h"
#include "queue/queue_open.h"

#include <grp.h>
#include <stdlib.h>
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
        err_set(err, "%s is not a directory", directory);
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
    (void)unsetenv("HOME"); /* libpq looks for certificates there */
    return 0;
}

struct queue *offline_open(const struct config *config, struct err *err)
{
    const struct config_relay *relay = &config->relay;
    struct queue_options options = {
        .spool_directory = relay->spool_directory,
        .queue = relay->queue,
        .node = relay->node,
        .must_replicate = relay->queue_replicated,
        .min_free_space_bytes = relay->min_free_space_bytes,
        .history_s = relay->history_s,
    };

    if (become_owner(options.spool_directory, err) < 0)
        return NULL;
    if (strcmp(config->log.target, "syslog") == 0 &&
        log_open("splitctl", "syslog", config->log.facility, "info", err) < 0)
        return NULL;
    log_use_journal(LOG_JOURNAL_DEVICE, LOG_JOURNAL_DIRECTORY);
    log_set_json(strcmp(config->log.target, "syslog") == 0 &&
                 strcmp(config->log.style, "json") == 0);
    return queue_open(&options, err);
}

int offline_find(const struct config *config, struct queue **out)
{
    struct err err, offline_err;
    char *text = NULL;

    *out = NULL;
    if (control_request(config->relay.spool_directory, "ping", CTL_REPLY_TIMEOUT_MS, NULL, NULL,
                        &text, &err) == 0) {
        free(text);
        return EXIT_OK;
    }
    *out = offline_open(config, &offline_err);
    if (*out != NULL)
        return EXIT_OK;
    ctl_complain("%s; without it: %s", err.text, offline_err.text);
    return EXIT_UNAVAILABLE;
}
