/* SPDX-License-Identifier: ISC */
#include "spool_queue_private.h"

#include "../mem.h"

#include <stdlib.h>
#include <string.h>

/* Have the next pass begin now. */
static void want_pass(struct spool_destination *d)
{
    pthread_mutex_lock(&d->lock);
    d->has_more = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

static long hurry_aside(struct spool_destination *d, const char *id)
{
    pthread_mutex_lock(&d->lock);
    size_t count = spool_window_hurry(&d->window, id);
    pthread_cond_broadcast(&d->changed);
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
    want_pass(d);
    return moved;
}

static bool is_known(struct spool_destination *d, const char *id)
{
    pthread_mutex_lock(&d->lock);
    bool known = spool_window_find(&d->window, id) != NULL;
    pthread_mutex_unlock(&d->lock);
    return known;
}

/* 1: moved; 0: it is there, but due; -1: it is not there; -2 with `err`. */
static int retry_one(struct spool_queue *q, struct spool_destination *d, const char *id,
                     struct err *err)
{
    int64_t now = spool_queue_now(q);
    struct spool_due to = spool_queue_minute(q);
    struct spool_due *due;
    size_t count;
    int rc = -1;

    if (is_known(d, id))
        return (int)hurry_aside(d, id);
    if (spool_list_due(q->spool, d->name, &due, &count, err) < 0)
        return -2;
    for (size_t i = 0; i < count && rc == -1; i++) {
        if (!spool_has_copy(q->spool, d->name, &due[i], id))
            continue;
        enum spool_result result = due[i].seconds <= now
                                       ? SPOOL_OK
                                       : spool_move_id(q->spool, d->name, &due[i], &to, id, err);
        if (result == SPOOL_OK)
            rc = due[i].seconds > now;
        else if (result != SPOOL_GONE)
            rc = -2;
    }
    free(due);
    if (rc != 1)
        return rc;
    pthread_mutex_lock(&d->lock);
    if (spool_window_find(&d->window, id) == NULL)
        spool_window_add(&d->window, id, &to, SPOOL_FOUND, true);
    pthread_cond_signal(&d->changed);
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

long spool_retry(struct queue *base, const char *destination, const char *id, struct err *err)
{
    struct spool_queue *q = (struct spool_queue *)base;
    long total = 0;

    if (destination != NULL && !spool_destination_is_valid(destination)) {
        err_set(err, "that is not the name of a destination");
        return -1;
    }
    struct spool_destination *only =
        destination == NULL ? NULL : spool_queue_destination(q, destination);
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
