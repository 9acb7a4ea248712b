/* SPDX-License-Identifier: ISC */
/* What the server says, and what is said about it. */
#include "smtp/connection_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REFUSAL_WAIT_MS 500 /* for the rest of what a server says before it closes */

/* Postfix's words (smtp_proto.c), so that existing log tools understand them. */
static const struct {
    const char *doing;    /* "lost connection with HOST while ..." */
    const char *reply_to; /* "(in reply to ...)" */
} step_names[] = {
    [CLIENT_GREETING] = {"receiving the initial server greeting", "initial server greeting"},
    [CLIENT_EHLO] = {"performing the EHLO handshake", "EHLO command"},
    [CLIENT_HELO] = {"performing the HELO handshake", "HELO command"},
    [CLIENT_LHLO] = {"performing the LHLO handshake", "LHLO command"},
    [CLIENT_STARTTLS] = {"sending STARTTLS", "STARTTLS command"},
    [CLIENT_AUTH] = {"authenticating", "AUTH command"},
    [CLIENT_XCLIENT] = {"sending XCLIENT", "XCLIENT command"},
    [CLIENT_XFORWARD] = {"sending XFORWARD", "XFORWARD command"},
    [CLIENT_RSET] = {"sending RSET", "RSET command"},
    [CLIENT_MAIL] = {"sending MAIL FROM", "MAIL FROM command"},
    [CLIENT_RCPT] = {"sending RCPT TO", "RCPT TO command"},
    [CLIENT_DATA] = {"sending DATA command", "DATA command"},
    [CLIENT_BODY] = {"sending message body", "message body"},
    [CLIENT_DOT] = {"sending end of data -- message may be sent more than once",
                    "end of DATA command"},
};

void client_outcome(struct outcome *o, enum outcome_result result, const char *dsn,
                    const char *reason, ...)
{
    va_list ap;

    o->result = result;
    snprintf(o->dsn, sizeof o->dsn, "%s", dsn);
    va_start(ap, reason);
    vsnprintf(o->reason, sizeof o->reason, reason, ap);
    va_end(ap);
}

/* The reply as text, cut so that `other` more bytes fit into a reason: what is said last (in reply
 * to what) is worth more than the end of a long reply. Valid until the next use of c->line. */
static const char *reply_text(struct client *c, size_t other)
{
    size_t room = other + 16 < QUEUE_REASON_SIZE ? QUEUE_REASON_SIZE - 1 - other : 16;

    buf_reset(&c->line);
    smtp_reply_one_line(&c->reply, &c->line);
    if (c->line.len > room)
        buf_truncate(&c->line, room);
    return buf_str(&c->line);
}

static enum outcome_result result_of(const struct smtp_reply *r)
{
    switch (r->code / 100) {
    case 2:
        return OUTCOME_OK;
    case 5:
        return OUTCOME_REFUSED;
    default:
        return OUTCOME_RETRY;
    }
}

/* The reply's status code with the class that fits the result: what is retried is 4.x.x, although a
 * reply said 5.x.x where that is not final (greeting, EHLO). */
static void dsn_of_reply(const struct smtp_reply *r, enum outcome_result result, char dsn[16])
{
    smtp_reply_dsn(r, dsn);
    if (result == OUTCOME_RETRY)
        dsn[0] = '4';
}

static void said(struct client *c, enum client_step step, enum outcome_result result,
                 struct outcome *o)
{
    const char *reply_to = step_names[step].reply_to;
    size_t other = strlen("host  said:  (in reply to )") + strlen(c->peer) + strlen(reply_to);
    char dsn[16];

    dsn_of_reply(&c->reply, result, dsn);
    client_outcome(o, result, dsn, "host %s said: %s (in reply to %s)", c->peer,
                   reply_text(c, other), reply_to);
}

void client_outcome_of_reply(struct client *c, enum client_step step, struct outcome *o)
{
    enum outcome_result result = result_of(&c->reply);
    char dsn[16];

    if (result != OUTCOME_OK) {
        said(c, step, result, o);
        return;
    }
    dsn_of_reply(&c->reply, result, dsn);
    client_outcome(o, result, dsn, "%s", reply_text(c, 0));
}

