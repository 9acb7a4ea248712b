/* SPDX-License-Identifier: ISC */
/*
 * Hand out the copies of a destination and take them back. Each destination has a window, the part
 * of its queue that is in memory (queue_window.h). A look reads further copies from the database
 * into the window (queue_look.c).
 *
 * The order: copies that a look has found are handed out in the order of due and id. Every fourth
 * copy is a fresh one, which a commit has put into the window directly (queue_window_take()). So
 * neither new nor old copies starve. A copy that was released goes back to the head of the list.
 *
 * No copy is handed out twice. There is one look at a time, and it skips the copies that the window
 * knows. A copy stays known until its outcome is committed. If a look is under way then, the copy
 * stays known until that look ends, because the look may have read it before the commit.
 *
 * No copy is forgotten. has_more is cleared before a look begins. A copy that is stored or changed
 * after that either goes into the window at once, or sets has_more again. A copy that is due later
 * sets look_at.
 */
#include "queue/queue_window.h"

#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POSTPONE_S 60 /* for a copy that cannot be read at present */
#define SUSPENDED_MS 1000
#define LOOK_WAIT_MS 1000 /* between two glances at whether a look has ended */
#define TELL_EVERY_MS 1000

struct queue_windows {
    pthread_mutex_t lock; /* guards the list; no window is removed before queue_next_stop() */
    struct queue_window *first;
};

void queue_next_start(struct db_queue *q)
{
    q->windows = mem_zalloc(sizeof *q->windows);
    pthread_mutex_init(&q->windows->lock, NULL);
}

void queue_next_end_looks(struct db_queue *q)
{
    for (struct queue_window *w = queue_window_first(q); w != NULL; w = w->next) {
        pthread_mutex_lock(&w->lock);
        while (w->is_looking)
            (void)task_cond_wait(&w->changed, &w->lock, TASK_FOREVER);
        pthread_mutex_unlock(&w->lock);
    }
}

void queue_next_stop(struct db_queue *q)
{
    struct queue_window *w;

    while ((w = q->windows->first) != NULL) {
        q->windows->first = w->next;
        queue_window_free(w);
    }
    pthread_mutex_destroy(&q->windows->lock);
    free(q->windows);
}

struct queue_window *queue_window_lock(struct db_queue *q, const char *destination)
{
    struct queue_windows *all = q->windows;

    pthread_mutex_lock(&all->lock);
    struct queue_window *w = all->first;
    while (w != NULL && strcmp(w->name, destination) != 0)
        w = w->next;
    if (w == NULL) {
        w = queue_window_new(destination);
        w->next = all->first;
        all->first = w;
    }
    pthread_mutex_unlock(&all->lock);
    pthread_mutex_lock(&w->lock);
    return w;
}

struct queue_window *queue_window_first(struct db_queue *q)
{
    pthread_mutex_lock(&q->windows->lock);
    struct queue_window *w = q->windows->first;
    pthread_mutex_unlock(&q->windows->lock);
    return w;
}

static struct queue_known *find_in_state(struct queue_window *w, int64_t id,
                                         enum queue_known_state state)
{
    struct queue_known *n = queue_window_find(w, id);

    assert(n != NULL && n->state == state);
    return n;
}

/* --- reserving --- */

bool queue_next_reserve(struct db_queue *q, const char *destination, int64_t id)
{
    struct queue_window *w = queue_window_lock(q, destination);
    bool is_taken = w->has_workers && w->fresh.count < QUEUE_WINDOW_READY_MAX / 2 &&
                    w->fresh.bytes < QUEUE_WINDOW_BYTES_MAX / 2;

    queue_window_know(w, id)->reserved++;
    pthread_mutex_unlock(&w->lock);
    return is_taken;
}

/* Does this node not deliver to the destination any more, so that other nodes are to take its
 * copies? */
static bool has_left(const struct db_queue *q, const struct queue_window *w)
{
    return queue_is_shared(q) && !w->has_workers;
}

