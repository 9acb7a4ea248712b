/* SPDX-License-Identifier: ISC */
#include "receive/duplicate_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "metrics/counters.h"
#include "task/task.h"
#include "format/trace.h"
#include "base/ascii.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the primary said about the message, to one recipient (SMTP: to all). */
struct verdict {
    enum primary_answer answer;
    char *reply;
};

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
    if (d->o.listener->require_copies) {
        log_error("listener=%s: from=<%s>: refused, its copies cannot be stored: %s",
                  d->o.listener->name, t->message.sender, t->detail.text);
        buf_adds(replies, "452 4.3.1 Insufficient system storage for copies\r\n");
        return false;
    }
    d->copies_missing = true;
    return true;
}

/* Before the content, of which data is the beginning: our header field, with the part of the id
 * that is final before the message is stored. That is enough to find it in the log. */
static void write_trace(struct duplicate *d, const char *data, size_t len_of_data)
{
    const struct transaction *t = d->o.transaction;
    const char *id = message_id(t);
    size_t len = strlen(id);
    char text[QUEUE_ID_SIZE];

    snprintf(text, sizeof text, "%.*s", (int)(len > QUEUE_ID_PLACE ? len - QUEUE_ID_PLACE : 0), id);
    buf_reset(&d->reply);
    trace_received(&t->message, text, t->config->relay.hostname, &d->reply);
    trace_end(data, len_of_data, &d->reply);
    primary_write(d->o.primary, buf_str(&d->reply), d->reply.len);
    d->has_trace = true;
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
    return true;
}

static void tee_write(void *ctx, const char *data, size_t len)
{
    struct duplicate *d = ctx;

    if (!d->has_trace)
        write_trace(d, data, len);
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
    int64_t ms = task_now_ms() - d->begin_ms;

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

/* Local parts as they are, domains without regard to case (RFC 5321 2.4). */
static bool is_same_recipient(const char *a, const char *b)
{
    const char *at = strrchr(a, '@');
    size_t local_len = at == NULL ? strlen(a) : (size_t)(at - a);

    return strncmp(a, b, local_len) == 0 && strcasecmp(a + local_len, b + local_len) == 0;
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
                           is_same_recipient(d->accepted[i], r->address);
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
    if (!d->has_trace)
        write_trace(d, "", 0);
    primary_dot(d->o.primary);
    struct verdict *verdicts = read_verdicts(d);
    commit(d, verdicts, size);
    for (size_t i = 0; i < count; i++)
        buf_adds(&d->replies, verdicts[i].reply);
    for (size_t i = 0; i < d->accepted_count; i++)
        free(verdicts[i].reply);
    free(verdicts);
}

enum stream_status duplicate_receive(struct duplicate *d, const struct transaction_source *source,
                                     enum transaction_result *result_out, struct err *reply)
{
    const struct transaction_tee tee = {tee_write, tee_abandon, tee_finish, d};

    return transaction_receive(d->o.transaction, source, &tee, result_out, reply);
}

const char *duplicate_replies(const struct duplicate *d)
{
    return buf_str(&d->replies);
}
