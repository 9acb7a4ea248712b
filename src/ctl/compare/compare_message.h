/* SPDX-License-Identifier: ISC */
/*
 * compare_message: the fields of a message in a Maildir that `splitctl compare` needs: Message-ID,
 * the field with a filter's verdict, and Subject. Only the header is read, and only up to
 * FORMAT_SCAN_HEADER_MAX bytes. Lines end in LF or CRLF. One thread.
 */
#ifndef SPLIT_CTL_COMPARE_MESSAGE_H
#define SPLIT_CTL_COMPARE_MESSAGE_H

#include "base/buf.h"
#include "format/format_scan.h"

#include <stdbool.h>
#include <stddef.h>

/* All zero before the first message; one struct serves many messages. */
struct compare_message {
    struct buf id;    /* the body of the first Message-ID field, as one line; empty: none */
    struct buf value; /* the body of the first field with the verdict, as one line */
    bool has_field;   /* there is such a field */
    struct format_scan scan;
    struct buf lines; /* what is read, on its way to the scan */
};

enum compare_read {
    COMPARE_READ_DONE,
    COMPARE_READ_LARGE, /* the header has more than FORMAT_SCAN_HEADER_MAX bytes */
    COMPARE_READ_FAILED /* errno */
};

/* Read a message from the file offset of fd on, in place of the one before. field: the name of the
 * field with the verdict; case does not matter. */
enum compare_read compare_message_read(struct compare_message *m, int fd, const char *field)
    __attribute__((nonnull, warn_unused_result));

/* Append the text of the first Subject field in UTF-8 (format_decode()); nothing if there is no
 * such field. The text is as it came: the caller makes it printable. */
void compare_message_subject(const struct compare_message *m, struct buf *out)
    __attribute__((nonnull));

/* Free what the struct owns. */
void compare_message_clear(struct compare_message *m) __attribute__((nonnull));

/*
 * Does the value begin with this text, so that it means "flagged"? Case does not matter (ASCII),
 * and the text is followed by the end of the value or by a character that is not part of a word (a
 * letter, a digit, one of "_-.", a byte above 127). wanted NULL: one of "yes", "true" and "1".
 */
bool compare_value_is_flagged(const char *value, const char *wanted) __attribute__((nonnull(1)));

#endif
