/* SPDX-License-Identifier: ISC */
/* splitctl: command line. ctl.h declares the commands. */
#include "config/config_file.h"
#include "base/log.h"
#include "base/process.h"
#include "ctl/ctl.h"
#include "ctl/select.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPIES_USAGE "ID... | --all [DESTINATION] | SELECTION [DESTINATION]"
#define CHANGE_USAGE "[--json] [--dry-run] [--yes] " COPIES_USAGE

static int help(const struct ctl_command *self, const char *config_path, int argc, char **argv);

static const struct ctl_command commands[] = {
    {"check", "[--json]",
     "check configuration, tables, files, Postfix and the hosts of destinations", ctl_check},
    {"explain",
     "[--json] [-n NAME] [-f SENDER] [--client ADDRESS] [--authenticated] [--origin DOMAIN] "
     "[--message FILE] RECIPIENT...",
     "say what would become of a message, and which lines of tables decide", ctl_explain},
    {"queue", "[--json] [--summary] [" COPIES_USAGE "]",
     "list the copies that wait; --summary: count them by destination, reason and age", ctl_queue},
    {"show", "[--json] " COPIES_USAGE " | --content ID",
     "print all that is known of copies; --content: the message itself", ctl_show},
    {"stats", "[--json]", "say how much waits for each destination", ctl_stats},
    {"history", "[--json] [" COPIES_USAGE "]", "say what became of copies, newest first",
     ctl_history},
    {"trace",
     "[--json | --follow] [--since TIME] [--until TIME] [--memory SIZE] WORD... "
     "[--log FILE...]",
     "follow mail through all logs and the queue: by address, queue id, copy id or Message-ID",
     ctl_trace},
    {"compare",
     "[--json] [--header NAME] [--value TEXT] [--limit NUMBER] [--missing]\n"
     "    [--since TIME] [--until TIME] A B",
     "compare the verdicts of two filters on the same messages, which are in two Maildirs",
     ctl_compare},
    {"retry", CHANGE_USAGE, "have copies tried now", ctl_change},
    {"hold", CHANGE_USAGE, "keep copies from being delivered", ctl_change},
    {"release", CHANGE_USAGE, "put held copies back into the queue", ctl_change},
    {"delete", CHANGE_USAGE, "remove copies", ctl_change},
    {"requeue", "[--to DESTINATION] " CHANGE_USAGE,
     "put dead letters back into the queue, or copies into that of another destination",
     ctl_change},
    {"suspend", "DESTINATION [--for TIME] [--reason TEXT]",
     "have nothing sent to a destination for now", ctl_suspend},
    {"resume", "DESTINATION", "end a suspension", ctl_suspend},
    {"reload", "", "check the configuration, and have the daemons read it again", ctl_reload},
    {"status",
     "[--json | --watch | --metrics FILE] [--warn-dead NUMBER] [--warn-age TIME] [--postfix "
     "DIRECTORY]",
     "say what runs, what waits, and what needs attention; exit code 0, 1 or 2", ctl_status},
    {"setup-postfix",
     "[--single | --multi] [--apply] [--reinject [ADDRESS:]PORT] [--relay NEXTHOP]\n"
     "    [--filter-networks LIST] [--local [ADDRESS:]PORT] [--submission [ADDRESS:]PORT]\n"
     "    [--in-hostname NAME] [--out-hostname NAME] [--user NAME] [--postfix DIRECTORY] "
     "[--force]\n"
     "    [--copies front | after-filter]\n"
     "    | --remove [--apply] [--postfix DIRECTORY] [--force]",
     "have Postfix ask splitmilter: show what would change, or --apply it", ctl_setup_postfix},
    {"setup-sendmail", "[-r PORT] [mc | mailertable]",
     "print what sendmail.mc or the mailertable needs", ctl_setup_sendmail},
    {"help", "[COMMAND]", "say what a command does, and how it is called", help},
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void usage(FILE *to)
{
    fputs("usage: splitctl [-Vh] [-c FILE] COMMAND [ARGUMENT...]\n"
          "  -c FILE        configuration (default " CONFIG_FILE_DEFAULT ")\n"
          "  -V, --version  print the version\n"
          "  -h, --help     print this summary\n"
          "commands (splitctl help COMMAND says more):\n",
          to);
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-15s %s\n", commands[i].name, commands[i].purpose);
}

static const struct ctl_command *find(const char *name)
{
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    ctl_complain("unknown command '%s'", name);
    return NULL;
}

static int help_with(const struct ctl_command *command)
{
    printf("usage: splitctl [-c FILE] %s%s%s\n\n%s\n", command->name,
           command->usage[0] == '\0' ? "" : " ", command->usage, command->purpose);
    if (strstr(command->usage, "SELECTION") != NULL)
        fputs("\nSELECTION: " SELECT_USAGE "\n" SELECT_HELP "\n", stdout);
    fputs("\nsplitctl(8) says more.\n", stdout);
    return EXIT_OK;
}

static int help(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    (void)config_path;
    if (argc > 2 || (argc == 2 && argv[1][0] == '-'))
        return ctl_usage(self);
    if (argc < 2) {
        usage(stdout);
        return EXIT_OK;
    }
    const struct ctl_command *command = find(argv[1]);
    return command == NULL ? EXIT_USAGE : help_with(command);
}

/* Return true if --help is among the words of the command, before "--". */
static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0)
            return true;
    return false;
}

/* Return the exit code `code`, or that of a failure if stdout could not be written (full disk,
 * closed pipe). */
static int finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    ctl_complain("cannot write the output");
    return code == EXIT_OK ? EXIT_CHECK_FAILED : code;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"version", no_argument, NULL, 'V'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *config_path = CONFIG_FILE_DEFAULT;
    struct err err;
    int c;

    if (log_open("splitctl", "stderr", "user", "warning", &err) < 0)
        abort();
    while ((c = getopt_long(argc, argv, "+c:Vh", options, NULL)) != -1) {
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
    const struct ctl_command *command = optind < argc ? find(argv[optind]) : NULL;
    if (command != NULL && wants_help(argc - optind, argv + optind))
        return finish(help_with(command));
    if (command != NULL)
        return finish(command->run(command, config_path, argc - optind, argv + optind));
    usage(stderr);
    return EXIT_USAGE;
}