int client_fail_io(struct client *c, enum client_step step, enum stream_status status)
{
    const char *doing = step_names[step].doing;

    if (atomic_load(&c->is_interrupted))
        client_outcome(&c->fault, OUTCOME_RETRY, "4.3.2", "delivery interrupted: shutting down");
    else if (status == STREAM_TIMEOUT)
        client_outcome(&c->fault, OUTCOME_RETRY, "4.4.2", "conversation with %s timed out while %s",
                       c->peer, doing);
    else if (status == STREAM_ERROR)
        client_outcome(&c->fault, OUTCOME_RETRY, "4.4.2", "lost connection with %s while %s: %s",
                       c->peer, doing, stream_status_text(c->stream, status));
    else if (status == STREAM_TOO_LONG)
        client_outcome(&c->fault, OUTCOME_RETRY, "4.5.0",
                       "host %s sent a malformed reply: line too long (in reply to %s)", c->peer,
                       step_names[step].reply_to);
    else
        client_outcome(&c->fault, OUTCOME_RETRY, "4.4.2", "lost connection with %s while %s",
                       c->peer, doing);
    client_close(c);
    return -1;
}

int client_fail_reply(struct client *c, enum client_step step)
{
    if (step <= CLIENT_LHLO) {
        size_t other = strlen("host  refused to talk to me: ") + strlen(c->peer);
        char dsn[16];

        dsn_of_reply(&c->reply, OUTCOME_RETRY, dsn);
        client_outcome(&c->fault, OUTCOME_RETRY, dsn, "host %s refused to talk to me: %s", c->peer,
                       reply_text(c, other));
    } else {
        said(c, step, OUTCOME_RETRY, &c->fault);
    }
    client_close(c);
    return -1;
}

int client_fail_early(struct client *c)
{
    client_outcome(&c->fault, OUTCOME_RETRY, "4.5.0",
                   "host %s said %d before the end of the message was sent", c->peer,
                   c->reply.code);
    client_close(c);
    return -1;
}

void client_begin_wait(struct client *c)
{
    stream_set_deadline(c->stream, c->destination->command_timeout_ms);
}

/* Read one line into the reply, however long it is. -1: *status says why, or if that is STREAM_OK
 * `err`. */
static int read_line(struct client *c, enum stream_status *status, struct err *err)
{
    *status = stream_read_line(c->stream, &c->line, SMTP_REPLY_LINE_MAX);
    if (*status != STREAM_OK && *status != STREAM_TOO_LONG)
        return -1;
    int rc = smtp_reply_add_line(&c->reply, buf_str(&c->line), c->line.len, err);
    while (rc == 0 && *status == STREAM_TOO_LONG) {
        *status = stream_read_line(c->stream, &c->line, SMTP_REPLY_LINE_MAX);
        if (*status != STREAM_OK && *status != STREAM_TOO_LONG)
            return -1;
        rc = smtp_reply_skip(&c->reply, c->line.len, err);
    }
    if (rc != 0)
        *status = STREAM_OK;
    return rc;
}

/* The lines of one reply, before the deadline. As read_line(). */
static int read_lines(struct client *c, enum stream_status *status, struct err *err)
{
    smtp_reply_reset(&c->reply);
    while (!c->reply.is_complete)
        if (read_line(c, status, err) != 0)
            return -1;
    return 0;
}

int client_read_reply(struct client *c, enum client_step step)
{
    enum stream_status status;
    struct err err;

    client_begin_wait(c);
    if (read_lines(c, &status, &err) != 0) {
        c->reply.is_complete = false;
        if (status != STREAM_OK)
            return client_fail_io(c, step, status);
        client_outcome(&c->fault, OUTCOME_RETRY, "4.5.0",
                       "host %s sent a malformed reply: %s (in reply to %s)", c->peer, err.text,
                       step_names[step].reply_to);
        client_close(c);
        return -1;
    }
    /* Lines that contradict each other decide nothing, but they say what is wrong. */
    return c->reply.code == 421 || c->reply.is_mixed ? client_fail_reply(c, step) : 0;
}

bool client_read_refusal(struct client *c)
{
    enum stream_status status;
    struct err err;

    if (atomic_load(&c->is_interrupted))
        return false;
    stream_set_deadline(c->stream, REFUSAL_WAIT_MS);
    return read_lines(c, &status, &err) == 0 && !c->reply.is_mixed && c->reply.code / 100 >= 4;
}

int client_ask(struct client *c, enum client_step step)
{
    client_begin_wait(c);
    enum stream_status status = stream_flush(c->stream);
    if (status != STREAM_OK)
        return client_fail_io(c, step, status);
    return client_read_reply(c, step);
}
