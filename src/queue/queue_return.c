/* SPDX-License-Identifier: ISC */
/*
 * Take copies back from workers. The outcome of a copy is written by a request to the writer, which
 * tries the request until it succeeds. Until then the window knows the copy, so the copy is not
 * handed out again. Orders for the copy are carried out afterwards (queue_order.c).
 *
 * With PostgreSQL an outcome, except for a release, also ends the lease of the copy. If the lease
 * has run out before that, and another node has the copy, the outcome still updates the recipients,
 * and a copy that all have accepted is still removed. State, due and attempts of the copy are left
 * to the other node.
 */
#include "queue/queue_window.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind { SENT, DEAD, LATER, POSTPONED, RELEASED };

struct outcome {
    struct writer_request request; /* first */
    struct db_queue *q;
    struct queue_taken *taken;
    enum kind kind;
    time_t due; /* LATER, POSTPONED */
    char *relay, *reply;
    struct queue_files files;
    size_t bytes;
};

/* --- copies in hand --- */

/* Return a number made of the recipient's state and a hash of its reason. */
static uint32_t fingerprint(const struct queue_recipient *r)
{
    uint32_t hash = hash_fnv1a_32(HASH_FNV1A_32_START, r->reason, strlen(r->reason));

    return (hash & ~0xffU) | (unsigned char)r->state;
}

struct queue_taken *queue_taken_new(const char *destination, struct queue_ready *ready)
{
    struct queue_taken *t = mem_zalloc(sizeof *t);

    t->ready = ready;
    t->before = mem_grow(NULL, ready->recipient_count + 1, sizeof *t->before);
    for (size_t i = 0; i < ready->recipient_count; i++)
        t->before[i] = fingerprint(&ready->recipients[i]);
    queue_id_format(ready->id, t->copy.id);
    t->copy.destination = destination;
    t->copy.message = ready->message->message;
    t->copy.recipients = ready->recipients;
    t->copy.recipient_count = ready->recipient_count;
    t->copy.attempts = ready->attempts;
    t->copy.content = ready->message->content;
    t->copy.content_fd = -1;
    return t;
}

/* Free t, but not t->ready. */
static void free_taken(struct queue_taken *t)
{
    if (t->copy.content_fd >= 0)
        close(t->copy.content_fd);
    free(t->before);
    free(t);
}

static bool has_state(const struct queue_taken *t, enum queue_recipient_state state)
{
    for (size_t i = 0; i < t->copy.recipient_count; i++)
        if (t->copy.recipients[i].state == state)
            return true;
    return false;
}

bool queue_taken_is_pending(const struct queue_taken *t)
{
    return has_state(t, QUEUE_PENDING);
}

static bool has_changed(const struct queue_taken *t)
{
    for (size_t i = 0; i < t->copy.recipient_count; i++)
        if (t->before[i] != fingerprint(&t->copy.recipients[i]))
            return true;
    return false;
}

/* --- what is written --- */

static enum db_status write_recipients(const struct outcome *o, struct db *db, struct err *err)
{
    const struct queue_taken *t = o->taken;
    enum db_status status = DB_OK;

    for (size_t i = 0; i < t->copy.recipient_count && status == DB_OK; i++)
        if (t->before[i] != fingerprint(&t->copy.recipients[i]))
            status = queue_write_recipient(db, t->ready->id, &t->copy.recipients[i], err);
    return status;
}

static enum db_status write_copy(const struct outcome *o, struct db *db, struct err *err)
{
    const struct db_value values[] = {db_int(o->due), db_int(o->taken->ready->attempts),
                                      db_int(o->taken->ready->id), db_text(o->q->node)};

    switch (o->kind) {
    case DEAD:
        return db->ops->run(db,
                            "UPDATE copy SET state = 'dead', attempts = $1, owner = NULL"
                            " WHERE id = $2 AND (owner = $3 OR $3 = '')",
                            &values[1], 3, NULL, err);
    case LATER:
    case POSTPONED:
        return db->ops->run(db,
                            "UPDATE copy SET due = $1, attempts = $2, owner = NULL"
                            " WHERE id = $3 AND (owner = $4 OR $4 = '')",
                            values, 4, NULL, err);
    case SENT:
    case RELEASED:
        break;
    }
    return DB_OK;
}

static enum db_status apply(struct writer_request *request, struct db *db, struct err *err)
{
    struct outcome *o = (struct outcome *)request;
    const struct queue_taken *t = o->taken;
    enum db_status status;

    o->files.count = 0;
    if (o->kind == SENT) {
        status = queue_write_history(o->q, db, t->ready, true, "sent",
                                     &(struct queue_delivery){o->relay, o->reply}, err);
        return status == DB_OK ? queue_write_removal(db, t->ready, &o->files, err) : status;
    }
    status = write_recipients(o, db, err);
    return status == DB_OK ? write_copy(o, db, err) : status;
}

