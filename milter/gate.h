/* SPDX-License-Identifier: ISC */
/*
 * gate: the milter socket, where it is an inet socket. libmilter can neither refuse a peer nor
 * survive a malformed packet (milter_packet.h). So it listens on a private socket that only this
 * process can reach, and the gate listens on the public one: it closes connections of strangers
 * before a byte is read, checks each packet, and relays what is whole and well-formed. That costs
 * two switches between threads for each packet. A unix socket has no gate: its owner, group and
 * mode keep strangers out, and libmilter serves it at full speed. A thread of its own does that for
 * all connections; it never waits for one of them. libmilter's threads never wait for a slow peer
 * either, because only whole packets reach them.
 */
#ifndef MILTER_GATE_H
#define MILTER_GATE_H

#include "policy/snapshot.h"

struct gate;

/*
 * Open the public socket of the present configuration and prepare the private one. Each connection
 * is judged by trusted_mtas of the configuration that is then in `slot`. NULL with `err`.
 */
struct gate *gate_open(struct snapshot_slot *slot, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Where libmilter has to listen: "unix:/path", for smfi_setconn(). Valid until gate_start(). */
const char *gate_private_socket(const struct gate *g) __attribute__((nonnull));

/* libmilter listens: remove the private socket's name, and start the thread. -1 with `err`. */
int gate_start(struct gate *g, struct err *err) __attribute__((nonnull, warn_unused_result));

/* Stop the thread and close all connections. NULL is fine. */
void gate_close(struct gate *g);

#endif
