/* SPDX-License-Identifier: ISC */
/*
 * client: delivers copies of the queue to a destination over SMTP or LMTP: one connection
 * (connection.h), the transactions on it, and its reuse for the next copy (RFC 5321, 2033, 2920
 * PIPELINING, 1870 SIZE, 6152 8BITMIME, 6531 SMTPUTF8, 3461 DSN, 8689 REQUIRETLS). The client
 * reports an outcome for each recipient; deliver/ decides what follows from the outcomes. One
 * thread at a time, except for client_interrupt() and client_interrupt_setup().
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

/* Send QUIT and close the connection if there is one; free the client. NULL is legal. */
void client_free(struct client *c);

/*
 * Deliver a copy to its pending recipients. The connection is reused if there is one; otherwise the
 * client connects (relay_to in order, every address of each). If a reused connection is lost before
 * the content is sent (closed by the server, 421, a refusal of MAIL with 4xx), the client connects
 * anew and tries once more. format.h says what is sent. Fills report->outcomes, for which the
 * caller provides an array of copy->recipient_count, and all other members of the report except
 * wait_ms.
 */
void client_deliver(struct client *c, const struct queue_copy *copy, struct outcome_report *report)
    __attribute__((nonnull));

/* True while a connection is open that can take another message. */
bool client_is_connected(const struct client *c) __attribute__((nonnull));

/* Make a client_deliver() that waits end soon, when its destination is stopped and the grace time
 * is over. From any thread. */
void client_interrupt(struct client *c) __attribute__((nonnull));
/* As client_interrupt(), unless the client has begun a message in its connection: an interruption
 * before that loses nothing. */
void client_interrupt_setup(struct client *c) __attribute__((nonnull));

#endif
