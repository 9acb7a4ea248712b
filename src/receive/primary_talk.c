/* SPDX-License-Identifier: ISC */
#include "receive/primary_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "mail/smtp_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINE_TEXT_MAX 506 /* of a reply line of 512 octets, with code and CRLF */

enum primary_word primary_judge_word(const struct client_features *f, const char *word)
{
    const char *value;

    if (smtp_command_word(word, "SIZE", &value)) /* we have looked at it */
        return f->size ? PRIMARY_WORD_SAID : PRIMARY_WORD_LEFT_OUT;
    if (smtp_command_word(word, "BODY", &value)) {
        if (f->eight_bit)
            return PRIMARY_WORD_SAID;
        return strcasecmp(value, "7BIT") == 0 ? PRIMARY_WORD_LEFT_OUT : PRIMARY_WORD_NO_8BITMIME;
    }
    if (smtp_command_word(word, "SMTPUTF8", &value))
        return f->smtputf8 ? PRIMARY_WORD_SAID : PRIMARY_WORD_NO_SMTPUTF8;
    if (smtp_command_word(word, "REQUIRETLS", &value))
        return f->requiretls ? PRIMARY_WORD_SAID : PRIMARY_WORD_NO_REQUIRETLS;
    return f->dsn ? PRIMARY_WORD_SAID : PRIMARY_WORD_NO_DSN; /* RET, ENVID, NOTIFY, ORCPT */
}

static void add_command(struct primary *p, const char *command, size_t len)
{
    buf_add(&p->unsent, command, len);
    if (p->may_begin_again)
        buf_add(&p->message, command, len);
}

static void add_path(struct primary *p, const char *verb, const char *path,
                     const char *const *words)
{
    struct buf line = {0};

    if (p->client->stream == NULL)
        return;
    buf_addf(&line, "%s:%s", verb, path);
    for (; *words != NULL; words++)
        if (primary_judge_word(&p->client->features, *words) == PRIMARY_WORD_SAID)
            buf_addf(&line, " %s", *words);
    buf_adds(&line, "\r\n");
    add_command(p, buf_str(&line), line.len);
    buf_clear(&line);
}

/* At once with its answer, for a primary that does not want to hear it from us must not lose its
 * mail for it. */
static void send_xforward(struct primary *p)
{
    char who[80];

    p->client->needs_rset = p->needs_rset;
    p->needs_rset = false;
    snprintf(who, sizeof who, "listener=%s", p->listener->name);
    if (client_origin_forward(p->client, &p->origin, who) != 0)
        log_debug("%s: %s", who, p->client->fault.reason);
}

static int fail_unlike(struct client *c)
{
    client_outcome(&c->fault, OUTCOME_RETRY, "4.4.2", "host %s offers other extensions than before",
                   c->peer);
    client_close(c);
    return -1;
}

/* A connection in place of the one that these words were judged by. -1 with the client's `fault`:
 * there is none, or a word would be lost. */
static int connect_for_words(struct primary *p, const char *const *words)
{
    struct client *c = p->client;

    if (primary_connect(p) != 0)
        return -1;
    for (; *words != NULL; words++) {
        enum primary_word judged = primary_judge_word(&c->features, *words);
        if (judged != PRIMARY_WORD_SAID && judged != PRIMARY_WORD_LEFT_OUT)
            return fail_unlike(c);
    }
    return 0;
}

void primary_mail(struct primary *p, const char *path, const char *const *words,
                  const struct xforward *x)
{
    struct client *c = p->client;
    bool is_kept = c->stream != NULL && c->uses > 0;

    primary_forget(p);
    p->has_origin = x != NULL && p->listener->xforward == 1;
    if (c->stream == NULL)
        return;
    if (p->has_origin)
        p->origin = *x;
    if (p->has_origin && c->features.xforward) {
        /* A server that has gone shows here, before the message depends on it. */
        send_xforward(p);
        if (c->stream == NULL && is_kept) {
            is_kept = false;
            if (connect_for_words(p, words) == 0 && c->features.xforward)
                send_xforward(p);
        }
    } else if (p->needs_rset) {
        buf_adds(&p->unsent, "RSET\r\n");
        p->awaits_rset = true;
    }
    c->uses++;
    p->taken = 0;
    p->may_begin_again = is_kept;
    p->first_step = CLIENT_MAIL;
    add_path(p, "MAIL FROM", path, words);
    p->needs_rset = true;
}

