/* SPDX-License-Identifier: ISC */
/* The content of a transaction, from 354 to the reply. */
#include "metrics/counters.h"
#include "deliver/maillog.h"
#include "receive/condition.h"
#include "receive/transaction_private.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
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

/* Mark the copies that their destinations do not want. watches: one for each copy. */
static void mark_skipped(struct transaction *t, const struct content_watch *watches, uint64_t size)
{
    for (size_t i = 0; i < t->copy_count; i++) {
        struct queue_new_copy *copy = &t->copies[i];
        copy->skip =
            condition_decide(config_find_destination(t->config, copy->destination), &watches[i],
                             size, copy->skip_reason, sizeof copy->skip_reason);
    }
}

/*
 * Mark copies that loop, according to the header, as dead. Returns the reply if all copies loop or
 * the message has too many hops, else NULL. Copies that are skipped stay so. A sender could forge
 * such a header field to keep mail out of an archive. Therefore these copies are kept as dead
 * letters even if the reply is a refusal, after which the MTA drops them (NOTIFY=NEVER).
 */
static const char *mark_loops(struct transaction *t, const struct content *content)
{
    bool has_hops = content_has_too_many_hops(content);
    size_t loops = 0;

    for (size_t i = 0; i < t->copy_count; i++) {
        struct queue_new_copy *copy = &t->copies[i];
        if (copy->skip != QUEUE_WANTED)
            continue;
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

/* The number of recipients that are to get the copy: not those that the primary did not accept
 * (duplicate_content.c). */
static size_t count_recipients(const struct queue_new_copy *copy)
{
    size_t count = 0;

    for (size_t k = 0; k < copy->recipient_count; k++)
        count += copy->recipients[k].state != QUEUE_SENT;
    return count;
}

static void count_skipped(const struct queue_new_copy *copy)
{
    switch (copy->skip) {
    case QUEUE_WANTED:
        return;
    case QUEUE_SKIP_UNLESS_HEADER:
        counters_skipped(copy->destination, COUNTERS_UNLESS_HEADER);
        return;
    case QUEUE_SKIP_MAX_SIZE:
        counters_skipped(copy->destination, COUNTERS_MAX_SIZE);
        return;
    }
}

struct stored {
    const struct transaction *t;
    uint64_t size;
};

/* Log and count the copies. put_commit calls this function before any copy is handed out, so that
 * the log has the line with the size above the lines of the deliveries. */
static void record_stored(void *ctx)
{
    const struct stored *stored = ctx;
    const struct transaction *t = stored->t;
    bool is_message = false;

    for (size_t i = 0; i < t->copy_count; i++) {
        const struct queue_new_copy *copy = &t->copies[i];
        size_t count = count_recipients(copy);
        if (count == 0)
            continue;
        maillog_taken(&t->message, copy, count, stored->size);
        if (copy->skip != QUEUE_WANTED) {
            count_skipped(copy);
            continue;
        }
        is_message = true;
        counters_copy(copy->destination, stored->size);
        for (size_t k = 0; k < count && copy->is_dead; k++)
            counters_outcome(copy->destination, COUNTERS_DEAD, 0);
    }
    if (is_message)
        counters_message(stored->size);
}

/* Make a watch for each copy, with the conditions of its destination. The caller frees the
 * array. */
static struct content_watch *make_watches(const struct transaction *t)
{
    struct content_watch *watches = mem_zalloc((t->copy_count + 1) * sizeof *watches);

    for (size_t i = 0; i < t->copy_count; i++)
        watches[i].conditions =
            &config_find_destination(t->config, t->copies[i].destination)->unless_header;
    return watches;
}

enum stream_status transaction_read(struct transaction *t, const struct content_source *source,
                                    struct primary *primary, struct buf *trace,
                                    struct transaction_content *out, struct err *reply)
{
    const struct content_sinks sinks = {
        .queue = t->queue,
        .put = &t->put,
        .primary = primary,
        .trace = trace,
        .block = &t->block,
        .size_limit_bytes = t->config->relay.message_size_limit_bytes,
    };
    struct content *content = content_new(t->config->relay.hostname);
    struct content_watch *watches = make_watches(t);

    *out = (struct transaction_content){.is_refused = true};
    content_watch(content, watches, t->copy_count);
    enum stream_status status = content_read(content, source, &sinks, &out->found, &t->detail);
    if (status != STREAM_OK) {
        /* the caller reports the fault */
    } else if (content_has_bare_lf(content)) {
        err_set(reply, "550 5.5.2 Bare <LF> received");
    } else if (out->found.size_bytes > sinks.size_limit_bytes) {
        transaction_refuse_size(t, out->found.size_bytes, reply);
    } else {
        out->is_refused = false;
        mark_skipped(t, watches, out->found.size_bytes);
        out->loop = mark_loops(t, content);
        free(t->message.message_id);
        t->message.message_id = mem_strdup(content_message_id(content));
    }
    content_free(content);
    free(watches);
    return status;
}

bool transaction_has_wanted(const struct transaction *t)
{
    bool has = false;

    for (size_t i = 0; i < t->copy_count; i++)
        has = has || t->copies[i].skip == QUEUE_WANTED;
    return has;
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
    struct buf ids = {0};

    for (size_t i = 0, shown = 0; i < t->copy_count && shown < IDS_SHOWN_MAX; i++) {
        if (t->copies[i].skip != QUEUE_WANTED)
            continue;
        buf_addf(&ids, " %s", t->copies[i].id);
        shown++;
    }
    if (ids.len > 0)
        err_set(reply, "250 2.0.0 Ok: queued as%s", buf_str(&ids));
    else
        err_set(reply, "250 2.0.0 Ok: no destination wants a copy");
    buf_clear(&ids);
}

enum stream_status transaction_receive(struct transaction *t, const struct content_source *source,
                                       enum transaction_result *result_out, struct err *reply)
{
    struct transaction_content content;

    *result_out = TRANSACTION_REFUSED;
    enum stream_status status = transaction_read(t, source, NULL, NULL, &content, reply);
    if (status != STREAM_OK || content.is_refused)
        return status;
    enum queue_put_status put_status = content.found.put_status;
    if (put_status == QUEUE_PUT_OK)
        put_status = transaction_commit(t, content.found.size_bytes);
    if (put_status != QUEUE_PUT_OK) {
        transaction_refuse_fault(t, put_status, reply);
    } else if (content.loop != NULL) {
        err_set(reply, "%s", content.loop);
    } else {
        accepted_reply(t, reply);
        *result_out = TRANSACTION_COMMITTED;
    }
    return status;
}
