/* SPDX-License-Identifier: ISC */
/* MAIL, RCPT and DATA: the dialogue around a transaction, with or without a primary. */
#include "metrics/counters.h"
#include "deliver/maillog.h"
#include "receive/session_private.h"

#include <stdio.h>
#include <string.h>

/* The number of refused commands of a message that are not counted as errors, because they only
 * follow from an earlier refusal, or name recipients beyond the limit. Postfix:
 * smtpd_recipient_overshoot_limit. */
#define EXCESS_MAX 1000

/* Log a refusal that is due to policy or state, not to syntax. to: a path with <>, or "". */
static void log_reject(struct session *s, const char *to, const char *text)
{
    struct transaction *t = &s->transaction;

    maillog_reject(&(struct maillog_reject){
        .stage = s->stage,
        .client_addr = s->o->client_addr,
        .text = text,
        .detail = t->detail.text,
        .sender = t->is_open ? t->message.sender : "",
        .to = to,
        .protocol = session_protocol_word(s),
        .helo = s->helo,
    });
    t->detail.text[0] = '\0';
}

/* Count a refusal for hard_error_limit. */
static void count_refusal(struct session *s, const char *text)
{
    bool is_rcpt = strcmp(s->stage, "RCPT") == 0;

    s->is_behind_refusal = true;
    /* A copy that cannot be taken yet is not an error of the MTA, and 421 would make the MTA hold
     * back copies for other destinations. */
    if (text[0] != '5' && s->duplicate == NULL)
        return;
    /* A message has too many recipients: the client sends the other recipients in another message
     * (RFC 5321 4.5.3.1.10). 421 before DATA of this message would prevent that, at each attempt
     * anew. */
    if (is_rcpt && strncmp(text, "452", 3) == 0 && ++s->excess <= EXCESS_MAX)
        return;
    s->refusals++;
}

void session_reject(struct session *s, const char *to, const char *text)
{
    session_settle(s);
    counters_refused(text);
    log_reject(s, to, text);
    count_refusal(s, text);
    session_reply(s, "%s", text);
}

/* Refuse RCPT or DATA without an open transaction or without recipients. This is no error if it
 * follows from a refusal: a client that pipelines has sent the command before it knew of that (RFC
 * 2920 3.1). */
static void refuse_order(struct session *s, const char *text)
{
    if (!s->is_behind_refusal || ++s->excess > EXCESS_MAX) {
        session_protocol_error(s, "%s", text);
        return;
    }
    counters_refused(text);
    session_reply(s, "%s", text);
}

/* Refuse MAIL or RCPT with this reply. Code 501 or 555 is about syntax, and counts as an error of
 * the protocol. */
static void refuse(struct session *s, const char *to, const struct err *text)
{
    s->is_behind_refusal = true;
    if (strncmp(text->text, "501", 3) == 0 || strncmp(text->text, "555", 3) == 0)
        session_protocol_error(s, "%s", text->text);
    else
        session_reject(s, to, text->text);
}

void session_end_transaction(struct session *s)
{
    if (s->duplicate != NULL)
        duplicate_reset(s->duplicate);
    if (s->transaction.is_open)
        memset(&s->xforward, 0, sizeof s->xforward); /* XFORWARD was about this message */
    transaction_reset(&s->transaction);
    atomic_store(&s->o->presence->is_in_message, false);
}

/* Pass a reply to the client: that of the primary, or one in its place. The text has CRLF, and may
 * have several lines. */
static void pass_reply(struct session *s, const char *to, const char *text)
{
    struct err line;

    if (text[0] >= '4') {
        err_set(&line, "%.*s", (int)strcspn(text, "\r"), text);
        counters_refused_by_primary();
        log_reject(s, to, line.text);
        count_refusal(s, line.text);
    }
    session_send(s, text, strlen(text));
}

void session_settle(struct session *s)
{
    const char *stage = s->stage;
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
        pass_reply(s, a.is_mail ? "" : a.to, a.reply);
    }
    s->stage = stage;
    if (is_refused)
        session_end_transaction(s);
}

/* Set the origin of the message: the MTA's client if the MTA has sent XFORWARD, else the MTA
 * itself. The strings are borrowed. */
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
    m->protocol =
        s->xforward.proto[0] != '\0' ? s->xforward.proto : (char *)session_protocol_name(s);
}

/* Pass MAIL to the primary, with the attributes of the client: those of XFORWARD, else those of the
 * connection. */
static int begin_duplicate(struct session *s, struct err *text)
{
    struct xforward x = s->xforward;

    if (!x.is_set) {
        snprintf(x.addr, sizeof x.addr, "%s", s->o->client_addr);
        snprintf(x.helo, sizeof x.helo, "%s", s->helo);
        snprintf(x.proto, sizeof x.proto, "%s", session_protocol_name(s));
    }
    return duplicate_mail(s->duplicate, &s->command, &x, text);
}

/* With a listener: replace the path of the command by a form that the primary and splitrelay read
 * alike. False: the command is refused, because there is no such form. */
