/* SPDX-License-Identifier: ISC */
/*
 * The commands of a transaction are numbered: RSET (when needed), MAIL, one RCPT for each different
 * address, DATA. With PIPELINING a window of them is written at once, else one at a time; replies
 * come in the same order (RFC 2920 3.1). The window is small enough that neither its commands nor
 * the replies to it can fill the buffers of both sides, so nobody ever waits for the other to read.
 */
#include "client_private.h"

#include "../mem.h"
#include "../xtext.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_COMMANDS 60
#define WINDOW_BYTES 16384

enum rcpt_state { RCPT_UNDECIDED, RCPT_ACCEPTED, RCPT_DECIDED };

struct rcpt {
    const char *address;
    const struct queue_recipient *recipient; /* the first one with this address */
    bool is_shared;                          /* by recipients with different ORCPTs */
    struct delivery_outcome *outcome;        /* in the report, of that first recipient */
    enum rcpt_state state;                   /* decided: the outcome is set */
};

struct transaction {
    struct client *client;
    const struct queue_copy *copy;
    struct delivery_report *report;
    const char *sender;
    bool needs_utf8;

    struct rcpt *rcpts;
    size_t rcpt_count;
    size_t *same_as;   /* for each recipient of the copy: the one whose outcome it shares */
    bool *is_included; /* for each recipient of the copy: format_make() */
    size_t accepted_count;

    /* command numbers: [first_rcpt - 1] is MAIL, [first_rcpt + rcpt_count] is DATA */
    size_t first_rcpt;
    bool mail_refused;
    bool data_ready; /* 354 */
};

static bool is_ascii(const char *s)
{
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s >= 0x80)
            return false;
    }
    return true;
}

/* A command must stay one line. Addresses were parsed when they came in; a spool file may have been
 * edited since. */
static bool is_sendable(const char *s)
{
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return false;
    }
    return true;
}

static size_t find_rcpt(const struct transaction *t, const char *address)
{
    size_t i = 0;

    while (i < t->rcpt_count && strcmp(t->rcpts[i].address, address) != 0)
        i++;
    return i;
}

/* Recipients of the copy -> RCPT commands: each address once. */
static void collect_rcpts(struct transaction *t)
{
    const struct config_destination *d = t->client->destination;
    bool is_fixed = d->recipient == CONFIG_ADDRESS_FIXED;
    const struct queue_recipient *recipients = t->copy->recipients;
    size_t n = t->copy->recipient_count;

    t->rcpts = mem_grow(NULL, n, sizeof *t->rcpts);
    t->same_as = mem_grow(NULL, n, sizeof *t->same_as);
    t->is_included = mem_grow(NULL, n, sizeof *t->is_included);
    for (size_t i = 0; i < n; i++) {
        const struct queue_recipient *r = &recipients[i];
        if (r->state != QUEUE_PENDING)
            continue;
        const char *address = is_fixed ? d->recipient_address : r->address;
        struct rcpt *rcpt = &t->rcpts[find_rcpt(t, address)];
        if (rcpt < t->rcpts + t->rcpt_count) {
            if (strcmp(rcpt->recipient->orcpt, r->orcpt) != 0 ||
                strcmp(rcpt->recipient->address, r->address) != 0)
                rcpt->is_shared = true;
        } else {
            *rcpt = (struct rcpt){address, r, false, &t->report->outcomes[i], RCPT_UNDECIDED};
            t->rcpt_count++;
        }
        t->same_as[i] = (size_t)(rcpt->recipient - recipients);
    }
}

static void decide(struct rcpt *r, const struct delivery_outcome *o)
{
    *r->outcome = *o;
    r->state = RCPT_DECIDED;
}

static void decide_rest(struct transaction *t, const struct delivery_outcome *o)
{
    for (size_t i = 0; i < t->rcpt_count; i++) {
        if (t->rcpts[i].state != RCPT_DECIDED)
            decide(&t->rcpts[i], o);
    }
}

