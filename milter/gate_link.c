/* SPDX-License-Identifier: ISC */
#include "gate_link.h"
#include "callbacks.h"
#include "base/buf.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/milter_packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_SIZE 65536
#define HELD_MAX 16384 /* bytes of packets without reply that may wait for one with a reply */
#define CONNECT_TIMEOUT_MS 2000 /* how long a thread of libmilter may take to accept */

/*
 * In each direction at most one piece of data is buffered: while there is unsent data for one side,
 * the other side is not read. So a link buffers at most HELD_MAX plus READ_SIZE bytes plus one
 * packet, and usually nothing.
 *
 * Each piece of data that libmilter gets wakes two of its threads. So a packet without reply waits
 * for the next packet with a reply. Such packets are MAIL, the macros, and ABORT between two
 * messages.
 */
struct gate_link {
    struct gate_side mta, inner; /* inner.fd: -1 as long as libmilter is not connected */
    struct gate_question question;
    struct milter_packets packets;
    struct buf pending;          /* from the MTA: packets without reply, then a part of a packet */
    size_t checked;              /* the length of the packets in `pending`, which are well-formed */
    struct buf to_mta, to_inner; /* data that could not be sent yet */
    bool is_ending;              /* libmilter has closed: the link ends when to_mta is sent */
    bool is_answered;            /* the MTA has the answer to its negotiation */
    /* libmilter will answer the negotiation, too; that answer is not passed on */
    bool is_repeated;
    bool is_dead, is_inet;
    char name[INET6_ADDRSTRLEN];
    struct gate_link *next, **from;
};

static char scratch[READ_SIZE]; /* used by one thread */

void gate_name(const struct sockaddr *sa, char *out, socklen_t size)
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)sa;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

    if (sa->sa_family == AF_INET)
        inet_ntop(AF_INET, &in4->sin_addr, out, size);
    else if (sa->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &in6->sin6_addr, out, size);
    else
        memcpy(out, "unix", sizeof "unix");
}

void gate_watch(struct gate_links *links, struct gate_side *side, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = side};
    /* A side without events is removed from the set, because epoll(7) would still report a
     * hang-up. */
    int op = events == 0 ? EPOLL_CTL_DEL : side->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    if (events != side->events && epoll_ctl(links->epoll, op, side->fd, &event) != 0)
        log_warning("epoll_ctl: %s", strerror(errno));
    side->events = events;
}

static void end_link(struct gate_links *links, struct gate_link *l)
{
    if (l->is_dead)
        return;
    l->is_dead = true;
    *l->from = l->next;
    if (l->next != NULL)
        l->next->from = l->from;
    l->next = links->dead;
    links->dead = l;
}

static void watch_both(struct gate_links *links, struct gate_link *l)
{
    uint32_t mta_in = l->to_inner.len == 0 ? EPOLLIN : 0,
             mta_out = l->to_mta.len > 0 ? EPOLLOUT : 0;
    uint32_t inner_in = l->to_mta.len == 0 && !l->is_ending ? EPOLLIN : 0;
    uint32_t inner_out = l->to_inner.len > 0 ? EPOLLOUT : 0;

    gate_watch(links, &l->mta, l->is_ending ? mta_out : mta_in | mta_out);
    if (l->inner.fd >= 0)
        gate_watch(links, &l->inner, inner_in | inner_out);
}

static bool is_for_later(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* Send as much of the data as possible and append the rest to `unsent`. -1: the peer has closed. */
static int put(int fd, const char *data, size_t len, struct buf *unsent)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && !is_for_later(errno))
            return -1;
        if (n < 0)
            break;
        data += n;
        len -= (size_t)n;
    }
    buf_add(unsent, data, len);
    return 0;
}

static int flush(int fd, struct buf *unsent)
{
    ssize_t n = send(fd, unsent->data, unsent->len, MSG_NOSIGNAL);

    if (n < 0)
        return is_for_later(errno) ? 0 : -1;
    buf_consume(unsent, (size_t)n);
    if (unsent->len == 0)
        buf_clear(unsent); /* most connections wait for mail and need no buffer */
    return 0;
}

