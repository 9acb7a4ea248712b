/* SPDX-License-Identifier: ISC */
/*
 * trace_input: reads all logs into a struct trace_log, files twice if there is no memory for all
 * lines (trace_log.h). It complains of what cannot be read, and remembers it. One thread.
 */
#ifndef SPLIT_CTL_TRACE_INPUT_H
#define SPLIT_CTL_TRACE_INPUT_H

#include "base/err.h"
#include "ctl/trace/trace_log.h"
#include "ctl/trace/trace_reader.h"

#include <stdbool.h>
#include <stddef.h>

struct trace_input {
    char **files; /* borrowed; none: the journal */
    int file_count;
    const char *facility; /* borrowed: that of our daemons */
    bool is_followed;

    struct trace_reader **readers;
    int reader_count;
    char **unread; /* what could not be read, as texts for what is missing in answers */
    size_t unread_count;
};

/* Open and read all logs, up to their ends. */
void trace_input_read(struct trace_input *in, struct trace_log *log) __attribute__((nonnull));

/* Read the files again, if the log needs that: ids may have been selected before. Then complain of
 * lines that were not understood. */
void trace_input_read_again(struct trace_input *in, struct trace_log *log) __attribute__((nonnull));

/* Begin to follow the logs. */
void trace_input_follow(struct trace_input *in, struct trace_log *log) __attribute__((nonnull));
/* Read what has come, without waiting. Returns false if no further lines can come. */
bool trace_input_more(struct trace_input *in, struct trace_log *log) __attribute__((nonnull));

/* Complain of err, and add the text "WHAT NAME" to `unread`. */
void trace_input_miss(struct trace_input *in, const struct err *err, const char *what,
                      const char *name) __attribute__((nonnull));

/* Close all logs. */
void trace_input_clear(struct trace_input *in) __attribute__((nonnull));

#endif
