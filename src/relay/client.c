/* SPDX-License-Identifier: ISC */
#include "client_private.h"

#include "../log.h"
#include "../mem.h"
#include "../task.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define QUIT_WAIT_MS 500 /* for the reply to QUIT, which changes nothing any more */

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

int64_t client_now_ms(void)
{
    return task_now_ms();
}

static void deliver_op(struct transport *t, const struct queue_copy *copy,
                       struct delivery_report *report)
{
    client_deliver((struct client *)t, copy, report);
}

static bool is_connected_op(const struct transport *t)
{
    return client_is_connected((const struct client *)t);
}

static void interrupt_op(struct transport *t)
{
    client_interrupt((struct client *)t);
}

static void free_op(struct transport *t)
{
    client_free((struct client *)t);
}

struct transport *client_transport(struct client *c)
{
    return &c->transport;
}

struct client *client_new(const struct config_destination *d, const char *hostname,
                          const struct resolver *resolver)
{
    static const struct transport_ops ops = {deliver_op, is_connected_op, interrupt_op, free_op};
    struct client *c = mem_zalloc(sizeof *c);

    c->transport.ops = &ops;
    c->destination = d;
    c->hostname = hostname;
    c->resolver = resolver;
    pthread_mutex_init(&c->lock, NULL);
    c->live_fd = -1;
    smtp_reply_init(&c->reply);
    return c;
}