/* A new connection to libmilter, or -1. */
static int connect_private(const struct gate_links *links)
{
    static const struct timeval timeout = {.tv_sec = CONNECT_TIMEOUT_MS / 1000};
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    snprintf(sa.sun_path, sizeof sa.sun_path, "/proc/self/fd/%d", links->private_fd);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) == 0 &&
        connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && fdio_set_nonblocking(fd) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* Send the data to libmilter, after connecting to it if need be. -1: the link has to end. */
static int put_inner(const struct gate_links *links, struct gate_link *l, const char *data,
                     size_t len)
{
    if (len > 0 && l->inner.fd < 0 && (l->inner.fd = connect_private(links)) < 0) {
        log_warning("a connection of the MTA is closed: libmilter does not accept it: %s",
                    strerror(errno));
        return -1;
    }
    return put(l->inner.fd, data, len, &l->to_inner);
}

/*
 * Acknowledge what the MTA has sent, because it gets no reply now. With Nagle's algorithm an MTA
 * sends the next packet only when the former one is acknowledged. A reply would acknowledge it;
 * otherwise the kernel waits for 40 ms (delayed ACK), unless TCP_QUICKACK is set. The option is set
 * each time, because the kernel clears it when data is sent.
 */
static void acknowledge(const struct gate_link *l)
{
    static const int on = 1;

    if (l->is_inet)
        (void)setsockopt(l->mta.fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

/* Answer the packet in which the MTA negotiates, if the answer is known. False: libmilter has to be
 * asked. */
static bool answer(const struct gate_links *links, struct gate_link *l, const char *data,
                   size_t len)
{
    gate_question_set(&l->question, callbacks_needs(links->slot), data, len);
    const struct gate_answer *a = gate_answer_find(&links->answers, &l->question);
    if (a == NULL || put(l->mta.fd, a->data, a->len, &l->to_mta) != 0)
        return false;
    milter_packets_learn(&l->packets, a->data, a->len);
    l->is_answered = l->is_repeated = true;
    return true;
}

/* How many bytes libmilter gets now. whole: the length of all complete packets in data. due: the
 * length up to the last packet that gets a reply. */
static size_t to_pass(const struct gate_links *links, struct gate_link *l, const char *data,
                      size_t whole, size_t due)
{
    if (whole > HELD_MAX || (due > 0 && l->packets.has_ended))
        return whole;
    if (due == whole && l->inner.fd < 0 && !l->is_answered && answer(links, l, data, whole))
        return 0;
    return due;
}

/* Pass packets on up to the last one with a reply, and keep the rest in `pending`. data: all bytes
 * that were not passed on. -1: the link has to end. */
static int pass_packets(const struct gate_links *links, struct gate_link *l, const char *data,
                        size_t len)
{
    struct err err;
    size_t due;
    ptrdiff_t more =
        milter_packets_check(&l->packets, data + l->checked, len - l->checked, &due, &err);

    if (more < 0) {
        log_warning("closed the milter connection from [%s]: %s", l->name, err.text);
        return -1;
    }
    if (due == 0)
        acknowledge(l);
    size_t whole = l->checked + (size_t)more;
    size_t passed = to_pass(links, l, data, whole, due == 0 ? 0 : l->checked + due);
    if (passed == 0 && l->packets.has_ended)
        return -1; /* libmilter treats the end of the connection like QUIT */
    if (put_inner(links, l, data, passed) != 0)
        return -1;
    l->checked = whole - passed;
    if (data != l->pending.data)
        buf_add(&l->pending, data + passed, len - passed);
    else if (passed < len)
        buf_consume(&l->pending, passed);
    else
        buf_clear(&l->pending);
    return 0;
}

static int read_mta(const struct gate_links *links, struct gate_link *l)
{
    ssize_t n = recv(l->mta.fd, scratch, sizeof scratch, 0);

    if (n < 0)
        return is_for_later(errno) ? 0 : -1;
    if (n == 0)
        return -1; /* an MTA that closes its side waits for no reply */
    if (l->pending.len == 0)
        return pass_packets(links, l, scratch, (size_t)n);
    buf_add(&l->pending, scratch, (size_t)n);
    return pass_packets(links, l, l->pending.data, l->pending.len);
}

/*
 * Handle the first bytes of libmilter on this connection, which are its answer to the negotiation
 * in one piece. *sent_out: how many of them the MTA has got already, from the gate. After a reload
 * libmilter's answer may differ from the gate's. That does no harm, because the callbacks look at
 * the configuration, not at what was negotiated. -1: the bytes are no answer, but the MTA has got
 * one.
 */
static int see_answer(struct gate_links *links, struct gate_link *l, const char *data, size_t len,
                      size_t *sent_out)
{
    size_t size = milter_packets_answer(data, len);

    *sent_out = l->is_answered ? size : 0;
    if (l->is_answered && size == 0)
        return -1;
    if (!l->is_answered)
        milter_packets_learn(&l->packets, data, len);
    if (l->question.needs == callbacks_needs(links->slot)) /* no reload meanwhile */
        gate_answer_keep(&links->answers, &l->question, data, size);
    l->is_answered = true;
    l->is_repeated = false;
    return 0;
}

static int read_inner(struct gate_links *links, struct gate_link *l)
{
    ssize_t n = recv(l->inner.fd, scratch, sizeof scratch, 0);
    size_t sent = 0;

    if (n < 0)
        return is_for_later(errno) ? 0 : -1;
    l->is_ending = n == 0;
    if (n > 0 && (!l->is_answered || l->is_repeated) &&
        see_answer(links, l, scratch, (size_t)n, &sent) != 0)
        return -1;
    return put(l->mta.fd, scratch + sent, (size_t)n - sent, &l->to_mta);
}

void gate_link_serve(struct gate_links *links, struct gate_side *side)
{
    struct gate_link *l = side->link;
    bool is_mta = side == &l->mta;
    struct buf *unsent = is_mta ? &l->to_mta : &l->to_inner;
    const struct buf *unread = is_mta ? &l->to_inner : &l->to_mta;
    int rc = 0;

    if (l->is_dead)
        return;
    if (unsent->len > 0)
        rc = flush(side->fd, unsent);
    if (rc == 0 && unread->len == 0 && !l->is_ending)
        rc = is_mta ? read_mta(links, l) : read_inner(links, l);
    if (rc != 0 || (l->is_ending && l->to_mta.len == 0))
        end_link(links, l);
    else
        watch_both(links, l);
}

void gate_link_add(struct gate_links *links, int mta, const struct sockaddr *sa)
{
    struct gate_link *l = mem_zalloc(sizeof *l);

    l->mta = (struct gate_side){.fd = mta, .link = l};
    l->inner = (struct gate_side){.fd = -1, .link = l};
    l->is_inet = sa->sa_family != AF_UNIX;
    gate_name(sa, l->name, sizeof l->name);
    l->next = links->first;
    l->from = &links->first;
    if (l->next != NULL)
        l->next->from = &l->next;
    links->first = l;
    links->count++;
    gate_link_serve(links, &l->mta);
}

void gate_links_sweep(struct gate_links *links)
{
    while (links->dead != NULL) {
        struct gate_link *l = links->dead;
        links->dead = l->next;
        links->count--;
        close(l->mta.fd);
        if (l->inner.fd >= 0)
            close(l->inner.fd);
        buf_clear(&l->pending);
        buf_clear(&l->to_mta);
        buf_clear(&l->to_inner);
        free(l);
    }
}

void gate_links_clear(struct gate_links *links)
{
    while (links->first != NULL)
        end_link(links, links->first);
    gate_links_sweep(links);
}
