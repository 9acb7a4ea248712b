/* SPDX-License-Identifier: ISC */
/*
 * Giving copies back. First the files, without a lock, then the window: as long as a copy is
 * known it is not handed out again. A copy whose files could not be changed is put aside with what
 * is known of its recipients, so that what was accepted is not sent again.
 */
#include "queue/spool_queue_private.h"

#include "base/log.h"

#include <assert.h>
#include <stdlib.h>

bool spool_return_has_pending(const struct queue_copy *c)
{
    for (size_t i = 0; i < c->recipient_count; i++)
        if (c->recipients[i].state == QUEUE_PENDING)
            return true;
    return false;
}

static bool has_dead(const struct queue_copy *c)
{
    for (size_t i = 0; i < c->recipient_count; i++)
        if (c->recipients[i].state == QUEUE_DEAD)
            return true;
    return false;
}

/* With the lock. */
static struct spool_node *node_of(const struct spool_destination *d, const struct spool_copy *c)
{
    struct spool_node *node = spool_window_find(&d->window, c->copy.id);

    assert(node != NULL && node->state == SPOOL_TAKEN);
    return node;
}

static void forget(struct spool_destination *d, struct spool_copy *c)
{
    pthread_mutex_lock(&d->lock);
    spool_queue_forget(d, node_of(d, c));
    pthread_mutex_unlock(&d->lock);
    spool_copy_close(c);
}

/* The copy lies where it is to be: carry out what an administrator ordered meanwhile, and forget it
 * here, or have it handed out again (is_ready) if it still lies there. */
static void settle(struct spool_queue *q, struct spool_destination *d, struct spool_copy *c,
                   bool is_ready)
{
    struct spool_order *order;

    do {
        pthread_mutex_lock(&d->lock);
        struct spool_node *node = node_of(d, c);
        order = node->order;
        node->order = NULL;
        if (order == NULL && is_ready) {
            spool_window_return(&d->window, node);
            task_cond_signal(&d->changed);
        } else if (order == NULL) {
            spool_queue_forget(d, node);
        }
        pthread_mutex_unlock(&d->lock);
        if (order != NULL && spool_change_carry_out(q, &c->place, c->copy.id, order))
            is_ready = false;
        free(order);
    } while (order != NULL);
    spool_copy_close(c);
}

static void put_aside(struct spool_destination *d, struct spool_copy *c, time_t until)
{
    spool_copy_park(c);
    pthread_mutex_lock(&d->lock);
    struct spool_node *node = node_of(d, c);
    node->parked = c;
    spool_window_put_aside(&d->window, node, until);
    task_cond_broadcast(&d->changed); /* some may have to wake earlier now */
    pthread_mutex_unlock(&d->lock);
}

static void aside_after(struct spool_queue *q, struct spool_destination *d, struct spool_copy *c,
                        time_t until, const struct err *err)
{
    log_error("%s: dest=%s: %s (tried again later)", c->copy.id, d->name, err->text);
    put_aside(d, c, until == 0 ? spool_queue_now(q) + ASIDE_S : until);
}

/* No recipient is pending. */
static void finish(struct spool_queue *q, struct spool_destination *d, struct spool_copy *c)
{
    bool is_dead = has_dead(&c->copy);
    struct err err;
    int rc;

    if (is_dead && c->copy.attempts < SPOOL_ATTEMPTS_MAX)
        c->copy.attempts++; /* the one that ended it */
    if (is_dead)
        rc = spool_copy_mark(c, &err) < 0 ? -1 : spool_copy_bury(q->spool, c, &err);
    else
        rc = spool_copy_remove(q->spool, c, &err);
    if (rc == 0 && is_dead) {
        settle(q, d, c, false);
        return;
    }
    if (rc == 0) {
        forget(d, c);
        return;
    }
    /* not sent again after a restart, if that at least works */
    struct err ignored;
    if (!has_dead(&c->copy) && spool_copy_mark(c, &ignored) < 0)
        err_wrap(&err, "%s", ignored.text);
    aside_after(q, d, c, 0, &err);
}

/* Giving back, where it waits for the disk: for task_block(). */
struct giving_back {
    struct spool_queue *queue;
    struct spool_destination *destination;
    struct spool_copy *copy;
    time_t when;
};

static struct giving_back giving_back(struct queue *base, struct queue_copy *copy, time_t when)
{
    struct spool_queue *q = (struct spool_queue *)base;

    return (struct giving_back){q, spool_queue_destination(q, copy->destination),
                                (struct spool_copy *)copy, when};
}

static void do_finish(void *arg)
{
    const struct giving_back *g = arg;

    finish(g->queue, g->destination, g->copy);
}

void spool_return_done(struct queue *base, struct queue_copy *copy)
{
    struct giving_back g = giving_back(base, copy, 0);

    if (spool_return_has_pending(copy)) {
        log_error("%s: dest=%s: done, but recipients are pending", copy->id, copy->destination);
        spool_return_release(base, copy);
    } else if (has_dead(copy) || spool_copy_is_slow_to_remove(g.queue->spool, g.copy)) {
        task_block(do_finish, &g);
    } else { /* nothing is synced: it may be sent again after a crash */
        do_finish(&g);
    }
}

void spool_return_dead(struct queue *base, struct queue_copy *copy)
{
    for (size_t i = 0; i < copy->recipient_count; i++)
        if (copy->recipients[i].state == QUEUE_PENDING)
            copy->recipients[i].state = QUEUE_DEAD;
    spool_return_done(base, copy);
}

/* Rounded up to a sixteenth of the delay, so that there are few directories. */
static struct spool_due due_at(time_t now, time_t when)
{
    int64_t delay = when > now ? when - now : 1;
    int64_t step = delay / 16 > 1 ? delay / 16 : 1;

    return (struct spool_due){((int64_t)now + delay + step - 1) / step * step, 0};
}

static void do_later(void *arg)
{
    const struct giving_back *g = arg;
    struct spool_queue *q = g->queue;
    struct spool_destination *d = g->destination;
    struct spool_copy *c = g->copy;
    struct err err;

    if (!spool_return_has_pending(&c->copy)) {
        finish(q, d, c);
        return;
    }
    if (c->copy.attempts < SPOOL_ATTEMPTS_MAX)
        c->copy.attempts++;
    struct spool_due due = due_at(spool_queue_now(q), g->when);
    if (spool_copy_mark(c, &err) < 0 || spool_copy_move(q->spool, c, &due, &err) < 0) {
        aside_after(q, d, c, (time_t)due.seconds, &err);
        return;
    }
    pthread_mutex_lock(&d->lock);
    if (due.seconds < d->pass_at) {
        d->pass_at = (time_t)due.seconds;
        task_cond_broadcast(&d->changed);
    }
    pthread_mutex_unlock(&d->lock);
    settle(q, d, c, false);
}

void spool_return_later(struct queue *base, struct queue_copy *copy, time_t when)
{
    struct giving_back g = giving_back(base, copy, when);

    task_block(do_later, &g);
}

static void do_release(void *arg)
{
    const struct giving_back *g = arg;
    struct spool_queue *q = g->queue;
    struct spool_destination *d = g->destination;
    struct spool_copy *c = g->copy;
    struct err err;

    if (!spool_return_has_pending(&c->copy)) {
        finish(q, d, c);
        return;
    }
    if (spool_copy_mark(c, &err) < 0) {
        aside_after(q, d, c, 0, &err);
        return;
    }
    settle(q, d, c, true);
}

void spool_return_release(struct queue *base, struct queue_copy *copy)
{
    struct giving_back g = giving_back(base, copy, 0);

    task_block(do_release, &g);
}
