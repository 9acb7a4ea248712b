/* SPDX-License-Identifier: ISC */
#include "queue/spool_change_private.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>

/* --- on disk --- */

bool spool_change_is_anew(const struct spool_order *order)
{
    return order->action == QUEUE_REQUEUE && order->to[0] != '\0';
}

/* Where copies of a destination go. */
static struct spool_place target(const struct spool_queue *q, const struct spool_order *order,
                                 const char *destination)
{
    struct spool_due now = spool_queue_minute(q);

    if (order->action == QUEUE_HOLD)
        return spool_place_other(SPOOL_HOLD, destination);
    return spool_place_queue(order->to[0] != '\0' ? order->to : destination, &now);
}

static void log_item(const struct spool_order *order, const char *destination, const char *id)
{
    static const char *const done[] = {[QUEUE_HOLD] = "held",
                                       [QUEUE_RELEASE] = "released",
                                       [QUEUE_DELETE] = "deleted",
                                       [QUEUE_REQUEUE] = "requeued"};

    log_info("%s: dest=%s: %s by an administrator%s%s", id, destination, done[order->action],
             order->to[0] == '\0' ? "" : ", now dest=", order->to);
}

static void requeue(struct spool_queue *q, const struct spool_order *order,
                    const struct spool_place *from, const struct spool_place *to,
                    struct spool_item *items, size_t count, struct err *err)
{
    bool is_anew = spool_change_is_anew(order);

    for (size_t i = 0; i < count; i++) {
        struct spool_item *item = &items[i];
        if (item->result != SPOOL_OK)
            continue;
        if (is_anew)
            item->result = spool_duplicate(q->spool, from, item->id, order->to, &to->due,
                                           q->options.min_free_space_bytes, err);
        else
            item->result = spool_revive(q->spool, from, item->id, err);
        /* Known, it may be delivered at once: its line comes before. */
        if (is_anew && item->result == SPOOL_OK)
            log_item(order, from->destination, item->id);
        if (is_anew && item->result == SPOOL_OK)
            spool_queue_make_known(q, order->to, item->id, &to->due);
    }
    if (is_anew)
        spool_items_remove(q->spool, from, items, count, err);
    else
        spool_items_move(q->spool, from, to, items, count, err);
}

static void log_items(const struct spool_order *order, const struct spool_place *from,
                      const struct spool_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (items[i].result == SPOOL_OK)
            log_item(order, from->destination, items[i].id);
}

static void act(struct spool_queue *q, const struct spool_order *order,
                const struct spool_place *from, const struct spool_place *to,
                struct spool_item *items, size_t count, struct err *err)
{
    switch (order->action) {
    case QUEUE_HOLD:
    case QUEUE_RELEASE:
        spool_items_move(q->spool, from, to, items, count, err);
        break;
    case QUEUE_DELETE:
        spool_items_remove(q->spool, from, items, count, err);
        break;
    case QUEUE_REQUEUE:
        requeue(q, order, from, to, items, count, err);
        break;
    }
    if (!spool_change_is_anew(order))
        log_items(order, from, items, count);
}

bool spool_change_carry_out(struct spool_queue *q, const struct spool_place *place, const char *id,
                            const struct spool_order *order)
{
    struct spool_place to = target(q, order, place->destination);
    struct spool_item item = {.result = SPOOL_OK};
    struct err err = {""};

    if (place->base == SPOOL_DEAD && order->action == QUEUE_HOLD)
        return false; /* nothing is left to be held */
    mem_copy_string(item.id, sizeof item.id, id);
    act(q, order, place, &to, &item, 1, &err);
    if (item.result == SPOOL_FAULT || item.result == SPOOL_INVALID)
        log_error("%s: dest=%s: %s (what was ordered is not done)", id, place->destination,
                  err.text);
    return item.result == SPOOL_OK || item.result == SPOOL_GONE;
}

/* --- in the window --- */

/* A worker has a copy of that id. If it is the one in the queue, it gets an order. Otherwise the
 * worker is just moving it to where we found it, and has not removed its old name: whoever gives it
 * that very name again now would see it removed. */
static void leave_alone(struct spool_work *w, const struct spool_batch *b, struct spool_item *item,
                        struct spool_node *node)
{
    item->result = SPOOL_GONE;
    if (b->from.base != SPOOL_QUEUE)
        w->is_moving = true;
    else if (spool_node_order(node, &w->order))
        w->sum->ordered++;
}

