/* SPDX-License-Identifier: ISC */
/*
 * client: delivers copies of the queue to a destination over SMTP or LMTP: one connection
 * (connection.h), the transactions on it, and its reuse for the next copy (RFC 5321, 2033, 2920
 * PIPELINING, 1870 SIZE, 6152 8BITMIME, 6531 SMTPUTF8, 3461 DSN, 8689 REQUIRETLS). Reports an
 * outcome for each recipient; what follows from it is decided in deliver/. One thread at a time,
 * except for client_interrupt() and client_interrupt_setup().
 */
#ifndef SPLIT_CLIENT_H
#define SPLIT_CLIENT_H

#include "config/config.h"
#include "smtp/outcome.h"
#include "queue/queue.h"
#include "net/resolver.h"

#include <stdbool.h>

struct client;
struct security_client;

/* Make a client. d, security (NULL: neither TLS nor AUTH is set up), hostname (our name for EHLO)
 * and resolver (NULL: the system's) are borrowed for the client's life. No I/O yet. */
struct client *client_new(const struct config_destination *d,
                          const struct security_client *security, const char *hostname,
                          const struct resolver *resolver)
    __attribute__((nonnull(1, 3), returns_nonnull, warn_unused_result));

/* connection_quit(), then release the object. */
void client_free(struct client *c);

/*
 * Deliver the pending recipients of a copy: connect if need be (relay_to in order, every address of
 * each), reuse the connection otherwise; if a reused connection turns out to be closed, or gets 421
 * before the content was sent, connect anew and try once more. format.h says what is sent.
 * Fills report->outcomes (array of copy->recipient_count given by the caller) and the rest of the
 * report.
 */
void client_deliver(struct client *c, const struct queue_copy *copy, struct outcome_report *report)
    __attribute__((nonnull));

/* True while a connection is open that can take another message. */
bool client_is_connected(const struct client *c) __attribute__((nonnull));

/* Make a blocked client_deliver() in another thread end soon (shutdown after the grace time). From
 * any thread. */
void client_interrupt(struct client *c) __attribute__((nonnull));
/* The same, unless the client has begun a message in its connection. Before it has, nothing is lost
 * by the interruption. */
void client_interrupt_setup(struct client *c) __attribute__((nonnull));

#endif
