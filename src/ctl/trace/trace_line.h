/* SPDX-License-Identifier: ISC */
/*
 * trace_line: a line of a log file split into time, host, tag and text. Pure functions.
 *
 *     line = [ "<" number ">" ] stamp " " [ host " " ] tag [ "[" pid "]" ] ": " text
 *          / "<" number ">1 " stamp " " host " " tag " " pid " " id " " data [ " " text ]  (RFC
 * 5424) data = "-" / 1*( "[" ... "]" ) text = [ "[ID " ... "] " ] ( message / "message repeated N
 * times: [ " message "]" )
 *
 * A line may also begin with the tag, if the tag is that of splitmilter or splitrelay: they write
 * such lines to standard error.
 */
#ifndef SPLIT_CTL_TRACE_LINE_H
#define SPLIT_CTL_TRACE_LINE_H

#include "base/slice.h"
#include "ctl/trace/trace_stamp.h"

#include <stddef.h>
#include <stdint.h>

struct trace_line {
    int64_t us; /* since 1970; 0: the line has no time stamp */
    struct slice host, tag, text;
};

enum trace_line_result {
    TRACE_LINE_OK,
    TRACE_LINE_NO_TAG,  /* no program has written this line */
    TRACE_LINE_NO_STAMP /* its time is unknown */
};

/* Split a line. The slices in *out point into it, or are empty. */
enum trace_line_result trace_line_parse(struct trace_stamp *stamp, const char *line, size_t len,
                                        struct trace_line *out) __attribute__((nonnull));

#endif
