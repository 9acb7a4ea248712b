/* SPDX-License-Identifier: ISC */
/*
 * Whatever is written to a kept connection before the first answer can be written again to a new
 * one: a server may close a connection between two messages, and nobody is to blame for that.
 */
#include "primary.h"
#include "client_private.h"

#include "../log.h"
#include "../mem.h"
#include "../smtp_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct primary {
    const struct config_listener *listener;
    struct snapshot *snapshot;
    struct primary_pool *pool;
    struct client *client;
    struct buf unsent;    /* commands */
    struct buf message;   /* all commands of this message, as long as none was answered */
    bool may_begin_again; /* a kept connection, and no answer yet */
    bool needs_rset;      /* before the next MAIL */
    bool awaits_rset;     /* its reply comes before all others */
    size_t unanswered;    /* commands sent; a content until its replies are read */
    size_t taken;         /* recipients of this message that were accepted */
    enum client_step first_step;
    enum client_line_state line_state;
    char dsn[16];
    struct buf text;
};

struct primary *primary_new(struct snapshot *snapshot, const struct config_listener *listener,
                            struct primary_pool *pool)
{
    struct primary *p = mem_zalloc(sizeof *p);

    p->listener = listener;
    p->snapshot = snapshot;
    p->pool = pool;
    p->client = client_new(&listener->primary, snapshot->config->relay.hostname, NULL);
    return p;
}

/* Nothing is under way on it: the next session may go on where this one ends. */
static void leave_to_pool(struct primary *p)
{
    struct client *c = p->client;

    if (c->stream == NULL || p->unanswered > 0 || atomic_load(&c->is_interrupted) ||
        stream_is_stale(c->stream))
        return;
    c->needs_rset = p->needs_rset;
    struct client_connection *k = client_detach(c);
    if (!primary_pool_give(p->pool, p->snapshot, p->listener, k) && client_attach(c, k) != 0)
        log_debug("%s: interrupted", c->peer);
}

void primary_free(struct primary *p)
{
    if (p == NULL)
        return;
    leave_to_pool(p);
    client_free(p->client);
    buf_clear(&p->unsent);
    buf_clear(&p->message);
    buf_clear(&p->text);
    free(p);
}

void primary_interrupt(struct primary *p)
{
    client_interrupt(p->client);
}

static void forget(struct primary *p)
{
    buf_reset(&p->unsent);
    buf_reset(&p->message);
    p->may_begin_again = p->awaits_rset = false;
}

/* A new connection. */
static int connect_anew(struct primary *p)
{
    p->needs_rset = false;
    p->unanswered = 0;
    return client_connect(p->client);
}

bool primary_open(struct primary *p)
{
    struct client *c = p->client;
    struct client_connection *k;

    if (c->stream != NULL && stream_is_stale(c->stream))
        client_close(c);
    if (c->stream != NULL)
        return true;
    forget(p);
    while ((k = primary_pool_take(p->pool, p->listener)) != NULL) {
        if (client_attach(c, k) != 0)
            return false;
        p->needs_rset = c->needs_rset;
        p->unanswered = 0;
        if (!stream_is_stale(c->stream))
            return true;
        client_close(c);
    }
    return connect_anew(p) == 0;
}

const struct client_features *primary_features(const struct primary *p)
{
    return p->client->stream != NULL ? &p->client->features : NULL;
}

/* Does the primary know this word of MAIL or RCPT? */
static bool is_known(const struct client_features *f, const char *word)
{
    const char *value;

    if (smtp_command_word(word, "SIZE", &value))
        return f->size;
    if (smtp_command_word(word, "BODY", &value))
        return f->eight_bit;
    if (smtp_command_word(word, "SMTPUTF8", &value))
        return f->smtputf8;
    return f->dsn; /* RET, ENVID, NOTIFY, ORCPT */
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
        if (is_known(&p->client->features, *words))
            buf_addf(&line, " %s", *words);
    buf_adds(&line, "\r\n");
    add_command(p, buf_str(&line), line.len);
    buf_clear(&line);
}

/* At once with its answer, for a primary that does not want to hear it from us must not lose its
 * mail for it. */
static void send_xforward(struct primary *p, const struct xforward *x)
{
    char who[80];

    p->client->needs_rset = p->needs_rset;
    p->needs_rset = false;
    snprintf(who, sizeof who, "listener=%s", p->listener->name);
    if (client_origin_forward(p->client, x, who) != 0)
        log_debug("%s: %s", who, p->client->fault.reason);
}