void queue_next_settle(struct db_queue *q, const char *destination, int64_t id,
                       struct queue_ready *ready)
{
    struct queue_window *w = queue_window_lock(q, destination);
    struct queue_known *n = queue_window_find(w, id);

    assert(n != NULL && n->reserved > 0);
    n->reserved--;
    const bool is_left = ready != NULL && has_left(q, w);
    bool is_handed_out = ready != NULL && n->state == QUEUE_IDLE && n->reserved == 0 &&
                         !n->is_marked && !is_left && queue_window_has_room(&w->fresh, ready);
    n->is_marked = n->is_marked && (n->state != QUEUE_IDLE || n->reserved > 0);
    if (is_handed_out) {
        queue_window_add(w, n, ready, true, false);
    } else {
        queue_window_want_look(w);
        queue_window_forget(w, n);
    }
    if (is_left)
        queue_next_give_back(q, w);
    pthread_mutex_unlock(&w->lock);
    if (is_handed_out) /* after unlocking, because the worker locks first */
        task_cond_signal(&w->changed);
    else
        queue_ready_free(ready);
}

bool queue_next_seize(struct db_queue *q, const char *destination, int64_t id)
{
    struct queue_window *w = queue_window_lock(q, destination);
    struct queue_known *n = queue_window_know(w, id);
    struct queue_ready *dropped = NULL;

    n->reserved++;
    if (n->state == QUEUE_READY)
        dropped = queue_window_remove(w, n, QUEUE_IDLE);
    const bool is_free = n->state == QUEUE_IDLE;
    /* With more than one reservation, another request is about to settle the copy. */
    n->is_marked = n->is_marked || !is_free || n->reserved > 1;
    pthread_mutex_unlock(&w->lock);
    queue_ready_free(dropped);
    return is_free;
}

/* --- giving back --- */

bool queue_next_return_at_once(struct db_queue *q, const char *destination,
                               struct queue_ready *ready)
{
    struct queue_window *w = queue_window_lock(q, destination);
    struct queue_known *n = find_in_state(w, ready->id, QUEUE_TAKEN);
    bool is_possible =
        !n->is_marked && n->reserved == 0 && !has_left(q, w) && queue_node_has_lease(q);

