/* SPDX-License-Identifier: ISC */
#include "receive/duplicate_private.h"
#include "receive/transaction_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "metrics/counters.h"
#include "task/task.h"
#include "format/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The primary's answer to the content, for one recipient (SMTP: for all). */
struct verdict {
    enum primary_answer answer;
    char *reply;
};

/* The id of the message in the log and in the trace, which is that of its first copy; "" without
 * copies. */
static const char *first_id(const struct transaction *t)
{
    return t->copy_count > 0 ? t->copies[0].id : "";
}

/* what: what became of the message. */
static void log_without_copies(const struct duplicate *d, const char *status, const char *what)
{
    const struct transaction *t = d->o.transaction;
    const struct log_field fields[] = {
        LOG_TEXT("listener", d->o.listener->name),
        LOG_TEXT("status", status),
        LOG_TEXT("reason", t->detail.text),
        LOG_TEXT("from", t->message.sender),
        LOG_END,
    };

    log_event(LOG_LEVEL_ERROR, NULL, fields, "listener=%s: from=<%s>: %s: %s", d->o.listener->name,
              t->message.sender, what, t->detail.text);
}

/* Called when the copies cannot be stored. False: require_copies is set, and the message is refused
 * with the reply that is appended to `replies`. True: the message goes on without its copies. A
 * copy that its destination does not want is not required; it is only missing in the history. */
static bool do_without_copies(struct duplicate *d, struct buf *replies)
{
    struct transaction *t = d->o.transaction;

    transaction_drop_put(t);
    if (d->o.listener->require_copies && transaction_has_wanted(t)) {
        log_without_copies(d, "refused", "refused, its copies cannot be stored");
        buf_adds(replies, "452 4.3.1 Insufficient system storage for copies\r\n");
        return false;
    }
    d->copies_missing = true;
    return true;
}

/* Make the header field Received, which the primary gets before the content. */
static void make_trace(struct duplicate *d)
{
    const struct transaction *t = d->o.transaction;

    buf_reset(&d->trace);
    trace_received(&t->message, first_id(t), t->config->relay.hostname, &d->trace);
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

static void log_verdict(const struct duplicate *d, const char *to, const struct verdict *v)
{
    const struct transaction *t = d->o.transaction;
    struct primary *p = d->o.primary;
    const char *status = v->answer == PRIMARY_YES                          ? "sent"
                         : v->answer == PRIMARY_LOST || v->reply[0] != '5' ? "deferred"
                                                                           : "refused";
    const char *id = first_id(t);
    char delay[32], conn_use[16];

    snprintf(delay, sizeof delay, "%.2f", (double)(task_now_ms() - d->begin_ms) / 1000);
    snprintf(conn_use, sizeof conn_use, "%u", primary_uses(p));
    const struct log_field fields[] = {
        LOG_TEXT("copy_id", id[0] == '\0' ? NULL : id),
        LOG_TEXT("listener", d->o.listener->name),
        LOG_TEXT("relay", primary_peer(p)),
        LOG_NUMBER("conn_use", conn_use),
        LOG_NUMBER("delay", delay),
        LOG_TEXT("dsn", primary_dsn(p)),
        LOG_TEXT("status", status),
        LOG_TEXT("reason", primary_text(p)),
        LOG_TEXT("to", to),
        LOG_END,
    };
    log_event(LOG_LEVEL_INFO, NULL, fields,
              "%s: to=<%s>, listener=%s, relay=%s, conn_use=%s, delay=%s, dsn=%s, status=%s (%s)",
              id[0] != '\0' ? id : "NOQUEUE", to, d->o.listener->name, primary_peer(p), conn_use,
              delay, primary_dsn(p), status, primary_text(p));
}

/* Read the primary's answer to the content: one for all recipients, or with LMTP one for each.
 * Returns a verdict for each accepted recipient, for free_verdicts(). */
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

/* Set the recipients that the primary did not accept to QUEUE_SENT, so that they get no copies.
 * False: the primary accepted none. */
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
                           address_is_same(d->accepted[i], r->address);
            if (!is_taken)
                r->state = QUEUE_SENT;
        }
    return taken > 0;
}

static void free_verdicts(struct duplicate *d, struct verdict *verdicts)
{
    for (size_t i = 0; i < d->accepted_count; i++)
        free(verdicts[i].reply);
    free(verdicts);
}

/* The primary accepted the message, but the copies could not be stored. Replace the primary's
 * replies, so that the client sends the message again. The primary then gets it twice. */
static void replace_replies(struct duplicate *d, struct verdict *verdicts, const char *reply)
{
    for (size_t i = 0; i < d->accepted_count; i++)
        if (verdicts[i].answer == PRIMARY_YES) {
            free(verdicts[i].reply);
            verdicts[i].reply = mem_strdup(reply);
        }
}

static void report_missing_copies(struct duplicate *d)
{
    if (!transaction_has_wanted(d->o.transaction)) {
        log_without_copies(d, "skipped", "delivered, its copies were skipped, but not recorded");
        return;
    }
    counters_copies_missing();
    log_without_copies(d, "without_copies", "delivered without its copies");
}

enum stream_status duplicate_receive(struct duplicate *d, const struct content_source *source,
                                     enum transaction_result *result_out, struct err *reply)
{
    struct transaction *t = d->o.transaction;
    struct primary *primary = d->o.primary;
    size_t count = d->is_lmtp ? d->accepted_count : 1;
    struct transaction_content content;

    /* Read. */
    *result_out = TRANSACTION_REFUSED;
    make_trace(d);
    enum stream_status status = transaction_read(t, source, primary, &d->trace, &content, reply);
    if (status != STREAM_OK || content.is_refused)
        return status;
    if (content.loop != NULL) { /* the client reports the refusal to the sender */
        err_set(reply, "%s", content.loop);
        transaction_drop_put(t);
        primary_abandon(primary);
        return status;
    }
    *result_out = TRANSACTION_FINISHED;
    buf_reset(&d->replies);
    buf_reset(&d->reply);

    /* Prepare. */
    enum queue_put_status put_status = content.found.put_status;
    if (put_status == QUEUE_PUT_OK && t->put != NULL)
        put_status = t->queue->ops->put_prepare(t->put, &t->detail);
    if (put_status != QUEUE_PUT_OK && !do_without_copies(d, &d->reply)) {
        primary_abandon(primary);
        for (size_t i = 0; i < count; i++)
            buf_adds(&d->replies, buf_str(&d->reply));
        return status;
    }

    /* Ask the primary. */
    primary_dot(primary);
    struct verdict *verdicts = read_verdicts(d);

    /* Commit, log and count. */
    bool is_taken = mark_refused(d, verdicts);
    if (!is_taken)
        transaction_drop_put(t);
    if (t->put != NULL && transaction_commit(t, content.found.size_bytes) != QUEUE_PUT_OK) {
        buf_reset(&d->reply);
        if (!do_without_copies(d, &d->reply))
            replace_replies(d, verdicts, buf_str(&d->reply));
    }
    if (is_taken && d->copies_missing)
        report_missing_copies(d);

    /* Reply. */
    for (size_t i = 0; i < count; i++)
        buf_adds(&d->replies, verdicts[i].reply);
    free_verdicts(d, verdicts);
    return status;
}

const char *duplicate_replies(const struct duplicate *d)
{
    return buf_str(&d->replies);
}
