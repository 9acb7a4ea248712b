/* SPDX-License-Identifier: ISC */
/*
 * control_line: the protocol of the control socket between splitctl and splitrelay. A request is
 * one line:
 *
 *     request = ( "ping" / health / suspend / resume / change ) LF
 *
 *     health  = "health" SP destination
 *
 *     suspend = "suspend" SP destination SP until [ SP "reason=" xtext ]
 *
 *     resume  = "resume" SP destination
 *
 *     change  = action 1*( SP word )                ; each word once at most
 *
 *     action  = "retry" / "hold" / "release" / "delete" / "requeue"
 *
 *     word    = "all" / "id=" id / "destination=" destination / "requeue-to=" destination
 *
 *     word    =/ "from=" xtext / "to=" xtext / "reason=" xtext / "mta-id=" xtext
 *
 *     word    =/ "message-id=" xtext / "before=" number / "after=" number / "larger=" number
 *
 *     word    =/ "limit=" number / "in=" place *( "," place )
 *
 *     place   = "queue" / "hold" / "dead"
 *
 *     reply   = *( "progress" SP changed LF ) ( "ok" [ SP text ] / "error" SP text ) LF
 *
 * A change selects its copies with "all", with an id, or with conditions of struct queue_selection
 * (queue.h). The words "destination=", "in=" and "limit=" alone are not enough. until: seconds
 * since 1970; 0: until a request "resume". A reason that is too long is cut.
 *
 * The text of the reply "ok" depends on the request:
 *   - ping: the reason why the queue takes no messages now; none if it takes them.
 *   - health: two numbers, the beginning and the end of the suspension by faults (seconds since
 *     1970; 0 if the destination is not suspended, or not known), then the reason, if there is one.
 *   - resume: "1" if a suspension by splitctl has ended, "0" if there was none.
 *   - change: three numbers (changed, ordered, failed; see queue.h), then the reason of the last
 *     failure, if there is one.
 *
 * Pure functions; any thread.
 */
#ifndef SPLIT_CONTROL_LINE_H
#define SPLIT_CONTROL_LINE_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/queue.h"

/* The largest size in bytes, with the LF, of a request, and of a line of a reply. */
#define CONTROL_LINE_SIZE 8192

enum control_verb {
    CONTROL_PING,
    CONTROL_HEALTH,
    CONTROL_SUSPEND,
    CONTROL_RESUME,
    CONTROL_CHANGE,
};

#define CONTROL_LINE_TEXTS 5 /* the number of words with xtext */

/* A request. control_line_parse() makes one that owns its strings; control_line_clear() frees them.
 */
struct control_line {
    enum control_verb verb;
    struct queue_change change;               /* CONTROL_CHANGE; go_on and ctx are not set */
    struct queue_suspension suspension;       /* CONTROL_SUSPEND; since is not set */
    char destination[QUEUE_DESTINATION_SIZE]; /* CONTROL_HEALTH, CONTROL_RESUME */
    struct {
        char id[QUEUE_ID_SIZE];
        char destination[QUEUE_DESTINATION_SIZE];
        char requeue_to[QUEUE_DESTINATION_SIZE];
        char *texts[CONTROL_LINE_TEXTS];
    } owned;
};

/* Parse a request without its LF. -1 with `err`. The caller calls control_line_clear() in both
 * cases. */
int control_line_parse(const char *text, struct control_line *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void control_line_clear(struct control_line *line) __attribute__((nonnull));
/* Append the request, without LF. */
void control_line_format(const struct control_line *line, struct buf *out) __attribute__((nonnull));

/* Return the bits QUEUE_IN_... of a list of places ("queue,dead"), or 0 if a word is not a place.
 */
unsigned control_line_places(const char *words) __attribute__((nonnull));

/* Return the word for the action: "retry", "hold", "release", "delete" or "requeue". */
const char *control_line_action(enum queue_action action) __attribute__((returns_nonnull));

/* Append the text of a reply to a change (without "ok"). reason: "", or the reason of the last
 * failure. */
void control_line_changed(const struct queue_changed *changed, const char *reason, struct buf *out)
    __attribute__((nonnull));
/* Parse the text of a reply to a change. reason_out: "", or the reason of the last failure. -1: it
 * is not such a text. */
int control_line_parse_changed(const char *text, struct queue_changed *out, struct err *reason_out)
    __attribute__((nonnull, warn_unused_result));

#endif
