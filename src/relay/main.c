/* SPDX-License-Identifier: ISC */
/* splitrelay: command line and signals. The work is in relay.c and below. */
#include "policy/daemon.h"
#include "base/log.h"
#include "base/log_thread.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/verdict.h"
#include "metrics/counters.h"
#include "deliver/maillog.h"
#include "relay/relay.h"
#include "relay/relay_page.h"
#include "base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define STOP_GRACE_MS 5000 /* for sessions, and again for deliveries */
#define LOG_GRACE_MS 1000  /* for lines that syslog(3) has not taken yet */

struct files {
    const char *config;
    char *lock; /* the lock file in the spool directory with which splitrelay was started */
};

/* Open keys and passwords. s: NULL is legal; its reference is taken over. NULL with `err`. */
static struct runtime *open_all(struct snapshot *s, struct err *err)
{
    struct runtime *r = s == NULL ? NULL : runtime_open(s, err);

    if (r == NULL || relay_page_check(runtime_config(r), err) == 0)
        return r;
    runtime_unref(r);
    return NULL;
}

static void reload(struct relay *r, const struct files *files)
{
    struct buf restart = {0};
    struct err err;
    int64_t begun_us = clock_now_us();

    process_notify_reloading();
    /* The log stays as it is unless all of the configuration is taken over. */
    struct runtime *next =
        open_all(snapshot_load(files->config, "", SNAPSHOT_WITH_LISTENER_TABLES, &err), &err);
    bool is_done = next != NULL && relay_reload(r, next, &restart, &err) == 0;
    if (is_done) {
        const struct config_log *log = &runtime_config(next)->log; /* the relay keeps `next` now */
        if (daemon_use_log("splitrelay", log, &err) != 0)
            log_warning("%s", err.text);
        maillog_set_style(log->style);
        log_info("configuration reloaded");
    } else {
        log_error("configuration not reloaded, the old one stays: %s", err.text);
    }
    counters_reloaded(is_done);
    daemon_tell_reloaded(files->lock, begun_us, is_done ? NULL : &err, buf_str(&restart));
    buf_clear(&restart);
    process_notify_ready();
}

/* Block the signals that main() waits for, in all threads that are started later. */
static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP); /* a closed terminal ends the daemon; SIGUSR1 is a reload */
    sigaddset(set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Reload on SIGUSR1, and look for changed tables of listeners in between. Any other signal ends the
 * loop. */
static void run(struct relay *r, const struct files *files, const sigset_t *signals)
{
    static const struct timespec interval = {.tv_nsec = WATCH_INTERVAL_MS * 1000000L};
    struct watch *watch = watch_new();
    int number;

    do {
        number = sigtimedwait(signals, NULL, &interval);
        if (number == SIGUSR1)
            reload(r, files);
        else if (number == -1)
            relay_refresh(r, watch, clock_now_ms());
    } while (number == -1 || number == SIGUSR1);
    watch_free(watch);
}

int main(int argc, char **argv)
{
    struct daemon_options options;
    sigset_t signals;
    struct err err;
    int code = daemon_parse_options(argc, argv, "splitrelay", DAEMON_ONE_SECTION, &options);

    if (code >= 0)
        return code;
    block_signals(&signals);
    process_prefer_batch();
    process_return_memory();
    struct runtime *first =
        open_all(daemon_load("splitrelay", &options, SNAPSHOT_WITH_LISTENER_TABLES, &err), &err);
    if (first == NULL) {
        daemon_print("splitrelay", &err);
        return EXIT_CONFIG;
    }
    if (options.check_only) {
        runtime_unref(first);
        return EXIT_OK;
    }
    maillog_set_style(runtime_config(first)->log.style);
    int64_t begun_us = clock_now_us();
    struct files files = {options.config_path,
                          mem_printf("%s/lock", runtime_config(first)->relay.spool_directory)};
    struct relay *r = NULL;
    int start_code = EXIT_UNAVAILABLE;
    if (log_thread_start(&err) == 0)
        r = relay_start(first, &start_code, &err);
    if (r == NULL) {
        daemon_complain("splitrelay", &err);
        log_thread_stop(LOG_GRACE_MS);
        free(files.lock);
        return start_code;
    }
    verdict_write(files.lock, begun_us, VERDICT_STARTED, "");
    log_info("ready");
    process_notify_ready();
    run(r, &files, &signals);
    process_notify_stopping();
    log_info("stopping");
    relay_stop(r, STOP_GRACE_MS);
    log_info("stopped");
    log_thread_stop(LOG_GRACE_MS);
    free(files.lock);
    return EXIT_OK;
}