/* Decide those that cannot be sent over this connection, and take them off the list. */
static void sort_out(struct transaction *t)
{
    const struct client *c = t->client;
    bool has_utf8 = c->features.smtputf8;
    bool sender_utf8 = !is_ascii(t->sender);
    size_t kept = 0;

    t->needs_utf8 = has_utf8 && (t->copy->message.is_utf8 || sender_utf8);
    for (size_t i = 0; i < t->rcpt_count; i++) {
        struct rcpt *r = &t->rcpts[i];
        bool rcpt_utf8 = !is_ascii(r->address);
        if (!is_sendable(t->sender) || !is_sendable(r->address) ||
            !is_sendable(r->recipient->orcpt)) {
            client_outcome(r->outcome, DELIVERY_RETRY, "4.3.0", "control character in an address");
        } else if ((sender_utf8 || rcpt_utf8) && !has_utf8) {
            client_outcome(r->outcome, DELIVERY_RETRY, "4.6.7",
                           "SMTPUTF8 is required, but was not offered by host %s", c->peer);
        } else {
            t->needs_utf8 = t->needs_utf8 || rcpt_utf8;
            t->rcpts[kept++] = *r;
        }
    }
    t->rcpt_count = kept;
}

/* Make what is to be sent, for all recipients that may get it, or those that were accepted. */
static void make_format(struct transaction *t, enum rcpt_state state)
{
    size_t n = t->copy->recipient_count;

    memset(t->is_included, 0, n * sizeof *t->is_included);
    for (size_t i = 0; i < t->rcpt_count; i++)
        if (t->rcpts[i].state == state)
            t->is_included[t->rcpts[i].recipient - t->copy->recipients] = true;
    for (size_t i = 0; i < n; i++) /* the first one of each comes before the others */
        if (t->copy->recipients[i].state == QUEUE_PENDING)
            t->is_included[i] = t->is_included[t->same_as[i]];
    format_make(&t->client->format, t->is_included);
    if (t->client->features.smtputf8 && t->client->format.has_utf8_header)
        t->needs_utf8 = true;
}

static void format_mail(const struct transaction *t, struct buf *out)
{
    const struct client_features *f = &t->client->features;

    buf_addf(out, "MAIL FROM:<%s>", t->sender);
    if (f->size)
        buf_addf(out, " SIZE=%" PRIu64, format_size(&t->client->format));
    if (f->eight_bit && t->client->format.is_8bit)
        buf_adds(out, " BODY=8BITMIME");
    if (t->needs_utf8)
        buf_adds(out, " SMTPUTF8");
    buf_adds(out, "\r\n");
}

static void format_rcpt(const struct transaction *t, const struct rcpt *r, struct buf *out)
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

static struct rcpt *rcpt_of_command(const struct transaction *t, size_t command)
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
    case CLIENT_XFORWARD:
    case CLIENT_BODY:
    case CLIENT_DOT:
        buf_adds(out, "DATA\r\n");
        break;
    }
}

