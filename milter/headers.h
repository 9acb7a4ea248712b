/* SPDX-License-Identifier: ISC */
/*
 * headers: the To and Cc headers of a message that canonical_maps change. They are looked at when
 * they come and changed at the end of the message. The thread that runs the connection's callback.
 */
#ifndef SPLIT_HEADERS_H
#define SPLIT_HEADERS_H

#include "policy/policy.h"

#include <libmilter/mfapi.h>

struct header_change {
    const char *name; /* static */
    int index;        /* among those of this name, from 1 */
    char *body;
};

/* Embedded in the connection; all zero is a message without headers. */
struct headers {
    int to_count, cc_count;
    struct header_change *changes;
    size_t count, bytes;
    enum policy_failed failed; /* then the headers behind it are not looked at */
    struct err failure;        /* why it failed */
};

/* Free the changes; it is as if set to zero. */
void headers_clear(struct headers *h) __attribute__((nonnull));

/* One header of the message. */
void headers_see(struct headers *h, const struct policy *p, struct table_scratch *s,
                 const char *name, const char *body) __attribute__((nonnull));

/* At the end of the message: make the changes. -1: the MTA did not accept one. */
int headers_apply(const struct headers *h, SMFICTX *ctx)
    __attribute__((nonnull, warn_unused_result));

#endif
