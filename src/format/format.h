/* SPDX-License-Identifier: ISC */
/*
 * format: makes what a destination gets: the content as it is in the queue, with text before and
 * behind it that depends on the destination's `format` and on the recipients of the transaction.
 * The content itself is never changed: client.c and maildir.c send the first text, then the
 * content, read block by block (format_read()), then the second text. One thread at a time; the
 * buffers are reused from copy to copy.
 *
 *     raw               Received, X-Split-Copy (trace.h); the content
 *     envelope-headers  X-Envelope-From, X-Envelope-To, Received, X-Split-Copy; the content
 *     journal           X-Envelope-From, Received, X-Split-Copy; a message of our own around the
 *                       content, see format_journal.h
 *
 * Above a content that begins with a blank there is an empty line, see trace_end().
 */
#ifndef SPLIT_FORMAT_H
#define SPLIT_FORMAT_H

#include "base/buf.h"
#include "config/config.h"
#include "base/err.h"
#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct format_journal;

/* Plain data; all zero is the state before the first copy. */
struct format {
    const struct queue_copy *copy;                /* borrowed */
    const struct config_destination *destination; /* borrowed */
    struct buf trace;                             /* the header fields that all formats have */
    struct format_journal *journal;               /* NULL: the format is not journal */
    struct buf head, tail; /* the text before the content and behind it; lines end in CRLF */
    bool is_8bit;          /* there are bytes above 127 in head or content */
    bool has_utf8_header;  /* there are such bytes in a header field of head */
};

/* Free what it owns. */
void format_clear(struct format *f) __attribute__((nonnull));

/* Begin a copy. hostname: our own name. -1 with `err`: the content of the copy cannot be read, or
 * the journal cannot be made (format_journal_new()). */
int format_begin(struct format *f, const struct queue_copy *copy,
                 const struct config_destination *d, const char *hostname, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * Make head, tail, is_8bit and has_utf8_header for a transaction. is_included: for each recipient
 * of the copy, whether it is in this transaction. With fewer recipients the text gets shorter,
 * never longer. Addresses are text from outside: what could end a line becomes '?'.
 */
void format_make(struct format *f, const bool *is_included) __attribute__((nonnull));

/* Get `len` bytes of a copy's content, from `offset` on. Returns a pointer to the bytes in memory,
 * or reads them into `block` and returns `block`. block: len bytes; it is not used, and may be
 * NULL, when the content is in memory. The result is valid as long as the copy and the block. NULL
 * with `err`. */
const char *format_read(const struct queue_copy *copy, char *block, uint64_t offset, size_t len,
                        struct err *err) __attribute__((nonnull(1, 5), warn_unused_result));

/* Append the sender that a destination is to get for a message from this sender to this recipient.
 * -1 with `err`: the template of the destination makes no address of the recipient
 * (template_address()). */
int format_sender(const struct config_destination *d, const char *sender, const char *recipient,
                  struct buf *out, struct err *err) __attribute__((nonnull, warn_unused_result));

/* As format_sender(), for the recipient. */
int format_recipient(const struct config_destination *d, const char *recipient, struct buf *out,
                     struct err *err) __attribute__((nonnull, warn_unused_result));

/* Append "<address>"; what could end a line becomes '?'. */
void format_address(const char *address, struct buf *out) __attribute__((nonnull));

/* Bytes of head, content and tail. */
uint64_t format_size(const struct format *f) __attribute__((nonnull));

#endif
