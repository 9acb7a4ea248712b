/* SPDX-License-Identifier: ISC */
#include "duplicate.h"
#include "client_private.h"

#include "../log.h"
#include "../mem.h"
#include "../task.h"
#include "counters.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A RCPT, or the MAIL, that the primary has or will have an answer to. */
struct due {
    bool is_mail;
    char *path;             /* as the client wrote it */
    struct address address; /* RCPT: without suffix */
    char *orcpt;            /* of its copies */
    const char **copies;    /* destinations; owned array, borrowed items */
    size_t copy_count;
};

/* What the primary said about the message, to one recipient (SMTP: to all). */
struct verdict {
    enum primary_answer answer;
    char *reply;
};

struct duplicate {
    struct duplicate_options o;
    struct table_scratch *scratch;
    bool is_lmtp; /* the client's side */

    struct due *due; /* the first due_at of them are answered */
    size_t due_count, due_at;
    char **accepted; /* recipients, without <>, in the order of RCPT */
    size_t accepted_count;

    bool copies_missing; /* and the mail goes on without */
    int64_t begin_ms;
    struct buf reply;   /* to one command */
    struct buf replies; /* to the content */
};

struct duplicate *duplicate_new(const struct duplicate_options *options)
{
    struct duplicate *d = mem_zalloc(sizeof *d);

    d->o = *options;
    d->o.transaction->is_original = true;
    d->scratch = table_scratch_new();
    return d;
}

static void clear_due(struct duplicate *d)
{
    for (size_t i = 0; i < d->due_count; i++) {
        free(d->due[i].path);
        free(d->due[i].orcpt);
        free(d->due[i].copies);
    }
    d->due_count = d->due_at = 0;
}

void duplicate_reset(struct duplicate *d)
{
    clear_due(d);
    for (size_t i = 0; i < d->accepted_count; i++)
        free(d->accepted[i]);
    free(d->accepted);
    d->accepted = NULL;
    d->accepted_count = 0;
    d->copies_missing = false;
    primary_reset(d->o.primary);
}

void duplicate_free(struct duplicate *d)
{
    if (d == NULL)
        return;
    duplicate_reset(d);
    free(d->due);
    table_scratch_free(d->scratch);
    buf_clear(&d->reply);
    buf_clear(&d->replies);
    free(d);
}

const struct client_features *duplicate_greet(struct duplicate *d, bool is_lmtp)
{
    d->is_lmtp = is_lmtp;
    (void)primary_open(d->o.primary);
    return primary_features(d->o.primary);
}

size_t duplicate_due(const struct duplicate *d)
{
    return d->due_count - d->due_at;
}

static struct due *add_due(struct duplicate *d, const struct due *item)
{
    size_t n = d->due_count;

    if ((n & (n - 1)) == 0)
        d->due = mem_grow(d->due, n == 0 ? 1 : n * 2, sizeof *d->due);
    d->due[n] = *item;
    return &d->due[d->due_count++];
}

/* --- MAIL and RCPT --- */

int duplicate_mail(struct duplicate *d, const struct smtp_command *c, const struct xforward *x,
                   struct err *reply)
{
    if (transaction_mail(d->o.transaction, c, reply) != 0)
        return -1;
    d->begin_ms = client_now_ms();
    struct due item = {.is_mail = true, .path = mem_strdup(c->path), .orcpt = mem_strdup("")};
    add_due(d, &item);
    (void)primary_open(d->o.primary);
    primary_mail(d->o.primary, c->path, c->words, x);
    return 0;
}

static int refuse(struct err *reply, const char *text)
{
    err_set(reply, "%s", text);
    return -1;
}

static void add_destination(struct due *item, const char *name)
{
    item->copies = mem_grow(item->copies, item->copy_count + 1, sizeof *item->copies);
    item->copies[item->copy_count++] = name;
}

struct deciding {
    const struct duplicate *duplicate;
    const char *path;
    struct policy_decision *out;
};

static void decide(void *arg)
{
    const struct deciding *d = arg;
    static const struct policy_message nothing_known; /* of sender and client */

    policy_decide(d->duplicate->o.copies, d->duplicate->scratch, &nothing_known, d->path, NULL,
                  NULL, d->out);
}

