/* SPDX-License-Identifier: ISC */
/*
 * envelope: changes the recipients of a message, at its end. Called in the thread that runs the
 * callback of the connection.
 */
#ifndef MILTER_ENVELOPE_H
#define MILTER_ENVELOPE_H

#include "conn.h"

/*
 * Make the changes of the plan: additions first, deletions last, so that no recipient is lost when
 * a change fails. With Sendmail, recipients that the deletion or refusal of another recipient may
 * have removed, too, are added again. -1: the MTA did not accept a change.
 */
int envelope_apply(SMFICTX *ctx, const struct conn *c, const struct policy_plan *plan)
    __attribute__((nonnull, warn_unused_result));

#endif
