/* SPDX-License-Identifier: ISC */
#include "receive/primary_private.h"

#include "base/ascii.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/smtp_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_TEXT_MAX 506 /* octets of text in a reply line, which has 512 with code and CRLF */

enum primary_word primary_classify_word(const struct smtp_features *f, const char *word)
{
    const char *value;

    if (smtp_command_word(word, "SIZE", &value)) /* the caller has checked its value */
        return f->size ? PRIMARY_WORD_PASSED : PRIMARY_WORD_LEFT_OUT;
    if (smtp_command_word(word, "BODY", &value)) {
        if (f->eight_bit)
            return PRIMARY_WORD_PASSED;
        return ascii_equal(value, "7BIT") ? PRIMARY_WORD_LEFT_OUT : PRIMARY_WORD_NO_8BITMIME;
    }
    if (smtp_command_word(word, "SMTPUTF8", &value))
        return f->smtputf8 ? PRIMARY_WORD_PASSED : PRIMARY_WORD_NO_SMTPUTF8;
    if (smtp_command_word(word, "REQUIRETLS", &value))
        return f->requiretls ? PRIMARY_WORD_PASSED : PRIMARY_WORD_NO_REQUIRETLS;
    return f->dsn ? PRIMARY_WORD_PASSED : PRIMARY_WORD_NO_DSN; /* RET, ENVID, NOTIFY, ORCPT */
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

    if (!connection_is_open(p->connection))
        return;
    buf_addf(&line, "%s:%s", verb, path);
    for (; *words != NULL; words++)
        if (primary_classify_word(connection_features(p->connection), *words) ==
            PRIMARY_WORD_PASSED)
            buf_addf(&line, " %s", *words);
    buf_adds(&line, "\r\n");
    add_command(p, buf_str(&line), line.len);
    buf_clear(&line);
}

/* XFORWARD is sent ahead of MAIL, and its reply read: a primary that refuses XFORWARD must not lose
 * its mail because of that. */
static void send_xforward(struct primary *p)
{
    char log_name[80];

    snprintf(log_name, sizeof log_name, "listener=%s", p->listener->name);
    if (connection_xforward(p->connection, &p->origin, log_name) != 0)
        log_debug("%s: %s", log_name, connection_fault(p->connection)->reason);
}

/* Close the connection, because the client has chosen its parameters by other extensions than this
 * host offers. */
static int fail_unlike(struct connection *c)
{
    return connection_fail(c, "4.4.2", "host %s offers other extensions than before",
                           connection_peer(c));
}

/* Replace the connection by a new one. -1 with the connection's fault: no connection could be
 * opened, or the new primary does not offer what one of the ESMTP parameters (words) needs. */
static int connect_for_words(struct primary *p, const char *const *words)
{
    struct connection *c = p->connection;

    if (primary_connect(p) != 0)
        return -1;
    for (; *words != NULL; words++) {
        enum primary_word kind = primary_classify_word(connection_features(c), *words);
        if (kind != PRIMARY_WORD_PASSED && kind != PRIMARY_WORD_LEFT_OUT)
            return fail_unlike(c);
    }
    return 0;
}

void primary_mail(struct primary *p, const char *path, const char *const *words,
                  const struct xforward *x)
{
    struct connection *c = p->connection;
    bool is_kept = connection_is_open(c) && connection_messages(c) > 0;

    primary_forget(p);
    p->has_origin = x != NULL && p->listener->xforward == 1;
    if (!connection_is_open(c))
        return;
    if (p->has_origin)
        p->origin = *x;
    if (p->has_origin && connection_features(c)->xforward) {
        /* If the server has closed the connection, that shows here, before a command of the message
         * was sent. */
        send_xforward(p);
        if (!connection_is_open(c) && is_kept) {
            is_kept = false;
            if (connect_for_words(p, words) == 0 && connection_features(c)->xforward)
                send_xforward(p);
        }
    } else if (connection_needs_rset(c)) {
        buf_adds(&p->unsent, "RSET\r\n");
        p->awaits_rset = true;
    }
    connection_begin_message(c);
    p->taken = 0;
    p->may_begin_again = is_kept;
    p->first_step = CONNECTION_MAIL;
    add_path(p, "MAIL FROM", path, words);
    connection_set_needs_rset(c, true);
}

void primary_rcpt(struct primary *p, const char *path, const char *const *words)
{
    add_path(p, "RCPT TO", path, words);
}

static int send_unsent(struct primary *p, enum connection_step step)
{
    size_t len = p->unsent.len;

    if (len == 0)
        return 0;
    if (!connection_features(p->connection)->pipelining) /* send one command only */
        len = (size_t)((const char *)memchr(p->unsent.data, '\n', len) + 1 - p->unsent.data);
    int result = connection_send_commands(p->connection, step, p->unsent.data, len);
    for (size_t i = 0; i < len; i++)
        p->unanswered += p->unsent.data[i] == '\n';
    buf_consume(&p->unsent, len);
    return result;
}

static int read_reply(struct primary *p, enum connection_step step)
{
    if (connection_read_reply(p->connection, step) != 0)
        return -1;
    p->unanswered--;
    return 0;
}