/* Copies as copy_maps says, or as `copies` where that says nothing. */
static int choose_copies(struct duplicate *d, const char *path, struct due *item, struct err *reply)
{
    const struct config_listener *l = d->o.listener;
    struct transaction *t = d->o.transaction;
    struct policy_decision decision;
    struct deciding deciding = {d, path, &decision};
    int status = 0;

    if (policy_may_take_long(d->o.copies))
        task_block(decide, &deciding);
    else
        decide(&deciding);
    if (decision.failed != POLICY_OK) {
        if (l->require_copies == 1) {
            t->detail = decision.failure;
            status = refuse(reply, "451 4.3.0 Local fault, try again later");
        } else {
            log_error("listener=%s: to=<%s>: no copies: %s", l->name, item->address.text,
                      decision.failure.text);
        }
    } else if (decision.copy_reason.table != NULL) {
        for (size_t i = 0; i < decision.copy_count; i++)
            add_destination(item, decision.copies[i]->name);
    } else {
        for (size_t i = 0; i < l->copies.count; i++)
            add_destination(item, config_find_destination(t->config, l->copies.items[i])->name);
    }
    policy_decision_clear(&decision);
    return status;
}

/* Where the copies of this recipient go, and what its address is without suffix. */
static int plan_recipient(struct duplicate *d, const char *path, struct due *item,
                          struct err *reply)
{
    struct transaction *t = d->o.transaction;
    struct address tagged;
    const char *destination;
    struct err err;

    if (address_parse(path, strlen(path), ADDRESS_LENIENT, &tagged, &err) != 0) {
        err_set(reply, "501 5.1.3 Bad recipient: %s", err.text);
        return -1;
    }
    if (address_leads_into(path, strlen(path), t->config->tag_domain)) {
        if (transaction_route(t, &tagged, &item->address, &destination, reply) != 0)
            return -1;
        add_destination(item, destination);
        item->path = mem_printf("<%s>", item->address.text);
    } else {
        item->address = tagged;
        item->path = mem_strdup(path);
        if (choose_copies(d, path, item, reply) != 0)
            return -1;
    }
    return 0;
}

/* An SMTP client gets one reply for all, an LMTP server gives one for each: the one cannot stand
 * for the others unless there is only one. */
static bool is_full(const struct duplicate *d, const struct due *item)
{
    size_t others = d->accepted_count + duplicate_due(d);
    size_t copies = d->o.transaction->recipient_count + item->copy_count;

    for (size_t i = d->due_at; i < d->due_count; i++)
        copies += d->due[i].copy_count;
    if (d->o.listener->primary.protocol == CONFIG_LMTP && !d->is_lmtp)
        return others > (duplicate_due(d) > 0 && d->due[d->due_at].is_mail ? 1u : 0u);
    return others >= QUEUE_RECIPIENTS_MAX || copies > QUEUE_RECIPIENTS_MAX;
}

int duplicate_rcpt(struct duplicate *d, const struct smtp_command *c, struct err *reply)
{
    struct due item = {0};
    struct dsn dsn;

    dsn_init(&dsn);
    int status = plan_recipient(d, c->path, &item, reply);
    if (status == 0)
        status = transaction_rcpt_words(c, &dsn, reply);
    if (status == 0 && is_full(d, &item))
        status = refuse(reply, "452 4.5.3 Too many recipients");
    if (status == 0) {
        item.orcpt = mem_strdup(dsn.orcpt);
        add_due(d, &item);
        primary_rcpt(d->o.primary, item.path, c->words);
    } else {
        free(item.path);
        free(item.copies);
    }
    dsn_clear(&dsn);
    return status;
}

static void accept_recipient(struct duplicate *d, const struct due *item)
{
    for (size_t i = 0; i < item->copy_count; i++)
        transaction_add_copy(d->o.transaction, item->copies[i], &item->address, item->orcpt);
    d->o.transaction->accepted_count++;
    d->accepted = mem_grow(d->accepted, d->accepted_count + 1, sizeof(char *));
    d->accepted[d->accepted_count++] = mem_strdup(item->address.text);
}

