/* SPDX-License-Identifier: ISC */
/*
 * mta: which MTA is at the other end of a connection. The thread that runs the connection's
 * callback.
 */
#ifndef SPLIT_MTA_H
#define SPLIT_MTA_H

#include <libmilter/mfapi.h>

#include <stdbool.h>

/*
 * In the negotiation: ask for the macros that are looked at here and in callbacks.c. actions: what
 * the MTA offers. Over inet sockets only MAIL has any: Sendmail sends them in a packet of their
 * own, and Nagle's algorithm holds back the command behind it until that is acknowledged, 40 ms
 * later.
 */
void mta_ask(SMFICTX *ctx, unsigned long actions, bool is_inet) __attribute__((nonnull));

/*
 * Is it a Sendmail? From MAIL on. {v} decides: Sendmail's is its version and begins with a digit,
 * Postfix's with its mail_name. An MTA that does not give {v} is a Sendmail if it has a queue id at
 * MAIL ({i}): Postfix has one only with smtpd_delay_open_until_valid_rcpt = no.
 */
bool mta_is_sendmail(SMFICTX *ctx) __attribute__((nonnull));

#endif
