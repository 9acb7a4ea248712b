/* SPDX-License-Identifier: ISC */
/*
 * gate_link: relays data between each connection of an MTA and a connection to libmilter, in both
 * directions. The packets of the MTA are checked. A negotiation whose answer is known is answered
 * at once; the connection to libmilter is then made only when the MTA has mail. Called only by the
 * thread of the gate (gate.h).
 */
#ifndef MILTER_GATE_LINK_H
#define MILTER_GATE_LINK_H

#include "gate_answer.h"
#include "policy/snapshot.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct gate_link;

/* A descriptor for epoll(7); the data.ptr of its events points to this struct. */
struct gate_side {
    int fd;
    uint32_t events;        /* events that are watched; 0: the descriptor is not in the set */
    struct gate_link *link; /* NULL: a listener or the eventfd */
};

struct gate_links {
    int epoll;
    int private_fd; /* O_PATH: reaches libmilter's socket after the removal of its name */
    struct snapshot_slot *slot;
    struct gate_answers answers;
    unsigned count;
    struct gate_link *first, *dead; /* dead: ended, freed by gate_links_sweep() */
};

/* Watch the side for these events of epoll_ctl(2); 0: do not watch it. */
void gate_watch(struct gate_links *links, struct gate_side *side, uint32_t events)
    __attribute__((nonnull));

/* Add a link for `mta`, the connection of an MTA with address `sa`, and handle what the MTA has
 * sent. Takes over the descriptor. */
void gate_link_add(struct gate_links *links, int mta, const struct sockaddr *sa)
    __attribute__((nonnull));

/* Handle events of this side: its descriptor can be read, or written to. */
void gate_link_serve(struct gate_links *links, struct gate_side *side) __attribute__((nonnull));

/* Free the links that have ended. Called before each epoll_wait(2). */
void gate_links_sweep(struct gate_links *links) __attribute__((nonnull));

/* End and free all links. */
void gate_links_clear(struct gate_links *links) __attribute__((nonnull));

/* Write the address for log lines; "unix" for a unix socket. */
void gate_name(const struct sockaddr *sa, char *out, socklen_t size) __attribute__((nonnull));

#endif
