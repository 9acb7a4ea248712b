/* SPDX-License-Identifier: ISC */
/*
 * trace_kind: which program wrote a line, which queue id the line is about, and what kind of event
 * it is. Pure functions.
 */
#ifndef SPLIT_CTL_TRACE_KIND_H
#define SPLIT_CTL_TRACE_KIND_H

#include "ctl/trace/trace_line.h"

#include <stdbool.h>
#include <stddef.h>

enum trace_program {
    TRACE_PROGRAM_OTHER, /* its lines are ignored */
    TRACE_PROGRAM_POSTFIX,
    TRACE_PROGRAM_SENDMAIL,
    TRACE_PROGRAM_SPLITMILTER,
    TRACE_PROGRAM_SPLITRELAY,
    TRACE_PROGRAM_AMAVIS
};

enum trace_kind {
    TRACE_KIND_OTHER,      /* another line with a queue id */
    TRACE_KIND_ARRIVED,    /* client= */
    TRACE_KIND_MESSAGE_ID, /* message-id= */
    TRACE_KIND_SENDER,     /* from=, with size and number of recipients */
    TRACE_KIND_DECIDED,    /* splitmilter: canonical address, filter, copies; or a failure */
    TRACE_KIND_DELIVERY,   /* to=, with status */
    TRACE_KIND_REFUSED,    /* reject: ... */
    TRACE_KIND_DISCARDED,  /* discard: ... */
    TRACE_KIND_HELD,       /* hold: ... */
    TRACE_KIND_NOTIFIED,   /* a notification to the sender: another queue id */
    TRACE_KIND_FILTERED,   /* amavis: verdict */
    TRACE_KIND_ORDER,      /* held, released, deleted ... by an administrator */
    TRACE_KIND_REQUEUED,   /* postsuper(1): the message goes on under another id */
    TRACE_KIND_EXPIRED,    /* Postfix: status=expired, returned to sender */
    TRACE_KIND_REMOVED     /* Postfix: the message is no longer in the queue */
};

/* The parts of a tag: "postfix-in/smtpd" is system and service, "splitrelay/archive/smtp" is
 * system, destination and service. */
struct trace_origin {
    enum trace_program program;
    struct slice system;          /* the first component: an instance of Postfix, or the program */
    struct slice middle, service; /* "" if absent */
};

/* Split a tag. */
void trace_kind_origin(struct slice tag, struct trace_origin *out) __attribute__((nonnull));

/* Find the queue id in the text of a line. *text: skipped up to the id. Returns its length; the
 * text then is "ID: ...". The id may be "NOQUEUE", for a message that was refused. 0: there is
 * none; a line of amavis about a message has none either, nor has the refusal of a proxy, and
 * trace_kind_of() says so. */
size_t trace_kind_id(enum trace_program program, struct slice *text) __attribute__((nonnull));

/* The kind of a line. body: the text after "ID: "; the whole text if there is no id. */
enum trace_kind trace_kind_of(const struct trace_origin *origin, struct slice body)
    __attribute__((nonnull));

#endif
