/* SPDX-License-Identifier: ISC */
/* splitctl: command line. ctl.h declares the commands. */
#include "config/config_file.h"
#include "base/log.h"
#include "base/process.h"
#include "ctl/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct ctl_command commands[] = {
    {"check", "[--json]", ctl_check},
    {"explain", "[--json] [-f SENDER] [--client ADDRESS] [--origin DOMAIN] RECIPIENT...",
     ctl_explain},
    {"queue", "[--json] [DESTINATION]", ctl_queue},
    {"show", "[--json | --content] ID", ctl_show},
    {"stats", "[--json]", ctl_stats},
    {"retry", "[--json] ID... | --all [DESTINATION]", ctl_change},
    {"hold", "[--json] ID... | --all [DESTINATION]", ctl_change},
    {"release", "[--json] ID... | --all [DESTINATION]", ctl_change},
    {"delete", "[--json] [--in queue | hold | dead] ID... | --all [DESTINATION]", ctl_change},
    {"requeue",
     "[--json] [--to DESTINATION] [--in queue | hold | dead] ID... | --all [DESTINATION]",
     ctl_change},
    {"reload", "", ctl_reload},
    {"status", "[--json] [--warn-dead NUMBER] [--warn-age TIME] [--postfix DIRECTORY]", ctl_status},
    {"setup-postfix", "[--single | --multi] [--apply] [OPTION...] | --remove [--apply] [--force]",
     ctl_setup_postfix},
    {"setup-sendmail", "[-r PORT] [mc | mailertable]", ctl_setup_sendmail},
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void usage(FILE *to)
{
    fputs("usage: splitctl [-Vh] [-c FILE] COMMAND [ARGUMENT...]\n"
          "  -c FILE  configuration (default " CONFIG_FILE_DEFAULT ")\n"
          "  -V       version\n"
          "  -h       this help\n"
          "commands:\n",
          to);
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %s %s\n", commands[i].name, commands[i].usage);
}

/* The exit code: a failure when stdout could not be written (full disk, closed pipe). */
static int finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    ctl_complain("cannot write the output");
    return code == EXIT_OK ? EXIT_CHECK_FAILED : code;
}

int main(int argc, char **argv)
{
    const char *config_path = CONFIG_FILE_DEFAULT;
    struct err err;
    int c;

    if (log_open("splitctl", "stderr", "user", "warning", &err) < 0)
        abort();
    while ((c = getopt(argc, argv, "+c:Vh")) != -1) {
        switch (c) {
        case 'c':
            config_path = optarg;
            break;
        case 'V':
            puts("splitctl " PACKAGE_VERSION);
            return finish(EXIT_OK);
        case 'h':
            usage(stdout);
            return finish(EXIT_OK);
        default:
            usage(stderr);
            return EXIT_USAGE;
        }
    }
    for (int i = 0; optind < argc && i < COMMAND_COUNT; i++)
        if (strcmp(argv[optind], commands[i].name) == 0)
            return finish(commands[i].run(&commands[i], config_path, argc - optind, argv + optind));
    if (optind < argc)
        ctl_complain("unknown command '%s'", argv[optind]);
    usage(stderr);
    return EXIT_USAGE;
}
