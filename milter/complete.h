/* SPDX-License-Identifier: ISC */
/*
 * complete: a recipient without domain ("postmaster") as the MTA completes it, and one with a way
 * in it ("sam%b.test@mta") as the MTA reads it. The thread that runs the connection's callback.
 */
#ifndef SPLIT_COMPLETE_H
#define SPLIT_COMPLETE_H

#include <libmilter/mfapi.h>

/*
 * In the RCPT callback: the address for policy_decide() of a path without domain, or with a way in
 * it; NULL for others. {rcpt_addr} says it with Postfix. Sendmail's has no domain where the local
 * mailer delivers: then it is the MTA's own name, {j}, and hostname where that macro is missing.
 * The caller frees.
 */
char *complete_recipient(SMFICTX *ctx, const char *path, const char *hostname)
    __attribute__((nonnull, warn_unused_result));

#endif
