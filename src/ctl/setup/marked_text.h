/* SPDX-License-Identifier: ISC */
/*
 * marked_text: adds our part to a main.cf or master.cf, and removes it again without a trace. Pure
 * functions on texts. All that is added is in one part at the end of the file,
 *
 *     # BEGIN splitmilter CHECKSUM FLAGS: made by WHO, edit outside of this part
 *     ...
 *     # END splitmilter
 *
 * and what it overrides is commented out in place, line by line, with "#split# " (Postfix warns of
 * parameters that are set twice). marked_strip() undoes both, byte for byte, even if the rest of
 * the file was edited in the meantime. FLAGS is "-", or "n" if the original text had no line end at
 * its end. The CHECKSUM shows whether our part was edited. It does not cover the line that sets
 * MARKED_SHARED, because postmulti(1) changes that line when an instance is added or removed.
 */
#ifndef SPLIT_CTL_MARKED_TEXT_H
#define SPLIT_CTL_MARKED_TEXT_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define MARKED_SHARED "multi_instance_directories"

enum marked_format {
    MARKED_MAIN_CF,  /* a key is the name of a parameter: "smtpd_milters" */
    MARKED_MASTER_CF /* a key is a service: "smtp/inet" */
};

enum marked_state {
    MARKED_NONE,  /* the text does not have our part */
    MARKED_OURS,  /* our part as we wrote it */
    MARKED_EDITED /* our part was edited */
};

/* Append the text without our part. -1 with `err`: the part has no end, or there are several
 * parts. */
int marked_strip(const char *text, struct buf *out, enum marked_state *state_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* WHO in our part, for the caller to free. NULL: the text does not have our part, or its first line
 * cannot be parsed. */
char *marked_who(const char *text) __attribute__((nonnull, warn_unused_result));

/*
 * Append `base`, a text without our part, with all entries of these keys commented out, and then
 * our part. part: its lines. who: text without line end.
 */
void marked_add(const char *base, enum marked_format format, const char *const *keys,
                size_t key_count, const char *part, const char *who, struct buf *out)
    __attribute__((nonnull(1, 5, 6, 7)));

#endif
