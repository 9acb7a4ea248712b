/* SPDX-License-Identifier: ISC */
/*
 * mta: which MTA is at the other end of a connection, and what it says about mail. The thread that
 * runs the connection's callback.
 */
#ifndef MILTER_MTA_H
#define MILTER_MTA_H

#include <libmilter/mfapi.h>

#include <stdbool.h>

enum mta_kind {
    MTA_POSTFIX,
    MTA_POSTFIX_CLEANUP, /* mail that did not come by SMTP: non_smtpd_milters, bounces with
                            internal_mail_filter_classes */
    MTA_SENDMAIL,
};

/*
 * In the negotiation: ask for the macros that are looked at here and in callbacks.c. actions: what
 * the MTA offers. Over inet sockets there are no further ones at end of message: an MTA sends them
 * in a packet of their own, which costs more than it brings.
 */
void mta_ask(SMFICTX *ctx, unsigned long actions, bool is_inet) __attribute__((nonnull));

/*
 * From MAIL on. Macros decide that no administrator sets: only Sendmail has {opMode}, and of
 * Postfix's programs only smtpd(8) has {client_resolve}, while cleanup(8), which speaks for
 * pickup(8), qmqpd(8) and bounce(8), has {client_ptr}, too. An MTA that gives none of them did not
 * listen to mta_ask(): then {v}, which administrators of Postfix can set (milter_macro_v), tells
 * its kind by beginning with a digit, and without {v} a queue id at MAIL does, which Postfix has
 * only with smtpd_delay_open_until_valid_rcpt = no.
 */
enum mta_kind mta_of(SMFICTX *ctx) __attribute__((nonnull));

/* Of cleanup(8), from MAIL on: is it service splitlocal of setup-postfix, which asks only so that
 * local users cannot write to the tag domain? Its milter_macro_daemon_name says so. */
bool mta_is_splitlocal(SMFICTX *ctx) __attribute__((nonnull));

/*
 * At RCPT: mailer, host and user that Sendmail resolves the recipient to. Two recipients with the
 * same are the same to it (sameaddr() in its parseaddr.c). The caller frees it; NULL: it does not
 * say.
 */
char *mta_target(SMFICTX *ctx) __attribute__((nonnull, warn_unused_result));

#endif
