/* SPDX-License-Identifier: ISC */
#include "receive/session.h"
#include "base/log.h"
#include "base/mem.h"
#include "task/task.h"
#include "metrics/counters.h"
#include "deliver/maillog.h"
#include "receive/session_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRORS_MAX 20 /* protocol errors without a message in between */
#define JUNK_MAX 100  /* RSET, NOOP, ... without a message in between; each one more is an error */
#define REPLY_MAX 1024
#define COMMANDS_IN_A_ROW 50 /* of one session, then other tasks run */

void session_send(struct session *s, const char *text, size_t len)
{
    if (stream_write(s->stream, text, len) != STREAM_OK)
        s->is_over = true;
}

void session_reply(struct session *s, const char *fmt, ...)
{
    char text[REPLY_MAX];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text - 2, fmt, ap);
    va_end(ap);
    size_t len = n < (int)sizeof text - 2 ? (size_t)n : sizeof text - 3;
    text[len++] = '\r';
    text[len++] = '\n';
    session_settle(s); /* the primary's answers to earlier commands come first */
    session_send(s, text, len);
}

void session_protocol_error(struct session *s, const char *fmt, ...)
{
    char text[REPLY_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    counters_refused(text);
    if (++s->errors < ERRORS_MAX) /* else is_given_up() sends the reply */
        session_reply(s, "%s", text);
}

void session_message_taken(struct session *s)
{
    s->errors = s->refusals = s->junk = 0;
    s->has_progressed = true;
}

/* If there were too many errors: send 421, end the session, and return true. */
static bool is_given_up(struct session *s)
{
    unsigned limit = s->config->relay.hard_error_limit;

    if (s->errors < ERRORS_MAX && (limit == 0 || s->refusals < limit))
        return false;
    if (maillog_has_room())
        log_warning("too many errors after %s from [%s]", s->stage, s->o->client_addr);
    counters_refused("421 4.7.0");
    session_reply(s, "421 4.7.0 %s Too many errors", s->config->relay.hostname);
    s->is_over = true;
    return true;
}

void session_lost(struct session *s, enum stream_status status)
{
    const char *what = stream_status_text(s->stream, status);
    bool is_evicted = status == STREAM_EOF && atomic_load(&s->o->presence->is_evicted);
    bool is_end = status == STREAM_EOF && !s->transaction.is_open;

    if (is_evicted) {
        what = "disconnected to make room for another client";
        session_reply(s, "421 4.3.2 %s Too many connections", s->config->relay.hostname);
    } else if (status == STREAM_TIMEOUT) {
        what = "timeout";
        session_reply(s, "421 4.4.2 %s Timeout exceeded", s->config->relay.hostname);
    }
    if ((is_evicted || !is_end) && maillog_has_room())
        log_info("%s after %s from [%s]", what, s->stage, s->o->client_addr);
    s->is_over = true;
}

void session_reply_stopping(struct session *s)
{
    session_reply(s, "421 4.3.2 %s Service is shutting down", s->config->relay.hostname);
    s->is_over = true;
}

/*
 * Format what follows SIZE in the reply to EHLO: " NUMBER", or "". Postfix bounces a message that
 * is larger than the number without trying to send it. That is right at a listener, where the
 * message is the client's own mail. At relay.listen the message is a copy, which would be lost, and
 * its sender would not be told. So there is no number: no maximum is declared, and SIZE= is
 * accepted (RFC 1870 section 3).
 */
static void announce_size(const struct session *s, const struct smtp_features *f, char *out,
                          size_t out_size)
{
    unsigned long long limit = s->config->relay.message_size_limit_bytes;

    out[0] = '\0';
    if (s->duplicate == NULL)
        return;
    if (f != NULL && f->size_limit_bytes > 0 && f->size_limit_bytes < limit)
        limit = f->size_limit_bytes;
    snprintf(out, out_size, " %llu", limit);
}

static void do_helo(struct session *s, enum session_protocol protocol)
{
    char size[24];
    struct err text;

    if (s->command.argument[0] == '\0') {
        session_protocol_error(s, "501 5.5.4 Host name expected");
        return;
    }
    session_end_transaction(s);
    memset(&s->xforward, 0, sizeof s->xforward);
    snprintf(s->helo, sizeof s->helo, "%s", s->command.argument);
    log_sanitize(s->helo);
    s->protocol = protocol;
    /* With a primary, 8BITMIME, SMTPUTF8, DSN and REQUIRETLS are offered only if the primary is
     * known to offer them. */
    const struct smtp_features *f = NULL;
    bool is_greeted = s->duplicate != NULL && session_refusal(s) == NULL;
    if (is_greeted)
        f = duplicate_greet(s->duplicate, s->command.verb == SMTP_LHLO, &text);
    if (s->command.verb == SMTP_HELO) {
        session_reply(s, "250 %s", s->config->relay.hostname);
        return;
    }
    /* The primary's extensions are not known. A reply without extensions would be wrong: an MTA
     * bounces mail that needs SMTPUTF8 or REQUIRETLS when these are not offered, instead of waiting
     * for the primary to come back. */
    if (is_greeted && f == NULL) {
        session_reject(s, "", text.text);
        s->is_over = true;
        return;
    }
    bool is_sure = s->duplicate == NULL; /* no primary: all extensions are splitrelay's own */
    announce_size(s, f, size, sizeof size);
    session_reply(
        s,
        "250-%s\r\n"
        "250-PIPELINING\r\n"
        "250-SIZE%s\r\n"
        "%s%s%s%s%s"
        "250-ENHANCEDSTATUSCODES\r\n"
        "250 XFORWARD " XFORWARD_ATTRIBUTES,
        s->config->relay.hostname, size, session_offers_tls(s) ? "250-STARTTLS\r\n" : "",
        is_sure || (f != NULL && f->eight_bit) ? "250-8BITMIME\r\n" : "",
        is_sure || (f != NULL && f->smtputf8) ? "250-SMTPUTF8\r\n" : "",
        is_sure || (f != NULL && f->dsn) ? "250-DSN\r\n" : "",
        s->is_encrypted && (is_sure || (f != NULL && f->requiretls)) ? "250-REQUIRETLS\r\n" : "");
}

static void do_xforward(struct session *s)
{
    struct err err;

    if (s->transaction.is_open) {
        session_protocol_error(s, "503 5.5.1 MAIL transaction in progress");
        return;
    }
    for (size_t i = 0; i < s->command.word_count; i++) {
        if (xforward_set(&s->xforward, s->command.words[i], &err) != 0) {
            session_protocol_error(s, "501 5.5.4 Bad XFORWARD: %s", err.text);
            return;
        }
    }
    session_reply(s, "250 2.0.0 Ok");
}

static void do_unknown(struct session *s)
{
    /* A web browser was made to send a POST request to this port. The session ends, because the
     * form data that follows may contain SMTP commands. */
    if (strstr(s->command.argument, "HTTP/") != NULL) {
        if (maillog_has_room())
            log_warning("HTTP request from [%s]", s->o->client_addr);
        counters_refused("500");
        session_reply(s, "421 4.7.0 %s This is no web server", s->config->relay.hostname);
        s->is_over = true;
        return;
    }
    session_protocol_error(s, "500 5.5.2 Command not recognized");
}

/* Count commands that lead to no message, and note commands that lead to one as progress. */
static void take_note(struct session *s)
{
    switch (s->command.verb) {
    case SMTP_HELO:
    case SMTP_EHLO:
    case SMTP_LHLO:
    case SMTP_RSET:
    case SMTP_NOOP:
    case SMTP_VRFY:
    case SMTP_HELP:
        s->errors += ++s->junk > JUNK_MAX;
        break;
    case SMTP_MAIL:
    case SMTP_RCPT:
    case SMTP_DATA:
    case SMTP_STARTTLS:
        s->has_progressed = true;
        break;
    case SMTP_XFORWARD:
    case SMTP_UNKNOWN:
    case SMTP_QUIT:
        break;
    }
}

static void dispatch(struct session *s)
{
    take_note(s);
    if (s->command.verb != SMTP_RCPT)
        session_settle(s);
    switch (s->command.verb) {
    case SMTP_UNKNOWN:
        do_unknown(s);
        return;
    case SMTP_HELO:
        s->stage = "HELO";
        do_helo(s, SESSION_SMTP);
        return;
    case SMTP_EHLO:
        s->stage = "EHLO";
        do_helo(s, SESSION_ESMTP);
        return;
    case SMTP_LHLO:
        s->stage = "LHLO";
        do_helo(s, SESSION_LMTP);
        return;
    case SMTP_MAIL:
        s->stage = "MAIL";
        if (!session_is_refused(s))
            session_mail(s);
        return;
    case SMTP_RCPT:
        s->stage = "RCPT";
        session_rcpt(s);
        return;
    case SMTP_DATA:
        s->stage = "DATA";
        session_data(s);
        return;
    case SMTP_RSET:
        session_end_transaction(s);
        session_reply(s, "250 2.0.0 Ok");
        return;
    case SMTP_NOOP:
        session_reply(s, "250 2.0.0 Ok");
        return;
    case SMTP_QUIT:
        session_reply(s, "221 2.0.0 Bye");
        s->is_over = true;
        return;
    case SMTP_VRFY:
        session_reply(s, "252 2.0.0 Send mail and see");
        return;
    case SMTP_HELP:
        session_reply(s, "214 2.0.0 RFC 5321, RFC 2033");
        return;
    case SMTP_STARTTLS:
        s->stage = "STARTTLS";
        session_starttls(s);
        return;
    case SMTP_XFORWARD:
        s->stage = "XFORWARD";
        if (!session_is_refused(s))
            do_xforward(s);
        return;
    }
}

/* Is a whole command line in the buffer? If so, the replies so far need not be sent before it is
 * read (RFC 2920). */
static bool has_line(struct session *s)
{
    const char *data;
    size_t len;

    return stream_has_input(s->stream) && stream_peek(s->stream, &data, &len) == STREAM_OK &&
           memchr(data, '\n', len) != NULL;
}

/* Read the next command line. is_here: the line is in the buffer; if not, all replies are sent
 * first. */
static enum stream_status wait_for_line(struct session *s, bool is_here)
{
    unsigned first_ms = s->config->relay.first_command_timeout_ms;
    bool is_first = !s->has_sent_command && first_ms > 0 && first_ms < s->o->command_timeout_ms;
    enum stream_status status = STREAM_OK;

    if (s->has_progressed)
        s->progress_ms = task_now_ms();
    s->has_progressed = false;
    stream_set_deadline(s->stream, is_first ? first_ms : s->o->command_timeout_ms);
    atomic_store(&s->o->presence->idle_since_ms, s->progress_ms);
    if (!is_here)
        status = stream_flush(s->stream);
    if (status == STREAM_OK)
        status = stream_read_line(s->stream, &s->line, SMTP_COMMAND_LINE_MAX + 1);
    atomic_store(&s->o->presence->idle_since_ms, 0);
    s->has_sent_command = true;
    return status;
}

static void one_command(struct session *s)
{
    struct err err;
    bool is_here = has_line(s);

    if (!is_here) {
        session_settle(s);
        if (is_given_up(s) || s->is_over)
            return;
    }
    enum stream_status status = wait_for_line(s, is_here);
    if (status == STREAM_TOO_LONG) {
        counters_refused("500");
        session_reply(s, "500 5.5.2 Line too long");
        s->is_over = true; /* the bytes that follow may be anything */
    } else if (status == STREAM_EOF && atomic_load(s->o->is_stopping)) {
        session_reply_stopping(s);
    } else if (status != STREAM_OK) {
        session_lost(s, status);
    } else if (s->line.len < 2 || s->line.data[s->line.len - 2] != '\r') {
        /* If two hosts disagree on where a line ends, a message can be smuggled from one to the
         * other. */
        if (maillog_has_room())
            log_warning("bare <LF> after %s from [%s]", s->stage, s->o->client_addr);
        counters_refused("500");
        session_reply(s, "500 5.5.2 Bare <LF> received");
        s->is_over = true;
    } else if (smtp_command_parse(s->line.data, s->line.len - 2, &s->command, &err) != 0) {
        session_protocol_error(
            s, "%s %s", s->command.verb == SMTP_UNKNOWN ? "500 5.5.2" : "501 5.5.4", err.text);
    } else {
        dispatch(s);
    }
}

void session_run(struct stream *stream, const struct session_options *options)
{
    struct session *s = mem_zalloc(sizeof *s);
    unsigned commands = 0;

    s->stream = stream;
    s->o = options;
    s->config = runtime_config(options->runtime);
    s->protocol = SESSION_SMTP;
    s->stage = "CONNECT";
    s->has_progressed = true;
    transaction_init(&s->transaction, s->config, options->queue);
    if (options->listener != NULL) {
        struct duplicate_options d = {options->listener, options->copies, options->primary,
                                      &s->transaction};
        s->duplicate = duplicate_new(&d);
    }
    stream_set_deadline(stream, options->command_timeout_ms);
    if (atomic_load(options->is_stopping)) {
        /* 421 comes instead of 220: after 220 the client's EHLO would meet a closed connection, and
         * 421 could get lost */
        session_reply_stopping(s);
    } else if (session_is_welcome(s)) {
        session_reply(s, "220 %s ESMTP splitrelay", s->config->relay.hostname);
    } else {
        session_reject(s, "", "554 5.7.1 Access denied: not in trusted_networks");
        s->is_over = true;
    }
    while (!s->is_over) {
        if (atomic_load(options->is_stopping) && !s->transaction.is_open)
            session_reply_stopping(s);
        else if (!is_given_up(s))
            one_command(s);
        if (++commands % COMMANDS_IN_A_ROW == 0)
            task_yield();
    }
    /* Replies that cannot be sent now are lost, but nothing depends on them. */
    (void)!stream_flush(stream);
    atomic_store(&options->presence->is_in_message, false);
    duplicate_free(s->duplicate);
    transaction_clear(&s->transaction);
    buf_clear(&s->line);
    free(s);
}