void primary_rcpt(struct primary *p, const char *path, const char *const *words)
{
    add_path(p, "RCPT TO", path, words);
}

static int send_unsent(struct primary *p, enum client_step step)
{
    struct client *c = p->client;
    enum stream_status status = STREAM_OK;
    size_t len = p->unsent.len;

    if (len == 0)
        return 0;
    if (!c->features.pipelining) /* one at a time */
        len = (size_t)((const char *)memchr(p->unsent.data, '\n', len) + 1 - p->unsent.data);
    client_begin_wait(c);
    status = stream_write(c->stream, p->unsent.data, len);
    if (status == STREAM_OK)
        status = stream_flush(c->stream);
    for (size_t i = 0; i < len; i++)
        p->unanswered += p->unsent.data[i] == '\n';
    buf_consume(&p->unsent, len);
    /* After STREAM_EOF, why it closed may be there to read. */
    return status == STREAM_OK || status == STREAM_EOF ? 0 : client_fail_io(c, step, status);
}

static int read_reply(struct primary *p, enum client_step step)
{
    if (client_read_reply(p->client, step) != 0)
        return -1;
    p->unanswered--;
    return 0;
}

/* Send what is unsent, read one reply. */
static int ask(struct primary *p, enum client_step step)
{
    if (p->awaits_rset) {
        if (send_unsent(p, CLIENT_RSET) != 0 || read_reply(p, CLIENT_RSET) != 0)
            return -1;
        p->awaits_rset = false;
        if (p->client->reply.code / 100 != 2)
            return client_fail_reply(p->client, CLIENT_RSET);
    }
    return send_unsent(p, step) != 0 ? -1 : read_reply(p, step);
}

static bool offers_same(const struct client_features *a, const struct client_features *b)
{
    return a->pipelining == b->pipelining && a->eight_bit == b->eight_bit &&
           a->smtputf8 == b->smtputf8 && a->requiretls == b->requiretls && a->dsn == b->dsn &&
           a->size == b->size && a->xforward == b->xforward &&
           a->xforward_attributes == b->xforward_attributes &&
           a->size_limit_bytes == b->size_limit_bytes;
}

/* The kept connection turned out to be closed, or the server has enough of it: the same commands
 * over a new one, which must offer the same, for the words were chosen by that. */
static int begin_again(struct primary *p, enum client_step step)
{
    struct client *c = p->client;
    struct client_features before = c->features;

    p->may_begin_again = p->awaits_rset = false;
    if (primary_connect(p) != 0)
        return -1;
    if (!offers_same(&before, &c->features))
        return fail_unlike(c);
    if (p->has_origin && c->features.xforward)
        send_xforward(p);
    if (c->stream == NULL)
        return -1;
    c->uses = 1;
    p->needs_rset = true;
    buf_reset(&p->unsent);
    buf_add(&p->unsent, p->message.data, p->message.len);
    return ask(p, step);
}

static void set_text(struct primary *p, const char *dsn, const char *text)
{
    snprintf(p->dsn, sizeof p->dsn, "%s", dsn);
    buf_reset(&p->text);
    buf_adds(&p->text, text);
}

static enum primary_answer lost(struct primary *p, struct buf *reply)
{
    const struct outcome *fault = &p->client->fault;

    primary_forget(p);
    p->needs_rset = p->is_cut_short = false;
    set_text(p, fault->dsn, fault->reason);
    buf_addf(reply, "451 %s %s\r\n", fault->dsn, fault->reason);
    return PRIMARY_LOST;
}

/* "code-text CRLF ... code text CRLF", what cannot be printed as '?', and no line longer than RFC
 * 5321 4.5.3.1.5 allows. */
static void format_reply(const struct smtp_reply *r, struct buf *out)
{
    const char *line = buf_str(&r->text);

    for (;;) {
        size_t len = strcspn(line, "\n");
        char *text = mem_strndup(line, len < LINE_TEXT_MAX ? len : LINE_TEXT_MAX);
        log_sanitize(text);
        buf_addf(out, "%03d%c%s\r\n", r->code, line[len] == '\n' ? '-' : ' ', text);
        free(text);
        if (line[len] == '\0')
            return;
        line += len + 1;
    }
}

