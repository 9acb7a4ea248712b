/* SPDX-License-Identifier: ISC */
#include "policy/daemon.h"
#include "config/config_file.h"
#include "base/log.h"
#include "base/process.h"
#include "base/verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void usage(FILE *to, const char *name, enum daemon_sections sections)
{
    bool has_n = sections == DAEMON_NAMED_SECTIONS;

    fprintf(to,
            "usage: %s [-tVh] [-c FILE]%s\n"
            "  -c FILE  configuration (default %s)\n"
            "%s"
            "  -t       check the configuration and its tables, then exit\n"
            "  -V       version\n"
            "  -h       this help\n",
            name, has_n ? " [-n NAME]" : "", CONFIG_FILE_DEFAULT,
            has_n ? "  -n NAME  be the splitmilter of section \"milter NAME\"\n" : "");
}

int daemon_parse_options(int argc, char **argv, const char *name, enum daemon_sections sections,
                         struct daemon_options *out)
{
    const char *letters = sections == DAEMON_NAMED_SECTIONS ? "c:n:tVh" : "c:tVh";
    int c;

    *out = (struct daemon_options){.config_path = CONFIG_FILE_DEFAULT, .milter = ""};
    while ((c = getopt(argc, argv, letters)) != -1) {
        switch (c) {
        case 'c':
            out->config_path = optarg;
            break;
        case 'n':
            out->milter = optarg;
            break;
        case 't':
            out->check_only = true;
            break;
        case 'V':
            printf("%s %s\n", name, PACKAGE_VERSION);
            return EXIT_OK;
        case 'h':
            usage(stdout, name, sections);
            return EXIT_OK;
        default:
            usage(stderr, name, sections);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: unexpected argument \"%s\"\n", name, argv[optind]);
        usage(stderr, name, sections);
        return EXIT_USAGE;
    }
    return -1;
}

int daemon_use_log(const char *name, const struct config_log *log, struct err *err)
{
    if (log_open(name, log->target, log->facility, log->level, err) != 0)
        return -1;
    log_use_journal(LOG_JOURNAL_DEVICE, LOG_JOURNAL_DIRECTORY);
    log_set_json(strcmp(log->style, "json") == 0);
    return 0;
}

struct snapshot *daemon_load(const char *name, const struct daemon_options *options,
                             enum snapshot_parts parts, struct err *err)
{
    struct snapshot *s = snapshot_load(options->config_path, options->milter, parts, err);

    if (s == NULL || daemon_use_log(name, &s->config->log, err) == 0)
        return s;
    snapshot_unref(s);
    return NULL;
}

void daemon_print(const char *name, const struct err *err)
{
    struct err plain = *err;

    log_sanitize(plain.text);
    fprintf(stderr, "%s: %s\n", name, plain.text);
}

void daemon_complain(const char *name, const struct err *err)
{
    log_error("%s", err->text);
    if (log_is_to_syslog() && getenv("JOURNAL_STREAM") == NULL)
        daemon_print(name, err);
}

void daemon_tell_reloaded(const char *lock_path, int64_t begun_us, const struct err *failure,
                          const char *restart)
{
    if (lock_path[0] == '\0')
        return;
    if (failure != NULL)
        verdict_write(lock_path, begun_us, VERDICT_FAILED, failure->text);
    else
        verdict_write(lock_path, begun_us, restart[0] == '\0' ? VERDICT_RELOADED : VERDICT_RESTART,
                      restart);
}
