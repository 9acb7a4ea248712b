/* SPDX-License-Identifier: ISC */
/*
 * The commands of a transaction are numbered: RSET (when needed), MAIL, one RCPT for each different
 * address, DATA. With PIPELINING a window of them is written at once, else one at a time; replies
 * come in the same order (RFC 2920 3.1). The window is small enough that neither its commands nor
 * the replies to it can fill the buffers of both sides, so a write never has to wait for the server
 * to read.
 */
#include "smtp/client_private.h"

#include "base/log.h"
#include "mail/xtext.h"

#include <inttypes.h>
#include <stdint.h>

#define WINDOW_COMMANDS 60
#define WINDOW_BYTES 16384

struct transaction {
    struct client *client;
    struct connection *conn; /* the client's connection */
    const struct smtp_features *features;
    struct client_mail *mail;
    bool needs_utf8;

    struct client_rcpt *rcpts; /* of this transaction */
    size_t rcpt_count;
    size_t accepted_count;

    /* command numbers: [first_rcpt - 1] is MAIL, [first_rcpt + rcpt_count] is DATA */
    size_t first_rcpt;
    bool mail_refused;
    bool data_ready; /* the reply to DATA was 354 */
};

/* Set the outcome of the recipients that were accepted so far. */
static void decide_accepted(struct transaction *t, const struct outcome *o)
{
    for (size_t i = 0; i < t->rcpt_count; i++) {
        if (t->rcpts[i].state == CLIENT_RCPT_ACCEPTED)
            client_mail_decide(&t->rcpts[i], o);
    }
}

/* Make the head and tail of the content for the recipients in this state. */
static void make_format(struct transaction *t, enum client_rcpt_state state)
{
    client_mail_include(t->mail, t->rcpt_count, state);
    format_make(&t->client->format, t->mail->is_included);
    if (t->features->smtputf8 && t->client->format.has_utf8_header)
        t->needs_utf8 = true;
}

static void format_mail(const struct transaction *t, struct buf *out)
{
    const struct smtp_features *f = t->features;

    buf_addf(out, "MAIL FROM:<%s>", t->rcpts[0].sender);
    if (f->size)
        buf_addf(out, " SIZE=%" PRIu64, format_size(&t->client->format));
    if (f->eight_bit && t->client->format.is_8bit)
        buf_adds(out, " BODY=8BITMIME");
    if (t->needs_utf8)
        buf_adds(out, " SMTPUTF8");
    if (t->mail->copy->message.needs_requiretls) /* a server without it is not used */
        buf_adds(out, " REQUIRETLS");
    buf_adds(out, "\r\n");
}