bool duplicate_settle(struct duplicate *d, struct duplicate_answer *out)
{
    if (duplicate_due(d) == 0) {
        clear_due(d);
        return false;
    }
    const struct due *item = &d->due[d->due_at++];
    buf_reset(&d->reply);
    enum primary_answer answer = primary_answer(d->o.primary, &d->reply);
    *out = (struct duplicate_answer){
        .is_mail = item->is_mail,
        .is_yes = answer == PRIMARY_YES,
        .to = item->path,
        .reply = buf_str(&d->reply),
    };
    if (answer == PRIMARY_LOST)
        err_set(&d->o.transaction->detail, "primary %s", primary_peer(d->o.primary));
    if (answer == PRIMARY_YES && !item->is_mail)
        accept_recipient(d, item);
    return true;
}

/* --- content --- */

/* Of the message in the log and in the trace: that of its first copy. */
static const char *message_id(const struct transaction *t)
{
    return t->copy_count > 0 ? t->copies[0].id : "";
}

/* No copies: with require_copies that is the end of the message (false, replies is what to say). */
static bool do_without_copies(struct duplicate *d, struct buf *replies)
{
    struct transaction *t = d->o.transaction;

    transaction_drop_put(t);
    if (d->o.listener->require_copies == 1) {
        log_error("listener=%s: from=<%s>: refused, its copies cannot be stored: %s",
                  d->o.listener->name, t->message.sender, t->detail.text);
        buf_adds(replies, "452 4.3.1 Insufficient system storage for copies\r\n");
        return false;
    }
    d->copies_missing = true;
    return true;
}

/* The part of it that is final before the message is stored: enough to find it in the log. */
static void add_trace(const struct transaction *t, struct buf *out)
{
    const char *id = message_id(t);
    size_t len = strlen(id);
    char text[QUEUE_ID_SIZE];

    snprintf(text, sizeof text, "%.*s", (int)(len > QUEUE_ID_PLACE ? len - QUEUE_ID_PLACE : 0), id);
    trace_received(&t->message, text, t->config->relay.hostname, out);
}

bool duplicate_data(struct duplicate *d, struct buf *reply)
{
    struct transaction *t = d->o.transaction;
    struct err text;

    if (t->copy_count > 0) {
        enum queue_put_status status = t->room;
        if (status == QUEUE_PUT_OK && transaction_data(t, &text) != 0)
            status = QUEUE_PUT_FAULT;
        if (status != QUEUE_PUT_OK && !do_without_copies(d, reply))
            return false;
    }
    if (primary_data(d->o.primary, reply) != PRIMARY_YES) {
        transaction_drop_put(t);
        return false;
    }
    buf_reset(reply);
    buf_adds(reply, "354 End data with <CR><LF>.<CR><LF>\r\n");
    buf_reset(&d->reply);
    add_trace(t, &d->reply);
    primary_write(d->o.primary, buf_str(&d->reply), d->reply.len);
    return true;
}

static void tee_write(void *ctx, const char *data, size_t len)
{
    struct duplicate *d = ctx;

    primary_write(d->o.primary, data, len);
}

static void tee_abandon(void *ctx)
{
    struct duplicate *d = ctx;

    primary_abandon(d->o.primary);
}

static void log_verdict(const struct duplicate *d, const char *to, const struct verdict *v)
{
    const struct transaction *t = d->o.transaction;
    struct primary *p = d->o.primary;
    const char *status = v->answer == PRIMARY_YES                          ? "sent"
                         : v->answer == PRIMARY_LOST || v->reply[0] != '5' ? "deferred"
                                                                           : "refused";
    int64_t ms = client_now_ms() - d->begin_ms;

    log_info("%s: to=<%s>, listener=%s, relay=%s, conn_use=%u, delay=%.2f, dsn=%s, status=%s (%s)",
             message_id(t)[0] != '\0' ? message_id(t) : "NOQUEUE", to, d->o.listener->name,
             primary_peer(p), primary_uses(p), (double)ms / 1000, primary_dsn(p), status,
             primary_text(p));
}

