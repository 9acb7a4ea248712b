/* SPDX-License-Identifier: ISC */
#include "gate.h"
#include "gate_link.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/clock.h"
#include "base/fdio.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 1024
#define LISTENERS_MAX 16 /* a host name may have several addresses */
#define EVENTS_MAX 64
#define FDS_PER_LINK 3 /* the MTA's connection, and both ends of the connection to libmilter */
#define FDS_RESERVED 64
#define LINKS_MAX 20000
#define RETRY_MS 1000 /* interval between attempts to accept again */

struct gate {
    struct snapshot_slot *slot;
    struct gate_side listeners[LISTENERS_MAX];
    size_t listener_count;
    char directory[64];    /* of the private socket; "" after its removal */
    char *private_text;    /* "unix:" and the path of the private socket */
    struct gate_side stop; /* an eventfd that ends the thread */
    struct gate_links links;
    size_t link_max;
    bool is_accepting; /* the listeners are in the epoll set */
    bool has_started;
    pthread_t thread;
    time_t exhausted_s;  /* when descriptors ran out; 0: there are free ones */
    time_t complained_s; /* when a refused connection was last logged */
    unsigned silent;     /* connections refused since then without a log line */
};

static time_t now_s(void)
{
    return (time_t)(clock_now_ms() / 1000);
}

/* --- the private socket --- */

/* Make a directory that only this user can enter. The directory exists until libmilter has opened
 * its socket in it. */
static int make_directory(struct gate *g, struct err *err)
{
    snprintf(g->directory, sizeof g->directory, "%s", P_tmpdir "/splitmilter.XXXXXX");
    if (mkdtemp(g->directory) == NULL) {
        err_set_errno(err, "cannot make a directory in %s", P_tmpdir);
        g->directory[0] = '\0';
        return -1;
    }
    g->private_text = mem_printf("unix:%s/s", g->directory);
    return 0;
}

static void remove_directory(struct gate *g)
{
    if (g->directory[0] == '\0')
        return;
    (void)unlink(g->private_text + strlen("unix:"));
    (void)rmdir(g->directory);
    g->directory[0] = '\0';
}

/* --- the public socket --- */

/* May this address connect? Loopback addresses always may. */
static bool is_trusted(const struct gate *g, const struct sockaddr *sa)
{
    bool is_found = endpoint_is_loopback_address(sa);

    if (is_found)
        return true;
    struct snapshot *s = snapshot_slot_get(g->slot);
    const struct config_milter *m = &s->config->milter;
    for (size_t i = 0; i < m->trusted_mta_count && !is_found; i++)
        is_found = endpoint_network_has(&m->trusted_mtas[i], sa);
    snapshot_unref(s);
    return is_found;
}

/* Log a refused connection, at most once a second. */
static void complain(struct gate *g, const struct sockaddr *sa)
{
    char name[INET6_ADDRSTRLEN];

    if (now_s() == g->complained_s) {
        g->silent++;
        return;
    }
    gate_name(sa, name, sizeof name);
    log_warning("refused connection from [%s]: not in milter.trusted_mtas (%u more before it)",
                name, g->silent);
    g->complained_s = now_s();
    g->silent = 0;
}

static void set_accepting(struct gate *g, bool is_accepting)
{
    if (g->is_accepting == is_accepting)
        return;
    for (size_t i = 0; i < g->listener_count; i++)
        gate_watch(&g->links, &g->listeners[i], is_accepting ? EPOLLIN : 0);
    g->is_accepting = is_accepting;
}

static void accept_next(struct gate *g, int listener)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof sa;
    int fd = accept4(listener, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0 && is_trusted(g, (struct sockaddr *)&sa)) {
        gate_link_add(&g->links, fd, (struct sockaddr *)&sa);
    } else if (fd >= 0) {
        close(fd);
        complain(g, (struct sockaddr *)&sa);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log_warning("accept: %s", strerror(errno));
        g->exhausted_s = now_s();
    }
}

