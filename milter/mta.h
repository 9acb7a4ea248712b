/* SPDX-License-Identifier: ISC */
/*
 * mta: which MTA is at the other end of a connection, and what only Sendmail says. The thread that
 * runs the connection's callback.
 */
#ifndef SPLIT_MTA_H
#define SPLIT_MTA_H

#include <libmilter/mfapi.h>

#include <stdbool.h>
#include <stdint.h>

/* In the negotiation: ask for the macros that the functions below look at. actions: what the MTA
 * offers. */
void mta_ask(SMFICTX *ctx, unsigned long actions) __attribute__((nonnull));

/*
 * Is it a Sendmail? From MAIL on. {v} decides: Sendmail's is its version and begins with a digit,
 * Postfix's with its mail_name. An MTA that does not give {v} is a Sendmail if it has a queue id at
 * MAIL ({i}): Postfix has one only with smtpd_delay_open_until_valid_rcpt = no.
 */
bool mta_is_sendmail(SMFICTX *ctx) __attribute__((nonnull));

/*
 * At RCPT, with Sendmail: a number for what it made of the recipient (mailer, host, user). Sendmail
 * goes by these three, not by the text, when it drops duplicates and when a milter deletes a
 * recipient. 0 if it does not say.
 */
uint64_t mta_resolved(SMFICTX *ctx) __attribute__((nonnull));

#endif
