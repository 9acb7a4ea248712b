/* SPDX-License-Identifier: ISC */
#include "session.h"
#include "../log.h"
#include "../mem.h"
#include "../smtp_command.h"
#include "client_private.h"
#include "duplicate.h"
#include "transaction.h"
#include "xforward.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRORS_MAX                                                                                 \
    20 /* protocol errors since the last message; refused recipients do not count                  \
        */
#define REPLY_MAX 1024

struct session {
    struct stream *stream;
    const struct session_options *o;
    const struct config *config;
    struct transaction transaction;
    struct duplicate *duplicate; /* with a listener, else NULL */
    struct xforward xforward;
    struct smtp_command command;
    struct buf line;
    char helo[256];       /* printable; "" before the greeting */
    const char *protocol; /* "SMTP", "ESMTP", "LMTP" */
    const char *stage;    /* for the log: what came last, "CONNECT", "MAIL", "DATA" */
    unsigned errors;
    bool is_over;
};

static void send_text(struct session *s, const char *text, size_t len)
{
    if (stream_write(s->stream, text, len) != STREAM_OK)
        s->is_over = true;
}

static void settle(struct session *s);

/* Replies gather in the stream's buffer until the client waits for them. */
static void reply(struct session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void reply(struct session *s, const char *fmt, ...)
{
    char text[REPLY_MAX];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text - 2, fmt, ap);
    va_end(ap);
    size_t len = n < (int)sizeof text - 2 ? (size_t)n : sizeof text - 3;
    text[len++] = '\r';
    text[len++] = '\n';
    settle(s); /* what came before is answered before */
    send_text(s, text, len);
}

