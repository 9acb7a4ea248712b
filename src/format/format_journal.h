/* SPDX-License-Identifier: ISC */
/*
 * format_journal: a journal report, as Exchange makes it for archives ("Understanding Journal
 * Reports", "Journal report format" in Microsoft's documentation of Exchange 2007 and later): a
 * message of our own, multipart/mixed, that holds
 *
 *     text/plain        "Sender: " address                the author: Sender, else From, else the
 *                                                         envelope; "<>" if that is empty
 *                       [ "On-Behalf-Of: " address ]      From, if Sender is another one
 *                       "Subject: " text                  decoded, see format_decode.h
 *                       "Message-Id: " message-id         <copy id@hostname> if there is none
 *                       1*( class ": " recipient [ ", Forwarded: " original recipient ] )
 *                       class = "To" / "Cc" / "Bcc" / "Recipient"
 *     message/rfc822    the message, byte for byte; an attachment, because some readers show a part
 *                       of this type as text of the report otherwise
 *
 * A recipient of the envelope is To, Cc or Bcc if a field of that name has it (or its original
 * recipient, ORCPT), else Recipient. A message or its envelope cannot forge any part of the report:
 * each value is reduced to one line of valid UTF-8, and the message does not contain the boundary.
 * The order of the lines and fields is that of [MS-XJRNL] and of piler's reader
 * (tests/it/it_archives.py).
 */
#ifndef SPLIT_FORMAT_JOURNAL_H
#define SPLIT_FORMAT_JOURNAL_H

#include "base/buf.h"
#include "config/config.h"
#include "base/err.h"
#include "format/format_scan.h"
#include "queue/queue.h"

#include <stdbool.h>

#define FORMAT_JOURNAL_BOUNDARY_SIZE 35 /* with NUL */

struct format_journal;

/* Write the boundary between the parts of a report on this copy, to be searched for in its content
 * (format_scan.wanted). It is the same at each attempt, so that maildir.c recognises a report that
 * was delivered before a crash. */
void format_journal_boundary(const struct queue_copy *copy, char out[FORMAT_JOURNAL_BOUNDARY_SIZE])
    __attribute__((nonnull));

/*
 * Prepare the report on this copy. scan: of the whole content. The boundary is
 * format_journal_boundary() if the scan has searched for it and not found it, else a random one.
 * copy and d are borrowed for the life of the report. hostname: our own name. NULL with `err`: the
 * system has no random numbers.
 */
struct format_journal *
format_journal_new(const struct format_scan *scan, const struct queue_copy *copy,
                   const struct config_destination *d, const char *hostname, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void format_journal_free(struct format_journal *j);

/*
 * Append the text before the content to head, and the text behind it to tail. trace: whole header
 * fields, which are appended to head first. is_included: as for format_make(). Returns whether
 * there are bytes above 127 in the whole message, its content included.
 */
bool format_journal_make(const struct format_journal *j, const struct buf *trace,
                         const bool *is_included, struct buf *head, struct buf *tail)
    __attribute__((nonnull));

#endif
