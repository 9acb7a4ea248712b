/* SPDX-License-Identifier: ISC */
/*
 * mta: finds out which MTA is at the other end of a connection, and what its macros say. Called in
 * the thread that runs the callback of the connection.
 */
#ifndef MILTER_MTA_H
#define MILTER_MTA_H

#include <libmilter/mfapi.h>

#include <stdbool.h>
#include <sys/socket.h>

enum mta_kind {
    MTA_POSTFIX,
    MTA_POSTFIX_CLEANUP, /* mail that did not come by SMTP: non_smtpd_milters, bounces with
                            internal_mail_filter_classes */
    MTA_SENDMAIL,
};

/*
 * In the negotiation: ask for the macros that are used here and in callbacks.c. actions: the
 * actions that the MTA offers. No macros are requested at the end of the message: none is needed
 * there, and without them Sendmail sends one packet less.
 */
void mta_ask(SMFICTX *ctx, unsigned long actions) __attribute__((nonnull));

/*
 * The kind of the MTA, from MAIL on. The kind is found by macros that no administrator sets. Only
 * Sendmail has {opMode}. Of the programs of Postfix only smtpd(8) has {client_resolve}; cleanup(8),
 * which sends the mail of pickup(8), qmqpd(8) and bounce(8), has {client_ptr} without it. An MTA
 * that sends none of the three has ignored mta_ask(). Such an MTA is a Sendmail if {v} begins with
 * a digit (an administrator of Postfix can set milter_macro_v). Without {v} it is a Sendmail if
 * there is a queue id at MAIL, which Postfix has only with smtpd_delay_open_until_valid_rcpt = no.
 */
enum mta_kind mta_of(SMFICTX *ctx) __attribute__((nonnull));

/* At MAIL: the address of the client. False: the MTA does not know it, or has ignored mta_ask(). */
bool mta_client_address(SMFICTX *ctx, struct sockaddr_storage *out)
    __attribute__((nonnull, warn_unused_result));

/* At MAIL: has the client authenticated (SASL)? */
bool mta_is_authenticated(SMFICTX *ctx) __attribute__((nonnull));

/* For cleanup(8), from MAIL on: is this the service splitlocal of setup-postfix? That service asks
 * splitmilter only to keep local users from writing to the tag domain. It is known by its
 * milter_macro_daemon_name. */
bool mta_is_splitlocal(SMFICTX *ctx) __attribute__((nonnull));

/*
 * At RCPT: the mailer, host and user to which Sendmail resolves the recipient. Sendmail treats two
 * recipients with equal values as one (sameaddr() in its parseaddr.c). The caller frees; NULL:
 * Sendmail has not sent them.
 */
char *mta_target(SMFICTX *ctx) __attribute__((nonnull, warn_unused_result));

#endif
