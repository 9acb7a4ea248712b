/* SPDX-License-Identifier: ISC */
/*
 * control_line: what splitctl and splitrelay say to each other at the control socket, one line a
 * request:
 *
 *     request = ( "ping" / "health" SP destination / "retry" SP what / change ) LF
 *     change  = ( "hold" / "release" / "delete" / "requeue" ) *( SP option ) SP what
 *     option  = "--in=" ( "queue" / "hold" / "dead" ) / "--to=" destination   ; each once at most
 *     what    = id / "--all" [ SP destination ]
 *     reply   = *( "progress" SP changed LF ) ( "ok" [ SP text ] / "error" SP text ) LF
 *
 * The text of health is two numbers, since when the destination has been suspended and until when
 * (seconds since 1970; 0 when it is not), and the reason, if there is one.
 * The text of a change is three numbers (changed, ordered, failed; see queue.h) and, if there is
 * one, the reason of the last failure. Pure functions; any thread.
 */
#ifndef SPLIT_CONTROL_LINE_H
#define SPLIT_CONTROL_LINE_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/queue.h"

enum control_verb { CONTROL_PING, CONTROL_HEALTH, CONTROL_RETRY, CONTROL_CHANGE };

struct control_line {
    enum control_verb verb;
    enum queue_action action; /* with CONTROL_CHANGE */
    unsigned places;          /* as in struct queue_change */
    bool is_all;
    char id[QUEUE_ID_SIZE];                   /* "" with is_all, and CONTROL_HEALTH */
    char destination[QUEUE_DESTINATION_SIZE]; /* "": all */
    char to[QUEUE_DESTINATION_SIZE];          /* "": none */
};

/* A request without its LF. -1 with `err`. */
int control_line_parse(const char *text, struct control_line *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Append the request, without LF. */
void control_line_format(const struct control_line *line, struct buf *out) __attribute__((nonnull));

/* The same as a change; it borrows the strings of line. */
struct queue_change control_line_change(const struct control_line *line) __attribute__((nonnull));

/* "queue", "hold", "dead" -> QUEUE_IN_...; 0: none of them. */
unsigned control_line_place(const char *word) __attribute__((nonnull));

/* "hold", "release", "delete", "requeue" */
const char *control_line_action(enum queue_action action) __attribute__((returns_nonnull));

/* The text of a reply to a change. reason: "" or why the last one failed. */
void control_line_changed(const struct queue_changed *changed, const char *reason, struct buf *out)
    __attribute__((nonnull));
/* -1: it is none. */
int control_line_parse_changed(const char *text, struct queue_changed *out, struct err *reason_out)
    __attribute__((nonnull, warn_unused_result));

#endif
