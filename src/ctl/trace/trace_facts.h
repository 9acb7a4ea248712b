/* SPDX-License-Identifier: ISC */
/*
 * trace_facts: the fields in the text of a line about a message. Pure functions; the results point
 * into the text.
 *
 *     text  = field *( ", " field ) [ " (" note ")" ]
 *     field = name "=" value
 *     value = "<" address ">" *( "," "<" address ">" ) / text without ", "
 *
 * After `status=` the text in parentheses is the reply, and after `stat=` of Sendmail the rest of
 * the line. The fields are read from left to right, so that a reply cannot be taken for a field.
 * Syslog may cut a line: a value whose end is missing is left out, and is_whole is false.
 */
#ifndef SPLIT_CTL_TRACE_FACTS_H
#define SPLIT_CTL_TRACE_FACTS_H

#include "ctl/trace/trace_kind.h"
#include "ctl/trace/trace_line.h"

#include <stdbool.h>
#include <stddef.h>

enum trace_status {
    TRACE_STATUS_NONE, /* the line has no status */
    TRACE_STATUS_SENT,
    TRACE_STATUS_DEFERRED,
    TRACE_STATUS_BOUNCED,
    TRACE_STATUS_EXPIRED,
    TRACE_STATUS_DEAD,    /* splitrelay: kept as a dead letter */
    TRACE_STATUS_REFUSED, /* refused while the client was connected */
    TRACE_STATUS_SKIPPED, /* splitrelay: not wanted by the destination */
    TRACE_STATUS_DELETED, /* by an administrator */
    TRACE_STATUS_OTHER
};

struct trace_facts {
    /* One address, or several with their brackets and commas (Sendmail). Without the brackets if it
     * is one. */
    struct slice to, orig_to, from, canonical;
    struct slice message_id; /* without brackets */
    struct slice filter, copy, skip, dest, listener;
    struct slice client;   /* "host[ip]" */
    struct slice queue_id; /* queue_id= or orig_queue_id=; "-" counts as absent */
    struct slice size, nrcpt, relay, delay, dsn, status_text, reply;
    enum trace_status status;
    bool is_whole; /* the end of the text is there, as far as the text shows it */
};

/* Read the fields of a text that follows "ID: ". */
void trace_facts_read(const char *text, size_t len, struct trace_facts *out)
    __attribute__((nonnull));

/*
 * Read a refusal, as Postfix and splitrelay have it; also "discard: " and "hold: ".
 *
 *     refusal = action ": " text "; from=<a>" [ [","] " to=<b>" ] *( [","] " " name "=" value )
 *               [ ": " text ]                            (action "... header", "... body")
 *
 * The text before the sender may be that of a client, and so may the sender. The addresses are at
 * the first place from where the line can be read to its end, for a header or a body at the last
 * such place. out->reply has the text before it.
 */
void trace_facts_read_reject(const char *text, size_t len, struct trace_facts *out)
    __attribute__((nonnull));

/* Read a line of amavis: "(12345-01) Passed CLEAN {...}, [IP] <a> -> <b>,<c>, Queue-ID: X,
 * Message-ID: <...>, ..., queued_as: Y, 512 ms". status_text has "Passed CLEAN", reply has the text
 * after queued_as:, delay "512 ms". The Message-ID is chosen by the sender, and cannot be taken for
 * other members. */
void trace_facts_read_amavis(const char *text, size_t len, struct trace_facts *out)
    __attribute__((nonnull));

/* Get the next address of a list as in `to`, without brackets. *at: where to go on; initially 0.
 * False: there is no further address. */
bool trace_facts_address(struct slice list, size_t *at, struct slice *out) __attribute__((nonnull));

/* Get the next queue id that the reply of a server names: "queued as ID [ID...]", "ID Message
 * accepted for delivery"; or local(8): "forwarded as ID". An id at the very end of a reply that is
 * cut is left out. *at: initially 0. */
bool trace_facts_queued_as(const struct trace_facts *f, size_t *at, struct slice *out)
    __attribute__((nonnull));

/* Is the mail still in this instance: "forwarded as ID"? */
bool trace_facts_is_forwarded(const struct trace_facts *f) __attribute__((nonnull));

/* Is the relay on this machine or in a private network? Other servers may answer with any id. True
 * if no relay is named. */
bool trace_facts_is_near(const struct trace_facts *f) __attribute__((nonnull));

/* Read the fields that lines of this kind have. body: the text after "ID: ". */
void trace_facts_read_line(enum trace_program program, enum trace_kind kind, struct slice body,
                           struct trace_facts *out) __attribute__((nonnull));

/* The id that the line of a notification names: bounce(8) writes "sender non-delivery notification:
 * NEWID", Sendmail "NEWID: DSN: REASON". */
struct slice trace_facts_notification(struct slice body);

#endif
