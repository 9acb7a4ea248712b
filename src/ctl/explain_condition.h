/* SPDX-License-Identifier: ISC */
/* explain_condition: which of the copies splitrelay would skip, by the options unless_header and
 * max_size of the destinations. Private to explain*.c. */
#ifndef SPLIT_CTL_EXPLAIN_CONDITION_H
#define SPLIT_CTL_EXPLAIN_CONDITION_H

#include "base/err.h"
#include "config/config.h"
#include "mail/content.h"
#include "policy/policy.h"

#include <jansson.h>
#include <stdint.h>

/* A message, as far as the conditions are about it. */
struct explained_message {
    struct content_watch *watches; /* one for each destination of the configuration; owned */
    uint64_t size_bytes;           /* with CRLF at the end of each line */
};

/* Read a message from a file whose lines end in LF or CRLF. The caller frees out->watches. -1 with
 * `err`. */
int explain_read_message(const struct config *config, const char *path,
                         struct explained_message *out, struct err *err) __attribute__((nonnull));

/* Print a line for each copy whose destination has conditions: which, or with a message (NULL:
 * there is none) what they say of it. */
void explain_print_conditions(const struct config *config, const struct policy_decision *d,
                              const struct explained_message *message)
    __attribute__((nonnull(1, 2)));
/* The same as an array of objects. */
json_t *explain_conditions_json(const struct config *config, const struct policy_decision *d,
                                const struct explained_message *message)
    __attribute__((nonnull(1, 2), returns_nonnull));

#endif
