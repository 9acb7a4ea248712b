/* SPDX-License-Identifier: ISC */
/*
 * envelope: makes the changes of a message's recipients, at end of message. The thread that runs
 * the connection's callback.
 */
#ifndef MILTER_ENVELOPE_H
#define MILTER_ENVELOPE_H

#include "conn.h"

/*
 * Make the changes of the plan. Additions come first, deletions last: whatever fails in between, no
 * recipient is lost. With Sendmail those that a deletion or a refusal may have taken along are
 * added once more. -1: the MTA did not accept a change.
 */
int envelope_apply(SMFICTX *ctx, const struct conn *c, const struct policy_plan *plan)
    __attribute__((nonnull, warn_unused_result));

#endif
