/* SPDX-License-Identifier: ISC */
/*
 * session_private: what the files of the session share: session.c reads commands and answers those
 * that are not about a message, session_tls.c has STARTTLS and who may send mail, session_mail.c
 * has MAIL, RCPT and DATA. Not for anybody else.
 */
#ifndef SPLIT_SESSION_PRIVATE_H
#define SPLIT_SESSION_PRIVATE_H

#include "mail/smtp_command.h"
#include "smtp/smtp_features.h"
#include "receive/duplicate.h"
#include "receive/session.h"
#include "receive/transaction.h"
#include "mail/xforward.h"

/* What the client greeted with: nothing yet or HELO, EHLO, LHLO. */
enum session_protocol { SESSION_SMTP, SESSION_ESMTP, SESSION_LMTP };

struct session {
    struct stream *stream;
    const struct session_options *o;
    const struct config *config;
    struct transaction transaction;
    struct duplicate *duplicate; /* with a listener, else NULL */
    struct xforward xforward;
    struct smtp_command command;
    struct buf line;
    char helo[256]; /* printable; "" before the greeting */
    enum session_protocol protocol;
    const char *stage; /* for the log: what came last, "CONNECT", "MAIL", "DATA" */
    /* Since a message was taken. */
    unsigned errors;   /* broke the protocol */
    unsigned refusals; /* recipients, senders, messages */
    unsigned junk;     /* commands that lead to none */
    /* Of the present message. */
    bool is_behind_refusal;  /* MAIL or a recipient was refused: what follows may not know */
    unsigned excess;         /* refused only for what came before it */
    bool has_progressed;     /* something that leads to a message, since progress_ms was set */
    int64_t progress_ms;     /* task_now_ms() when it did so last, at the latest */
    bool has_sent_command; /* the client; its first command may take less time */
    bool is_encrypted;
    bool has_trusted_cert; /* the client */
    bool is_over;
};

/* Bytes to the client; they gather in the stream's buffer until it waits for them. */
void session_send(struct session *s, const char *text, size_t len) __attribute__((nonnull));

/* A reply, without its CRLF, after those that the primary still owes. */
void session_reply(struct session *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull(1, 2)));

/* The client broke the protocol: this reply, or 421 and the end when it did so too often. */
void session_protocol_error(struct session *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull(1, 2)));

/* The client has done what it is here for: its errors are forgotten. */
void session_message_taken(struct session *s) __attribute__((nonnull));

/* The connection failed: log it, and end. */
void session_lost(struct session *s, enum stream_status status) __attribute__((nonnull));

/* 421 and the end. */
void session_reply_stopping(struct session *s) __attribute__((nonnull));

/* --- session_tls.c --- */

/* May this client have a greeting: can it come to be allowed to send mail? */
bool session_is_welcome(const struct session *s) __attribute__((nonnull));

/* NULL: it may send mail; else the refusal. */
const char *session_refusal(const struct session *s) __attribute__((nonnull));

/* Refuse it, as session_refusal() says. True: done so. */
bool session_is_refused(struct session *s) __attribute__((nonnull));

/* Is STARTTLS offered now? */
bool session_offers_tls(const struct session *s) __attribute__((nonnull));

/* The command. */
void session_starttls(struct session *s) __attribute__((nonnull));

/* How the message came, for Received: "ESMTPS" (RFC 3848). */
const char *session_protocol_name(const struct session *s)
    __attribute__((nonnull, returns_nonnull));

/* "SMTP", "ESMTP", "LMTP": with or without TLS. */
const char *session_protocol_word(const struct session *s)
    __attribute__((nonnull, returns_nonnull));

/* --- session_mail.c --- */

/* Everything that the primary was asked is answered, and the client gets it. */
void session_settle(struct session *s) __attribute__((nonnull));

/* A refusal that policy or state demands: logged, and said. to: a path with <>, or "". */
void session_reject(struct session *s, const char *to, const char *text) __attribute__((nonnull));

/* Forget the message, if there is one. */
void session_end_transaction(struct session *s) __attribute__((nonnull));

/* The commands. */
void session_mail(struct session *s) __attribute__((nonnull));
void session_rcpt(struct session *s) __attribute__((nonnull));
void session_data(struct session *s) __attribute__((nonnull));

#endif