/* Nobody else is to have the copies, and none that is known by such an id. */
static void claim(struct spool_work *w, struct spool_batch *b)
{
    bool is_queued = b->from.base == SPOOL_QUEUE;
    const struct spool_due *due = is_queued ? &b->from.due : &b->to.due;

    pthread_mutex_lock(&b->d->lock);
    for (size_t i = 0; i < b->count; i++) {
        struct spool_item *item = &b->items[i];
        struct spool_node *node = spool_window_find(&b->d->window, item->id);
        item->result = SPOOL_OK;
        b->nodes[i] = NULL;
        b->parked[i] = NULL;
        if (node == NULL) {
            b->nodes[i] = spool_window_reserve(&b->d->window, item->id, due);
        } else if (node->state == SPOOL_TAKEN || (!is_queued && node->parked != NULL)) {
            leave_alone(w, b, item, node);
        } else {
            spool_window_claim(&b->d->window, node);
            if (!is_queued || spool_due_compare(&node->due, due) != 0)
                node->was_elsewhere = true;
            b->nodes[i] = node;
            b->parked[i] = node->parked;
            node->parked = NULL;
        }
    }
    pthread_mutex_unlock(&b->d->lock);
}

/* What a worker learned and could not write into the file then, must be in it before it moves. */
static void write_parked(struct spool_work *w, struct spool_batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        struct spool_copy *c = b->parked[i];
        if (c == NULL || w->order.action == QUEUE_DELETE)
            continue;
        b->items[i].result = spool_copy_unpark(w->q->spool, c, w->err);
        if (b->items[i].result == SPOOL_OK && spool_copy_mark(c, w->err) < 0)
            b->items[i].result = SPOOL_FAULT;
        spool_copy_park(c);
    }
}

/* A copy that stays in the queue, or came there. With the lock. */
static void hand_on(struct spool_work *w, struct spool_batch *b, struct spool_node *node,
                    struct spool_copy *parked)
{
    struct spool_destination *d = b->d;

    if (parked != NULL) {
        node->parked = parked;
        spool_window_put_aside(&d->window, node, spool_queue_now(w->q) + ASIDE_S);
    } else if (spool_window_room(&d->window, SPOOL_FOUND) > 0) {
        spool_window_return(&d->window, node);
    } else {
        d->has_more = true;
        spool_queue_forget(d, node);
    }
}

static void give_back(struct spool_work *w, struct spool_batch *b)
{
    bool was_queued = b->from.base == SPOOL_QUEUE;
    bool comes_back = !was_queued && b->to.base == SPOOL_QUEUE && w->order.action != QUEUE_DELETE &&
                      !spool_change_is_anew(&w->order);

    pthread_mutex_lock(&b->d->lock);
    for (size_t i = 0; i < b->count; i++) {
        struct spool_node *node = b->nodes[i];
        enum spool_result result = b->items[i].result;
        bool is_fault = result == SPOOL_FAULT || result == SPOOL_INVALID;
        if (node != NULL && ((was_queued && is_fault) || (comes_back && result == SPOOL_OK))) {
            if (comes_back)
                node->due = b->to.due;
            hand_on(w, b, node, b->parked[i]);
            b->parked[i] = NULL;
        } else if (node != NULL) {
            spool_queue_forget(b->d, node);
        }
    }
    task_cond_broadcast(&b->d->changed);
    pthread_mutex_unlock(&b->d->lock);
    for (size_t i = 0; i < b->count; i++)
        spool_copy_close(b->parked[i]);
}

void spool_change_batch(struct spool_work *w, struct spool_batch *b)
{
    pthread_mutex_lock(&w->q->move_lock);
    b->to = target(w->q, &w->order, b->from.destination);
    claim(w, b);
    write_parked(w, b);
    act(w->q, &w->order, &b->from, &b->to, b->items, b->count, w->err);
    give_back(w, b);
    pthread_mutex_unlock(&w->q->move_lock);
    for (size_t i = 0; i < b->count; i++) {
        w->sum->changed += b->items[i].result == SPOOL_OK;
        w->sum->failed += b->items[i].result == SPOOL_FAULT || b->items[i].result == SPOOL_INVALID;
    }
}
