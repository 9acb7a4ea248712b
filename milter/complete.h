/* SPDX-License-Identifier: ISC */
/*
 * complete: finds the address that the MTA means by a recipient without domain ("postmaster"), or
 * by one that is routed by its local part ("sam%b.test@mta"). Called in the thread that runs the
 * callback of the connection.
 */
#ifndef MILTER_COMPLETE_H
#define MILTER_COMPLETE_H

#include <libmilter/mfapi.h>

/*
 * In the RCPT callback: the completed address for policy_decide(), NULL if the path needs no
 * completion. Postfix gives it in {rcpt_addr}. With Sendmail {rcpt_addr} has no domain when the
 * local mailer delivers; the domain is then the name of the MTA, macro {j}, or `hostname` if {j} is
 * missing. The caller frees.
 */
char *complete_recipient(SMFICTX *ctx, const char *path, const char *hostname)
    __attribute__((nonnull, warn_unused_result));

#endif