    if (is_possible) {
        queue_window_add(w, n, ready, false, true);
        task_cond_signal(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return is_possible;
}

void queue_next_begin_return(struct db_queue *q, const char *destination, int64_t id)
{
    struct queue_window *w = queue_window_lock(q, destination);

    find_in_state(w, id, QUEUE_TAKEN)->state = QUEUE_RETURNING;
    pthread_mutex_unlock(&w->lock);
}

void queue_next_end_return(struct db_queue *q, const char *destination, int64_t id,
                           struct queue_ready *again, time_t due)
{
    struct queue_window *w = queue_window_lock(q, destination);
    struct queue_known *n = find_in_state(w, id, QUEUE_RETURNING);
    const int64_t delay_max_s = atomic_load(&q->delay_max_s), now = queue_now(q);
    const bool is_marked = n->is_marked, is_left = again != NULL && has_left(q, w);

    if (delay_max_s > 0 && due > now + delay_max_s) /* the clock was set back meanwhile */
        due = now;
    n->state = QUEUE_IDLE;
    n->is_marked = false;
    if (again != NULL && !is_marked && !is_left && n->reserved == 0 && queue_node_has_lease(q)) {
        queue_window_add(w, n, again, false, true);
        again = NULL;
        task_cond_signal(&w->changed);
    } else if (again != NULL || is_marked) {
        queue_window_want_look(w);
    }
    if (due != 0 && due < w->look_at) {
        w->look_at = due;
        task_cond_broadcast(&w->changed); /* the waiting workers use the earlier look_at */
    }
    queue_window_forget(w, n);
    if (is_left)
        queue_next_give_back(q, w);
    pthread_mutex_unlock(&w->lock);
    queue_ready_free(again);
    if (is_marked)
        queue_order_submit(q, true);
}

/* --- handing out --- */

static bool may_hand_out(const struct db_queue *q, const struct queue_window *w)
{
    bool is_suspended =
        w->is_suspended && (w->suspended_until == 0 || queue_now(q) < w->suspended_until);

    return !is_suspended && !atomic_load(&q->is_damaged) && queue_node_has_lease(q);
}

static bool has_too_many_outcomes(const struct db_queue *q)
{
    return atomic_load(&q->outcomes) >= QUEUE_OUTCOMES_MAX ||
           atomic_load(&q->returning_bytes) > QUEUE_RETURNING_MAX;
}

/* Return true if so many outcomes wait that the writer has to catch up first. queue_next_go_on() is
 * called when it has. */
static bool is_behind(struct db_queue *q)
{
    if (!has_too_many_outcomes(q))
        return false;
    atomic_store(&q->is_behind, true);
    return has_too_many_outcomes(q); /* the writer may have caught up before it saw is_behind */
}

struct opening {
    struct db_queue *q;
    const struct queue_ready *ready;
    int fd, error;
    struct err err;
};

/* Open the large content of a copy; runs in task_block(). */
static void open_content(void *arg)
{
    struct opening *o = arg;
    const struct queue_stored *m = o->ready->message;

    o->fd = m->is_file ? large_read(o->q->large, m->id, m->message.size_bytes, &o->err)
                       : queue_read_parts(o->q, o->ready, &o->err);
    o->error = errno;
}

/* Make the copy for the worker, and open its large content. Called without the lock. Returns NULL
 * if the copy cannot be read; it has been given back then, and the caller takes another one. */
static struct queue_copy *hand_out(struct db_queue *q, const char *destination,
                                   struct queue_ready *ready)
{
    struct queue_taken *t = queue_taken_new(destination, ready);
    struct opening o = {.q = q, .ready = ready, .fd = -1};

    if (ready->problem != NULL) {
        queue_return_unreadable(q, t, ready->problem);
        return NULL;
    }
    if (!queue_taken_is_pending(t)) { /* changed with sqlite3 */
        queue_return_done(&q->base, &t->copy, &(struct queue_delivery){"", ""});
        return NULL;
    }
    if (ready->message->content != NULL)
        return &t->copy;
    task_block(open_content, &o);
    t->copy.content_fd = o.fd;
    if (o.fd >= 0)
        return &t->copy;
    if (o.error == ENOENT || o.error == EBADMSG) {
        queue_return_unreadable(q, t, o.err.text);
        return NULL;
    }
    log_error("%s: dest=%s: %s (tried again later)", t->copy.id, destination, o.err.text);
    queue_return_postponed(q, t, queue_now(q) + POSTPONE_S);
    return NULL;
}

/* Wait for a change of the window, at most until the deadline or, unless waits_for_writer, the time
 * for the next look; while no copy may be handed out, at most SUSPENDED_MS, because a suspension
 * may be over. A look under way is awaited even after the deadline: only its result says that there
 * is no copy. Called with the lock. False: the deadline has passed. */
static bool wait_for_change(struct db_queue *q, struct queue_window *w, bool waits_for_writer,
                            int64_t deadline_ms)
{
    const int64_t now_ms = task_now_ms();
    const time_t now = queue_now(q);
    int64_t wait_ms = w->look_at > now ? (int64_t)(w->look_at - now) * 1000 : 1000;

    if (now_ms >= deadline_ms && !w->is_looking)
        return false;
    if (now_ms >= deadline_ms)
        deadline_ms = now_ms + LOOK_WAIT_MS;
    if (!may_hand_out(q, w))
        wait_ms = SUSPENDED_MS;
    else if (waits_for_writer)
        wait_ms = deadline_ms - now_ms;
    (void)task_cond_wait(&w->changed, &w->lock,
                         wait_ms < deadline_ms - now_ms ? now_ms + wait_ms : deadline_ms);
    return true;
}

struct queue_copy *queue_next(struct queue *base, const char *destination, unsigned wait_ms)
{
    struct db_queue *q = (struct db_queue *)base;
    const int64_t deadline_ms = task_now_ms() + wait_ms;
    struct queue_window *w = queue_window_lock(q, destination);
    const unsigned wakes = w->wakes;
    struct queue_copy *copy = NULL;
    bool is_waiting = true;

    w->has_workers = true;
    while (is_waiting && copy == NULL && w->wakes == wakes) {
        bool waits_for_writer = is_behind(q);
        bool is_on = !waits_for_writer && may_hand_out(q, w);
        if (is_on && queue_look_is_due(q, w))
            queue_look(q, w);
        struct queue_ready *ready = is_on && may_hand_out(q, w) ? queue_window_take(w) : NULL;
        if (ready != NULL) {
            pthread_mutex_unlock(&w->lock);
            copy = hand_out(q, w->name, ready);
            pthread_mutex_lock(&w->lock);
        } else if (!is_on || !queue_look_is_due(q, w)) {
            is_waiting = wait_for_change(q, w, waits_for_writer, deadline_ms);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return copy;
}

void queue_wake(struct queue *base, const char *destination)
{
    for (struct queue_window *w = queue_window_first((struct db_queue *)base); w != NULL;
         w = w->next) {
        if (destination != NULL && strcmp(w->name, destination) != 0)
            continue;
        pthread_mutex_lock(&w->lock);
        w->wakes++;
        task_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->lock);
    }
}

void queue_next_go_on(struct db_queue *q)
{
    for (struct queue_window *w = queue_window_first(q); w != NULL; w = w->next) {
        pthread_mutex_lock(&w->lock);
        task_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->lock);
    }
}

void queue_next_look(struct db_queue *q, const char *destination)
{
    for (struct queue_window *w = queue_window_first(q); w != NULL; w = w->next) {
        if (destination != NULL && strcmp(w->name, destination) != 0)
            continue;
        pthread_mutex_lock(&w->lock);
        queue_window_want_look(w);
        pthread_mutex_unlock(&w->lock);
    }
}

/* Return true, once a second at most, if other nodes are to be told now. Called with the lock. */
static bool tells_now(struct queue_window *w)
{
    const int64_t now_ms = task_now_ms();
    const bool tells = now_ms >= w->told_at_ms + TELL_EVERY_MS;

    if (tells)
        w->told_at_ms = now_ms;
    w->is_untold = !tells;
    return tells;
}

bool queue_next_may_tell(struct db_queue *q, const char *destination)
{
    struct queue_window *w = queue_window_lock(q, destination);
    const bool tells = tells_now(w);

    pthread_mutex_unlock(&w->lock);
    return tells;
}

const char *queue_next_untold(struct db_queue *q)
{
    for (struct queue_window *w = queue_window_first(q); w != NULL; w = w->next) {
        pthread_mutex_lock(&w->lock);
        const bool tells = w->is_untold && tells_now(w);
        pthread_mutex_unlock(&w->lock);
        if (tells)
            return w->name;
    }
    return NULL;
}

static void set_suspended(struct queue_window *w, bool is_suspended, time_t until)
{
    w->is_suspended = is_suspended;
    w->suspended_until = until;
    task_cond_broadcast(&w->changed);
}

void queue_next_set_suspended(struct db_queue *q, const struct queue_suspension *items,
                              size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct queue_window *w = queue_window_lock(q, items[i].destination);
        set_suspended(w, true, items[i].until);
        pthread_mutex_unlock(&w->lock);
    }
    for (struct queue_window *w = queue_window_first(q); w != NULL; w = w->next) {
        size_t i = 0;
        while (i < count && strcmp(items[i].destination, w->name) != 0)
            i++;
        pthread_mutex_lock(&w->lock);
        if (i == count && w->is_suspended)
            set_suspended(w, false, 0);
        pthread_mutex_unlock(&w->lock);
    }
}