/* The client broke the protocol. */
static void protocol_error(struct session *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void protocol_error(struct session *s, const char *fmt, ...)
{
    char text[REPLY_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (++s->errors < ERRORS_MAX) {
        reply(s, "%s", text);
        return;
    }
    log_warning("too many errors after %s from [%s], the last: %s", s->stage, s->o->client_addr,
                text);
    reply(s, "421 4.7.0 %s Too many errors", s->config->relay.hostname);
    s->is_over = true;
}

/* A refusal that policy or state demands, logged in Postfix's shape. to: a path with <>, or "". */
static void log_reject(struct session *s, const char *to, const char *text)
{
    struct transaction *t = &s->transaction;
    const char *detail = t->detail.text;

    log_warning("NOQUEUE: reject: %s from [%s]: %s%s%s%s; from=<%s>%s%s proto=%s helo=<%s>",
                s->stage, s->o->client_addr, text, detail[0] != '\0' ? " (" : "", detail,
                detail[0] != '\0' ? ")" : "", t->is_open ? t->message.sender : "",
                to[0] != '\0' ? " to=" : "", to, s->protocol, s->helo);
    t->detail.text[0] = '\0';
}

static void reject(struct session *s, const char *to, const char *text)
{
    settle(s);
    log_reject(s, to, text);
    reply(s, "%s", text);
}

/* A reply of transaction.h with a 50x or 555 code is about syntax. */
static void refuse(struct session *s, const char *to, const struct err *text)
{
    if (strncmp(text->text, "501", 3) == 0 || strncmp(text->text, "555", 3) == 0)
        protocol_error(s, "%s", text->text);
    else
        reject(s, to, text->text);
}

static void end_transaction(struct session *s)
{
    if (s->duplicate != NULL)
        duplicate_reset(s->duplicate);
    if (s->transaction.is_open)
        memset(&s->xforward, 0, sizeof s->xforward); /* it was about this message */
    transaction_reset(&s->transaction);
    atomic_store(s->o->is_in_message, false);
}

/* A reply that the primary gave, or that is made up for it: with CRLF, maybe of several lines. */
static void hand_on(struct session *s, const char *to, const char *text)
{
    struct err line;

    if (text[0] >= '4') {
        err_set(&line, "%.*s", (int)strcspn(text, "\r"), text);
        log_reject(s, to, line.text);
    }
    send_text(s, text, strlen(text));
}

/* Everything that the primary was asked is answered, and the client gets it. */
static void settle(struct session *s)
{
    struct duplicate_answer a;
    bool is_refused = false;

    if (s->duplicate == NULL || duplicate_due(s->duplicate) == 0)
        return;
    while (duplicate_settle(s->duplicate, &a)) {
        if (a.is_mail)
            s->stage = "MAIL";
        else
            s->stage = "RCPT";
        is_refused = is_refused || (a.is_mail && !a.is_yes);
        hand_on(s, a.is_mail ? "" : a.to, a.reply);
    }
    if (is_refused)
        end_transaction(s);
}

static void do_helo(struct session *s, const char *protocol)
{
    if (s->command.argument[0] == '\0') {
        protocol_error(s, "501 5.5.4 Host name expected");
        return;
    }
    end_transaction(s);
    memset(&s->xforward, 0, sizeof s->xforward);
    snprintf(s->helo, sizeof s->helo, "%s", s->command.argument);
    log_sanitize(s->helo);
    s->protocol = protocol;
    /* With a primary only what that can keep is promised. */
    const struct client_features *f =
        s->duplicate != NULL ? duplicate_greet(s->duplicate, s->command.verb == SMTP_LHLO) : NULL;
    if (s->command.verb == SMTP_HELO) {
        reply(s, "250 %s", s->config->relay.hostname);
        return;
    }
    unsigned long long size = s->config->relay.message_size_limit_bytes;
    if (f != NULL && f->size_limit_bytes > 0 && f->size_limit_bytes < size)
        size = f->size_limit_bytes;
    reply(s,
          "250-%s\r\n"
          "250-PIPELINING\r\n"
          "250-SIZE %llu\r\n"
          "%s%s%s"
          "250-ENHANCEDSTATUSCODES\r\n"
          "250 XFORWARD " XFORWARD_ATTRIBUTES,
          s->config->relay.hostname, size, f == NULL || f->eight_bit ? "250-8BITMIME\r\n" : "",
          f == NULL || f->smtputf8 ? "250-SMTPUTF8\r\n" : "",
          f == NULL || f->dsn ? "250-DSN\r\n" : "");
}

/* Who gave us the message: the MTA's client where XFORWARD told, else the MTA. Borrowed. */
static void set_origin(struct session *s, struct queue_message *m)
{
    static char none[] = "";

    if (s->xforward.is_set) {
        m->client_name = s->xforward.name;
        m->client_addr = s->xforward.addr;
        m->helo = s->xforward.helo;
        m->mta_queue_id = s->xforward.ident;
    } else {
        m->client_name = none;
        m->client_addr = (char *)s->o->client_addr;
        m->helo = s->helo;
        m->mta_queue_id = none;
    }
    m->protocol = s->xforward.proto[0] != '\0' ? s->xforward.proto : (char *)s->protocol;
}

static void say_stopping(struct session *s)
{
    reply(s, "421 4.3.2 %s Service is shutting down", s->config->relay.hostname);
    s->is_over = true;
}

/* MAIL to the primary, with what we know of the client, if only what we see. */
static int begin_duplicate(struct session *s, struct err *text)
{
    struct xforward x = s->xforward;

    if (!x.is_set) {
        snprintf(x.addr, sizeof x.addr, "%s", s->o->client_addr);
        snprintf(x.helo, sizeof x.helo, "%s", s->helo);
        snprintf(x.proto, sizeof x.proto, "%s", s->protocol);
    }
    return duplicate_mail(s->duplicate, &s->command, &x, text);
}

static void do_mail(struct session *s)
{
    struct err text;

    if (s->helo[0] == '\0') {
        protocol_error(s, "503 5.5.1 Send EHLO or LHLO first");
        return;
    }
    if (s->transaction.is_open) {
        protocol_error(s, "503 5.5.1 Nested MAIL command");
        return;
    }
    /* In this order: whoever stops us sets is_stopping and then looks at is_in_message. */
    atomic_store(s->o->is_in_message, true);
    if (atomic_load(s->o->is_stopping)) {
        say_stopping(s);
    } else if (s->duplicate != NULL && begin_duplicate(s, &text) == 0) {
        set_origin(s, &s->transaction.message);
        return;
    } else if (s->duplicate == NULL && transaction_mail(&s->transaction, &s->command, &text) == 0) {
        set_origin(s, &s->transaction.message);
        reply(s, "%s", text.text);
        return;
    } else {
        refuse(s, "", &text);
    }
    atomic_store(s->o->is_in_message, false);
}

static void settle_if_many(struct session *s)
{
    if (duplicate_due(s->duplicate) >= PRIMARY_WINDOW)
        settle(s);
}

static void do_rcpt(struct session *s)
{
    struct err text;

    if (!s->transaction.is_open)
        protocol_error(s, "503 5.5.1 Need MAIL command");
    else if (s->duplicate != NULL && duplicate_rcpt(s->duplicate, &s->command, &text) == 0)
        settle_if_many(s);
    else if (s->duplicate == NULL && transaction_rcpt(&s->transaction, &s->command, &text) == 0)
        reply(s, "%s", text.text);
    else
        refuse(s, s->command.path, &text);
}

static void lost(struct session *s, enum stream_status status)
{
    if (status == STREAM_TIMEOUT) {
        log_info("timeout after %s from [%s]", s->stage, s->o->client_addr);
        reply(s, "421 4.4.2 %s Timeout exceeded", s->config->relay.hostname);
    } else if (status != STREAM_EOF || s->transaction.is_open) {
        log_info("%s after %s from [%s]", stream_status_text(s->stream, status), s->stage,
                 s->o->client_addr);
    }
    s->is_over = true;
}

/* DATA. True: 354 was said. */
static bool begin_content(struct session *s)
{
    struct err text;

    if (s->duplicate != NULL) {
        struct buf answer = {0};
        bool is_yes = duplicate_data(s->duplicate, &answer);
        hand_on(s, "", buf_str(&answer));
        buf_clear(&answer);
        return is_yes;
    }
    if (transaction_data(&s->transaction, &text) != 0) {
        reject(s, "", text.text);
        return false;
    }
    reply(s, "%s", text.text);
    return true;
}

static void answer_content(struct session *s, enum transaction_result result,
                           const struct err *text)
{
    size_t replies = strcmp(s->protocol, "LMTP") == 0 ? s->transaction.accepted_count : 1;

    switch (result) {
    case TRANSACTION_COMMITTED:
        s->errors = 0;
        reply(s, "%s", text->text);
        break;
    case TRANSACTION_REFUSED:
        reject(s, "", text->text);
        break;
    case TRANSACTION_FINISHED:
        s->errors = 0;
        hand_on(s, "", duplicate_replies(s->duplicate));
        return;
    }
    while (--replies > 0) /* RFC 2033 4.2: one for each recipient that was accepted */
        reply(s, "%s", text->text);
}

static void do_data(struct session *s)
{
    struct transaction *t = &s->transaction;
    enum transaction_result result;
    struct err text;

    if (!t->is_open) {
        protocol_error(s, "503 5.5.1 Need MAIL command");
        return;
    }
    if (t->accepted_count == 0) {
        protocol_error(s, strcmp(s->protocol, "LMTP") == 0 ? "503 5.5.1 No valid recipients"
                                                           : "554 5.5.1 No valid recipients");
        return;
    }
    if (!begin_content(s))
        return;
    enum stream_status status = stream_flush(s->stream);
    if (status == STREAM_OK && s->duplicate != NULL)
        status =
            duplicate_receive(s->duplicate, s->stream, s->o->command_timeout_ms, &result, &text);
    else if (status == STREAM_OK)
        status = transaction_receive(t, s->stream, s->o->command_timeout_ms, NULL, &result, &text);
    if (status != STREAM_OK) {
        lost(s, status);
        return;
    }
    s->stage = "END-OF-MESSAGE";
    answer_content(s, result, &text);
    end_transaction(s);
}

static void do_xforward(struct session *s)
{
    struct err err;

    if (s->transaction.is_open) {
        protocol_error(s, "503 5.5.1 MAIL transaction in progress");
        return;
    }
    for (size_t i = 0; i < s->command.word_count; i++) {
        if (xforward_set(&s->xforward, s->command.words[i], &err) != 0) {
            protocol_error(s, "501 5.5.4 Bad XFORWARD: %s", err.text);
            return;
        }
    }
    reply(s, "250 2.0.0 Ok");
}

static void do_unknown(struct session *s)
{
    /* A web browser that somebody made to post to our port: it must not get as far as commands
     * that hide in its form data. */
    if (strstr(s->command.argument, "HTTP/") != NULL) {
        log_warning("HTTP request from [%s]", s->o->client_addr);
        reply(s, "421 4.7.0 %s This is no web server", s->config->relay.hostname);
        s->is_over = true;
        return;
    }
    protocol_error(s, "500 5.5.2 Command not recognized");
}

static void dispatch(struct session *s)
{
    if (s->command.verb != SMTP_RCPT)
        settle(s);
    switch (s->command.verb) {
    case SMTP_UNKNOWN:
        do_unknown(s);
        return;
    case SMTP_HELO:
        s->stage = "HELO";
        do_helo(s, "SMTP");
        return;
    case SMTP_EHLO:
        s->stage = "EHLO";
        do_helo(s, "ESMTP");
        return;
    case SMTP_LHLO:
        s->stage = "LHLO";
        do_helo(s, "LMTP");
        return;
    case SMTP_MAIL:
        s->stage = "MAIL";
        do_mail(s);
        return;
    case SMTP_RCPT:
        s->stage = "RCPT";
        do_rcpt(s);
        return;
    case SMTP_DATA:
        s->stage = "DATA";
        do_data(s);
        return;
    case SMTP_RSET:
        end_transaction(s);
        reply(s, "250 2.0.0 Ok");
        return;
    case SMTP_NOOP:
        reply(s, "250 2.0.0 Ok");
        return;
    case SMTP_QUIT:
        reply(s, "221 2.0.0 Bye");
        s->is_over = true;
        return;
    case SMTP_VRFY:
        reply(s, "252 2.0.0 Send mail and see");
        return;
    case SMTP_HELP:
        reply(s, "214 2.0.0 RFC 5321, RFC 2033");
        return;
    case SMTP_STARTTLS:
        protocol_error(s, "502 5.5.1 Not offered");
        return;
    case SMTP_XFORWARD:
        s->stage = "XFORWARD";
        do_xforward(s);
        return;
    }
}

/* A whole command line waits in the buffer: its reply can join those before it (RFC 2920). */
static bool has_line(struct session *s)
{
    const char *data;
    size_t len;

    return stream_has_input(s->stream) && stream_peek(s->stream, &data, &len) == STREAM_OK &&
           memchr(data, '\n', len) != NULL;
}

static void one_command(struct session *s)
{
    struct err err;

    if (!has_line(s)) {
        settle(s);
        if (stream_flush(s->stream) != STREAM_OK)
            s->is_over = true;
        if (s->is_over)
            return;
    }
    stream_set_deadline(s->stream, s->o->command_timeout_ms);
    enum stream_status status = stream_read_line(s->stream, &s->line, SMTP_COMMAND_LINE_MAX + 1);
    if (status == STREAM_TOO_LONG) {
        protocol_error(s, "500 5.5.2 Line too long");
        s->is_over = true; /* what follows may be anything */
    } else if (status == STREAM_EOF && atomic_load(s->o->is_stopping)) {
        say_stopping(s);
    } else if (status != STREAM_OK) {
        lost(s, status);
    } else if (s->line.len < 2 || s->line.data[s->line.len - 2] != '\r') {
        /* Where lines end differently for two hosts, messages can be smuggled between them. */
        log_warning("bare <LF> after %s from [%s]", s->stage, s->o->client_addr);
        reply(s, "500 5.5.2 Bare <LF> received");
        s->is_over = true;
    } else if (smtp_command_parse(s->line.data, s->line.len - 2, &s->command, &err) != 0) {
        protocol_error(s, "%s %s", s->command.verb == SMTP_UNKNOWN ? "500 5.5.2" : "501 5.5.4",
                       err.text);
    } else {
        dispatch(s);
    }
}

void session_run(struct stream *stream, const struct session_options *options)
{
    struct session *s = mem_zalloc(sizeof *s);

    s->stream = stream;
    s->o = options;
    s->config = options->snapshot->config;
    s->protocol = "SMTP";
    s->stage = "CONNECT";
    transaction_init(&s->transaction, s->config, options->queue);
    if (options->listener != NULL) {
        struct duplicate_options d = {options->listener, options->copies, options->primary,
                                      &s->transaction};
        s->duplicate = duplicate_new(&d);
    }
    stream_set_deadline(stream, options->command_timeout_ms);
    if (options->is_trusted) {
        reply(s, "220 %s ESMTP splitrelay", s->config->relay.hostname);
    } else {
        reject(s, "", "554 5.7.1 Access denied: not in trusted_networks");
        s->is_over = true;
    }
    while (!s->is_over) {
        if (atomic_load(options->is_stopping) && !s->transaction.is_open)
            say_stopping(s);
        else
            one_command(s);
    }
    /* Replies that could not be sent have no other reader. */
    (void)!stream_flush(stream);
    atomic_store(options->is_in_message, false);
    duplicate_free(s->duplicate);
    transaction_clear(&s->transaction);
    buf_clear(&s->line);
    free(s);
}
