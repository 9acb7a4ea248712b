/* SPDX-License-Identifier: ISC */
/* Reads replies, and words the outcomes and faults. */
#include "smtp/connection_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REFUSAL_WAIT_MS 500 /* for the reply of a server that refuses content half-way */

/* The words are those of Postfix's smtp_proto.c, for tools that read logs. */
static const struct {
    const char *doing;    /* "lost connection with HOST while ..." */
    const char *reply_to; /* "(in reply to ...)" */
} step_names[] = {
    [CONNECTION_GREETING] = {"receiving the initial server greeting", "initial server greeting"},
    [CONNECTION_EHLO] = {"performing the EHLO handshake", "EHLO command"},
    [CONNECTION_HELO] = {"performing the HELO handshake", "HELO command"},
    [CONNECTION_LHLO] = {"performing the LHLO handshake", "LHLO command"},
    [CONNECTION_STARTTLS] = {"sending STARTTLS", "STARTTLS command"},
    [CONNECTION_AUTH] = {"authenticating", "AUTH command"},
    [CONNECTION_XCLIENT] = {"sending XCLIENT", "XCLIENT command"},
    [CONNECTION_XFORWARD] = {"sending XFORWARD", "XFORWARD command"},
    [CONNECTION_RSET] = {"sending RSET", "RSET command"},
    [CONNECTION_MAIL] = {"sending MAIL FROM", "MAIL FROM command"},
    [CONNECTION_RCPT] = {"sending RCPT TO", "RCPT TO command"},
    [CONNECTION_DATA] = {"sending DATA command", "DATA command"},
    [CONNECTION_BODY] = {"sending message body", "message body"},
    [CONNECTION_DOT] = {"sending end of data -- message may be sent more than once",
                        "end of DATA command"},
};

/* The reply as text, cut so that `other` more bytes fit into a reason: "(in reply to ...)" at its
 * end is worth more than the end of a long reply. Valid until the next use of c->line. */
static const char *reply_text(struct connection *c, size_t other)
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

/* The reply's enhanced status code, in the class of the result: 4.x.x for what is retried, also
 * after a 5.x.x that is not final (greeting, EHLO). */
static void dsn_of_reply(const struct smtp_reply *r, enum outcome_result result, char dsn[16])
{
    smtp_reply_dsn(r, dsn);
    if (result == OUTCOME_RETRY)
        dsn[0] = '4';
}

static void set_outcome(struct connection *c, enum connection_step step, enum outcome_result result,
                        struct outcome *o)
{
    const char *reply_to = step_names[step].reply_to;
    size_t other = strlen("host  said:  (in reply to )") + strlen(c->link.peer) + strlen(reply_to);
    char dsn[16];

    dsn_of_reply(&c->reply, result, dsn);
    outcome_set(o, result, dsn, "host %s said: %s (in reply to %s)", c->link.peer,
                reply_text(c, other), reply_to);
}

void connection_outcome_of_reply(struct connection *c, enum connection_step step, struct outcome *o)
{
    enum outcome_result result = result_of(&c->reply);
    char dsn[16];

    if (result != OUTCOME_OK) {
        set_outcome(c, step, result, o);
        return;
    }
    dsn_of_reply(&c->reply, result, dsn);
    outcome_set(o, result, dsn, "%s", reply_text(c, 0));
}

int connection_fail(struct connection *c, const char *dsn, const char *reason, ...)
{
    va_list ap;
    char text[QUEUE_REASON_SIZE];

    va_start(ap, reason);
    vsnprintf(text, sizeof text, reason, ap);
    va_end(ap);
    outcome_set(&c->fault, OUTCOME_RETRY, dsn, "%s", text);
    connection_close(c);
    return -1;
}

int connection_fail_io(struct connection *c, enum connection_step step, enum stream_status status)
{
    const char *doing = step_names[step].doing;

    if (connection_is_interrupted(c))
        connection_set_interrupted(c);
    else if (status == STREAM_TIMEOUT)
        outcome_set(&c->fault, OUTCOME_RETRY, "4.4.2", "conversation with %s timed out while %s",
                    c->link.peer, doing);
    else if (status == STREAM_ERROR)
        outcome_set(&c->fault, OUTCOME_RETRY, "4.4.2", "lost connection with %s while %s: %s",
                    c->link.peer, doing, stream_status_text(c->link.stream, status));
    else if (status == STREAM_TOO_LONG)
        outcome_set(&c->fault, OUTCOME_RETRY, "4.5.0",
                    "host %s sent a malformed reply: line too long (in reply to %s)", c->link.peer,
                    step_names[step].reply_to);
    else
        outcome_set(&c->fault, OUTCOME_RETRY, "4.4.2", "lost connection with %s while %s",
                    c->link.peer, doing);
    connection_close(c);
    return -1;
}

