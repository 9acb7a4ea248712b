/* SPDX-License-Identifier: ISC */
/* splitmilter: command line, sockets, signals. callbacks.c and the core library do the rest. */
#include "callbacks.h"
#include "conn.h"
#include "config/config_restart.h"
#include "counters.h"
#include "policy/daemon.h"
#include "gate.h"
#include "base/log.h"
#include "metrics/metrics_http.h"
#include "base/process.h"
#include "policy/snapshot.h"
#include "base/verdict.h"
#include "policy/watch.h"
#include "base/clock.h"

#include <libmilter/mfapi.h>

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIBMILTER_BACKLOG 1024 /* connections that libmilter has not accepted yet */

struct reloader {
    struct snapshot_slot *slot;
    const struct daemon_options *options;
    struct snapshot *started; /* has the options that change only at a restart; never freed */
    int64_t begun_us;         /* clock_now_us() of the start */
    pthread_mutex_t work;     /* held while files and tables are read */
};

static void reload(struct reloader *r)
{
    struct buf restart = {0};
    struct err err;
    int64_t begun_us = clock_now_us();

    process_notify_reloading();
    struct snapshot *next = daemon_load("splitmilter", r->options, SNAPSHOT_WITH_TABLES, &err);
    if (next == NULL) {
        log_error("configuration not reloaded, the old one stays: %s", err.text);
        counters_reloaded(false);
    } else {
        counters_declare(next->config);
        config_restart_milter(r->started->config, next->config, &restart);
        if (restart.len > 0)
            log_warning("%s has changed: that needs a restart", buf_str(&restart));
        snapshot_slot_swap(r->slot, next);
        log_info("configuration reloaded");
        counters_reloaded(true);
    }
    daemon_tell_reloaded(r->started->config->milter.pid_file, begun_us, next == NULL ? &err : NULL,
                         buf_str(&restart));
    buf_clear(&restart);
    process_notify_ready();
}

/* Publish a new snapshot if files of tables have changed. */
static void refresh(struct reloader *r, struct watch *watch)
{
    struct snapshot *current = snapshot_slot_get(r->slot);
    struct snapshot *next = watch_poll(watch, current, clock_now_ms());
    unsigned ok, failed;

    watch_tried(watch, &ok, &failed);
    counters_tables_reloaded(ok, failed);
    snapshot_unref(current);
    if (next != NULL)
        snapshot_slot_swap(r->slot, next);
}

/*
 * libmilter owns SIGHUP, SIGTERM and SIGINT. SIGUSR1 is blocked in all threads, and the reload
 * thread waits for it. Between two signals the thread also watches the tables. So reloads of the
 * configuration and of tables never overlap.
 */
static void *reload_thread(void *arg)
{
    static const struct timespec interval = {.tv_nsec = WATCH_INTERVAL_MS * 1000000L};
    struct reloader *r = arg;
    struct watch *watch = watch_new();
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    for (;;) {
        bool is_asked = sigtimedwait(&set, NULL, &interval) == SIGUSR1;
        pthread_mutex_lock(&r->work);
        if (is_asked)
            reload(r);
        else
            refresh(r, watch);
        pthread_mutex_unlock(&r->work);
    }
    return NULL;
}

/* Start the reload thread. It blocks all signals, so that SIGTERM and the like go to libmilter. */
static int start_reloader(struct reloader *r, struct err *err)
{
    const char *lock = r->started->config->milter.pid_file;
    sigset_t all, usr1, former;
    pthread_t thread;

    if (lock[0] != '\0')
        verdict_write(lock, r->begun_us, VERDICT_STARTED, "");
    sigfillset(&all);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    int rc = pthread_sigmask(SIG_SETMASK, &all, &former);
    if (rc == 0) {
        rc = pthread_create(&thread, NULL, reload_thread, r);
        pthread_sigmask(SIG_SETMASK, &former, NULL);
    }
    if (rc == 0)
        rc = pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    if (rc != 0) {
        err_set(err, "cannot start a thread: %s", strerror(rc));
        return -1;
    }
    pthread_detach(thread);
    return 0;
}

static int set_socket_group(const struct config_milter *m, struct err *err)
{
    if (*m->socket_group == '\0')
        return 0;
    struct group *group = getgrnam(m->socket_group);
    if (group == NULL) {
        err_set(err, "%s.socket_group: there is no group \"%s\"", m->label, m->socket_group);
        return -1;
    }
    if (chown(m->socket.path, (uid_t)-1, group->gr_gid) != 0) {
        err_set_errno(err, "cannot give %s to group %s", m->socket.path, m->socket_group);
        return -1;
    }
    return 0;
}

/* Let libmilter listen on this socket; a unix socket gets this mode. */
static int listen_by_libmilter(const char *socket, unsigned mode, struct err *err)
{
    mode_t former = umask(0777 & ~mode);
    int rc = smfi_setconn((char *)socket);

    if (rc == MI_SUCCESS)
        rc = smfi_setbacklog(LIBMILTER_BACKLOG);
    if (rc == MI_SUCCESS)
        rc = smfi_opensocket(1);
    umask(former);
    if (rc == MI_SUCCESS)
        return 0;
    err_set_errno(err, "libmilter cannot listen on %s", socket);
    return -1;
}