/* Send the commands that are unsent, and read one reply. */
static int ask(struct primary *p, enum connection_step step)
{
    if (p->awaits_rset) {
        if (send_unsent(p, CONNECTION_RSET) != 0 || read_reply(p, CONNECTION_RSET) != 0)
            return -1;
        p->awaits_rset = false;
        if (connection_reply(p->connection)->code / 100 != 2)
            return connection_fail_reply(p->connection, CONNECTION_RSET);
    }
    return send_unsent(p, step) != 0 ? -1 : read_reply(p, step);
}

static bool offers_same(const struct smtp_features *a, const struct smtp_features *b)
{
    return a->pipelining == b->pipelining && a->eight_bit == b->eight_bit &&
           a->smtputf8 == b->smtputf8 && a->requiretls == b->requiretls && a->dsn == b->dsn &&
           a->size == b->size && a->xforward == b->xforward &&
           a->xforward_attributes == b->xforward_attributes &&
           a->size_limit_bytes == b->size_limit_bytes;
}

/* The kept connection turned out to be closed, or the server accepts no more messages on it: send
 * the same commands over a new one. The new server must offer the same extensions, because the
 * parameters were chosen by them. */
static int begin_again(struct primary *p, enum connection_step step)
{
    struct connection *c = p->connection;
    struct smtp_features before = *connection_features(c);

    p->may_begin_again = p->awaits_rset = false;
    if (primary_connect(p) != 0)
        return -1;
    if (!offers_same(&before, connection_features(c)))
        return fail_unlike(c);
    if (p->has_origin && connection_features(c)->xforward)
        send_xforward(p);
    if (!connection_is_open(c))
        return -1;
    connection_begin_message(c);
    connection_set_needs_rset(c, true);
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
    const struct outcome *fault = connection_fault(p->connection);

    primary_forget(p);
    set_text(p, fault->dsn, fault->reason);
    buf_addf(reply, "451 %s %s\r\n", fault->dsn, fault->reason);
    return PRIMARY_LOST;
}

/* Format as "code-text CRLF ... code text CRLF". Unprintable characters become '?', and lines are
 * cut to the length that RFC 5321 4.5.3.1.5 allows. */
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
    const struct smtp_reply *r = connection_reply(p->connection);
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

/* Is the reply 4xx to MAIL? Some servers send that when a connection has carried enough
 * messages. */
static bool has_enough(const struct primary *p, enum connection_step step)
{
    return step == CONNECTION_MAIL && connection_reply(p->connection)->code / 100 == 4;
}

/* Read the answer to the next command. A reply with a code that the command cannot have is a fault
 * of the connection. */
static enum primary_answer answer(struct primary *p, enum connection_step step, struct buf *reply)
{
    struct connection *c = p->connection;
    int bad_class = step == CONNECTION_DATA ? 2 : 3;

    if (!connection_is_open(c))
        return lost(p, reply);
    int status = ask(p, step);
    if (p->may_begin_again && (status != 0 || has_enough(p, step)) && !connection_is_interrupted(c))
        status = begin_again(p, step);
    p->may_begin_again = false;
    if (status == 0 && connection_reply(c)->code / 100 == bad_class)
        status = connection_fail_reply(c, step);
    return status != 0 ? lost(p, reply) : answer_of_reply(p, reply);
}

/* Read the answer to the content. After content that was cut short, `unanswered` stays above 0, so
 * that the connection is not used again. */
static enum primary_answer answer_to_content(struct primary *p, struct buf *reply)
{
    struct connection *c = p->connection;

    if (!connection_is_open(c))
        return lost(p, reply);
    if (connection_is_cut_short(c))
        return connection_read_refusal(c) != 0 ? lost(p, reply) : answer_of_reply(p, reply);
    if (connection_read_result(c) != 0)
        return lost(p, reply);
    p->unanswered--;
    return answer_of_reply(p, reply);
}

enum primary_answer primary_answer(struct primary *p, struct buf *reply)
{
    enum connection_step step = p->first_step;

    if (step == CONNECTION_DOT)
        return answer_to_content(p, reply);
    if (step == CONNECTION_MAIL)
        p->first_step = CONNECTION_RCPT;
    enum primary_answer result = answer(p, step, reply);
    if (step == CONNECTION_RCPT && result == PRIMARY_YES)
        p->taken++;
    return result;
}

enum primary_answer primary_data(struct primary *p, struct buf *reply)
{
    if (connection_is_open(p->connection))
        add_command(p, "DATA\r\n", 6);
    enum primary_answer result = answer(p, CONNECTION_DATA, reply);
    if (result != PRIMARY_YES)
        return result;
    if (connection_begin_content(p->connection) != 0) {
        buf_reset(reply);
        return lost(p, reply);
    }
    p->unanswered = p->listener->primary.protocol == CONFIG_LMTP ? p->taken : 1;
    return PRIMARY_YES;
}

void primary_write(struct primary *p, const char *data, size_t len)
{
    if (connection_is_open(p->connection) && len > 0)
        connection_write_content(p->connection, data, len);
}

void primary_dot(struct primary *p)
{
    struct connection *c = p->connection;

    p->first_step = CONNECTION_DOT;
    connection_set_needs_rset(c, false);
    if (connection_is_open(c))
        connection_end_content(c);
}
