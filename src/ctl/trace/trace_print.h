/* SPDX-License-Identifier: ISC */
/* trace_print: writes ways to stdout, as text or as JSON objects, one per line. One thread. */
#ifndef SPLIT_CTL_TRACE_PRINT_H
#define SPLIT_CTL_TRACE_PRINT_H

#include "ctl/trace/trace_way.h"

/* What is the same for all recipients of a root. */
struct trace_mail {
    struct slice sender, size, message_id; /* at NULL: unknown */
    bool has_sender;
};

/* Read what the lines of the root say of the mail. */
void trace_print_mail(struct trace_log *log, uint32_t root, struct trace_mail *out)
    __attribute__((nonnull));

/* Write a way as text: what became of mail and copies, the steps, what is missing. */
void trace_print_way(const struct trace_log *log, const struct trace_mail *mail,
                     const struct trace_way *way) __attribute__((nonnull));

/* Write a step as one line; recipient: NULL, or written as well. */
void trace_print_step(const struct trace_log *log, const struct trace_step *step,
                      const char *recipient) __attribute__((nonnull(1, 2)));

/* Write a way as a JSON object. */
void trace_print_json(const struct trace_log *log, uint32_t root, const struct trace_mail *mail,
                      const struct trace_way *way) __attribute__((nonnull));

/* Write a message that was refused before it had a queue id. facts: of the event. */
void trace_print_refusal(const struct trace_log *log, const struct trace_event *e,
                         const struct trace_facts *facts) __attribute__((nonnull));
/* The same as an object. */
void trace_print_json_refusal(const struct trace_log *log, const struct trace_event *e,
                              const struct trace_facts *facts) __attribute__((nonnull));

/* The word for a state: "sent", "waits", ... */
const char *trace_print_state(enum trace_end_state state) __attribute__((returns_nonnull));

#endif
