/* SPDX-License-Identifier: ISC */
/*
 * The commands of a transaction are numbered: RSET (when needed), MAIL, one RCPT for each different
 * address, DATA. With PIPELINING a window of them is written at once, else one at a time; replies
 * come in the same order (RFC 2920 3.1). The window is small enough that neither its commands nor
 * the replies to it can fill the buffers of both sides, so nobody ever waits for the other to read.
 */
#include "smtp/connection_private.h"

#include "base/log.h"
#include "mail/xtext.h"

#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#define WINDOW_COMMANDS 60
#define WINDOW_BYTES 16384

struct transaction {
    struct client *client;
    struct client_mail *mail;
    bool needs_utf8;

    struct client_rcpt *rcpts; /* of this transaction */
    size_t rcpt_count;
    size_t accepted_count;

    /* command numbers: [first_rcpt - 1] is MAIL, [first_rcpt + rcpt_count] is DATA */
    size_t first_rcpt;
    bool mail_refused;
    bool data_ready; /* 354 */
};

/* Those that were accepted so far. */
static void decide_accepted(struct transaction *t, const struct outcome *o)
{
    for (size_t i = 0; i < t->rcpt_count; i++) {
        if (t->rcpts[i].state == CLIENT_RCPT_ACCEPTED)
            client_mail_decide(&t->rcpts[i], o);
    }
}

/* Make what is to be sent, for all recipients that may get it, or those that were accepted. */
static void make_format(struct transaction *t, enum client_rcpt_state state)
{
    client_mail_include(t->mail, t->rcpt_count, state);
    format_make(&t->client->format, t->mail->is_included);
    if (t->client->features.smtputf8 && t->client->format.has_utf8_header)
        t->needs_utf8 = true;
}

static void format_mail(const struct transaction *t, struct buf *out)
{
    const struct client_features *f = &t->client->features;

    buf_addf(out, "MAIL FROM:<%s>", t->mail->sender);
    if (f->size)
        buf_addf(out, " SIZE=%" PRIu64, format_size(&t->client->format));
    if (f->eight_bit && t->client->format.is_8bit)
        buf_adds(out, " BODY=8BITMIME");
    if (t->needs_utf8)
        buf_adds(out, " SMTPUTF8");
    if (t->mail->copy->message.needs_requiretls) /* offered, or we were not connected */
        buf_adds(out, " REQUIRETLS");
    buf_adds(out, "\r\n");
}

static void format_rcpt(const struct transaction *t, const struct client_rcpt *r, struct buf *out)
{
    buf_addf(out, "RCPT TO:<%s>", r->address);
    if (t->client->features.dsn) {
        buf_adds(out, " NOTIFY=NEVER");
        if (!r->is_shared) {
            buf_adds(out, " ORCPT=");
            if (r->recipient->orcpt[0] != '\0')
                buf_adds(out, r->recipient->orcpt);
            else
                xtext_encode_orcpt(r->recipient->address, out);
        }
    }
    buf_adds(out, "\r\n");
}

static enum client_step step_of(const struct transaction *t, size_t command)
{
    if (command + 1 < t->first_rcpt)
        return CLIENT_RSET;
    if (command + 1 == t->first_rcpt)
        return CLIENT_MAIL;
    return command < t->first_rcpt + t->rcpt_count ? CLIENT_RCPT : CLIENT_DATA;
}

static struct client_rcpt *rcpt_of_command(const struct transaction *t, size_t command)
{
    return &t->rcpts[command - t->first_rcpt];
}

static void format_command(struct transaction *t, size_t command, struct buf *out)
{
    switch (step_of(t, command)) {
    case CLIENT_RSET:
        buf_adds(out, "RSET\r\n");
        break;
    case CLIENT_MAIL:
        t->client->needs_rset = true;
        format_mail(t, out);
        break;
    case CLIENT_RCPT:
        format_rcpt(t, rcpt_of_command(t, command), out);
        break;
    case CLIENT_DATA:
    case CLIENT_GREETING:
    case CLIENT_EHLO:
    case CLIENT_HELO:
    case CLIENT_LHLO:
    case CLIENT_STARTTLS:
    case CLIENT_AUTH:
    case CLIENT_XCLIENT:
    case CLIENT_XFORWARD:
    case CLIENT_BODY:
    case CLIENT_DOT:
        buf_adds(out, "DATA\r\n");
        break;
    }
}

/* A server that has taken some recipients and then says 452, or 552 as older ones do, wants no more
 * of them in this transaction (RFC 5321 4.5.3.1.10). Each transaction decides about one at least,
 * so there is an end. */
static bool is_enough(const struct transaction *t)
{
    int code = t->client->reply.code;

    return (code == 452 || code == 552) && t->accepted_count > 0;
}