/*
 * The owner, group and mode of a unix socket decide who may connect, so libmilter serves such a
 * socket itself, which costs less. Any host that reaches an inet socket may connect, so the gate
 * listens there, and libmilter listens on a private socket.
 */
static int open_sockets(struct snapshot_slot *slot, const struct config_milter *m,
                        struct gate **gate_out, struct err *err)
{
    if (m->socket.kind == ENDPOINT_UNIX) {
        if (listen_by_libmilter(m->socket_text, m->socket_mode, err) != 0)
            return -1;
        return set_socket_group(m, err);
    }
    *gate_out = gate_open(slot, err);
    if (*gate_out == NULL || listen_by_libmilter(gate_private_socket(*gate_out), 0600, err) != 0)
        return -1;
    return gate_start(*gate_out, err);
}

/* Lock the pid file, and open the sockets. *lock_out: the descriptor of the pid file, -1 without
 * one. *gate_out: NULL without a gate. */
static int start_listening(struct snapshot_slot *slot, const struct config_milter *m,
                           struct gate **gate_out, int *lock_out, struct err *err)
{
    if (*m->pid_file != '\0' && (*lock_out = process_lock(m->pid_file, err)) < 0)
        return -1;
    return open_sockets(slot, m, gate_out, err);
}

/* Start the metrics page and begin to count, if option metrics is set; *out is NULL otherwise.
 * Called before the first thread starts. */
static int start_metrics(struct snapshot_slot *slot, const struct config *config,
                         struct metrics_http **out, struct err *err)
{
    struct metrics_http_options options = {
        .not_found = "/metrics, /healthz and /readyz are here",
        .listen = config->milter.metrics,
        .listen_count = config->milter.metrics_count,
        .page = counters_page,
        .is_ready = counters_is_ready,
        .ctx = slot,
    };

    *out = NULL;
    if (options.listen_count == 0)
        return 0;
    metrics_enable();
    counters_declare(config);
    *out = metrics_http_start(&options, err);
    return *out == NULL ? -1 : 0;
}

static int serve(struct snapshot_slot *slot, struct reloader *reloader)
{
    struct snapshot *current = snapshot_slot_get(slot), *s = snapshot_configuration(current);
    const struct config_milter *m = &s->config->milter;
    struct metrics_http *http = NULL;
    struct gate *gate = NULL;
    struct err err;
    int lock = -1;
    int status = EXIT_UNAVAILABLE;

    snapshot_unref(current);
    reloader->started = snapshot_ref(s);
    reloader->begun_us = clock_now_us();
    signal(SIGPIPE, SIG_IGN);
    if (callbacks_register(slot, &err) != 0 || start_listening(slot, m, &gate, &lock, &err) != 0 ||
        start_metrics(slot, s->config, &http, &err) != 0 || start_reloader(reloader, &err) != 0) {
        daemon_complain("splitmilter", &err);
        goto out;
    }
    log_info("ready on %s", m->socket_text);
    process_notify_ready();
    counters_set_listening(true);
    status = smfi_main() == MI_SUCCESS ? EXIT_OK : EXIT_UNAVAILABLE;
    counters_set_listening(false);
    process_notify_stopping();
    log_info("stopped");
    if (m->socket.kind == ENDPOINT_UNIX && unlink(m->socket.path) != 0 && errno != ENOENT)
        log_warning("cannot remove %s: %s", m->socket.path, strerror(errno));
out:
    metrics_http_stop(http);
    gate_close(gate);
    if (lock >= 0)
        close(lock);
    snapshot_unref(s);
    return status;
}

/*
 * End the process after libmilter has stopped. The threads of its connections go on, and so does
 * the reload thread. As long as one of them may be in the library of a database, the exit handlers
 * of that library must not run, because they free what it uses.
 */
static int end(struct reloader *r, int code)
{
    if (conn_count() > 0 || pthread_mutex_trylock(&r->work) != 0)
        _exit(code);
    return code;
}

int main(int argc, char **argv)
{
    /* These are static, because the reload thread uses them until the process ends. */
    static struct daemon_options options;
    static struct snapshot_slot slot;
    static struct reloader reloader = {.work = PTHREAD_MUTEX_INITIALIZER};
    struct err err;
    int code = daemon_parse_options(argc, argv, "splitmilter", DAEMON_NAMED_SECTIONS, &options);

    if (code >= 0)
        return code;
    process_return_memory();
    struct snapshot *first = daemon_load("splitmilter", &options, SNAPSHOT_WITH_TABLES, &err);
    if (first == NULL) {
        daemon_print("splitmilter", &err);
        return EXIT_CONFIG;
    }
    snapshot_slot_init(&slot, first);
    reloader.slot = &slot;
    reloader.options = &options;
    if (!options.check_only)
        return end(&reloader, serve(&slot, &reloader));
    snapshot_slot_clear(&slot);
    return EXIT_OK;
}