/* line: for the reply, NULL: not to be waited for. */
static void quit(struct stream *stream, struct buf *line, const char *peer)
{
    stream_set_deadline(stream, QUIT_WAIT_MS);
    if (stream_write(stream, "QUIT\r\n", 6) == STREAM_OK && stream_flush(stream) == STREAM_OK &&
        line != NULL && stream_read_line(stream, line, SMTP_REPLY_LINE_MAX) != STREAM_OK)
        log_debug("%s: no reply to QUIT", peer);
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    if (c->stream != NULL && !atomic_load(&c->is_interrupted))
        quit(c->stream, &c->line, c->peer);
    client_close(c);
    smtp_reply_clear(&c->reply);
    buf_clear(&c->line);
    buf_clear(&c->command);
    buf_clear(&c->xclient);
    format_clear(&c->format);
    free(c->block);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

bool client_is_connected(const struct client *c)
{
    return c->stream != NULL;
}

int client_set_live(struct client *c, int fd)
{
    pthread_mutex_lock(&c->lock);
    c->live_fd = fd;
    pthread_mutex_unlock(&c->lock);
    /* After publishing, so that an interrupt is seen either here or by the descriptor. */
    if (fd != -1 && atomic_load(&c->is_interrupted)) {
        client_outcome(&c->fault, DELIVERY_RETRY, "4.3.2", "delivery interrupted: shutting down");
        return -1;
    }
    return 0;
}

void client_interrupt(struct client *c)
{
    pthread_mutex_lock(&c->lock);
    atomic_store(&c->is_interrupted, true);
    if (c->live_fd != -1)
        shutdown(c->live_fd, SHUT_RDWR);
    pthread_mutex_unlock(&c->lock);
}

void client_close(struct client *c)
{
    pthread_mutex_lock(&c->lock);
    c->live_fd = -1;
    pthread_mutex_unlock(&c->lock);
    stream_free(c->stream);
    c->stream = NULL;
}

struct client_connection *client_detach(struct client *c)
{
    struct client_connection *k = mem_zalloc(sizeof *k);

    stream_leave(c->stream);
    k->stream = c->stream;
    mem_copy_string(k->peer, sizeof k->peer, c->peer);
    k->uses = c->uses;
    k->opened_ms = c->opened_ms;
    k->needs_rset = c->needs_rset;
    k->features = c->features;
    c->stream = NULL;
    client_close(c);
    return k;
}

int client_attach(struct client *c, struct client_connection *k)
{
    c->stream = k->stream;
    mem_copy_string(c->peer, sizeof c->peer, k->peer);
    c->uses = k->uses;
    c->opened_ms = k->opened_ms;
    c->needs_rset = k->needs_rset;
    c->features = k->features;
    free(k);
    if (client_set_live(c, stream_fd(c->stream)) == 0)
        return 0;
    client_close(c);
    return -1;
}

void client_connection_close(struct client_connection *k, bool is_hurried)
{
    struct buf line = {0};

    quit(k->stream, is_hurried ? NULL : &line, k->peer);
    stream_free(k->stream);
    buf_clear(&line);
    free(k);
}

void client_outcome(struct delivery_outcome *o, enum delivery_result result, const char *dsn,
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

static enum delivery_result result_of(const struct smtp_reply *r)
{
    switch (r->code / 100) {
    case 2:
        return DELIVERY_OK;
    case 5:
        return DELIVERY_REFUSED;
    default:
        return DELIVERY_RETRY;
    }
}

/* The reply's status code with the class that fits the result: what is retried is 4.x.x, although a
 * reply said 5.x.x where that is not final (greeting, EHLO). */
static void dsn_of_reply(const struct smtp_reply *r, enum delivery_result result, char dsn[16])
{
    smtp_reply_dsn(r, dsn);
    if (result == DELIVERY_RETRY)
        dsn[0] = '4';
}

static void said(struct client *c, enum client_step step, enum delivery_result result,
                 struct delivery_outcome *o)
{
    const char *reply_to = step_names[step].reply_to;
    size_t other = strlen("host  said:  (in reply to )") + strlen(c->peer) + strlen(reply_to);
    char dsn[16];

    dsn_of_reply(&c->reply, result, dsn);
    client_outcome(o, result, dsn, "host %s said: %s (in reply to %s)", c->peer,
                   reply_text(c, other), reply_to);
}

void client_outcome_of_reply(struct client *c, enum client_step step, struct delivery_outcome *o)
{
    enum delivery_result result = result_of(&c->reply);
    char dsn[16];

    if (result != DELIVERY_OK) {
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
        client_outcome(&c->fault, DELIVERY_RETRY, "4.3.2", "delivery interrupted: shutting down");
    else if (status == STREAM_TIMEOUT)
        client_outcome(&c->fault, DELIVERY_RETRY, "4.4.2",
                       "conversation with %s timed out while %s", c->peer, doing);
    else if (status == STREAM_ERROR)
        client_outcome(&c->fault, DELIVERY_RETRY, "4.4.2", "lost connection with %s while %s: %s",
                       c->peer, doing, stream_status_text(c->stream, status));
    else if (status == STREAM_TOO_LONG)
        client_outcome(&c->fault, DELIVERY_RETRY, "4.5.0",
                       "host %s sent a malformed reply: line too long (in reply to %s)", c->peer,
                       step_names[step].reply_to);
    else
        client_outcome(&c->fault, DELIVERY_RETRY, "4.4.2", "lost connection with %s while %s",
                       c->peer, doing);
    client_close(c);
    return -1;
}

int client_fail_reply(struct client *c, enum client_step step)
{
    if (step <= CLIENT_LHLO) {
        size_t other = strlen("host  refused to talk to me: ") + strlen(c->peer);
        char dsn[16];

        dsn_of_reply(&c->reply, DELIVERY_RETRY, dsn);
        client_outcome(&c->fault, DELIVERY_RETRY, dsn, "host %s refused to talk to me: %s", c->peer,
                       reply_text(c, other));
    } else {
        said(c, step, DELIVERY_RETRY, &c->fault);
    }
    client_close(c);
    return -1;
}

void client_begin_wait(struct client *c)
{
    stream_set_deadline(c->stream, c->destination->command_timeout_ms);
}

int client_read_reply(struct client *c, enum client_step step)
{
    struct err err;

    smtp_reply_reset(&c->reply);
    client_begin_wait(c);
    while (!c->reply.is_complete) {
        enum stream_status status = stream_read_line(c->stream, &c->line, SMTP_REPLY_LINE_MAX);
        if (status != STREAM_OK)
            return client_fail_io(c, step, status);
        if (smtp_reply_add_line(&c->reply, buf_str(&c->line), c->line.len, &err) != 0) {
            client_outcome(&c->fault, DELIVERY_RETRY, "4.5.0",
                           "host %s sent a malformed reply: %s (in reply to %s)", c->peer, err.text,
                           step_names[step].reply_to);
            client_close(c);
            return -1;
        }
    }
    return c->reply.code == 421 ? client_fail_reply(c, step) : 0;
}

int client_ask(struct client *c, enum client_step step)
{
    client_begin_wait(c);
    enum stream_status status = stream_flush(c->stream);
    if (status != STREAM_OK)
        return client_fail_io(c, step, status);
    return client_read_reply(c, step);
}

/* Before a message: a connection that the server has closed meanwhile, that has carried enough
 * messages, or that is another client's for the server, is not used any more. */
static void drop_if_unfit(struct client *c, const struct queue_copy *copy)
{
    unsigned max = c->destination->max_messages_per_connection;

    if (c->stream == NULL)
        return;
    if (stream_is_stale(c->stream)) {
        client_close(c);
    } else if ((max > 0 && c->uses >= max) || !client_origin_fits(c, copy)) {
        quit(c->stream, &c->line, c->peer);
        client_close(c);
    }
}

/* -1 with `fault` when the copy cannot be read. */
static int begin_format(struct client *c, const struct queue_copy *copy)
{
    struct err err;

    if (format_begin(&c->format, copy, c->destination, c->hostname, &err) == 0)
        return 0;
    client_outcome(&c->fault, DELIVERY_RETRY, "4.3.0", "%s", err.text);
    return -1;
}

/* Connect, unless there is a connection. Adds to report->setup_ms. -1 with `fault`. */
static int be_connected(struct client *c, struct delivery_report *report)
{
    int64_t begin_ms = client_now_ms();

    if (c->stream != NULL)
        return 0;
    int result = client_connect(c);
    report->setup_ms += client_now_ms() - begin_ms;
    return result;
}

/* One transaction after the other, until all are decided or something is lost. */
static enum client_sent send_all(struct client *c, struct client_mail *m,
                                 struct delivery_report *report)
{
    enum client_sent sent = CLIENT_SENT;
    bool is_reused = false;

    do {
        drop_if_unfit(c, m->copy);
        is_reused = c->stream != NULL;
        if (be_connected(c, report) != 0) {
            report->is_host_fault = true;
            return CLIENT_LOST_EARLY;
        }
        int64_t ready_ms = client_now_ms();
        report->conn_use = ++c->uses;
        sent = client_transaction(c, m);
        report->transmit_ms += client_now_ms() - ready_ms;
        /* A server may close a kept connection at any time: that is no fault of its. */
        if (sent == CLIENT_LOST_EARLY && is_reused && !atomic_load(&c->is_interrupted))
            sent = CLIENT_SENT;
    } while (sent == CLIENT_SENT && m->first < m->count);
    return sent;
}

void client_deliver(struct client *c, const struct queue_copy *copy, struct delivery_report *report)
{
    struct client_mail m;

    report->is_host_fault = report->is_connection_fault = false;
    report->conn_use = 0;
    report->setup_ms = report->transmit_ms = 0;
    client_mail_init(&m, c, copy, report);
    enum client_sent sent =
        begin_format(c, copy) == 0 ? send_all(c, &m, report) : CLIENT_LOCAL_FAULT;
    if (sent != CLIENT_SENT)
        client_mail_decide_rest(&m, &c->fault);
    client_mail_finish(&m);
    snprintf(report->relay, sizeof report->relay, "%s", c->peer[0] == '\0' ? "none" : c->peer);
    if (!report->is_host_fault) {
        report->is_host_fault = atomic_load(&c->is_interrupted) && sent != CLIENT_SENT;
        report->is_connection_fault = sent == CLIENT_LOST_EARLY || sent == CLIENT_LOST_LATE;
    }
}