/* -1: a code that this command cannot have; what else is meant by the peer is not known. */
static int take_reply(struct transaction *t, enum client_step step, struct rcpt *r)
{
    struct client *c = t->client;
    int class = c->reply.code / 100;
    struct delivery_outcome o;

    if (step == CLIENT_DATA ? class == 2 : class == 3)
        return client_fail_reply(c, step);
    if (step == CLIENT_RSET)
        return class == 2 ? 0 : client_fail_reply(c, step);
    if (class <= 3) {
        if (step == CLIENT_RCPT && !t->mail_refused) {
            r->state = RCPT_ACCEPTED;
            t->accepted_count++;
        }
        if (step == CLIENT_DATA)
            t->data_ready = true;
        return 0;
    }
    client_outcome_of_reply(c, step, &o);
    if (step == CLIENT_MAIL) {
        /* The sender, or the message by its announced size: nothing of it can be sent. */
        t->mail_refused = true;
        decide_rest(t, &o);
    } else if (step == CLIENT_RCPT) {
        if (!t->mail_refused)
            decide(r, &o);
    } else {
        decide_rest(t, &o);
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
        if (status != STREAM_OK)
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
static int read_results(struct transaction *t)
{
    struct client *c = t->client;
    bool is_lmtp = c->destination->protocol == CONFIG_LMTP;
    struct delivery_outcome o = {0};

    for (size_t i = 0; i < t->rcpt_count; i++) {
        if (t->rcpts[i].state != RCPT_ACCEPTED)
            continue;
        if (client_read_reply(c, CLIENT_DOT) != 0)
            return -1;
        if (c->reply.code / 100 == 3)
            return client_fail_reply(c, CLIENT_DOT);
        client_outcome_of_reply(c, CLIENT_DOT, &o);
        if (is_lmtp)
            decide(&t->rcpts[i], &o);
        else
            break;
    }
    if (!is_lmtp)
        decide_rest(t, &o);
    return 0;
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
         * here (RFC 2033 4.2), and would have no reply to give to the dot. */
        if (c->destination->protocol == CONFIG_LMTP || send_lone_dot(c) != 0)
            client_close(c);
        return CLIENT_SENT;
    }
    if (stream_has_input(c->stream)) {
        /* Taken for the reply to the content, this would lose the copy. */
        client_outcome(&c->fault, DELIVERY_RETRY, "4.5.0",
                       "host %s said more than its reply to DATA", c->peer);
        client_close(c);
        return CLIENT_LOST_EARLY;
    }
    if (t->accepted_count < t->rcpt_count)
        make_format(t, RCPT_ACCEPTED);
    switch (client_send_content(c)) {
    case CLIENT_CONTENT_SENT:
        break;
    case CLIENT_CONTENT_LOST:
        return CLIENT_LOST_LATE;
    case CLIENT_CONTENT_UNREAD:
        return CLIENT_LOCAL_FAULT;
    }
    if (read_results(t) != 0)
        return CLIENT_LOST_LATE;
    c->needs_rset = false;
    return CLIENT_SENT;
}

/* RFC 1870 section 6.1: do not try what exceeds the announced size. */
static bool exceeds_size(struct transaction *t)
{
    const struct client *c = t->client;
    struct delivery_outcome o;

    uint64_t size_bytes = format_size(&c->format);

    if (c->features.size_limit_bytes == 0 || size_bytes <= c->features.size_limit_bytes)
        return false;
    client_outcome(&o, DELIVERY_REFUSED, "5.3.4",
                   "552 5.3.4 message size %" PRIu64 " exceeds size limit %" PRIu64 " of host %s",
                   size_bytes, c->features.size_limit_bytes, c->peer);
    decide_rest(t, &o);
    return true;
}

static const char *sender_of(const struct client *c, const struct queue_copy *copy)
{
    switch (c->destination->sender) {
    case CONFIG_ADDRESS_NULL:
        return "";
    case CONFIG_ADDRESS_FIXED:
        return c->destination->sender_address;
    case CONFIG_ADDRESS_ORIGINAL:
    case CONFIG_ADDRESS_CANONICAL:
        break;
    }
    return copy->message.sender;
}

enum client_sent client_transaction(struct client *c, const struct queue_copy *copy,
                                    struct delivery_report *report)
{
    struct transaction t = {.client = c, .copy = copy, .report = report};
    enum client_sent sent = CLIENT_SENT;

    t.sender = sender_of(c, copy);
    t.first_rcpt = c->needs_rset ? 2 : 1;
    collect_rcpts(&t);
    sort_out(&t);
    make_format(&t, RCPT_UNDECIDED);
    if (!exceeds_size(&t) && t.rcpt_count > 0)
        sent = run(&t);
    if (sent != CLIENT_SENT)
        decide_rest(&t, &c->fault);
    for (size_t i = 0; i < copy->recipient_count; i++) {
        if (copy->recipients[i].state == QUEUE_PENDING)
            report->outcomes[i] = report->outcomes[t.same_as[i]];
    }
    free(t.rcpts);
    free(t.same_as);
    free(t.is_included);
    return sent;
}
