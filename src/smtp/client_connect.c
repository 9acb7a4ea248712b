/* SPDX-License-Identifier: ISC */
#include "smtp/client_private.h"
#include "task/task.h"
#include "smtp/route.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* 0: connected; else errno. */
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
    /* shutdown(2) by client_interrupt() resets the error of a socket that was connecting */
    return error == 0 && (got & POLLHUP) != 0 ? ECONNABORTED : error;
}

static int fail_connect(struct client *c, const char *target, int error)
{
    char text[128];

    if (atomic_load(&c->is_interrupted))
        client_outcome(&c->fault, OUTCOME_RETRY, "4.3.2", "delivery interrupted: shutting down");
    else
        client_outcome(&c->fault, OUTCOME_RETRY, "4.4.1", "connect to %s: %s", target,
                       strerror_r(error, text, sizeof text));
    return -1;
}

/* Open a connection to one address. target: for messages, becomes c->peer. */
static int open_connection(struct client *c, const struct sockaddr *sa, socklen_t len,
                           const char *target)
{
    int error = 0;
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return fail_connect(c, target, errno);
    if (client_set_live(c, fd) == 0) {
        if (connect(fd, sa, len) != 0)
            error = errno == EINPROGRESS ? wait_connected(fd, c->destination->connect_timeout_ms)
                                         : errno;
        if (error == 0) {
            snprintf(c->peer, sizeof c->peer, "%s", target);
            c->stream = stream_new(fd);
            c->uses = 0;
            c->opened_ms = client_now_ms();
            c->needs_rset = c->has_told = false;
            buf_reset(&c->xclient);
            return 0;
        }
        fail_connect(c, target, error);
    }
    client_close(c);
    close(fd);
    return -1;
}

static bool word_is(const char *word, size_t len, const char *name)
{
    return strlen(name) == len && strncasecmp(word, name, len) == 0;
}

/* "SIZE" [SP number]: RFC 1870 section 4. What is no number announces nothing. */
static uint64_t parse_size(const char *text, size_t len)
{
    uint64_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || n > (UINT64_MAX - 9) / 10)
            return 0;
        n = n * 10 + (uint64_t)(text[i] - '0');
    }
    return n;
}

/* ehlo-line = keyword *( SP param ), RFC 5321 4.1.1.1; the first line is the server's name. */
static void parse_features(struct client *c)
{
    struct client_features *f = &c->features;
    const char *line = strchr(buf_str(&c->reply.text), '\n');

    memset(f, 0, sizeof *f);
    f->has_our_name =
        word_is(buf_str(&c->reply.text), strcspn(buf_str(&c->reply.text), " \n"), c->hostname);
    while (line != NULL) {
        line++;
        size_t len = strcspn(line, "\n");
        size_t word = strcspn(line, " \n");
        if (word_is(line, word, "PIPELINING")) {
            f->pipelining = true;
        } else if (word_is(line, word, "8BITMIME")) {
            f->eight_bit = true;
        } else if (word_is(line, word, "SMTPUTF8")) {
            f->smtputf8 = true;
        } else if (word_is(line, word, "DSN")) {
            f->dsn = true;
        } else if (word_is(line, word, "XFORWARD")) {
            f->xforward = true;
            f->xforward_attributes = client_origin_attributes(line + word, len - word);
        } else if (word_is(line, word, "XCLIENT")) {
            f->xclient_attributes = client_origin_attributes(line + word, len - word);
        } else if (word_is(line, word, "AUTH") || strncasecmp(line, "AUTH=", 5) == 0) {
            f->auth |= client_auth_parse(line + 4, len - 4);
        } else if (word_is(line, word, "STARTTLS")) {
            f->starttls = true;
        } else if (word_is(line, word, "REQUIRETLS")) {
            f->requiretls = c->tls.is_verified;
        } else if (word_is(line, word, "SIZE")) {
            f->size = true;
            if (word < len)
                f->size_limit_bytes = parse_size(line + word + 1, len - word - 1);
        }
        line = line[len] == '\n' ? line + len : NULL;
    }
}

/* Send a greeting of ours. 0: answered with 2xx; 1: with another code; -1: `fault`. */
static int say_hello(struct client *c, enum client_step step, const char *verb, const char *name)
{
    enum stream_status status = stream_printf(c->stream, "%s %s\r\n", verb, name);

    if (status != STREAM_OK)
        return client_fail_io(c, step, status);
    if (client_ask(c, step) != 0)
        return -1;
    return c->reply.code / 100 == 2 ? 0 : 1;
}