/* -1: a code that this command cannot have; what else is meant by the peer is not known. */
static int take_reply(struct transaction *t, enum client_step step, struct client_rcpt *r)
{
    struct client *c = t->client;
    int class = c->reply.code / 100;
    struct outcome o;

    if (step == CLIENT_DATA ? class == 2 : class == 3)
        return client_fail_reply(c, step);
    if (step == CLIENT_RSET)
        return class == 2 ? 0 : client_fail_reply(c, step);
    if (class <= 3) {
        if (step == CLIENT_RCPT && !t->mail_refused) {
            r->state = CLIENT_RCPT_ACCEPTED;
            t->accepted_count++;
        }
        if (step == CLIENT_DATA)
            t->data_ready = true;
        return 0;
    }
    /* It may have had enough of this connection: some say so from the 101st message on. */
    if (step == CLIENT_MAIL && class == 4 && c->uses > 1)
        return client_fail_reply(c, step);
    client_outcome_of_reply(c, step, &o);
    if (step == CLIENT_MAIL) {
        /* The sender, or the message by its announced size: nothing of it can be sent. */
        t->mail_refused = true;
        client_mail_decide_rest(t->mail, &o);
    } else if (step == CLIENT_DATA) {
        decide_accepted(t, &o);
    } else if (!t->mail_refused && is_enough(t)) {
        r->state = CLIENT_RCPT_POSTPONED;
    } else if (!t->mail_refused) {
        client_mail_decide(r, &o);
    }
    return 0;
}

/* Is there any use in sending this command, after what was answered so far? */
static bool is_worth_sending(const struct transaction *t, size_t command, size_t answered)
{
    if (t->mail_refused)
        return false;
    return step_of(t, command) != CLIENT_DATA || answered < command || t->accepted_count > 0;
}

/* Write the next commands up to the window. Returns how many were written in all. */
static size_t write_window(struct transaction *t, size_t written, size_t answered, size_t count)
{
    struct client *c = t->client;
    size_t max = c->features.pipelining ? WINDOW_COMMANDS : 1;

    buf_reset(&c->command);
    while (written < count && written - answered < max && c->command.len < WINDOW_BYTES &&
           is_worth_sending(t, written, answered))
        format_command(t, written++, &c->command);
    return written;
}

/* RSET, MAIL, RCPT, DATA. -1 with `fault`. */
static int send_envelope(struct transaction *t)
{
    struct client *c = t->client;
    size_t written = 0;
    size_t answered = 0;
    size_t count = t->first_rcpt + t->rcpt_count + 1;

    while (answered < count) {
        written = write_window(t, written, answered, count);
        if (written == answered)
            return 0;
        enum client_step step = step_of(t, answered);
        client_begin_wait(c);
        enum stream_status status = stream_write(c->stream, c->command.data, c->command.len);
        if (status == STREAM_OK)
            status = stream_flush(c->stream);
        if (status != STREAM_OK && status != STREAM_EOF) /* why it closed may be there to read */
            return client_fail_io(c, step, status);
        for (; answered < written; answered++) {
            step = step_of(t, answered);
            if (client_read_reply(c, step) != 0)
                return -1;
            if (take_reply(t, step, step == CLIENT_RCPT ? rcpt_of_command(t, answered) : NULL) != 0)
                return -1;
        }
    }
    return 0;
}

/* The reply, or with LMTP the replies, to the final dot (RFC 2033 4.2). */
static int read_results(struct transaction *t, bool is_answered_early)
{
    struct client *c = t->client;
    bool is_lmtp = c->destination->protocol == CONFIG_LMTP;
    struct outcome o = {0};

    for (size_t i = 0; i < t->rcpt_count; i++) {
        if (t->rcpts[i].state != CLIENT_RCPT_ACCEPTED)
            continue;
        if (client_read_reply(c, CLIENT_DOT) != 0)
            return -1;
        if (c->reply.code / 100 == 3)
            return client_fail_reply(c, CLIENT_DOT);
        if (is_answered_early && c->reply.code / 100 == 2)
            return client_fail_early(c);
        client_outcome_of_reply(c, CLIENT_DOT, &o);
        if (is_lmtp)
            client_mail_decide(&t->rcpts[i], &o);
        else
            break;
    }
    if (!is_lmtp)
        decide_accepted(t, &o);
    return 0;
}

/* The content could not be sent whole. What the server said before it closed is its reply; with
 * LMTP there may be one for each recipient, or for some. */
static enum client_sent read_refusals(struct transaction *t, const struct client_content *content)
{
    struct client *c = t->client;
    bool is_lmtp = c->destination->protocol == CONFIG_LMTP;
    struct outcome o;

    for (size_t i = 0; i < t->rcpt_count; i++) {
        if (t->rcpts[i].state != CLIENT_RCPT_ACCEPTED)
            continue;
        if (!client_read_refusal(c)) {
            client_fail_io(c, content->step, content->status);
            return CLIENT_LOST_LATE;
        }
        if (c->reply.code == 421) {
            client_fail_reply(c, content->step);
            return CLIENT_LOST_LATE;
        }
        client_outcome_of_reply(c, content->step, &o);
        if (is_lmtp) {
            client_mail_decide(&t->rcpts[i], &o);
        } else {
            decide_accepted(t, &o);
            break;
        }
    }
    client_close(c);
    return CLIENT_SENT;
}