static bool take_address(struct session *s, const char *refusal)
{
    struct smtp_command *c = &s->command;

    if (s->duplicate == NULL)
        return true;
    if (c->address == NULL) {
        s->is_behind_refusal = true;
        session_protocol_error(s, "%s: %s", refusal, c->fault);
        return false;
    }
    c->path = c->address;
    return true;
}

void session_mail(struct session *s)
{
    struct err text;

    /* With a listener EHLO may be missing: some printers and scripts send none, and many servers
     * accept that. */
    if (s->helo[0] == '\0' && s->duplicate == NULL) {
        session_protocol_error(s, "503 5.5.1 Send EHLO or LHLO first");
        return;
    }
    if (s->transaction.is_open) {
        session_protocol_error(s, "503 5.5.1 Nested MAIL command");
        return;
    }
    s->is_behind_refusal = false;
    s->excess = 0;
    if (!take_address(s, "501 5.1.7 Bad sender"))
        return;
    /* The order matters: the server sets is_stopping, and then looks at is_in_message. */
    atomic_store(&s->o->presence->is_in_message, true);
    if (atomic_load(s->o->is_stopping)) {
        session_reply_stopping(s);
    } else if (s->duplicate != NULL && begin_duplicate(s, &text) == 0) {
        set_origin(s, &s->transaction.message);
        return;
    } else if (s->duplicate == NULL && transaction_mail(&s->transaction, &s->command, &text) == 0) {
        set_origin(s, &s->transaction.message);
        session_reply(s, "%s", text.text);
        return;
    } else {
        refuse(s, "", &text);
    }
    atomic_store(&s->o->presence->is_in_message, false);
}

static void settle_if_many(struct session *s)
{
    if (duplicate_due(s->duplicate) >= PRIMARY_WINDOW)
        session_settle(s);
}

void session_rcpt(struct session *s)
{
    struct err text;

    if (!s->transaction.is_open)
        refuse_order(s, "503 5.5.1 Need MAIL command");
    else if (!take_address(s, "501 5.1.3 Bad recipient"))
        return;
    else if (s->duplicate != NULL && duplicate_rcpt(s->duplicate, &s->command, &text) == 0)
        settle_if_many(s);
    else if (s->duplicate == NULL && transaction_rcpt(&s->transaction, &s->command, &text) == 0)
        session_reply(s, "%s", text.text);
    else
        refuse(s, s->command.path, &text);
}

/* Reply to DATA. True: the reply was 354. */
static bool begin_content(struct session *s)
{
    struct err text;

    if (s->duplicate != NULL) {
        struct buf answer = {0};
        bool is_yes = duplicate_data(s->duplicate, &answer);
        pass_reply(s, "", buf_str(&answer));
        buf_clear(&answer);
        return is_yes;
    }
    if (transaction_data(&s->transaction, &text) != 0) {
        session_reject(s, "", text.text);
        return false;
    }
    session_reply(s, "%s", text.text);
    return true;
}

static void answer_content(struct session *s, enum transaction_result result,
                           const struct err *text)
{
    size_t replies = s->protocol == SESSION_LMTP ? s->transaction.accepted_count : 1;

    switch (result) {
    case TRANSACTION_COMMITTED:
        session_message_taken(s);
        session_reply(s, "%s", text->text);
        break;
    case TRANSACTION_REFUSED:
        session_reject(s, "", text->text);
        break;
    case TRANSACTION_FINISHED:
        if (duplicate_replies(s->duplicate)[0] == '2')
            session_message_taken(s);
        pass_reply(s, "", duplicate_replies(s->duplicate));
        return;
    }
    while (--replies > 0) /* LMTP: one reply for each accepted recipient, RFC 2033 4.2 */
        session_reply(s, "%s", text->text);
}

void session_data(struct session *s)
{
    struct transaction *t = &s->transaction;
    enum transaction_result result;
    struct err text;

    if (!t->is_open) {
        refuse_order(s, "503 5.5.1 Need MAIL command");
        return;
    }
    if (t->accepted_count == 0) {
        refuse_order(s, s->protocol == SESSION_LMTP ? "503 5.5.1 No valid recipients"
                                                    : "554 5.5.1 No valid recipients");
        return;
    }
    if (!begin_content(s))
        return;
    const struct content_source source = {
        .stream = s->stream,
        .timeout_ms = s->o->command_timeout_ms,
        .min_rate = s->config->relay.min_data_rate,
        .idle_since_ms = &s->o->presence->idle_since_ms,
    };
    enum stream_status status = stream_flush(s->stream);
    if (status == STREAM_OK && s->duplicate != NULL)
        status = duplicate_receive(s->duplicate, &source, &result, &text);
    else if (status == STREAM_OK)
        status = transaction_receive(t, &source, &result, &text);
    if (status != STREAM_OK) {
        session_lost(s, status);
        return;
    }
    s->stage = "END-OF-MESSAGE";
    answer_content(s, result, &text);
    session_end_transaction(s);
}