int client_introduce(struct client *c, const char *name)
{
    bool is_lmtp = c->destination->protocol == CONFIG_LMTP;
    enum client_step step = is_lmtp ? CLIENT_LHLO : CLIENT_EHLO;

    int said = say_hello(c, step, is_lmtp ? "LHLO" : "EHLO", name);
    if (said == 1 && !is_lmtp && c->reply.code / 100 == 5) {
        step = CLIENT_HELO; /* RFC 5321 3.2 */
        said = say_hello(c, step, "HELO", name);
    }
    if (said == -1)
        return -1;
    if (said == 1)
        return client_fail_reply(c, step);
    if (step == CLIENT_HELO)
        memset(&c->features, 0, sizeof c->features);
    else
        parse_features(c);
    return 0;
}

/* From the connection to the point where mail can be sent. */
static int handshake(struct client *c)
{
    if (client_tls_wrap(c) != 0 || client_read_reply(c, CLIENT_GREETING) != 0)
        return -1;
    if (c->reply.code / 100 != 2)
        return client_fail_reply(c, CLIENT_GREETING);
    if (client_introduce(c, c->hostname) != 0 || client_tls_start(c) != 0)
        return -1;
    /* RFC 3207 4.2: what was said before is forgotten. */
    if (c->tls.is_on && c->destination->tls.wrap == 0 && client_introduce(c, c->hostname) != 0)
        return -1;
    return client_authenticate(c);
}

static int open_and_greet(struct client *c, const struct route_hop *hop)
{
    if (open_connection(c, (const struct sockaddr *)&hop->sa, hop->sa_len, hop->text) != 0)
        return -1;
    return handshake(c);
}

/* -1 with `fault`. */
static int try_hop(struct client *c, const struct route_hop *hop)
{
    smtp_reply_reset(&c->reply);
    client_tls_reset(c, hop->nexthop, (const struct sockaddr *)&hop->sa);
    int result = open_and_greet(c, hop);
    if (result != 0 && client_tls_gives_up(c))
        result = open_and_greet(c, hop);
    if (result == 0) {
        route_worked(hop);
        if (c->wants_requiretls && !c->features.requiretls)
            return client_tls_lacks_requiretls(c);
        if (!hop->is_foreign || !c->features.has_our_name)
            return 0;
        client_outcome(&c->fault, OUTCOME_RETRY, "4.4.6",
                       "mail loops back to myself: host %s has my own name", c->peer);
        client_close(c);
        return -1;
    }
    /* One that says why it does not want us is alive, and an interrupted try teaches nothing. */
    if (!c->reply.is_complete && !atomic_load(&c->is_interrupted))
        route_failed(hop);
    return -1;
}

/* The next address, with look-ups that client_interrupt() can end: it shuts wake_fd down. */
static const struct route_hop *next_hop(struct client *c, struct route *route, int wake_fd)
{
    if (wake_fd != -1 && client_set_live(c, wake_fd) != 0) {
        client_close(c);
        return NULL;
    }
    const struct route_hop *hop = route_next(route, &c->fault);
    client_close(c);
    if (atomic_load(&c->is_interrupted)) {
        client_outcome(&c->fault, OUTCOME_RETRY, "4.3.2", "delivery interrupted: shutting down");
        return NULL;
    }
    return hop;
}

int client_connect(struct client *c)
{
    const struct config_destination *d = c->destination;
    int wake[2] = {-1, -1};
    const struct route_hop *hop;
    int result = -1;

    c->peer[0] = '\0';
    c->lacks_requiretls = false;
    client_outcome(&c->fault, OUTCOME_RETRY, "4.4.4", "no address to connect to");
    if (route_has_names(d) && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wake) != 0)
        wake[0] = wake[1] = -1; /* out of descriptors: connecting will tell */
    struct route *route = route_new(d, c->hostname, c->resolver, wake[0]);
    while (result != 0 && (hop = next_hop(c, route, wake[0])) != NULL)
        result = try_hop(c, hop);
    route_free(route);
    if (result == 0)
        c->lacks_requiretls = false;
    if (wake[0] != -1) {
        close(wake[0]);
        close(wake[1]);
    }
    return result;
}
