/* SPDX-License-Identifier: ISC */
/* The content of a transaction, from 354 to the reply. */
#include "mail/content.h"
#include "metrics/counters.h"
#include "deliver/maillog.h"
#include "receive/transaction_private.h"

#include "task/task.h"

#include <stdio.h>
#include <string.h>

#define IDS_SHOWN_MAX 8 /* copy ids in the reply */

static void mark_dead(struct queue_new_copy *copy, const char *reason)
{
    copy->is_dead = true;
    for (size_t k = 0; k < copy->recipient_count; k++) {
        copy->recipients[k].state = QUEUE_DEAD;
        snprintf(copy->recipients[k].reason, QUEUE_REASON_SIZE, "%s", reason);
    }
}

/*
 * Copies that loop, by what the header says: dead on arrival. Returns the reply if that is true of
 * all of them, NULL otherwise. A header is the sender's: he could forge one to keep his mail out of
 * an archive. So they are kept as dead letters even if the reply is a refusal, after which the MTA
 * forgets them (NOTIFY=NEVER).
 */
static const char *mark_loops(struct transaction *t, const struct content *content)
{
    bool has_hops = content_has_too_many_hops(content);
    size_t loops = 0;

    for (size_t i = 0; i < t->copy_count; i++) {
        struct queue_new_copy *copy = &t->copies[i];
        if (has_hops)
            mark_dead(copy, "554 5.4.6 too many hops");
        else if (content_has_copy_for(content, copy->destination))
            mark_dead(copy, "554 5.4.6 mail loops: it carries X-Split-Copy of this host");
        loops += copy->is_dead;
    }
    if (has_hops)
        return "554 5.4.6 Too many hops";
    return loops > 0 && loops == t->copy_count ? "554 5.4.6 Mail loops back to this host" : NULL;
}

/* How many recipients get it. */
static size_t count_recipients(const struct queue_new_copy *copy)
{
    size_t count = 0;

    for (size_t k = 0; k < copy->recipient_count; k++)
        count += copy->recipients[k].state != QUEUE_SENT;
    return count;
}

struct stored {
    const struct transaction *t;
    uint64_t size;
};

/* Before any of them is delivered: whoever reads the log finds the size above the deliveries. */
static void record_stored(void *ctx)
{
    const struct stored *stored = ctx;
    const struct transaction *t = stored->t;

    counters_message(stored->size);
    for (size_t i = 0; i < t->copy_count; i++) {
        const struct queue_new_copy *copy = &t->copies[i];
        size_t count = count_recipients(copy);
        if (count == 0)
            continue;
        maillog_taken(&t->message, copy, count, stored->size);
        counters_copy(copy->destination, stored->size);
        for (size_t k = 0; k < copy->recipient_count && copy->is_dead; k++)
            counters_outcome(copy->destination, COUNTERS_DEAD, 0);
    }
}

enum queue_put_status transaction_commit(struct transaction *t, uint64_t size)
{
    struct stored stored = {t, size};
    enum queue_put_status status =
        t->queue->ops->put_commit(t->put, record_stored, &stored, &t->detail);

    t->put = NULL;
    return status;
}

static void accepted_reply(const struct transaction *t, struct err *reply)
{
    struct buf text = {0};

    buf_adds(&text, "250 2.0.0 Ok: queued as");
    for (size_t i = 0; i < t->copy_count && i < IDS_SHOWN_MAX; i++)
        buf_addf(&text, " %s", t->copies[i].id);
    err_set(reply, "%s", buf_str(&text));
    buf_clear(&text);
}

/* The content can be kept. */
static enum transaction_result finish_whole(struct transaction *t, const struct content *content,
                                            uint64_t size, enum queue_put_status status,
                                            const struct transaction_tee *tee, struct err *reply)
{
    const char *loop = mark_loops(t, content);

    if (tee != NULL && loop == NULL) {
        tee->finish(tee->ctx, status, size);
        return TRANSACTION_FINISHED;
    }
    if (tee != NULL) { /* the client is told, and tells the sender */
        err_set(reply, "%s", loop);
        transaction_drop_put(t);
        return TRANSACTION_REFUSED;
    }
    status = transaction_commit(t, size);
    if (status != QUEUE_PUT_OK) {
        transaction_refuse_fault(t, status, reply);
        return TRANSACTION_REFUSED;
    }
    if (loop != NULL) {
        err_set(reply, "%s", loop);
        return TRANSACTION_REFUSED;
    }
    accepted_reply(t, reply);
    return TRANSACTION_COMMITTED;
}

