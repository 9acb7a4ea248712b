/* SPDX-License-Identifier: ISC */
#include "smtp/connection_private.h"
#include "task/task.h"
#include "smtp/route.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Wait until connect(2) is done. Returns 0, or the errno of its failure. */
static int wait_connected(int fd, unsigned timeout_ms)
{
    struct task_fd io;
    int error = 0;
    socklen_t size = sizeof error;

    task_fd_init(&io, fd);
    int got = task_poll(&io, POLLOUT, task_now_ms() + timeout_ms);
    if (got == -1)
        error = errno;
    task_fd_detach(&io);
    if (got == 0)
        return ETIMEDOUT;
    if (got > 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    /* shutdown(2) by connection_interrupt() resets the error of a socket that was connecting */
    return error == 0 && (got & POLLHUP) != 0 ? ECONNABORTED : error;
}

/* Set the fault for an errno of connect(2). Returns -1. */
static int fail_connect(struct connection *c, const char *target, int error)
{
    char text[128];

    if (connection_is_interrupted(c))
        connection_set_interrupted(c);
    else
        outcome_set(&c->fault, OUTCOME_RETRY, "4.4.1", "connect to %s: %s", target,
                    strerror_r(error, text, sizeof text));
    return -1;
}

/* Connect to one address. target: for messages; becomes the peer. */
static int connect_to(struct connection *c, const struct sockaddr *sa, socklen_t len,
                      const char *target)
{
    int error = 0;
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return fail_connect(c, target, errno);
    if (connection_set_live(c, fd) == 0) {
        if (connect(fd, sa, len) != 0)
            error = errno == EINPROGRESS ? wait_connected(fd, c->destination->connect_timeout_ms)
                                         : errno;
        if (error == 0) {
            snprintf(c->link.peer, sizeof c->link.peer, "%s", target);
            c->link.stream = stream_new(fd);
            c->link.messages = 0;
            c->link.opened_ms = task_now_ms();
            c->link.needs_rset = false;
            buf_reset(&c->xclient);
            return 0;
        }
        fail_connect(c, target, error);
    }
    connection_close(c);
    close(fd);
    return -1;
}

/* Send EHLO, HELO or LHLO. 0: the reply is 2xx; 1: another code; -1: the connection is lost. */
static int send_hello(struct connection *c, enum connection_step step, const char *verb,
                      const char *name)
{
    enum stream_status status = stream_printf(c->link.stream, "%s %s\r\n", verb, name);

    if (status != STREAM_OK)
        return connection_fail_io(c, step, status);
    if (connection_ask(c, step) != 0)
        return -1;
    return c->reply.code / 100 == 2 ? 0 : 1;
}

int connection_introduce(struct connection *c, const char *name)
{
    bool is_lmtp = c->destination->protocol == CONFIG_LMTP;
    enum connection_step step = is_lmtp ? CONNECTION_LHLO : CONNECTION_EHLO;

    int result = send_hello(c, step, is_lmtp ? "LHLO" : "EHLO", name);
    if (result == 1 && !is_lmtp && c->reply.code / 100 == 5) {
        step = CONNECTION_HELO; /* the older greeting: RFC 5321 3.2 */
        result = send_hello(c, step, "HELO", name);
    }
    if (result == -1)
        return -1;
    if (result == 1)
        return connection_fail_reply(c, step);
    if (step == CONNECTION_HELO)
        c->link.features = (struct smtp_features){0};
    else
        smtp_features_parse(buf_str(&c->reply.text), c->hostname, c->tls.is_verified,
                            &c->link.features);
    return 0;
}

/* Do all that comes between connect(2) and the first MAIL: TLS, greeting, EHLO, STARTTLS, AUTH. */
static int handshake(struct connection *c)
{
    if (connection_tls_wrap(c) != 0 || connection_read_reply(c, CONNECTION_GREETING) != 0)
        return -1;
    if (c->reply.code / 100 != 2)
        return connection_fail_reply(c, CONNECTION_GREETING);
    if (connection_introduce(c, c->hostname) != 0 || connection_tls_start(c) != 0)
        return -1;
    /* Both sides forget what they learnt before TLS (RFC 3207 4.2), so EHLO is sent again. */
    if (c->tls.is_on && c->destination->tls.wrap == 0 && connection_introduce(c, c->hostname) != 0)
        return -1;
    return connection_authenticate(c);
}

static int open_and_greet(struct connection *c, const struct route_hop *hop)
{
    if (connect_to(c, (const struct sockaddr *)&hop->sa, hop->sa_len, hop->text) != 0)
        return -1;
    return handshake(c);
}

static int try_hop(struct connection *c, const struct route_hop *hop, bool needs_requiretls)
{
    smtp_reply_reset(&c->reply);
    connection_tls_reset(c, hop->nexthop, (const struct sockaddr *)&hop->sa);
    int result = open_and_greet(c, hop);
    if (result != 0 && connection_tls_gives_up(c))
        result = open_and_greet(c, hop);
    if (result == 0) {
        route_worked(hop);
        if (needs_requiretls && !c->link.features.requiretls)
            return connection_tls_lacks_requiretls(c);
        if (!hop->is_foreign || !c->link.features.has_our_name)
            return 0;
        return connection_fail(c, "4.4.6", "mail loops back to myself: host %s has my own name",
                               c->link.peer);
    }
    /* A host that sends a refusal is up, and an interrupted attempt proves nothing. */
    if (!c->reply.is_complete && !connection_is_interrupted(c))
        route_failed(hop);
    return -1;
}

/* The next address to try; NULL: there is none, or the connection was interrupted. During a look-up
 * wake_fd is the published descriptor: connection_interrupt() shuts it down, and that ends the
 * look-up. */
static const struct route_hop *next_hop(struct connection *c, struct route *route, int wake_fd)
{
    if (wake_fd != -1 && connection_set_live(c, wake_fd) != 0) {
        connection_close(c);
        return NULL;
    }
    const struct route_hop *hop = route_next(route, &c->fault);
    connection_close(c);
    if (connection_is_interrupted(c)) {
        connection_set_interrupted(c);
        return NULL;
    }
    return hop;
}

int connection_open(struct connection *c, bool needs_requiretls)
{
    const struct config_destination *d = c->destination;
    int wake[2] = {-1, -1};
    const struct route_hop *hop;
    int result = -1;

    c->link.peer[0] = '\0';
    c->lacks_requiretls = false;
    outcome_set(&c->fault, OUTCOME_RETRY, "4.4.4", "no address to connect to");
    if (route_has_names(d) && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wake) != 0)
        wake[0] = wake[1] = -1; /* out of descriptors: socket(2) will fail, too */
    struct route *route = route_new(d, c->hostname, c->resolver, wake[0]);
    while (result != 0 && (hop = next_hop(c, route, wake[0])) != NULL)
        result = try_hop(c, hop, needs_requiretls);
    route_free(route);
    if (result == 0)
        c->lacks_requiretls = false;
    if (wake[0] != -1) {
        close(wake[0]);
        close(wake[1]);
    }
    return result;
}