static enum primary_answer answer_of_reply(struct primary *p, struct buf *reply)
{
    const struct smtp_reply *r = &p->client->reply;
    struct buf line = {0};
    char dsn[16];

    smtp_reply_one_line(r, &line);
    set_text(p, smtp_reply_dsn(r, dsn), buf_str(&line));
    buf_clear(&line);
    format_reply(r, reply);
    if (r->code / 100 <= 3)
        return PRIMARY_YES;
    p->has_refusals = true;
    return PRIMARY_NO;
}

/* Some servers say 4xx when a connection has carried enough messages. */
static bool has_enough(const struct primary *p, enum client_step step)
{
    return step == CLIENT_MAIL && p->client->reply.code / 100 == 4;
}

/* An answer that must be 2xx, 4xx or 5xx (DATA: not 2xx): any other is no answer to this. */
static enum primary_answer answer(struct primary *p, enum client_step step, struct buf *reply)
{
    struct client *c = p->client;
    int bad_class = step == CLIENT_DATA ? 2 : 3;

    if (c->stream == NULL)
        return lost(p, reply);
    int status = ask(p, step);
    if (p->may_begin_again && (status != 0 || has_enough(p, step)) &&
        !atomic_load(&c->is_interrupted))
        status = begin_again(p, step);
    p->may_begin_again = false;
    if (status == 0 && c->reply.code / 100 == bad_class)
        status = client_fail_reply(c, step);
    if (status == 0 && p->is_answered_early && c->reply.code / 100 == 2)
        status = client_fail_early(c);
    return status != 0 ? lost(p, reply) : answer_of_reply(p, reply);
}

/* To a content that could not be written whole: what the primary said before it closed. */
static enum primary_answer answer_cut_short(struct primary *p, struct buf *reply)
{
    struct client *c = p->client;

    if (c->stream == NULL)
        return lost(p, reply);
    if (client_read_refusal(c) && c->reply.code != 421)
        return answer_of_reply(p, reply);
    if (c->reply.is_complete && c->reply.code == 421)
        client_fail_reply(c, p->cut_step);
    else
        client_fail_io(c, p->cut_step, p->cut_status);
    return lost(p, reply);
}

enum primary_answer primary_answer(struct primary *p, struct buf *reply)
{
    enum client_step step = p->first_step;

    if (p->is_cut_short)
        return answer_cut_short(p, reply);
    if (step == CLIENT_MAIL)
        p->first_step = CLIENT_RCPT;
    enum primary_answer said = answer(p, step, reply);
    if (step == CLIENT_RCPT && said == PRIMARY_YES)
        p->taken++;
    return said;
}

enum primary_answer primary_data(struct primary *p, struct buf *reply)
{
    if (p->client->stream != NULL)
        add_command(p, "DATA\r\n", 6);
    p->line_state = CLIENT_AT_LINE_START;
    enum primary_answer said = answer(p, CLIENT_DATA, reply);
    if (said == PRIMARY_YES && stream_has_input(p->client->stream)) {
        /* Taken for the reply to the content, it would lose the message. */
        client_outcome(&p->client->fault, OUTCOME_RETRY, "4.5.0",
                       "host %s said more than its reply to DATA", p->client->peer);
        client_close(p->client);
        buf_reset(reply);
        return lost(p, reply);
    }
    if (said == PRIMARY_YES)
        p->unanswered = p->listener->primary.protocol == CONFIG_LMTP ? p->taken : 1;
    return said;
}

static void cut_short(struct primary *p, enum client_step step, enum stream_status status)
{
    p->is_cut_short = true;
    p->cut_step = step;
    p->cut_status = status;
}

void primary_write(struct primary *p, const char *data, size_t len)
{
    struct client *c = p->client;

    if (c->stream == NULL || p->is_cut_short || len == 0)
        return;
    client_begin_wait(c);
    enum stream_status status = client_write_stuffed(c->stream, data, len, &p->line_state);
    if (status != STREAM_OK)
        cut_short(p, CLIENT_BODY, status);
}

void primary_dot(struct primary *p)
{
    struct client *c = p->client;

    p->first_step = CLIENT_DOT;
    p->needs_rset = false;
    if (c->stream == NULL || p->is_cut_short)
        return;
    enum stream_status status = client_write_dot(c, p->line_state, &p->is_answered_early);
    if (status != STREAM_OK)
        cut_short(p, CLIENT_DOT, status);
}