static void format_rcpt(const struct transaction *t, const struct client_rcpt *r, struct buf *out)
{
    buf_addf(out, "RCPT TO:<%s>", r->address);
    if (t->features->dsn) {
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

static enum connection_step step_of(const struct transaction *t, size_t command)
{
    if (command + 1 < t->first_rcpt)
        return CONNECTION_RSET;
    if (command + 1 == t->first_rcpt)
        return CONNECTION_MAIL;
    return command < t->first_rcpt + t->rcpt_count ? CONNECTION_RCPT : CONNECTION_DATA;
}

static struct client_rcpt *rcpt_of_command(const struct transaction *t, size_t command)
{
    return &t->rcpts[command - t->first_rcpt];
}

static void format_command(struct transaction *t, size_t command, struct buf *out)
{
    switch (step_of(t, command)) {
    case CONNECTION_RSET:
        buf_adds(out, "RSET\r\n");
        break;
    case CONNECTION_MAIL:
        connection_set_needs_rset(t->conn, true);
        format_mail(t, out);
        break;
    case CONNECTION_RCPT:
        format_rcpt(t, rcpt_of_command(t, command), out);
        break;
    case CONNECTION_DATA:
    case CONNECTION_GREETING:
    case CONNECTION_EHLO:
    case CONNECTION_HELO:
    case CONNECTION_LHLO:
    case CONNECTION_STARTTLS:
    case CONNECTION_AUTH:
    case CONNECTION_XCLIENT:
    case CONNECTION_XFORWARD:
    case CONNECTION_BODY:
    case CONNECTION_DOT:
        buf_adds(out, "DATA\r\n");
        break;
    }
}

/* A server that has accepted some recipients and then sends 452, or 552 as older ones do, accepts
 * no more in this transaction (RFC 5321 4.5.3.1.10). Each transaction decides at least one
 * recipient, so the loop over transactions ends. */
static bool is_enough(const struct transaction *t)
{
    int code = connection_reply(t->conn)->code;

    return (code == 452 || code == 552) && t->accepted_count > 0;
}

/* Handle a refusal of MAIL, which is about the sender or the announced size: it decides all
 * recipients with this sender. */
static void refuse_mail(struct transaction *t, const struct outcome *o)
{
    t->mail_refused = true;
    client_mail_decide_sender(t->mail, t->rcpts[0].sender, o);
}

/* Handle a reply of 4xx or 5xx to MAIL, RCPT or DATA. r: the recipient, with RCPT. */
static void take_refusal(struct transaction *t, enum connection_step step, struct client_rcpt *r)
{
    struct outcome o;

    connection_outcome_of_reply(t->conn, step, &o);
    if (step == CONNECTION_MAIL)
        refuse_mail(t, &o);
    else if (step == CONNECTION_DATA)
        decide_accepted(t, &o);
    else if (!t->mail_refused && is_enough(t))
        r->state = CLIENT_RCPT_POSTPONED;
    else if (!t->mail_refused)
        client_mail_decide(r, &o);
}

/* Handle the reply to a command. r: the recipient, with RCPT. -1: the connection was closed,
 * because the reply leaves the state of the server unknown, or because the message is to be sent
 * over a new connection. */
static int take_reply(struct transaction *t, enum connection_step step, struct client_rcpt *r)
{
    int class = connection_reply(t->conn)->code / 100;

    if (step == CONNECTION_DATA ? class == 2 : class == 3)
        return connection_fail_reply(t->conn, step);
    if (step == CONNECTION_RSET)
        return class == 2 ? 0 : connection_fail_reply(t->conn, step);
    if (class <= 3) {
        if (step == CONNECTION_RCPT && !t->mail_refused) {
            r->state = CLIENT_RCPT_ACCEPTED;
            t->accepted_count++;
        }
        if (step == CONNECTION_DATA)
            t->data_ready = true;
        return 0;
    }
    /* Some servers limit the messages of a connection, and refuse MAIL when the limit is reached.
     * Then the message is sent over a new connection. */
    if (step == CONNECTION_MAIL && class == 4 && connection_messages(t->conn) > 1)
        return connection_fail_reply(t->conn, step);
    take_refusal(t, step, r);
    return 0;
}

/* Can this command still have an effect after the replies so far? After a refusal of MAIL no
 * command can; after a refusal of all recipients DATA cannot. */
static bool is_worth_sending(const struct transaction *t, size_t command, size_t answered)
{
    if (t->mail_refused)
        return false;
    return step_of(t, command) != CONNECTION_DATA || answered < command || t->accepted_count > 0;
}

/* Format the next commands, as many as the window allows. Returns the number of commands that were
 * formatted so far in this transaction. */
static size_t fill_window(struct transaction *t, size_t written, size_t answered, size_t count)
{
    struct buf *command = &t->client->command;
    size_t max = t->features->pipelining ? WINDOW_COMMANDS : 1;

    buf_reset(command);
    while (written < count && written - answered < max && command->len < WINDOW_BYTES &&
           is_worth_sending(t, written, answered))
        format_command(t, written++, command);
    return written;
}

/* Send RSET, MAIL, RCPT and DATA, and handle the replies. -1: the connection is lost. */
static int send_envelope(struct transaction *t)
{
    const struct buf *command = &t->client->command;
    size_t written = 0;
    size_t answered = 0;
    size_t count = t->first_rcpt + t->rcpt_count + 1;

    while (answered < count) {
        written = fill_window(t, written, answered, count);
        if (written == answered)
            return 0;
        enum connection_step step = step_of(t, answered);
        if (connection_send_commands(t->conn, step, buf_str(command), command->len) != 0)
            return -1;
        for (; answered < written; answered++) {
            step = step_of(t, answered);
            if (connection_read_reply(t->conn, step) != 0)
                return -1;
            if (take_reply(t, step,
                           step == CONNECTION_RCPT ? rcpt_of_command(t, answered) : NULL) != 0)
                return -1;
        }
    }
    return 0;
}

/* Read the reply to the content, or with LMTP one for each accepted recipient, and decide the
 * recipients. read: connection_read_result(), or connection_read_refusal(). -1: the connection is
 * lost. */
static int read_results(struct transaction *t, int (*read)(struct connection *))
{
    bool is_lmtp = t->client->destination->protocol == CONFIG_LMTP;
    struct outcome o = {0};

    for (size_t i = 0; i < t->rcpt_count; i++) {
        if (t->rcpts[i].state != CLIENT_RCPT_ACCEPTED)
            continue;
        if (read(t->conn) != 0)
            return -1;
        connection_outcome_of_reply(t->conn, connection_content_step(t->conn), &o);
        if (!is_lmtp)
            break;
        client_mail_decide(&t->rcpts[i], &o);
    }
    if (!is_lmtp)
        decide_accepted(t, &o);
    return 0;
}

/* Send the content, and read the replies to it. The reply to DATA was 354, and recipients were
 * accepted. */
static enum client_sent send_content(struct transaction *t)
{
    struct connection *conn = t->conn;

    if (connection_begin_content(conn) != 0)
        return CLIENT_LOST_EARLY;
    if (t->accepted_count < t->rcpt_count)
        make_format(t, CLIENT_RCPT_ACCEPTED);
    if (client_send_content(t->client) != 0)
        return CLIENT_LOCAL_FAULT;
    bool is_cut_short = connection_is_cut_short(conn);
    if (read_results(t, is_cut_short ? connection_read_refusal : connection_read_result) != 0)
        return CLIENT_LOST_LATE;
    if (is_cut_short)
        connection_close(conn);
    else
        connection_set_needs_rset(conn, false);
    return CLIENT_SENT;
}

/* End an empty content. DATA was pipelined and got 354, but no recipient was accepted: RFC 2920 3.1
 * requires the dot alone. */
static int send_lone_dot(struct connection *conn)
{
    return connection_send(conn, CONNECTION_DATA, ".\r\n", 3) != 0
               ? -1
               : connection_ask(conn, CONNECTION_DATA);
}

static enum client_sent run(struct transaction *t)
{
    if (send_envelope(t) != 0)
        return CLIENT_LOST_EARLY;
    if (!t->data_ready)
        return CLIENT_SENT;
    if (t->accepted_count > 0)
        return send_content(t);
    /* All recipients have their outcome already. In two cases the connection is closed without a
     * dot. An LMTP server, whose 354 violates RFC 2033 4.2, would send no reply to the dot. A
     * server that refused MAIL may have another transaction open, which the dot would end as an
     * empty message. */
    if (t->client->destination->protocol == CONFIG_LMTP || t->mail_refused ||
        send_lone_dot(t->conn) != 0)
        connection_close(t->conn);
    return CLIENT_SENT;
}

/* If the copy exceeds the size that the server announced (RFC 1870 section 6.1): refuse it for all
 * recipients, and return true. */
static bool exceeds_size(struct transaction *t)
{
    uint64_t size_bytes = format_size(&t->client->format);
    uint64_t limit_bytes = t->features->size_limit_bytes;
    struct outcome o;

    if (limit_bytes == 0 || size_bytes <= limit_bytes)
        return false;
    outcome_set(&o, OUTCOME_REFUSED, "5.3.4",
                "552 5.3.4 message size %" PRIu64 " exceeds size limit %" PRIu64 " of host %s",
                size_bytes, limit_bytes, connection_peer(t->conn));
    client_mail_decide_rest(t->mail, &o);
    return true;
}

/* Log an extension that the copy needs and the server does not offer, once for a connection. The
 * copy is sent as it is, and not converted: an archive that lacks the copy would be worse. */
static void log_missing_extension(struct transaction *t)
{
    struct client *c = t->client;
    bool is_utf8 = t->mail->copy->message.is_utf8 || c->format.has_utf8_header;
    const char *what = !t->features->eight_bit && c->format.is_8bit ? "8BITMIME"
                       : !t->features->smtputf8 && is_utf8          ? "SMTPUTF8"
                                                                    : NULL;

    if (what == NULL || c->has_logged_missing)
        return;
    c->has_logged_missing = true;
    log_info("dest=%s: host %s does not offer %s: copies that need it are sent to it as they are",
             c->destination->name, connection_peer(t->conn), what);
}

enum client_sent client_transaction(struct client *c, struct client_mail *m)
{
    struct connection *conn = c->connection;
    enum client_sent sent = CLIENT_SENT;
    size_t limit = c->destination->recipient_limit;

    switch (client_send_origin(c, m->copy)) {
    case CONNECTION_XCLIENT_OK:
        break;
    case CONNECTION_XCLIENT_LOST:
        return CLIENT_LOST_EARLY;
    case CONNECTION_XCLIENT_REFUSED:
        client_mail_decide_rest(m, connection_fault(conn));
        client_mail_settle(m);
        return CLIENT_SENT;
    }
    struct transaction t = {.client = c,
                            .conn = conn,
                            .features = connection_features(conn),
                            .mail = m,
                            .first_rcpt = connection_needs_rset(conn) ? 2 : 1};

    if (limit == 0)
        limit = SIZE_MAX;
    t.rcpt_count = client_mail_sort_out(m, c, limit, &t.needs_utf8);
    t.rcpts = m->rcpts + m->first;
    make_format(&t, CLIENT_RCPT_UNDECIDED);
    if (!exceeds_size(&t) && t.rcpt_count > 0) {
        log_missing_extension(&t);
        sent = run(&t);
    }
    client_mail_settle(m);
    return sent;
}
