/* SPDX-License-Identifier: ISC */
/*
 * trace_object: a line of splitmilter or splitrelay in the style "json" as a line of the classic
 * style, so that only one grammar has to be understood. One thread.
 */
#ifndef SPLIT_CTL_TRACE_OBJECT_H
#define SPLIT_CTL_TRACE_OBJECT_H

#include "ctl/trace/trace_line.h"

#include <stdbool.h>

/*
 * Read the object in line->text. On success line->text and line->tag are those of the classic line,
 * line->us is the time in the object if the line has none, and the memory is returned, for the
 * caller to free when the line is no longer used. NULL: the object is not such a line, or
 * *is_broken_out is true: the text is no object, such as one that was cut.
 */
char *trace_object_read(struct trace_line *line, bool *is_broken_out)
    __attribute__((nonnull, warn_unused_result));

#endif
