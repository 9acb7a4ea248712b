/* SPDX-License-Identifier: ISC */
/*
 * policy_copies: the open copy_maps of a listener, which decide to which destinations the copies of
 * a recipient go. The copies of a listener need no tag, and a listener has neither canonical
 * addresses nor filters. Immutable; any number of threads may use it, each with its own
 * table_scratch.
 */
#ifndef SPLIT_POLICY_COPIES_H
#define SPLIT_POLICY_COPIES_H

#include "policy/policy.h"

struct policy_copies;

/* Open the tables of a listener; config is borrowed for the life of the result. NULL with `err`: as
 * policy_open(). */
struct policy_copies *policy_copies_open(const struct config *config,
                                         const struct string_list *copy_maps, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* NULL is legal. */
void policy_copies_close(struct policy_copies *p);

/* As policy_replace(), for the tables of a listener. */
struct policy_copies *policy_copies_replace(const struct policy_copies *p, const char *path,
                                            struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The table with this index; NULL after the last one. Borrowed. */
const struct table *policy_copies_table(const struct policy_copies *p, size_t index)
    __attribute__((nonnull));

/* The decision about one recipient. The caller owns it and frees its content with
 * policy_copies_decision_clear(). */
struct policy_copies_decision {
    bool has_result; /* a table has a result for the recipient, perhaps "none"; false: the
                        listener's `copies` apply, unless the decision failed */
    const struct config_destination *
        *copies; /* in the order of the table; owned array, borrowed items */
    size_t copy_count;
    enum policy_failed failed; /* unless POLICY_OK, has_result is false */
    struct err failure;        /* the reason for `failed` */
};

/* Decide about one recipient. path: the path of RCPT TO, with or without <>. A path that is no
 * address, or is in the tag domain, has no result. Always fills *out. */
void policy_copies_decide(const struct policy_copies *p, struct table_scratch *s, const char *path,
                          struct policy_copies_decision *out) __attribute__((nonnull));

/* At most this number of decisions of a listener run on helper threads at a time, so that a server
 * that hangs leaves helper threads for others. A table has no more connections either. */
#define POLICY_COPIES_RUNNING_MAX 16

/* As policy_copies_decide(), for a task: a decision that may wait for a server, or compute for long
 * (regexp), runs in task_block(). A decision that gets no helper thread within lookup_timeout has
 * failed (POLICY_FAILED). */
void policy_copies_decide_in_task(const struct policy_copies *p, struct table_scratch *s,
                                  const char *path, struct policy_copies_decision *out)
    __attribute__((nonnull));

/* Release the memory of a decision. */
void policy_copies_decision_clear(struct policy_copies_decision *d) __attribute__((nonnull));

#endif