static void *gate_thread(void *arg)
{
    struct epoll_event events[EVENTS_MAX];
    struct gate *g = arg;

    for (;;) {
        int n = epoll_wait(g->links.epoll, events, EVENTS_MAX, g->is_accepting ? -1 : RETRY_MS);
        for (int i = 0; i < n; i++) {
            struct gate_side *side = events[i].data.ptr;
            if (side == &g->stop)
                return NULL;
            if (side->link == NULL)
                accept_next(g, side->fd);
            else
                gate_link_serve(&g->links, side);
        }
        gate_links_sweep(&g->links);
        if (g->exhausted_s != 0 && now_s() > g->exhausted_s)
            g->exhausted_s = 0;
        set_accepting(g, g->links.count < g->link_max && g->exhausted_s == 0);
    }
}

/* --- begin and end --- */

/* The number of connections for which there are descriptors. */
static unsigned link_limit(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return 256;
    if (r.rlim_cur > LINKS_MAX * FDS_PER_LINK)
        return LINKS_MAX;
    return r.rlim_cur < FDS_RESERVED + FDS_PER_LINK
               ? 1
               : (unsigned)(r.rlim_cur - FDS_RESERVED) / FDS_PER_LINK;
}

static int open_public(struct gate *g, const struct config_milter *m, struct err *err)
{
    static const int on = 1;
    int fds[LISTENERS_MAX];
    int n = endpoint_listen(&m->socket, BACKLOG, m->socket_mode, fds, LISTENERS_MAX, err);

    if (n < 0) {
        err_wrap(err, "%s.socket", m->label);
        return -1;
    }
    for (; (int)g->listener_count < n; g->listener_count++)
        g->listeners[g->listener_count].fd = fds[g->listener_count];
    for (size_t i = 0; i < g->listener_count; i++) {
        /* Accepted connections inherit these options. TCP_NODELAY is needed because libmilter
         * writes a reply in several small pieces. */
        (void)setsockopt(g->listeners[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        (void)setsockopt(g->listeners[i].fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        if (fdio_set_nonblocking(g->listeners[i].fd) != 0) {
            err_set_errno(err, "%s.socket: fcntl", m->label);
            return -1;
        }
    }
    return 0;
}

struct gate *gate_open(struct snapshot_slot *slot, struct err *err)
{
    struct gate *g = mem_zalloc(sizeof *g);
    struct snapshot *s = snapshot_slot_get(slot);

    g->slot = g->links.slot = slot;
    g->links.private_fd = -1;
    g->link_max = link_limit();
    g->links.epoll = epoll_create1(EPOLL_CLOEXEC);
    g->stop.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = -1;
    if (g->links.epoll < 0 || g->stop.fd < 0)
        err_set_errno(err, "epoll or eventfd");
    else if (open_public(g, &s->config->milter, err) == 0)
        rc = make_directory(g, err);
    snapshot_unref(s);
    if (rc != 0) {
        gate_close(g);
        return NULL;
    }
    return g;
}

const char *gate_private_socket(const struct gate *g)
{
    return g->private_text;
}

int gate_start(struct gate *g, struct err *err)
{
    sigset_t all, former;

    g->links.private_fd = open(g->private_text + strlen("unix:"), O_PATH | O_CLOEXEC);
    if (g->links.private_fd < 0) {
        err_set_errno(err, "%s", g->private_text);
        return -1;
    }
    remove_directory(g);
    gate_watch(&g->links, &g->stop, EPOLLIN);
    set_accepting(g, true);
    sigfillset(&all); /* signals belong to libmilter and to the thread that reloads */
    int rc = pthread_sigmask(SIG_SETMASK, &all, &former);
    if (rc == 0) {
        rc = pthread_create(&g->thread, NULL, gate_thread, g);
        pthread_sigmask(SIG_SETMASK, &former, NULL);
    }
    if (rc != 0) {
        err_set(err, "cannot start a thread: %s", strerror(rc));
        return -1;
    }
    g->has_started = true;
    return 0;
}

void gate_close(struct gate *g)
{
    static const uint64_t one = 1;

    if (g == NULL)
        return;
    if (g->has_started && write(g->stop.fd, &one, sizeof one) == sizeof one)
        pthread_join(g->thread, NULL);
    gate_links_clear(&g->links);
    for (size_t i = 0; i < g->listener_count; i++)
        close(g->listeners[i].fd);
    remove_directory(g);
    if (g->links.private_fd >= 0)
        close(g->links.private_fd);
    if (g->stop.fd >= 0)
        close(g->stop.fd);
    if (g->links.epoll >= 0)
        close(g->links.epoll);
    free(g->private_text);
    free(g);
}
