/* SPDX-License-Identifier: ISC */
/* splitrelay: command line and signals. The work is in relay.c and below. */
#include "../config_file.h"
#include "../log.h"
#include "../process.h"
#include "../snapshot.h"
#include "relay.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define STOP_GRACE_MS 5000 /* for what comes in, and again for what goes out */

struct options {
    const char *config_path;
    bool check_only;
};

static void usage(FILE *to)
{
    fputs("usage: splitrelay [-tVh] [-c FILE]\n"
          "  -c FILE  configuration (default " CONFIG_FILE_DEFAULT ")\n"
          "  -t       check the configuration, then exit\n"
          "  -V       version\n"
          "  -h       this help\n",
          to);
}

/* -1: go on; otherwise the exit code. */
static int parse_options(int argc, char **argv, struct options *o)
{
    int c;

    while ((c = getopt(argc, argv, "c:tVh")) != -1) {
        switch (c) {
        case 'c':
            o->config_path = optarg;
            break;
        case 't':
            o->check_only = true;
            break;
        case 'V':
            puts("splitrelay " PACKAGE_VERSION);
            return EXIT_OK;
        case 'h':
            usage(stdout);
            return EXIT_OK;
        default:
            usage(stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        usage(stderr);
        return EXIT_USAGE;
    }
    return -1;
}

static struct snapshot *load(const char *path, struct err *err)
{
    struct snapshot *s = snapshot_load(path, SNAPSHOT_CONFIG_ONLY, err);

    if (s == NULL)
        return NULL;
    const struct config_log *log = &s->config->log;
    if (log_open("splitrelay", log->target, log->facility, log->level, err) != 0) {
        snapshot_unref(s);
        return NULL;
    }
    return s;
}

static void reload(struct relay *r, const char *config_path)
{
    struct err err;

    process_notify_reloading();
    struct snapshot *next = load(config_path, &err);
    if (next == NULL) {
        log_error("configuration not reloaded, the old one stays: %s", err.text);
    } else {
        relay_reload(r, next);
        log_info("configuration reloaded");
    }
    process_notify_ready();
}

/* Block what main() waits for, so that every thread does. */
static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP); /* the end of a terminal; a reload is SIGUSR1 in both daemons */
    sigaddset(set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    struct options options = {.config_path = CONFIG_FILE_DEFAULT};
    sigset_t signals;
    struct err err;
    int number = 0;
    int code = parse_options(argc, argv, &options);

    if (code >= 0)
        return code;
    block_signals(&signals);
    struct snapshot *first = load(options.config_path, &err);
    if (first == NULL) {
        fprintf(stderr, "splitrelay: %s\n", err.text);
        return EXIT_CONFIG;
    }
    if (options.check_only) {
        snapshot_unref(first);
        return EXIT_OK;
    }
    struct relay *r = relay_start(first, &err);
    if (r == NULL) {
        log_error("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    log_info("ready");
    process_notify_ready();
    while (sigwait(&signals, &number) != 0 || number == SIGUSR1) {
        if (number == SIGUSR1)
            reload(r, options.config_path);
    }
    process_notify_stopping();
    log_info("stopping");
    relay_stop(r, STOP_GRACE_MS);
    log_info("stopped");
    return EXIT_OK;
}