int connection_fail_reply(struct connection *c, enum connection_step step)
{
    if (step <= CONNECTION_LHLO) {
        size_t other = strlen("host  refused to talk to me: ") + strlen(c->link.peer);
        char dsn[16];

        dsn_of_reply(&c->reply, OUTCOME_RETRY, dsn);
        outcome_set(&c->fault, OUTCOME_RETRY, dsn, "host %s refused to talk to me: %s",
                    c->link.peer, reply_text(c, other));
    } else {
        set_outcome(c, step, OUTCOME_RETRY, &c->fault);
    }
    connection_close(c);
    return -1;
}

void connection_begin_wait(struct connection *c)
{
    stream_set_deadline(c->link.stream, c->destination->command_timeout_ms);
}

/* Read one line of any length into the reply. -1: *status is the reason; if it is STREAM_OK, the
 * reply is malformed, and `err` has the reason. */
static int read_line(struct connection *c, enum stream_status *status, struct err *err)
{
    *status = stream_read_line(c->link.stream, &c->line, SMTP_REPLY_LINE_MAX);
    if (*status != STREAM_OK && *status != STREAM_TOO_LONG)
        return -1;
    int rc = smtp_reply_add_line(&c->reply, buf_str(&c->line), c->line.len, err);
    while (rc == 0 && *status == STREAM_TOO_LONG) {
        *status = stream_read_line(c->link.stream, &c->line, SMTP_REPLY_LINE_MAX);
        if (*status != STREAM_OK && *status != STREAM_TOO_LONG)
            return -1;
        rc = smtp_reply_skip(&c->reply, c->line.len, err);
    }
    if (rc != 0)
        *status = STREAM_OK;
    return rc;
}

/* Read the lines of one reply before the deadline. -1: as read_line(). */
static int read_lines(struct connection *c, enum stream_status *status, struct err *err)
{
    smtp_reply_reset(&c->reply);
    while (!c->reply.is_complete)
        if (read_line(c, status, err) != 0)
            return -1;
    return 0;
}

int connection_read_reply(struct connection *c, enum connection_step step)
{
    enum stream_status status;
    struct err err;

    connection_begin_wait(c);
    if (read_lines(c, &status, &err) != 0) {
        c->reply.is_complete = false;
        if (status != STREAM_OK)
            return connection_fail_io(c, step, status);
        return connection_fail(c, "4.5.0", "host %s sent a malformed reply: %s (in reply to %s)",
                               c->link.peer, err.text, step_names[step].reply_to);
    }
    /* After 421 the server closes the connection. A reply whose lines have different codes is a
     * failure, whatever its last code is. In both cases the text goes into the reason. */
    return c->reply.code == 421 || c->reply.is_mixed ? connection_fail_reply(c, step) : 0;
}

int connection_read_refusal(struct connection *c)
{
    const struct connection_content *content = &c->content;
    enum stream_status status;
    struct err err;
    bool has_reply = false;

    if (!connection_is_interrupted(c)) {
        stream_set_deadline(c->link.stream, REFUSAL_WAIT_MS);
        has_reply =
            read_lines(c, &status, &err) == 0 && !c->reply.is_mixed && c->reply.code / 100 >= 4;
    }
    if (!has_reply)
        return connection_fail_io(c, content->step, content->status);
    return c->reply.code == 421 ? connection_fail_reply(c, content->step) : 0;
}

int connection_read_result(struct connection *c)
{
    if (connection_read_reply(c, CONNECTION_DOT) != 0)
        return -1;
    if (c->reply.code / 100 == 3)
        return connection_fail_reply(c, CONNECTION_DOT);
    if (c->content.is_answered_early && c->reply.code / 100 == 2)
        return connection_fail(c, "4.5.0", "host %s said %d before the end of the message was sent",
                               c->link.peer, c->reply.code);
    return 0;
}

int connection_send(struct connection *c, enum connection_step step, const char *data, size_t len)
{
    connection_begin_wait(c);
    enum stream_status status = stream_write(c->link.stream, data, len);
    return status == STREAM_OK ? 0 : connection_fail_io(c, step, status);
}

int connection_send_commands(struct connection *c, enum connection_step step, const char *data,
                             size_t len)
{
    connection_begin_wait(c);
    enum stream_status status = stream_write(c->link.stream, data, len);
    if (status == STREAM_OK)
        status = stream_flush(c->link.stream);
    return status == STREAM_OK || status == STREAM_EOF ? 0 : connection_fail_io(c, step, status);
}

int connection_ask(struct connection *c, enum connection_step step)
{
    connection_begin_wait(c);
    enum stream_status status = stream_flush(c->link.stream);
    if (status != STREAM_OK)
        return connection_fail_io(c, step, status);
    return connection_read_reply(c, step);
}
