/* SPDX-License-Identifier: ISC */
/*
 * maillog: the lines about mail: a copy was taken, what came of an attempt, what was refused. Here
 * alone is known how they look, in either style: our own, or the grammar of Postfix, for tools that
 * know nothing else (pflogsumm). Any thread.
 *
 * In Postfix's grammar the part of the program that speaks is in the tag ("splitrelay/smtpd[PID]:",
 * log_as()). Where a destination is concerned, it is that destination's part, as if each had a
 * syslog_name of its own: "splitrelay/archive/smtp[PID]:". What comes from outside cannot pass for
 * a field there: '<' and '>' in an address become '?', and so does the '=' of "=<" in other text.
 */
#ifndef SPLIT_MAILLOG_H
#define SPLIT_MAILLOG_H

#include "config/config.h"
#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "splitmilter", which is how it begins, or "postfix", for the lines from now on. */
void maillog_set_style(const char *style) __attribute__((nonnull));

/* A copy was stored; count: its recipients. If it is dead on arrival, they follow. To be called
 * before it can be delivered: tools take the size from the line above. */
void maillog_taken(const struct queue_message *m, const struct queue_new_copy *copy, size_t count,
                   uint64_t size) __attribute__((nonnull));

/* Before the outcomes of an attempt that is not the first, or comes late: what the copy is, since
 * the log where it was taken may have been rotated. Only in Postfix's grammar. */
void maillog_active(const struct queue_copy *c) __attribute__((nonnull));

/* What an attempt was to one recipient. No string is NULL. */
struct maillog_attempt {
    const char *relay;  /* "host[ip]:25", "none" */
    unsigned conn_use;  /* messages over this connection */
    const char *delays; /* "delay=0.4, delays=0/0/0.3/0.1" */
    const char *dsn;    /* "2.0.0" */
};

/* The outcome, when the recipient's state and reason are decided. i: which of the copy's. */
void maillog_outcome(const struct queue_copy *c, size_t i, const struct config_destination *d,
                     const struct maillog_attempt *a) __attribute__((nonnull));

/* A refusal. No string is NULL. */
struct maillog_reject {
    const char *stage;       /* "CONNECT", "RCPT", "END-OF-MESSAGE" */
    const char *client_addr; /* "192.0.2.1", "unix" */
    const char *text;        /* what the client is told, "550 5.7.1 ..." */
    const char *detail;      /* what he is not told, or "" */
    const char *sender;      /* without <>, "" if there is none */
    const char *to;          /* RCPT: a path with <>; else "" */
    const char *protocol, *helo;
};

/* Write the line about a refusal, if there is room (maillog_has_room()). */
void maillog_reject(const struct maillog_reject *r) __attribute__((nonnull));

/* May there be another line about what a client does wrong? False: there were too many lately, and
 * how many are missing will be said. maillog_reject() looks itself. So that a client cannot fill
 * the log, nor have its keeper drop other lines. */
bool maillog_has_room(void) __attribute__((warn_unused_result));

#endif
