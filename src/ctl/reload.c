/* SPDX-License-Identifier: ISC */
#include "policy/policy.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/verdict.h"
#include "ctl/ctl.h"
#include "ctl/setup/postfix_review.h"
#include "ctl/unit.h"
#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERDICT_TIMEOUT_US (120 * INT64_C(1000000)) /* it takes a while to load large tables */
#define VERDICT_INTERVAL_MS 20

/* The outcome for one daemon. The larger one of the two outcomes decides the exit code. NOT_RUNNING
 * is the smallest: if only one daemon runs, the outcome of that daemon decides. */
enum told { NOT_RUNNING, TOLD, NEEDS_RESTART, NOT_TOLD, REFUSED };

struct daemon {
    const char *program, *lock_path;
    pid_t pid;
    int64_t asked_us;
};

/* The process that holds the lock; 0 if the daemon does not run; -1 with `err`. */
static pid_t find(const char *lock_path, struct err *err)
{
    errno = 0;
    pid_t pid = process_lock_owner(lock_path, err);

    return pid < 0 && errno == ENOENT ? 0 : pid;
}

/* Wait for the result of this reload. Returns 1 with the result in *out, 0 if the daemon has ended,
 * -1 after VERDICT_TIMEOUT_US. A result of a reload that began before d->asked_us belongs to an
 * earlier request. */
static int await(const struct daemon *d, struct verdict *out)
{
    struct err ignored;
    pid_t owner;

    do {
        if (verdict_read(d->lock_path, out, &ignored) == 0 && out->pid == d->pid &&
            out->begun_us >= d->asked_us)
            return 1;
        owner = find(d->lock_path, &ignored);
        if (owner >= 0 && owner != d->pid)
            return 0;
        (void)poll(NULL, 0, VERDICT_INTERVAL_MS);
    } while (clock_now_us() < d->asked_us + VERDICT_TIMEOUT_US);
    return -1;
}

static enum told say(const struct daemon *d, const struct verdict *v)
{
    switch (v->outcome) {
    case VERDICT_STARTED: /* the daemon has restarted, with the same process id */
    case VERDICT_RELOADED:
        ctl_printf("%s has reloaded (process %ld)\n", d->program, (long)d->pid);
        return TOLD;
    case VERDICT_RESTART:
        ctl_printf("%s has reloaded (process %ld), but needs a restart: %s\n", d->program,
                   (long)d->pid, v->text.text);
        return NEEDS_RESTART;
    case VERDICT_FAILED:
        ctl_complain("%s has not reloaded, its old configuration stays: %s", d->program,
                     v->text.text);
        return REFUSED;
    }
    return NOT_TOLD;
}

/* The lock of this configuration is not held. If the daemon still runs, it was started with another
 * configuration. */
static enum told look_elsewhere(const char *program)
{
    struct unit unit;

    unit_read(program, &unit);
    pid_t pid = unit.main_pid;
    unit_clear(&unit);
    if (pid <= 0) {
        ctl_printf("%s does not run\n", program);
        return NOT_RUNNING;
    }
    ctl_printf("%s (process %ld) was started with another %s: it needs a restart\n", program,
               (long)pid,
               strcmp(program, "splitrelay") == 0 ? "relay.spool_directory"
                                                  : "socket or pid_file of its section milter");
    return NEEDS_RESTART;
}

/* Send the signal to a daemon that does not report a result. */
static enum told send_signal(const char *program, pid_t pid)
{
    if (kill(pid, SIGUSR1) < 0) {
        ctl_complain("%s: process %ld: %s", program, (long)pid, strerror(errno));
        return NOT_TOLD;
    }
    ctl_printf("%s reloads (process %ld); see its log for the result\n", program, (long)pid);
    return TOLD;
}

/* Tell a daemon to reload. The daemon is the process that holds the lock on the pid file. The pid
 * in the file is not used: it may be that of an earlier daemon, and may belong to another process
 * now. */
static enum told tell(const char *program, const char *lock_path)
{
    struct daemon d = {.program = program, .lock_path = lock_path};
    struct verdict v;
    struct err err;