/* --- afterwards --- */

/* One outcome fewer waits. If the writer has caught up, wake the workers. */
static void forget_outcome(struct db_queue *q, size_t bytes)
{
    atomic_fetch_sub(&q->returning_bytes, bytes);
    atomic_fetch_sub(&q->outcomes, 1);
    if (atomic_load(&q->outcomes) <= QUEUE_OUTCOMES_MAX * 3 / 4 &&
        atomic_load(&q->returning_bytes) <= QUEUE_RETURNING_MAX / 4 * 3 &&
        atomic_exchange(&q->is_behind, false))
        queue_next_go_on(q);
}

static void finish(struct writer_request *request, enum db_status status, const struct err *err)
{
    struct outcome *o = (struct outcome *)request;
    struct queue_taken *t = o->taken;
    const char *destination = t->copy.destination;
    const bool is_again = status == DB_OK && o->kind == RELEASED;
    const int64_t id = t->ready->id;

    if (status != DB_OK) /* the queue is being closed, or an administrator has made a trigger */
        queue_log_fault(&t->copy, "cannot record what came of it: %s", err->text);
    else
        queue_files_remove(o->q, &o->files);
    /* After a failure the copy stays RETURNING: it is not handed out before the next start. */
    if (status == DB_OK)
        queue_next_end_return(o->q, destination, id, is_again ? t->ready : NULL, o->due);
    if (!is_again)
        queue_ready_free(t->ready);
    free_taken(t);
    forget_outcome(o->q, o->bytes);
    free(o->files.messages);
    free(o->relay);
    free(o->reply);
    free(o);
}

static void give_back(struct db_queue *q, struct queue_taken *t, enum kind kind, time_t due,
                      const struct queue_delivery *delivery)
{
    struct outcome *o = mem_zalloc(sizeof *o);

    *o = (struct outcome){.request = {.apply = apply,
                                      .finish = finish,
                                      .urgency = WRITER_LAZY,
                                      .must_succeed = true,
                                      .order = t->ready->id}, /* so also that of the messages */
                          .q = q,
                          .taken = t,
                          .kind = kind,
                          .due = due,
                          .bytes = queue_window_cost(t->ready),
                          .relay = mem_strdup(delivery == NULL ? "" : delivery->relay),
                          .reply = mem_strdup(delivery == NULL ? "" : delivery->reply)};
    /* A large file is removed after the commit, so the removal of its row must be durable then. */
    if (t->ready->message->is_file)
        o->request.urgency = WRITER_DURABLE;
    atomic_fetch_add(&q->returning_bytes, o->bytes);
    atomic_fetch_add(&q->outcomes, 1);
    queue_next_begin_return(q, t->copy.destination, t->ready->id);
    writer_submit(q->writer, &o->request);
}

void queue_return_done(struct queue *base, struct queue_copy *c,
                       const struct queue_delivery *delivery)
{
    struct db_queue *q = (struct db_queue *)base;
    struct queue_taken *t = (struct queue_taken *)c;

    if (queue_taken_is_pending(t)) {
        queue_log_fault(c, "done, but recipients are pending");
        queue_return_release(base, c);
        return;
    }
    t->ready->attempts++; /* the attempt that has ended the delivery */
    give_back(q, t, has_state(t, QUEUE_DEAD) ? DEAD : SENT, 0, delivery);
}

void queue_return_later(struct queue *base, struct queue_copy *c, time_t when)
{
    struct queue_taken *t = (struct queue_taken *)c;

    t->ready->attempts++;
    if (queue_taken_is_pending(t))
        give_back((struct db_queue *)base, t, LATER, when, NULL);
    else
        give_back((struct db_queue *)base, t, has_state(t, QUEUE_DEAD) ? DEAD : SENT, 0, NULL);
}

void queue_return_postponed(struct db_queue *q, struct queue_taken *t, time_t when)
{
    give_back(q, t, POSTPONED, when, NULL);
}

void queue_return_release(struct queue *base, struct queue_copy *c)
{
    struct db_queue *q = (struct db_queue *)base;
    struct queue_taken *t = (struct queue_taken *)c;

    if (!has_changed(t) && queue_next_return_at_once(q, c->destination, t->ready))
        free_taken(t);
    else
        give_back(q, t, RELEASED, 0, NULL);
}

void queue_return_unreadable(struct db_queue *q, struct queue_taken *t, const char *reason)
{
    queue_log_fault(&t->copy, "%s: moved to the dead letters", reason);
    for (size_t i = 0; i < t->copy.recipient_count; i++) {
        struct queue_recipient *r = &t->copy.recipients[i];
        if (r->state != QUEUE_PENDING)
            continue;
        r->state = QUEUE_DEAD;
        snprintf(r->reason, sizeof r->reason, "%s", reason);
    }
    give_back(q, t, DEAD, 0, NULL);
}