/* The whole content is there: commit it, or say why not. */
static enum transaction_result finish(struct transaction *t, const struct content *content,
                                      uint64_t size, enum queue_put_status status,
                                      const struct transaction_tee *tee, struct err *reply)
{
    if (content_has_bare_lf(content)) {
        err_set(reply, "550 5.5.2 Bare <LF> received");
    } else if (size > t->config->relay.message_size_limit_bytes) {
        transaction_refuse_size(t, size, reply);
    } else if (status != QUEUE_PUT_OK && tee == NULL) {
        transaction_refuse_fault(t, status, reply);
    } else {
        return finish_whole(t, content, size, status, tee, reply);
    }
    transaction_drop_put(t);
    return TRANSACTION_REFUSED;
}

/* How long the client was waited for. */
struct pace {
    const struct transaction_source *source;
    int64_t waited_ms;
};

/* The next block, which is not waited for longer than the source allows after `size` bytes. */
static enum stream_status wait_for_block(struct pace *p, uint64_t size, const char **data_out,
                                         size_t *len_out)
{
    const struct transaction_source *source = p->source;
    int64_t begin_ms = task_now_ms(), timeout_ms = source->timeout_ms;

    if (source->min_rate > 0) {
        int64_t left_ms = timeout_ms + (int64_t)(size * 1000 / source->min_rate) - p->waited_ms;
        timeout_ms = left_ms < 0 ? 0 : left_ms < timeout_ms ? left_ms : timeout_ms;
    }
    stream_set_deadline(source->stream, (unsigned)timeout_ms);
    atomic_store(source->idle_since_ms, begin_ms);
    enum stream_status status = stream_peek(source->stream, data_out, len_out);
    atomic_store(source->idle_since_ms, 0);
    p->waited_ms += task_now_ms() - begin_ms;
    return status;
}

enum stream_status transaction_receive(struct transaction *t,
                                       const struct transaction_source *source,
                                       const struct transaction_tee *tee,
                                       enum transaction_result *result_out, struct err *reply)
{
    const uint64_t limit = t->config->relay.message_size_limit_bytes;
    struct content *content = content_new(t->config->relay.hostname);
    enum queue_put_status put_status = QUEUE_PUT_OK;
    enum stream_status status = STREAM_OK;
    struct pace pace = {.source = source};
    uint64_t size = 0;

    while (!content_is_complete(content)) {
        const char *data;
        size_t len;
        status = wait_for_block(&pace, size, &data, &len);
        if (status != STREAM_OK)
            break;
        buf_reset(&t->block);
        stream_consume(source->stream, content_feed(content, data, len, &t->block));
        size += t->block.len;
        /* What cannot be kept is still read to its end: the reply belongs there. */
        bool is_unfit = size > limit || content_has_bare_lf(content);
        if (is_unfit)
            transaction_drop_put(t);
        if (tee != NULL && is_unfit)
            tee->abandon(tee->ctx);
        else if (tee != NULL && t->block.len > 0)
            tee->write(tee->ctx, t->block.data, t->block.len);
        if (t->put == NULL || t->block.len == 0)
            continue;
        put_status = t->queue->ops->put_data(t->put, t->block.data, t->block.len, &t->detail);
        if (put_status != QUEUE_PUT_OK)
            transaction_drop_put(t);
    }
    if (status == STREAM_OK)
        *result_out = finish(t, content, size, put_status, tee, reply);
    else
        transaction_drop_put(t);
    if (tee != NULL && (status != STREAM_OK || *result_out == TRANSACTION_REFUSED))
        tee->abandon(tee->ctx);
    content_free(content);
    return status;
}
