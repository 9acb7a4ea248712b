/* SPDX-License-Identifier: ISC */
#include "../policy.h"
#include "../process.h"
#include "ctl.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum told { TOLD, NOT_RUNNING, NOT_TOLD };

/* The lock is the proof: a number in a file may belong to another process by now. */
static enum told tell(const char *program, const char *lock_path)
{
    struct err err;

    errno = 0;
    pid_t pid = process_lock_owner(lock_path, &err);
    if (pid == 0 || (pid < 0 && errno == ENOENT)) {
        printf("%s does not run\n", program);
        return NOT_RUNNING;
    }
    if (pid < 0) {
        ctl_complain("%s: %s", program, err.text);
        return NOT_TOLD;
    }
    if (kill(pid, SIGUSR1) < 0) {
        ctl_complain("%s: process %ld: %s", program, (long)pid, strerror(errno));
        return NOT_TOLD;
    }
    printf("%s reloads (process %ld)\n", program, (long)pid);
    return TOLD;
}

static enum told tell_milter(const struct config *config)
{
    if (config->milter.pid_file[0] != '\0')
        return tell("splitmilter", config->milter.pid_file);
    ctl_complain("splitmilter: not told: milter.pid_file is not set in %s", config->path);
    return NOT_TOLD;
}

int ctl_reload(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    struct err err;

    (void)argv;
    if (argc != 1)
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    struct policy *policy = policy_open(config, &err);
    if (policy == NULL) {
        ctl_complain("%s", err.text);
        config_free(config);
        return EXIT_CONFIG;
    }
    policy_close(policy);
    char *lock = ctl_relay_lock(config);
    enum told milter = tell_milter(config), relay = tell("splitrelay", lock);
    free(lock);
    config_free(config);
    if (milter == NOT_TOLD || relay == NOT_TOLD)
        return EXIT_UNAVAILABLE;
    return milter == TOLD || relay == TOLD ? EXIT_OK : EXIT_UNAVAILABLE;
}
