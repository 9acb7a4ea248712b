/* SPDX-License-Identifier: ISC */
/*
 * format_class: finds out for each recipient of the envelope whether the header addresses the
 * message to it by To, Cc or Bcc. Addresses are compared without case and needless quotes. Pure;
 * any thread.
 */
#ifndef SPLIT_FORMAT_CLASS_H
#define SPLIT_FORMAT_CLASS_H

#include "format/format_scan.h"
#include "queue/queue.h"

#include <stdbool.h>

struct format_class;

/* Classify the recipients of the copy. scan: of its content. Both are borrowed for the call. Takes
 * time in the order of (addresses in the header) * log(recipients). */
struct format_class *format_class_new(const struct format_scan *scan, const struct queue_copy *copy)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void format_class_free(struct format_class *c);

/* The first of "To", "Cc" and "Bcc" whose fields contain the recipient; "Recipient" if none
 * does. */
const char *format_class_name(const struct format_class *c, size_t recipient)
    __attribute__((nonnull, returns_nonnull));

/* The recipient before it was rewritten (its ORCPT); "" if it was not rewritten, or if the original
 * is not known. Borrowed. */
const char *format_class_original(const struct format_class *c, size_t recipient)
    __attribute__((nonnull, returns_nonnull));

/* The first address in the first field of this name, as written; "" if there is none. The caller
 * frees it. */
char *format_class_first(const struct format_scan *scan, const char *name)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* Are two addresses equal after address_fold()? A text that is no address is compared as it is. */
bool format_class_is_same(const char *a, const char *b) __attribute__((nonnull));

#endif
