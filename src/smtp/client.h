/* SPDX-License-Identifier: ISC */
/*
 * client: one SMTP or LMTP connection to a destination, as a client (RFC 5321, 2033, 2920
 * PIPELINING, 1870 SIZE, 6152 8BITMIME, 6531 SMTPUTF8, 3461 DSN, 8689 REQUIRETLS). Reports what
 * happened per recipient, decides nothing. One thread at a time.
 */
#ifndef SPLIT_CLIENT_H
#define SPLIT_CLIENT_H

#include "config/config.h"
#include "smtp/outcome.h"
#include "queue/queue.h"
#include "net/resolver.h"

#include <stdbool.h>

struct client;

/* d and hostname (our name for EHLO) are borrowed for the client's life; resolver (borrowed,
 * too) NULL: the system's. No I/O yet. */
struct client *client_new(const struct config_destination *d, const char *hostname,
                          const struct resolver *resolver)
    __attribute__((nonnull(1, 2), returns_nonnull, warn_unused_result));

/* QUIT if there is a working connection (a reply is waited for briefly), then close. */
void client_free(struct client *c);

/*
 * Deliver the pending recipients of a copy: connect if need be (relay_to in order, every address of
 * each), reuse the connection otherwise; if a reused connection turns out to be closed or says 421
 * before the content was sent, connect anew and try once more. What is sent is said in format.h.
 * Fills report->outcomes (array of copy->recipient_count given by the caller) and the rest of the
 * report.
 */
void client_deliver(struct client *c, const struct queue_copy *copy, struct outcome_report *report)
    __attribute__((nonnull));

/* True while a connection is open that can take another message. */
bool client_is_connected(const struct client *c) __attribute__((nonnull));

/* Make a blocked client_deliver() of another thread end soon (shutdown after the grace time). */
void client_interrupt(struct client *c) __attribute__((nonnull));

#endif
