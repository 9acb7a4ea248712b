/* SPDX-License-Identifier: ISC */
#include "ctl/spawn.h"
#include "base/mem.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* The PATH of users often lacks the directories of postfix(1). */
static void extend_path(void)
{
    static bool is_done;
    const char *path = getenv("PATH");

    if (is_done)
        return;
    is_done = true;
    char *longer = mem_printf("%s:/usr/sbin:/sbin", path == NULL ? "/usr/bin:/bin" : path);
    if (setenv("PATH", longer, 1) < 0)
        abort();
    free(longer);
}

int spawn_start(const char *const *argv, int in, int out, int said, pid_t *pid_out)
{
    posix_spawn_file_actions_t actions;

    extend_path();
    if (posix_spawn_file_actions_init(&actions) != 0)
        abort();
    int error = in >= 0 ? posix_spawn_file_actions_adddup2(&actions, in, 0)
                        : posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (error == 0 && out >= 0)
        error = posix_spawn_file_actions_adddup2(&actions, out, 1);
    if (error == 0 && said >= 0)
        error = posix_spawn_file_actions_adddup2(&actions, said, 2);
    if (error == 0)
        error = posix_spawnp(pid_out, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}
