/* SPDX-License-Identifier: ISC */
#include "queue/spool_queue_private.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Have the next pass begin now. */
static void want_pass(struct spool_destination *d)
{
    pthread_mutex_lock(&d->lock);
    d->has_more = true;
    task_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

static long hurry_aside(struct spool_destination *d, const char *id)
{
    pthread_mutex_lock(&d->lock);
    size_t count = spool_window_hurry(&d->window, id);
    task_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    return (long)count;
}

/* Directories that are due already stay as they are: they may be being read. */
static long retry_all(struct spool_queue *q, struct spool_destination *d, struct err *err)
{
    int64_t now = spool_queue_now(q);
    struct spool_due to = {now, 1};
    long moved = hurry_aside(d, NULL);
    struct spool_due *due;
    size_t count;

    if (spool_list_due(q->spool, d->name, &due, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count && moved >= 0; i++) {
        if (due[i].seconds <= now)
            continue;
        enum spool_result result = spool_rename_due(q->spool, d->name, &due[i], &to, err);
        if (result == SPOOL_FAULT || result == SPOOL_INVALID)
            moved = -1;
        else if (result == SPOOL_OK)
            moved++;
    }
    free(due);
    if (moved > 0 && spool_sync_due(q->spool, d->name, err) < 0)
        moved = -1;
    want_pass(d);
    return moved;
}

/* Make the id known, so that nobody else takes the copy or moves it meanwhile. NULL if it is. */
static struct spool_node *reserve(struct spool_destination *d, const char *id)
{
    static const struct spool_due nowhere;
    struct spool_node *node = NULL;

    pthread_mutex_lock(&d->lock);
    if (spool_window_find(&d->window, id) == NULL)
        node = spool_window_reserve(&d->window, id, &nowhere);
    pthread_mutex_unlock(&d->lock);
    return node;
}

/* 1: moved to `to`; 0: it is there, but due; -1: it is not there; -2 with `err`. */
static int find_and_move(struct spool_queue *q, struct spool_destination *d, const char *id,
                         const struct spool_due *to, struct err *err)
{
    int64_t now = spool_queue_now(q);
    struct spool_due *due;
    size_t count;
    int rc = -1;

    if (spool_list_due(q->spool, d->name, &due, &count, err) < 0)
        return -2;
    for (size_t i = 0; i < count && rc == -1; i++) {
        struct spool_place place = spool_place_queue(d->name, &due[i]);
        if (!spool_place_has(q->spool, &place, id))
            continue;
        enum spool_result result = due[i].seconds <= now
                                       ? SPOOL_OK
                                       : spool_move_id(q->spool, d->name, &due[i], to, id, err);
        if (result == SPOOL_OK)
            rc = due[i].seconds > now;
        else if (result != SPOOL_GONE)
            rc = -2;
    }
    free(due);
    return rc;
}

/* As find_and_move(). */
static int retry_one(struct spool_queue *q, struct spool_destination *d, const char *id,
                     struct err *err)
{
    struct spool_due to = spool_queue_minute(q);
    struct spool_node *node = reserve(d, id);

    if (node == NULL)
        return (int)hurry_aside(d, id);
    int rc = find_and_move(q, d, id, &to, err);
    pthread_mutex_lock(&d->lock);
    if (rc == 1) {
        node->due = to;
        spool_window_return(&d->window, node);
        task_cond_signal(&d->changed);
    } else {
        spool_queue_forget(d, node);
    }
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static long retry_id(struct spool_queue *q, struct spool_destination *first, bool only_first,
                     const char *id, struct err *err)
{
    if (!spool_id_is_valid(id)) {
        err_set(err, "that is not the id of a copy");
        return -1;
    }
    for (struct spool_destination *d = first; d != NULL; d = only_first ? NULL : d->next) {
        int rc = retry_one(q, d, id, err);
        if (rc != -1)
            return rc == -2 ? -1 : rc;
    }
    err_set(err, "no copy %s in the queue", id);
    return -1;
}

static long retry(struct spool_queue *q, const char *destination, const char *id, struct err *err)
{
    struct spool_destination *only =
        destination == NULL ? NULL : spool_queue_destination(q, destination);
    long total = 0;

    pthread_mutex_lock(&q->lock);
    struct spool_destination *first = only != NULL ? only : q->destinations;
    pthread_mutex_unlock(&q->lock);
    if (id != NULL)
        return retry_id(q, first, only != NULL, id, err);
    for (struct spool_destination *d = first; d != NULL; d = only != NULL ? NULL : d->next) {
        long moved = retry_all(q, d, err);
        if (moved < 0)
            return -1;
        total += moved;
    }
    return total;
}

long spool_retry(struct queue *base, const char *destination, const char *id, struct err *err)
{
    struct spool_queue *q = (struct spool_queue *)base;

    if (destination != NULL && !spool_destination_is_valid(destination)) {
        err_set(err, "that is not the name of a destination");
        return -1;
    }
    if (id == NULL && spool_queue_lock_all(q, err) < 0)
        return -1;
    pthread_mutex_lock(&q->move_lock);
    long moved = retry(q, destination, id, err);
    pthread_mutex_unlock(&q->move_lock);
    if (id == NULL)
        pthread_mutex_unlock(&q->all_lock);
    return moved;
}
