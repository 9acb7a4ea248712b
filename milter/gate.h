/* SPDX-License-Identifier: ISC */
/*
 * gate: the milter socket, if it is an inet socket. libmilter can neither refuse a peer nor survive
 * a malformed packet (milter_packet.h). So libmilter listens on a private socket that only this
 * process can reach, and the gate listens on the public socket. The gate closes a connection from
 * an address that is not trusted before it reads a byte. It checks each packet, and relays complete
 * packets only. A unix socket has no gate: its owner, group and mode decide who can connect, and
 * libmilter serves it directly. One thread of the gate serves all connections, and never waits for
 * an MTA. libmilter's threads never wait for a slow peer either, because they get only complete
 * packets.
 *
 * Switches between threads are the main cost of the gate. So the gate wakes libmilter only for
 * packets that get a reply, and answers a negotiation itself if libmilter has answered the same one
 * before (gate_answer.h).
 */
#ifndef MILTER_GATE_H
#define MILTER_GATE_H

#include "policy/snapshot.h"

struct gate;

/*
 * Open the public socket of the present configuration and prepare the private one. A connection is
 * checked against trusted_mtas of the configuration that is in `slot` when the connection is made.
 * NULL with `err`.
 */
struct gate *gate_open(struct snapshot_slot *slot, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The private socket on which libmilter has to listen: "unix:/path", for smfi_setconn(). Valid
 * until gate_start(). */
const char *gate_private_socket(const struct gate *g) __attribute__((nonnull));

/* Call when libmilter listens: removes the name of the private socket, and starts the thread. -1
 * with `err`. */
int gate_start(struct gate *g, struct err *err) __attribute__((nonnull, warn_unused_result));

/* Stop the thread and close all connections. NULL is legal. */
void gate_close(struct gate *g);

#endif