void primary_mail(struct primary *p, const char *path, const char *const *words,
                  const struct xforward *x)
{
    struct client *c = p->client;
    bool is_kept = c->stream != NULL && c->uses > 0;

    forget(p);
    if (c->stream == NULL)
        return;
    if (x != NULL && p->listener->xforward == 1 && c->features.xforward) {
        /* A server that has gone shows here, before the message depends on it. */
        send_xforward(p, x);
        if (c->stream == NULL && is_kept && connect_anew(p) == 0 && c->features.xforward)
            send_xforward(p, x);
        is_kept = false;
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
    return status == STREAM_OK ? 0 : client_fail_io(c, step, status);
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
           a->smtputf8 == b->smtputf8 && a->dsn == b->dsn && a->size == b->size &&
           a->xforward == b->xforward && a->xforward_attributes == b->xforward_attributes &&
           a->size_limit_bytes == b->size_limit_bytes;
}

/* The kept connection turned out to be closed: the same commands over a new one, which must offer
 * the same, for the words were chosen by that. */
static int begin_again(struct primary *p, enum client_step step)
{
    struct client *c = p->client;
    struct client_features before = c->features;

    p->may_begin_again = p->awaits_rset = false;
    if (connect_anew(p) != 0)
        return -1;
    if (!offers_same(&before, &c->features)) {
        client_outcome(&c->fault, DELIVERY_RETRY, "4.4.2",
                       "host %s offers other extensions than before", c->peer);
        client_close(c);
        return -1;
    }
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
    const struct delivery_outcome *fault = &p->client->fault;

    forget(p);
    p->needs_rset = false;
    set_text(p, fault->dsn, fault->reason);
    buf_addf(reply, "451 %s %s\r\n", fault->dsn, fault->reason);
    return PRIMARY_LOST;
}

/* "code-text CRLF ... code text CRLF", what cannot be printed as '?'. */
static void format_reply(const struct smtp_reply *r, struct buf *out)
{
    const char *line = buf_str(&r->text);

    for (;;) {
        size_t len = strcspn(line, "\n");
        char *text = mem_strndup(line, len);
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
    return r->code / 100 <= 3 ? PRIMARY_YES : PRIMARY_NO;
}

/* An answer that must be 2xx, 4xx or 5xx (DATA: not 2xx): any other is no answer to this. */
static enum primary_answer answer(struct primary *p, enum client_step step, struct buf *reply)
{
    struct client *c = p->client;
    int bad_class = step == CLIENT_DATA ? 2 : 3;

    if (c->stream == NULL)
        return lost(p, reply);
    int status = ask(p, step);
    if (status != 0 && p->may_begin_again && !atomic_load(&c->is_interrupted))
        status = begin_again(p, step);
    p->may_begin_again = false;
    if (status == 0 && c->reply.code / 100 == bad_class)
        status = client_fail_reply(c, step);
    return status != 0 ? lost(p, reply) : answer_of_reply(p, reply);
}

enum primary_answer primary_answer(struct primary *p, struct buf *reply)
{
    enum client_step step = p->first_step;

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
    if (said == PRIMARY_YES)
        p->unanswered = p->listener->primary.protocol == CONFIG_LMTP ? p->taken : 1;
    return said;
}

void primary_write(struct primary *p, const char *data, size_t len)
{
    struct client *c = p->client;

    if (c->stream == NULL || len == 0)
        return;
    client_begin_wait(c);
    enum stream_status status = client_write_stuffed(c->stream, data, len, &p->line_state);
    if (status != STREAM_OK)
        client_fail_io(c, CLIENT_BODY, status);
}

void primary_dot(struct primary *p)
{
    struct client *c = p->client;
    const char *end = p->line_state == CLIENT_AT_LINE_START ? ".\r\n" : "\r\n.\r\n";

    p->first_step = CLIENT_DOT;
    if (c->stream == NULL)
        return;
    client_begin_wait(c);
    enum stream_status status = stream_write(c->stream, end, strlen(end));
    if (status == STREAM_OK)
        status = stream_flush(c->stream);
    if (status != STREAM_OK)
        client_fail_io(c, CLIENT_DOT, status);
    p->needs_rset = false;
}

void primary_reset(struct primary *p)
{
    forget(p);
}

void primary_abandon(struct primary *p)
{
    client_outcome(&p->client->fault, DELIVERY_RETRY, "4.3.0", "message given up");
    client_close(p->client);
    forget(p);
    p->needs_rset = false;
}

const char *primary_peer(const struct primary *p)
{
    return p->client->peer[0] != '\0' ? p->client->peer : "none";
}

unsigned primary_uses(const struct primary *p)
{
    return p->client->uses;
}

const char *primary_dsn(const struct primary *p)
{
    return p->dsn;
}

const char *primary_text(const struct primary *p)
{
    return buf_str(&p->text);
}
