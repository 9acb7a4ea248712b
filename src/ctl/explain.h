/* SPDX-License-Identifier: ISC */
/* explain: what splitmilter would do with a message, and the two ways to print it. Private to
 * explain*.c. */
#ifndef SPLIT_CTL_EXPLAIN_H
#define SPLIT_CTL_EXPLAIN_H

#include "policy/policy.h"
#include "ctl/explain_condition.h"
#include "ctl/json.h"
#include "ctl/origin.h"

#include <stddef.h>

struct explanation {
    const struct config *config;
    const char *sender;
    struct policy_client client;
    struct origin origin;              /* domain NULL: not looked up yet */
    struct explained_message *content; /* NULL: no message was given */
    struct policy_message message;
    struct policy_decision *decisions; /* one for each recipient on the command line */
    size_t count;
    struct policy_decision *accepted; /* those that were not refused; shallow copies */
    size_t accepted_count;
    struct policy_plan plan; /* made from `accepted` */
};

/* A recipient of the resulting envelope. */
struct explained_recipient {
    const char *address;
    const char *words; /* ESMTP parameters; "" for none */
};

/* The recipients of the resulting envelope, in the order of the MTA: those that stay, then those
 * that are added. Returns their number. The caller frees *out; its strings are borrowed. */
size_t explain_recipients(const struct explanation *x, struct explained_recipient **out)
    __attribute__((nonnull));

/* Return true if the recipient was given without a domain. */
bool explain_is_completed(const struct policy_decision *d) __attribute__((nonnull));

/* explain_copies.c: print a line for each copy of this recipient whose destination has a template:
 * what the destination gets. The array has an object for each copy. */
void explain_print_copies(const struct explanation *x, const struct policy_decision *d)
    __attribute__((nonnull));
json_t *explain_copies_json(const struct explanation *x, const struct policy_decision *d)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* Print the explanation on standard output, as text or as one JSON object. */
void explain_print_human(const struct explanation *x) __attribute__((nonnull));
void explain_print_json(const struct explanation *x) __attribute__((nonnull));

#endif