/* What the primary says to the message: one verdict, or with LMTP one for each recipient. */
static struct verdict *read_verdicts(struct duplicate *d)
{
    struct verdict *verdicts = mem_zalloc(d->accepted_count * sizeof *verdicts);
    bool is_lmtp = d->o.listener->primary.protocol == CONFIG_LMTP;

    for (size_t i = 0; i < d->accepted_count; i++) {
        struct verdict *v = &verdicts[i];
        if (i == 0 || is_lmtp) {
            buf_reset(&d->reply);
            v->answer = primary_answer(d->o.primary, &d->reply);
            v->reply = mem_strdup(buf_str(&d->reply));
        } else {
            v->answer = verdicts[0].answer;
            v->reply = mem_strdup(verdicts[0].reply);
        }
        log_verdict(d, d->accepted[i], v);
    }
    return verdicts;
}

/* Only those that the primary took get copies. False: it took none. */
static bool mark_refused(struct duplicate *d, const struct verdict *verdicts)
{
    struct transaction *t = d->o.transaction;
    size_t taken = 0;

    for (size_t i = 0; i < d->accepted_count; i++)
        taken += verdicts[i].answer == PRIMARY_YES;
    for (size_t c = 0; c < t->copy_count && taken < d->accepted_count; c++)
        for (size_t k = 0; k < t->copies[c].recipient_count; k++) {
            struct queue_recipient *r = &t->copies[c].recipients[k];
            bool is_taken = false;
            for (size_t i = 0; i < d->accepted_count && !is_taken; i++)
                is_taken = verdicts[i].answer == PRIMARY_YES &&
                           strcasecmp(d->accepted[i], r->address) == 0;
            if (!is_taken)
                r->state = QUEUE_SENT;
        }
    return taken > 0;
}

/* The primary has answered: commit what it took. */
static void commit(struct duplicate *d, struct verdict *verdicts, uint64_t size)
{
    struct transaction *t = d->o.transaction;

    if (!mark_refused(d, verdicts)) {
        transaction_drop_put(t);
        return;
    }
    if (t->put != NULL) {
        if (transaction_commit(t, size) == QUEUE_PUT_OK)
            return;
        buf_reset(&d->reply);
        if (!do_without_copies(d, &d->reply))
            for (size_t i = 0; i < d->accepted_count; i++)
                if (verdicts[i].answer == PRIMARY_YES) {
                    free(verdicts[i].reply); /* it will come again, to the primary, too */
                    verdicts[i].reply = mem_strdup(buf_str(&d->reply));
                }
    }
    if (d->copies_missing) {
        counters_copies_missing();
        log_error("listener=%s: from=<%s>: delivered without its copies: %s", d->o.listener->name,
                  t->message.sender, t->detail.text);
    }
}

static void tee_finish(void *ctx, enum queue_put_status put_status, uint64_t size)
{
    struct duplicate *d = ctx;
    struct transaction *t = d->o.transaction;
    size_t count = d->is_lmtp ? d->accepted_count : 1;

    if (put_status == QUEUE_PUT_OK && t->put != NULL)
        put_status = t->queue->ops->put_prepare(t->put, &t->detail);
    buf_reset(&d->replies);
    buf_reset(&d->reply);
    if (put_status != QUEUE_PUT_OK && !do_without_copies(d, &d->reply)) {
        primary_abandon(d->o.primary);
        for (size_t i = 0; i < count; i++)
            buf_adds(&d->replies, buf_str(&d->reply));
        return;
    }
    primary_dot(d->o.primary);
    struct verdict *verdicts = read_verdicts(d);
    commit(d, verdicts, size);
    for (size_t i = 0; i < count; i++)
        buf_adds(&d->replies, verdicts[i].reply);
    for (size_t i = 0; i < d->accepted_count; i++)
        free(verdicts[i].reply);
    free(verdicts);
}

enum stream_status duplicate_receive(struct duplicate *d, struct stream *stream,
                                     unsigned timeout_ms, enum transaction_result *result_out,
                                     struct err *reply)
{
    const struct transaction_tee tee = {tee_write, tee_abandon, tee_finish, d};

    return transaction_receive(d->o.transaction, stream, timeout_ms, &tee, result_out, reply);
}

const char *duplicate_replies(const struct duplicate *d)
{
    return buf_str(&d->replies);
}
