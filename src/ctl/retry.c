/* SPDX-License-Identifier: ISC */
#include "../buf.h"
#include "../process.h"
#include "../relay/control.h"
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int request(const struct config *config, const char *line)
{
    struct err err;
    char *text = NULL;

    if (control_request(config->relay.spool_directory, line, CTL_REPLY_TIMEOUT_MS, NULL, NULL,
                        &text, &err) < 0) {
        ctl_complain("%s: %s", line, err.text);
        return EXIT_CHECK_FAILED;
    }
    /* The text is a number of what was moved; what was due already is not in it. */
    free(text);
    printf("%s: will be tried now\n", line);
    return EXIT_OK;
}

/* Somebody must be there to ask. */
static int ping(const struct config *config)
{
    struct err err;
    char *text = NULL;

    if (control_request(config->relay.spool_directory, "ping", CTL_REPLY_TIMEOUT_MS, NULL, NULL,
                        &text, &err) < 0) {
        ctl_complain("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    free(text);
    return EXIT_OK;
}

static int retry_all(const struct config *config, const char *destination)
{
    struct buf line = {0};

    if (destination != NULL && config_find_destination(config, destination) == NULL) {
        ctl_complain("there is no destination '%s'", destination);
        return EXIT_CHECK_FAILED;
    }
    buf_adds(&line, "retry --all");
    if (destination != NULL)
        buf_addf(&line, " %s", config_find_destination(config, destination)->name);
    int code = request(config, buf_str(&line));
    buf_clear(&line);
    return code;
}

static int retry_ids(const struct config *config, int count, char **ids)
{
    int code = EXIT_OK;

    for (int i = 0; i < count; i++) {
        struct buf line = {0};
        buf_addf(&line, "retry %s", ids[i]);
        if (request(config, buf_str(&line)) != EXIT_OK)
            code = EXIT_CHECK_FAILED;
        buf_clear(&line);
    }
    return code;
}

int ctl_retry(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    bool is_all = argc > 1 && strcmp(argv[1], "--all") == 0;

    if (argc < 2 || (is_all && argc > 3))
        return ctl_usage(self);
    for (int i = 1; !is_all && i < argc; i++)
        if (!ctl_is_id(argv[i])) {
            ctl_complain("'%s' is not the id of a copy", argv[i]);
            return ctl_usage(self);
        }
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    int code = ping(config);
    if (code == EXIT_OK)
        code = is_all ? retry_all(config, argc > 2 ? argv[2] : NULL)
                      : retry_ids(config, argc - 1, argv + 1);
    config_free(config);
    return code;
}
