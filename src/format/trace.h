/* SPDX-License-Identifier: ISC */
/*
 * trace: the two header fields that splitrelay puts above a copy. Made at delivery from what the
 * queue keeps, the same at each attempt.
 */
#ifndef SPLIT_TRACE_H
#define SPLIT_TRACE_H

#include "base/buf.h"
#include "queue/queue.h"

#define TRACE_DATE_SIZE 64

/* Write the date and time of RFC 5322 3.3, in local time. */
void trace_date(time_t when, char out[TRACE_DATE_SIZE]) __attribute__((nonnull));

#define TRACE_HOSTNAME_SIZE 256

/* Copy a host name, reduced to the characters that a header field may hold. */
void trace_hostname(const char *hostname, char out[TRACE_HOSTNAME_SIZE]) __attribute__((nonnull));

/* Append only the field Received of trace_header(). id: "" for none. */
void trace_received(const struct queue_message *m, const char *id, const char *hostname,
                    struct buf *out) __attribute__((nonnull));

/*
 * Append what ends our header fields above a content that begins with these bytes: an empty line if
 * the first one is a blank, else nothing. Such a content begins with a line that can be no field:
 * to MTAs it has no header at all. Right below our fields that line would continue the last of them
 * (RFC 5322 2.2.3): text from outside in our Received, or in the X-Split-Copy by which a loop is
 * found. Postfix's smtpd(8) puts an empty line there, too.
 */
void trace_end(const char *content, size_t len, struct buf *out) __attribute__((nonnull));

/* Append "Received: ...CRLF" (RFC 5321 4.4, folded, with the MTA's queue id in a comment) and
 * "X-Split-Copy: destination=NAME; id=COPYID; host=HOSTNAME CRLF". Text from outside is reduced to
 * what a header may hold. */
void trace_header(const struct queue_copy *c, const char *hostname, struct buf *out)
    __attribute__((nonnull));

#endif