/* DATA was pipelined and accepted, but no recipient was: RFC 2920 3.1 wants the dot alone. */
static int send_lone_dot(struct client *c)
{
    enum stream_status status = stream_write(c->stream, ".\r\n", 3);

    if (status != STREAM_OK)
        return client_fail_io(c, CLIENT_DATA, status);
    return client_ask(c, CLIENT_DATA);
}

static enum client_sent run(struct transaction *t)
{
    struct client *c = t->client;

    if (send_envelope(t) != 0)
        return CLIENT_LOST_EARLY;
    if (!t->data_ready)
        return CLIENT_SENT;
    if (t->accepted_count == 0) {
        /* Whatever it says now: all recipients have their outcome. An LMTP server may not say 354
         * here (RFC 2033 4.2), and would have no reply to give to the dot. One that refused MAIL
         * may have another transaction open, and the dot would be an empty message in it. */
        if (c->destination->protocol == CONFIG_LMTP || t->mail_refused || send_lone_dot(c) != 0)
            client_close(c);
        return CLIENT_SENT;
    }
    if (stream_has_input(c->stream)) {
        /* Taken for the reply to the content, this would lose the copy. */
        client_outcome(&c->fault, OUTCOME_RETRY, "4.5.0",
                       "host %s said more than its reply to DATA", c->peer);
        client_close(c);
        return CLIENT_LOST_EARLY;
    }
    if (t->accepted_count < t->rcpt_count)
        make_format(t, CLIENT_RCPT_ACCEPTED);
    struct client_content content;
    switch (client_send_content(c, &content)) {
    case CLIENT_CONTENT_SENT:
        break;
    case CLIENT_CONTENT_LOST:
        return read_refusals(t, &content);
    case CLIENT_CONTENT_UNREAD:
        return CLIENT_LOCAL_FAULT;
    }
    if (read_results(t, content.is_answered_early) != 0)
        return CLIENT_LOST_LATE;
    c->needs_rset = false;
    return CLIENT_SENT;
}

/* RFC 1870 section 6.1: do not try what exceeds the announced size. */
static bool exceeds_size(struct transaction *t)
{
    const struct client *c = t->client;
    struct outcome o;

    uint64_t size_bytes = format_size(&c->format);

    if (c->features.size_limit_bytes == 0 || size_bytes <= c->features.size_limit_bytes)
        return false;
    client_outcome(&o, OUTCOME_REFUSED, "5.3.4",
                   "552 5.3.4 message size %" PRIu64 " exceeds size limit %" PRIu64 " of host %s",
                   size_bytes, c->features.size_limit_bytes, c->peer);
    client_mail_decide_rest(t->mail, &o);
    return true;
}

/* A copy cannot be converted, and an archive without it helps nobody: it is sent as it is. */
static void tell_what_is_missing(struct transaction *t)
{
    struct client *c = t->client;
    bool is_utf8 = t->mail->copy->message.is_utf8 || c->format.has_utf8_header;
    const char *what = !c->features.eight_bit && c->format.is_8bit ? "8BITMIME"
                       : !c->features.smtputf8 && is_utf8          ? "SMTPUTF8"
                                                                   : NULL;

    if (what == NULL || c->has_told)
        return;
    c->has_told = true;
    log_info("dest=%s: host %s does not offer %s: copies that need it are sent to it as they are",
             c->destination->name, c->peer, what);
}

enum client_sent client_transaction(struct client *c, struct client_mail *m)
{
    enum client_sent sent = CLIENT_SENT;
    size_t limit = c->destination->recipient_limit;

    switch (client_origin_tell(c, m->copy)) {
    case CLIENT_ORIGIN_TOLD:
        break;
    case CLIENT_ORIGIN_LOST:
        return CLIENT_LOST_EARLY;
    case CLIENT_ORIGIN_REFUSED:
        client_mail_decide_rest(m, &c->fault);
        client_mail_settle(m);
        return CLIENT_SENT;
    }
    struct transaction t = {.client = c, .mail = m, .first_rcpt = c->needs_rset ? 2 : 1};

    if (limit == 0)
        limit = SIZE_MAX;
    t.needs_utf8 = client_mail_sort_out(m, c, limit);
    t.rcpts = m->rcpts + m->first;
    t.rcpt_count = m->count - m->first < limit ? m->count - m->first : limit;
    make_format(&t, CLIENT_RCPT_UNDECIDED);
    if (!exceeds_size(&t) && t.rcpt_count > 0) {
        tell_what_is_missing(&t);
        sent = run(&t);
    }
    client_mail_settle(m);
    return sent;
}
