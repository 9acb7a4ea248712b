/* SPDX-License-Identifier: ISC */
/*
 * Copies are worked on in batches: claimed in the window, so that no worker takes them; moved or
 * removed on disk, with one sync of each directory for the whole batch; then forgotten or handed
 * on. A copy that a worker has gets an order, which spool_return.c carries out. While all copies of
 * a destination are worked on, every copy that is taken gets it, too: it may be deferred into a
 * directory that was not there when the directories were listed.
 */
#include "queue/spool_change_private.h"

#include "base/mem.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 3          /* of searching for a copy that may be moving */
#define ROUNDS_MOVING 200 /* when it is */
#define ROUND_MS 10

static bool goes_on(struct spool_work *w)
{
    if (w->change->go_on != NULL && !w->change->go_on(w->change->ctx, w->sum))
        w->sum->is_stopped = true;
    return !w->sum->is_stopped;
}

/* --- all copies --- */

static int change_place(struct spool_work *w, struct spool_destination *d,
                        const struct spool_place *place)
{
    size_t max = spool_change_is_anew(&w->order) ? SPOOL_BATCH_ANEW : SPOOL_BATCH;
    struct spool_batch b = {.d = d, .from = *place};
    struct spool_scan *scan;
    int rc = 1;

    enum spool_result result = spool_scan_open_at(w->q->spool, place, &scan, w->err);
    if (result != SPOOL_OK)
        return result == SPOOL_FAULT ? -1 : 0;
    while (rc > 0 && goes_on(w)) {
        b.count = 0;
        while (b.count < max && (rc = spool_scan_next(scan, b.items[b.count].id, w->err)) > 0)
            b.count++;
        if (b.count > 0)
            spool_change_batch(w, &b);
    }
    spool_scan_close(scan);
    return rc < 0 ? -1 : 0;
}

static int change_queue(struct spool_work *w, struct spool_destination *d)
{
    struct spool_due *due;
    size_t count;
    int rc = 0;

    if (spool_list_due(w->q->spool, d->name, &due, &count, w->err) < 0)
        return -1;
    for (size_t i = 0; i < count && rc == 0 && !w->sum->is_stopped; i++) {
        struct spool_place place = spool_place_queue(d->name, &due[i]);
        rc = change_place(w, d, &place);
    }
    free(due);
    return rc;
}

static void set_order(struct spool_work *w, struct spool_destination *d)
{
    pthread_mutex_lock(&d->lock);
    d->order = &w->order;
    d->ordered = spool_window_order(&d->window, &w->order);
    pthread_mutex_unlock(&d->lock);
}

static void clear_order(struct spool_work *w, struct spool_destination *d)
{
    pthread_mutex_lock(&d->lock);
    d->order = NULL;
    w->sum->ordered += d->ordered;
    pthread_mutex_unlock(&d->lock);
}

static int change_destination(struct spool_work *w, const char *name)
{
    struct spool_destination *d = spool_queue_destination(w->q, name);
    int rc = 0;

    if (strcmp(name, w->order.to) == 0)
        return 0;
    if ((w->places & QUEUE_IN_QUEUE) != 0) {
        set_order(w, d);
        rc = change_queue(w, d);
        clear_order(w, d);
    }
    for (enum spool_base base = SPOOL_HOLD; base < SPOOL_BASES && rc == 0; base++) {
        struct spool_place place = spool_place_other(base, name);
        if ((w->places & (base == SPOOL_HOLD ? QUEUE_IN_HOLD : QUEUE_IN_DEAD)) != 0)
            rc = change_place(w, d, &place);
    }
    return rc;
}

/* --- one copy --- */

static bool is_done(const struct spool_work *w)
{
    return w->sum->changed + w->sum->ordered + w->sum->failed > 0;
}

static void change_one(struct spool_work *w, struct spool_destination *d,
                       const struct spool_place *place)
{
    struct spool_batch b = {.d = d, .from = *place, .count = 1};

    if (!spool_place_has(w->q->spool, place, w->change->id))
        return;
    mem_copy_string(b.items[0].id, sizeof b.items[0].id, w->change->id);
    spool_change_batch(w, &b);
}

/* If a worker has it, it need not be looked for. */
static bool order_one(struct spool_work *w, struct spool_destination *d)
{
    pthread_mutex_lock(&w->q->move_lock);
    pthread_mutex_lock(&d->lock);
    struct spool_node *node = spool_window_find(&d->window, w->change->id);
    bool is_taken = node != NULL && node->state == SPOOL_TAKEN;
    if (is_taken) {
        (void)spool_node_order(node, &w->order);
        w->sum->ordered++;
    }
    pthread_mutex_unlock(&d->lock);
    pthread_mutex_unlock(&w->q->move_lock);
    return is_taken;
}

/* Several names of one copy are what a crash leaves; deleting means all of them. */
static int find_one(struct spool_work *w, const char *name)
{
    struct spool_destination *d = spool_queue_destination(w->q, name);
    bool is_everywhere = w->order.action == QUEUE_DELETE;
    struct spool_due *due = NULL;
    size_t count = 0;

    if ((w->places & QUEUE_IN_QUEUE) != 0 && !order_one(w, d) &&
        spool_list_due(w->q->spool, name, &due, &count, w->err) < 0)
        return -1;
    for (size_t i = 0; i < count && (is_everywhere || !is_done(w)); i++) {
        struct spool_place place = spool_place_queue(name, &due[i]);
        change_one(w, d, &place);
    }
    free(due);
    for (enum spool_base base = SPOOL_HOLD; base < SPOOL_BASES; base++) {
        struct spool_place place = spool_place_other(base, name);
        if ((w->places & (base == SPOOL_HOLD ? QUEUE_IN_HOLD : QUEUE_IN_DEAD)) != 0 &&
            (is_everywhere || !is_done(w)))
            change_one(w, d, &place);
    }
    return 0;
}

