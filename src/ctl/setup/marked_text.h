/* SPDX-License-Identifier: ISC */
/*
 * marked_text: our part of a main.cf or master.cf, put in and taken out again without a trace. Pure
 * functions on texts. What we add stands in one part at the end of the file,
 *
 *     # BEGIN splitmilter CHECKSUM FLAGS: made by WHO, edit outside of this part
 *     ...
 *     # END splitmilter
 *
 * and what it overrides is commented out in place, line by line, with "#split# " (Postfix warns of
 * parameters that are set twice). marked_strip() undoes both, byte for byte, whatever was edited
 * elsewhere in the meantime. FLAGS is "-", or "n" when the text before had no last line end. The
 * CHECKSUM tells whether somebody changed our part; a line that sets MARKED_SHARED does not count,
 * since postmulti(1) changes it whenever instances come and go.
 */
#ifndef SPLIT_CTL_MARKED_TEXT_H
#define SPLIT_CTL_MARKED_TEXT_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define MARKED_SHARED "multi_instance_directories"

enum marked_format {
    MARKED_MAIN_CF,  /* keys are names of parameters: "smtpd_milters" */
    MARKED_MASTER_CF /* keys are services: "smtp/inet" */
};

enum marked_state {
    MARKED_NONE,  /* nothing of ours in it */
    MARKED_OURS,  /* our part as we wrote it */
    MARKED_EDITED /* somebody changed our part */
};

/* Append the text without our part. -1: the part is damaged (no end, several of them). */
int marked_strip(const char *text, struct buf *out, enum marked_state *state_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* WHO of our part, for the caller to free. NULL: there is no part of ours, or its first line cannot
 * be read. */
char *marked_who(const char *text) __attribute__((nonnull, warn_unused_result));

/*
 * Append base (a text without our part), with all entries of these keys commented out, and `part`
 * (lines) as our part at its end. who: one line's worth of text.
 */
void marked_add(const char *base, enum marked_format format, const char *const *keys,
                size_t key_count, const char *part, const char *who, struct buf *out)
    __attribute__((nonnull(1, 5, 6, 7)));

#endif