    d.pid = find(lock_path, &err);
    if (d.pid == 0)
        return look_elsewhere(program);
    if (d.pid < 0) {
        ctl_complain("%s: %s", program, err.text);
        return NOT_TOLD;
    }
    if (verdict_read(lock_path, &v, &err) < 0 || v.pid != d.pid)
        return send_signal(program, d.pid);
    d.asked_us = clock_now_us();
    if (kill(d.pid, SIGUSR1) < 0) {
        ctl_complain("%s: process %ld: %s", program, (long)d.pid, strerror(errno));
        return NOT_TOLD;
    }
    int got = await(&d, &v);
    if (got > 0)
        return say(&d, &v);
    ctl_complain("%s (process %ld) %s", program, (long)d.pid,
                 got == 0 ? "has ended in the meantime: see its log"
                          : "has not reported a result of the reload: see its log");
    return NOT_TOLD;
}

static enum told tell_milter(const struct config_milter *m, const char *program,
                             const char *config_path)
{
    struct unit unit;

    if (m->pid_file[0] != '\0')
        return tell(program, m->pid_file);
    unit_read(program, &unit);
    pid_t pid = unit.main_pid;
    unit_clear(&unit);
    if (pid > 0)
        return send_signal(program, pid);
    ctl_complain("%s: not signalled: %s.pid_file is not set in %s", program, m->label, config_path);
    return NOT_TOLD;
}

/* Tell all splitmilters, and return the outcome that decides. */
static enum told tell_milters(const struct config *config)
{
    enum told worst = tell_milter(&config->milter, "splitmilter", config->path);

    for (size_t i = 0; i < config->other_milter_count; i++) {
        const struct config_milter *m = &config->other_milters[i];
        char *program = mem_printf("splitmilter@%s", m->name);
        enum told told = tell_milter(m, program, config->path);
        worst = told > worst ? told : worst;
        free(program);
    }
    return worst;
}

/* Open the tables of all splitmilters. -1: the error was written to stderr. */
static int try_tables(const struct config *config)
{
    struct err err;

    for (size_t i = 0; i <= config->other_milter_count; i++) {
        struct config view = config_of_milter(config, i);
        struct policy *policy = policy_open(&view, &err);
        if (policy == NULL) {
            ctl_complain("%s", err.text);
            return -1;
        }
        policy_close(policy);
    }
    return 0;
}

/* Print the filters and destinations for which Postfix has no route, so that their mail waits in
 * its queue. Returns true if a finding is a warning or an error. */
static bool review_postfix(const struct config *config)
{
    struct postfix_review review = {0};
    struct err err;
    bool is_any = false;

    if (postfix_review_routes(config, "", &review, &err) < 0)
        ctl_complain("postfix: %s", err.text);
    for (size_t i = 0; i < review.count; i++) {
        const struct postfix_finding *item = &review.items[i];
        bool has_advice = item->advice[0] != '\0';
        ctl_printf("%s%s%s%s\n", item->text, has_advice ? " (" : "", item->advice,
                   has_advice ? ")" : "");
        is_any = is_any || item->level != POSTFIX_FINDING_NOTE;
    }
    postfix_review_clear(&review);
    return is_any;
}

static int exit_code(enum told milter, enum told relay)
{
    switch (milter > relay ? milter : relay) {
    case TOLD:
        return EXIT_OK;
    case NEEDS_RESTART:
        return EXIT_CHECK_FAILED;
    case NOT_RUNNING:
    case NOT_TOLD:
        break;
    case REFUSED:
        return EXIT_CONFIG;
    }
    return EXIT_UNAVAILABLE;
}

int ctl_reload(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    (void)argv;
    if (argc != 1)
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    if (try_tables(config) < 0) {
        config_free(config);
        return EXIT_CONFIG;
    }
    char *lock = ctl_relay_lock(config);
    enum told milter = tell_milters(config), relay = tell("splitrelay", lock);
    free(lock);
    int code = exit_code(milter, relay);
    if (review_postfix(config) && code == EXIT_OK)
        code = EXIT_CHECK_FAILED;
    config_free(config);
    return code;
}
