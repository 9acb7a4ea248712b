/* SPDX-License-Identifier: ISC */
/*
 * trace: the two header fields that splitrelay puts above a copy. They are made at delivery from
 * what the queue keeps, so they are the same at each attempt. Any thread.
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

/* Append only the field Received of trace_header(). id: that of the copy; "": the field gets
 * none. */
void trace_received(const struct queue_message *m, const char *id, const char *hostname,
                    struct buf *out) __attribute__((nonnull));

/*
 * Append what separates our header fields from a content that begins with these bytes: an empty
 * line if the first byte is a blank, else nothing. For an MTA, a content that begins with a blank
 * has no header at all. Right below our fields its first line would continue our last field (RFC
 * 5322 2.2.3), so that Received, or X-Split-Copy, by which a loop is found, would hold text from
 * outside. Postfix's smtpd(8) puts an empty line there, too.
 */
void trace_end(const char *content, size_t len, struct buf *out) __attribute__((nonnull));

/* Append "Received: ...CRLF" (RFC 5321 4.4, folded, with the MTA's queue id in a comment) and
 * "X-Split-Copy: destination=NAME; id=COPYID; host=HOSTNAME CRLF". Text from outside is reduced to
 * what a header may hold. */
void trace_header(const struct queue_copy *c, const char *hostname, struct buf *out)
    __attribute__((nonnull));

#endif
