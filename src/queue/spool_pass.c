/* SPDX-License-Identifier: ISC */
/*
 * Why no copy is forgotten: has_more is cleared when a pass begins, before it lists the
 * directories. A copy committed before that is either in the window or will be listed; one
 * committed later that finds no room sets has_more again, so another pass follows. A deferred copy
 * sets pass_at. A copy that is known, but elsewhere than it was found, is being moved:
 * another pass follows when it is forgotten.
 */
#include "queue/spool_queue_private.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 256 /* entries read without the lock */

void spool_pass_clear(struct spool_pass *p)
{
    spool_scan_close(p->scan);
    free(p->due);
    memset(p, 0, sizeof *p);
}

bool spool_pass_is_wanted(const struct spool_queue *q, const struct spool_destination *d)
{
    size_t half = d->window.limit / 2;
    time_t now = spool_queue_now(q);

    return !d->is_scanning && d->window.ready[SPOOL_FOUND].count <= half / 2 &&
           (d->pass.is_active || d->has_more || now >= d->pass_at ||
            d->pass_at > now + SPOOL_QUEUE_PASS_S); /* the clock was set back */
}

static void fault(struct spool_queue *q, struct spool_destination *d, const struct err *err)
{
    time_t now = spool_queue_now(q);

    pthread_mutex_lock(&d->lock);
    bool is_logged = now >= d->fault_log_at;
    if (is_logged)
        d->fault_log_at = now + FAULT_LOG_S;
    if (d->pass_at > now + ASIDE_S)
        d->pass_at = now + ASIDE_S;
    pthread_mutex_unlock(&d->lock);
    if (is_logged)
        log_error("spool: %s: %s", d->name, err->text);
}

/* Keep the directories that are due, or due so late that the clock must have been set back. Returns
 * when the first of the others is due, or never. */
static time_t keep_due(struct spool_pass *p, time_t now, int64_t delay_max_s, time_t never)
{
    time_t next = never;
    size_t kept = 0;

    for (size_t i = 0; i < p->count; i++) {
        int64_t seconds = p->due[i].seconds;
        bool is_astray = delay_max_s > 0 && seconds - now > delay_max_s;
        if (seconds <= now || is_astray)
            p->due[kept++] = p->due[i];
        else if (seconds < next)
            next = (time_t)seconds;
    }
    p->count = kept;
    return next;
}

/* What reads the disk, for task_block(). */
struct reading {
    struct spool_queue *queue;
    struct spool_destination *destination;
    char (*ids)[QUEUE_ID_SIZE];
    size_t max, count;
    const struct spool_due *due; /* of these ids */
};

static void list_due(void *arg)
{
    const struct reading *r = arg;
    struct spool_pass *p = &r->destination->pass;
    struct err err;

    if (spool_list_due(r->queue->spool, r->destination->name, &p->due, &p->count, &err) < 0)
        fault(r->queue, r->destination, &err);
}

/* List the directories, keep those that are due. */
static void begin(struct spool_queue *q, struct spool_destination *d)
{
    struct spool_pass *p = &d->pass;
    struct reading r = {.queue = q, .destination = d};
    time_t now = spool_queue_now(q);

    d->has_more = false;
    d->pass_at = now + SPOOL_QUEUE_PASS_S;
    p->is_active = true;
    pthread_mutex_unlock(&d->lock);
    task_block(list_due, &r);
    pthread_mutex_lock(&d->lock);
    d->pass_at = keep_due(p, now, atomic_load(&q->delay_max_s), d->pass_at);
}

/* Up to max ids from the directory at hand; goes on to the next directory at its end. Without the
 * lock. */
static size_t read_batch(struct spool_queue *q, struct spool_destination *d,
                         char (*ids)[QUEUE_ID_SIZE], size_t max)
{
    struct spool_pass *p = &d->pass;
    const struct spool_due *due = &p->due[p->at];
    size_t count = 0;
    struct err err;
    int rc = 1;

    if (p->scan == NULL) {
        if (spool_scan_open(q->spool, d->name, due, &p->scan, &err) == SPOOL_FAULT)
            fault(q, d, &err);
        if (p->scan == NULL) {
            p->at++;
            return 0;
        }
    }
    while (count < max && (rc = spool_scan_next(p->scan, ids[count], &err)) > 0)
        count++;
    if (rc < 0)
        fault(q, d, &err);
    if (rc > 0)
        return count;
    spool_scan_close(p->scan);
    p->scan = NULL;
    if (spool_due_compare(due, &(struct spool_due){spool_queue_minute(q).seconds, 0}) != 0)
        spool_remove_due(q->spool, d->name, due); /* stays if there is something in it */
    p->at++;
    return count;
}

static void read_some(void *arg)
{
    struct reading *r = arg;

    r->count = read_batch(r->queue, r->destination, r->ids, r->max);
    for (size_t i = 0; i < r->count; i++)
        spool_warm(r->queue->spool, r->destination->name, r->due, r->ids[i]);
}

static void add_batch(struct spool_destination *d, char (*ids)[QUEUE_ID_SIZE], size_t count,
                      const struct spool_due *due, time_t warm_until)
{
    for (size_t i = 0; i < count; i++) {
        struct spool_node *known = spool_window_find(&d->window, ids[i]);
        if (known == NULL)
            spool_window_add(&d->window, ids[i], due, SPOOL_FOUND, warm_until);
        else if (spool_due_compare(&known->due, due) != 0)
            known->was_elsewhere = true;
    }
    if (count > 0)
        task_cond_broadcast(&d->changed);
}

void spool_pass_step(struct spool_queue *q, struct spool_destination *d)
{
    char ids[BATCH][QUEUE_ID_SIZE];
    struct spool_pass *p = &d->pass;

    d->is_scanning = true;
    if (!p->is_active)
        begin(q, d);
    size_t room = spool_window_room(&d->window, SPOOL_FOUND);
    if (p->at < p->count && room > 0) {
        struct spool_due due = p->due[p->at];
        pthread_mutex_unlock(&d->lock);
        struct reading r = {.queue = q,
                            .destination = d,
                            .ids = ids,
                            .max = room < BATCH ? room : BATCH,
                            .due = &due};
        task_block(read_some, &r);
        pthread_mutex_lock(&d->lock);
        add_batch(d, ids, r.count, &due, spool_queue_now(q) + SPOOL_WARM_S);
    }
    if (p->at == p->count)
        spool_pass_clear(p);
    d->is_scanning = false;
    /* whoever waited for these findings looks for itself now */
    task_cond_broadcast(&d->changed);
}
