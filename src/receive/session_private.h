/* SPDX-License-Identifier: ISC */
/*
 * session_private: what the files of the session share. session.c reads commands and answers those
 * that are not about a message, session_tls.c has STARTTLS and the check of permission to send
 * mail, session_mail.c has MAIL, RCPT and DATA.
 */
#ifndef SPLIT_SESSION_PRIVATE_H
#define SPLIT_SESSION_PRIVATE_H

#include "mail/smtp_command.h"
#include "smtp/smtp_features.h"
#include "receive/duplicate.h"
#include "receive/session.h"
#include "receive/transaction.h"
#include "mail/xforward.h"

/* The protocol by the client's greeting: SMTP after HELO or without any, ESMTP after EHLO, LMTP
 * after LHLO. */
enum session_protocol { SESSION_SMTP, SESSION_ESMTP, SESSION_LMTP };

struct session {
    struct stream *stream;
    const struct session_options *o;
    const struct config *config;
    struct transaction transaction;
    struct duplicate *duplicate; /* NULL without a listener */
    struct xforward xforward;
    struct smtp_command command;
    struct buf line;
    char helo[256]; /* printable; "" before the greeting */
    enum session_protocol protocol;
    const char *stage; /* for the log: the last command or event, "CONNECT", "MAIL", "DATA" */
    /* Counted since the last message that was accepted: */
    unsigned errors;   /* errors of the protocol */
    unsigned refusals; /* refused recipients, senders and messages */
    unsigned junk;     /* commands that lead to no message */
    /* About the present message and the present connection: */
    bool is_behind_refusal; /* MAIL or a recipient was refused, maybe unseen by the client */
    unsigned excess;        /* refused commands that are not counted as errors (EXCESS_MAX) */
    bool has_progressed;    /* the client did something that leads to a message since progress_ms */
    int64_t progress_ms;    /* task_now_ms() when has_progressed was last reset */
    /* the client has sent a command; the first one has a shorter time limit */
    bool has_sent_command;
    bool is_encrypted;
    bool has_trusted_cert; /* the client has shown a certificate that is trusted */
    bool is_over;
};

/* Write bytes to the client; they stay in the stream's buffer until the session waits for input. */
void session_send(struct session *s, const char *text, size_t len) __attribute__((nonnull));

/* Write a reply, which is given without its CRLF. Answers that the primary still owes are read and
 * written first. */
void session_reply(struct session *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull(1, 2)));

/* Send this reply to an error of the protocol, and count the error. After too many errors the
 * session replies 421 instead, and ends. */
void session_protocol_error(struct session *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull(1, 2)));

/* A message was accepted: reset the counts of errors. */
void session_message_taken(struct session *s) __attribute__((nonnull));

/* Handle a fault or the end of the client's connection: reply 421 after a timeout or an eviction,
 * log it unless the client has left between two messages, and end the session. */
void session_lost(struct session *s, enum stream_status status) __attribute__((nonnull));

/* Reply 421 because the server stops, and end the session. */
void session_reply_stopping(struct session *s) __attribute__((nonnull));

/* --- session_tls.c --- */

/* Does this client get a greeting? It does if it is trusted, or can still show a client
 * certificate. */
bool session_is_welcome(const struct session *s) __attribute__((nonnull));

/* The reply that refuses mail from this client, a static text; NULL: the client may send mail. */
const char *session_refusal(const struct session *s) __attribute__((nonnull));

/* Send session_refusal(), if there is one, and end the session. True: refused. */
bool session_is_refused(struct session *s) __attribute__((nonnull));

/* Is STARTTLS offered now? */
bool session_offers_tls(const struct session *s) __attribute__((nonnull));

/* Handle the command STARTTLS. */
void session_starttls(struct session *s) __attribute__((nonnull));

/* The name of the protocol for Received, such as "ESMTPS" (RFC 3848). */
const char *session_protocol_name(const struct session *s)
    __attribute__((nonnull, returns_nonnull));

/* The name of the protocol without regard to TLS: "SMTP", "ESMTP", "LMTP". */
const char *session_protocol_word(const struct session *s)
    __attribute__((nonnull, returns_nonnull));

/* --- session_mail.c --- */

/* Read all answers that the primary owes, and pass them to the client. */
void session_settle(struct session *s) __attribute__((nonnull));

/* Refuse for a reason of policy or state: log, count, reply. to: a path with <>, or "". */
void session_reject(struct session *s, const char *to, const char *text) __attribute__((nonnull));

/* Forget the message, if there is one. */
void session_end_transaction(struct session *s) __attribute__((nonnull));

/* Handle the commands MAIL, RCPT and DATA, with the content. */
void session_mail(struct session *s) __attribute__((nonnull));
void session_rcpt(struct session *s) __attribute__((nonnull));
void session_data(struct session *s) __attribute__((nonnull));

#endif
