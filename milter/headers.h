/* SPDX-License-Identifier: ISC */
/*
 * headers: changes the To and Cc headers of a message that have addresses in canonical_maps. A
 * header is looked up when it arrives and changed at the end of the message. Called in the thread
 * that runs the callback of the connection.
 */
#ifndef MILTER_HEADERS_H
#define MILTER_HEADERS_H

#include "policy/policy.h"

#include <libmilter/mfapi.h>

struct header_change {
    const char *name; /* a static text */
    int index;        /* index among the headers of this name, from 1 */
    char *body;
};

/* Embedded in the connection; all zero is a message without headers. */
struct headers {
    int to_count, cc_count;
    struct header_change *changes;
    size_t count, bytes;
    enum policy_failed failed; /* after a failure further headers are not looked up */
    struct err failure;        /* the reason for `failed` */
};

/* Free the changes and set all members to zero. */
void headers_clear(struct headers *h) __attribute__((nonnull));

/* Look up one header of the message, and store its change if there is one. Only To and Cc count. */
void headers_see(struct headers *h, const struct policy *p, struct table_scratch *s,
                 const char *name, const char *body) __attribute__((nonnull));

/* At the end of the message: make the changes. -1: the MTA did not accept one. */
int headers_apply(const struct headers *h, SMFICTX *ctx)
    __attribute__((nonnull, warn_unused_result));

#endif
