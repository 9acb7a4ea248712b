/* SPDX-License-Identifier: ISC */
/* spool_owner: whom the spool directory belongs to. What others may write there they can make up,
 * and deliver by it. */
#ifndef SPLIT_SPOOL_OWNER_H
#define SPLIT_SPOOL_OWNER_H

#include "base/err.h"

/* Is it a directory of this process's own user, in which no other user may write? One that is not
 * there passes: opening the spool creates it. -1 with `err`. */
int spool_owner_check(const char *directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
