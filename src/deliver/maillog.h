/* SPDX-License-Identifier: ISC */
/*
 * maillog: the log lines about mail: a copy was taken, the outcome of an attempt, a refusal. This
 * module alone decides their form. There are two styles: our own, and the grammar of Postfix, for
 * tools that read only that (pflogsumm). In both styles the lines have fields (log_event()), whose
 * names and values are those of our own style. Any thread.
 *
 * In Postfix's grammar the tag has the part of the program that logs ("splitrelay/smtpd[PID]:",
 * log_as()). Lines about a destination have its name in the tag, as if each destination had a
 * syslog_name of its own: "splitrelay/archive/smtp[PID]:". Text from outside cannot be taken for a
 * field of the line: '<' and '>' in an address become '?', and so does the '=' of "=<" in other
 * text.
 */
#ifndef SPLIT_MAILLOG_H
#define SPLIT_MAILLOG_H

#include "config/config.h"
#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The style of the lines from now on: "postfix"; or any other word for our own style, which is the
 * initial one. */
void maillog_set_style(const char *style) __attribute__((nonnull));

/* Log that a copy was taken. count: the number of its recipients. If the copy is dead on arrival,
 * or its destination does not want it, a line for each recipient follows. The caller logs a copy
 * before it can be delivered, because tools take the size from this line. */
void maillog_taken(const struct queue_message *m, const struct queue_new_copy *copy, size_t count,
                   uint64_t size) __attribute__((nonnull));

/* In Postfix's grammar: log size and sender of a copy again, before the outcomes of an attempt that
 * is late or not the first, because the log with the copy's arrival may have been rotated away.
 * Does nothing in our own style. */
void maillog_active(const struct queue_copy *c) __attribute__((nonnull));

/* An attempt, as it was for one recipient. No string is NULL. */
struct maillog_attempt {
    const char *relay;          /* "host[ip]:25", "none" */
    unsigned conn_use;          /* messages over this connection */
    const char *delay, *delays; /* "0.4", "0/0/0.3/0.1" */
    const char *dsn;            /* "2.0.0" */
};

/* Log the outcome for recipient i of the copy, whose state and reason are set. */
void maillog_outcome(const struct queue_copy *c, size_t i, const struct config_destination *d,
                     const struct maillog_attempt *a) __attribute__((nonnull));

/* A refusal. No string is NULL. */
struct maillog_reject {
    const char *stage;       /* "CONNECT", "RCPT", "END-OF-MESSAGE" */
    const char *client_addr; /* "192.0.2.1", "unix" */
    const char *text;        /* the reply to the client, "550 5.7.1 ..." */
    const char *detail;      /* for the log alone, or "" */
    const char *sender;      /* without <>, "" if there is none */
    const char *to;          /* RCPT: a path with <>; else "" */
    const char *protocol, *helo;
};

/* Write the line about a refusal, if there is room (maillog_has_room()). */
void maillog_reject(const struct maillog_reject *r) __attribute__((nonnull));

/* May another line about a client's error be logged? False: there were too many lately; the number
 * of lines that are missing is logged later. True counts as one line. The limit keeps clients from
 * filling the log, and from making the log daemon drop other lines. maillog_reject() calls this
 * itself. */
bool maillog_has_room(void) __attribute__((warn_unused_result));

#endif