/* Where else is it? */
static void explain_missing(struct spool_work *w, char **names, size_t count)
{
    static const char *const where[SPOOL_BASES] = {"in the queue", "held", "a dead letter"};
    const char *id = w->change->id;

    err_set(w->err, "no copy %s%s", id, w->places == QUEUE_IN_QUEUE ? " in the queue" : "");
    for (size_t i = 0; i < count; i++)
        for (enum spool_base base = SPOOL_HOLD; base < SPOOL_BASES; base++) {
            struct spool_place place = spool_place_other(base, names[i]);
            if (spool_place_has(w->q->spool, &place, id))
                err_set(w->err, "copy %s is %s", id, where[base]);
        }
    for (size_t i = 0; i < count; i++) {
        struct spool_due *due;
        size_t due_count;
        struct err ignored;
        if (spool_list_due(w->q->spool, names[i], &due, &due_count, &ignored) < 0)
            continue;
        for (size_t k = 0; k < due_count; k++) {
            struct spool_place place = spool_place_queue(names[i], &due[k]);
            if (spool_place_has(w->q->spool, &place, id))
                err_set(w->err, "copy %s is %s", id, where[SPOOL_QUEUE]);
        }
        free(due);
    }
}

/* --- the op --- */

/* Where the action makes sense. */
static unsigned sensible_places(enum queue_action action, bool has_to)
{
    const unsigned all = QUEUE_IN_QUEUE | QUEUE_IN_HOLD | QUEUE_IN_DEAD;

    switch (action) {
    case QUEUE_HOLD:
        return QUEUE_IN_QUEUE;
    case QUEUE_RELEASE:
        return QUEUE_IN_HOLD;
    case QUEUE_DELETE:
        return all;
    case QUEUE_REQUEUE:
        return has_to ? all : QUEUE_IN_DEAD;
    }
    return all;
}

unsigned queue_change_places(enum queue_action action, unsigned places, bool has_to, bool is_all)
{
    if (places != 0)
        return places;
    if (action == QUEUE_REQUEUE && has_to && is_all)
        return QUEUE_IN_QUEUE | QUEUE_IN_DEAD; /* what is held was held on purpose */
    return sensible_places(action, has_to);
}

static int check(struct spool_work *w)
{
    const struct queue_change *c = w->change;

    if (c->id != NULL && !spool_id_is_valid(c->id)) {
        err_set(w->err, "that is not the id of a copy");
        return -1;
    }
    if ((c->destination != NULL && !spool_destination_is_valid(c->destination)) ||
        (c->to != NULL && !spool_destination_is_valid(c->to))) {
        err_set(w->err, "that is not the name of a destination");
        return -1;
    }
    if (c->to != NULL && c->destination != NULL && strcmp(c->to, c->destination) == 0) {
        err_set(w->err, "the copies are for %s already", c->to);
        return -1;
    }
    if ((c->places & ~sensible_places(c->action, c->to != NULL)) != 0) {
        err_set(w->err, "that makes no sense for copies in this place");
        return -1;
    }
    return 0;
}

static int change_names(struct spool_work *w, char **names, size_t count)
{
    int rc = 0;

    if (w->change->id == NULL) {
        for (size_t i = 0; i < count && rc == 0 && !w->sum->is_stopped; i++)
            rc = change_destination(w, names[i]);
        return rc;
    }
    for (int round = 0; rc == 0 && !is_done(w) && round < (w->is_moving ? ROUNDS_MOVING : ROUNDS);
         round++) {
        if (w->is_moving)
            (void)poll(NULL, 0, ROUND_MS);
        w->is_moving = false;
        for (size_t i = 0; i < count && rc == 0; i++)
            if (strcmp(names[i], w->order.to) != 0 &&
                (w->order.action == QUEUE_DELETE || !is_done(w)))
                rc = find_one(w, names[i]);
    }
    if (rc == 0 && !is_done(w)) {
        explain_missing(w, names, count);
        if (w->is_moving)
            err_set(w->err, "copy %s is being delivered just now: try again", w->change->id);
        rc = -1;
    }
    return rc;
}

static int change_all(struct spool_work *w)
{
    char **names;
    size_t count;
    int rc = 0;

    if (w->change->destination != NULL) {
        char *only = mem_strdup(w->change->destination);
        rc = change_names(w, &only, 1);
        free(only);
        return rc;
    }
    if (spool_list_everywhere(w->q->spool, &names, &count, w->err) < 0)
        return -1;
    rc = change_names(w, names, count);
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return rc;
}

int spool_change(struct queue *base, const struct queue_change *change, struct queue_changed *out,
                 struct err *err)
{
    struct spool_queue *q = (struct spool_queue *)base;
    struct spool_work w = {.q = q, .change = change, .sum = out, .err = err};

    memset(out, 0, sizeof *out);
    w.order.action = change->action;
    w.places =
        queue_change_places(change->action, change->places, change->to != NULL, change->id == NULL);
    if (check(&w) < 0)
        return -1;
    mem_copy_string(w.order.to, sizeof w.order.to, change->to == NULL ? "" : change->to);
    if (change->id == NULL && spool_queue_lock_all(q, err) < 0)
        return -1;
    int rc = change_all(&w);
    if (change->id == NULL)
        pthread_mutex_unlock(&q->all_lock);
    return rc;
}
