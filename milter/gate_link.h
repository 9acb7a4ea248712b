/* SPDX-License-Identifier: ISC */
/*
 * gate_link: connections of MTAs and, for each, the one to libmilter: bytes go from either to the
 * other, those of the MTA as checked packets. Only the thread of the gate (gate.h).
 */
#ifndef MILTER_GATE_LINK_H
#define MILTER_GATE_LINK_H

#include "base/buf.h"
#include "mail/milter_packet.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct gate_link;

/* What epoll(7) reports about: events[].data.ptr. */
struct gate_side {
    int fd;
    uint32_t events;        /* it is watched for; 0: it is not in the set */
    struct gate_link *link; /* NULL: no connection */
};

struct gate_links {
    int epoll;
    unsigned count;
    struct gate_link *first, *dead; /* dead: until the events at hand are dealt with */
};

/* Watch for these events of epoll_ctl(2), or for none. */
void gate_watch(struct gate_links *links, struct gate_side *side, uint32_t events)
    __attribute__((nonnull));

/* Connect mta, whose address is sa, with inner, libmilter's; owns both from now on. */
void gate_link_add(struct gate_links *links, int mta, int inner, const struct sockaddr *sa)
    __attribute__((nonnull));

/* There is something to read from this side, or room to write to it. */
void gate_link_serve(struct gate_links *links, struct gate_side *side) __attribute__((nonnull));

/* Release what has ended. Before the next epoll_wait(2). */
void gate_links_sweep(struct gate_links *links) __attribute__((nonnull));

/* End all. */
void gate_links_clear(struct gate_links *links) __attribute__((nonnull));

/* For log lines: the address, or "unix". */
void gate_name(const struct sockaddr *sa, char *out, socklen_t size) __attribute__((nonnull));

#endif
