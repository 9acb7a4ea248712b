/* SPDX-License-Identifier: ISC */
#include "queue/queue_window.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>

#define FRESH_EVERY 4

struct queue_window *queue_window_new(const char *destination)
{
    struct queue_window *w = mem_zalloc(sizeof *w);

    w->name = mem_strdup(destination);
    pthread_mutex_init(&w->lock, NULL);
    task_cond_init(&w->changed);
    TAILQ_INIT(&w->found.nodes);
    TAILQ_INIT(&w->fresh.nodes);
    w->batch = QUEUE_READ_MAX;
    w->has_more = true; /* the database may have copies from an earlier run */
    return w;
}

void queue_window_free(struct queue_window *w)
{
    struct queue_known *next;

    for (size_t i = 0; i < QUEUE_WINDOW_BUCKETS; i++)
        for (struct queue_known *n = w->buckets[i]; n != NULL; n = next) {
            next = n->hash_next;
            queue_ready_free(n->ready);
            free(n);
        }
    task_cond_clear(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w->name);
    free(w);
}

static struct queue_known **bucket(struct queue_window *w, int64_t id)
{
    return &w->buckets[((uint64_t)id * 0x9e3779b97f4a7c15U >> 32) % QUEUE_WINDOW_BUCKETS];
}

struct queue_known *queue_window_find(struct queue_window *w, int64_t id)
{
    struct queue_known *n = *bucket(w, id);

    while (n != NULL && n->id != id)
        n = n->hash_next;
    return n;
}

struct queue_known *queue_window_know(struct queue_window *w, int64_t id)
{
    struct queue_known *n = queue_window_find(w, id);

    if (n != NULL)
        return n;
    n = mem_zalloc(sizeof *n);
    n->id = id;
    n->hash_next = *bucket(w, id);
    *bucket(w, id) = n;
    w->known++;
    return n;
}

void queue_window_list(const struct queue_window *w, struct buf *out)
{
    const char *before = "{";

    for (size_t i = 0; i < QUEUE_WINDOW_BUCKETS; i++)
        for (const struct queue_known *n = w->buckets[i]; n != NULL; n = n->hash_next, before = ",")
            buf_addf(out, "%s%" PRId64, before, n->id);
    buf_adds(out, w->known == 0 ? "{}" : "}");
}

void queue_window_forget(struct queue_window *w, struct queue_known *n)
{
    if (n->state != QUEUE_IDLE || n->reserved > 0 || n->is_buried)
        return;
    if (w->is_looking) {
        n->is_buried = true;
        n->buried_next = w->buried;
        w->buried = n;
        return;
    }
    struct queue_known **at = bucket(w, n->id);
    while (*at != n)
        at = &(*at)->hash_next;
    *at = n->hash_next;
    w->known--;
    free(n);
}

void queue_window_end_look(struct queue_window *w)
{
    struct queue_known *next;

    w->is_looking = false;
    for (struct queue_known *n = w->buried; n != NULL; n = next) {
        next = n->buried_next;
        n->is_buried = false;
        queue_window_forget(w, n);
    }
    w->buried = NULL;
}

void queue_window_want_look(struct queue_window *w)
{
    if (!w->has_more)
        task_cond_signal(&w->changed);
    w->has_more = true;
}

size_t queue_window_cost(const struct queue_ready *r)
{
    const struct queue_stored *m = r->message;

    return 1024 + r->recipient_count * (sizeof *r->recipients + 64) +
           (m->content == NULL ? 0 : (size_t)m->message.size_bytes);
}

bool queue_window_has_room(const struct queue_ready_list *l, const struct queue_ready *more)
{
    return l->count == 0 || (l->count < QUEUE_WINDOW_READY_MAX &&
                             l->bytes + queue_window_cost(more) <= QUEUE_WINDOW_BYTES_MAX);
}

void queue_window_add(struct queue_window *w, struct queue_known *n, struct queue_ready *ready,
                      bool is_fresh, bool is_first)
{
    struct queue_ready_list *l = is_fresh ? &w->fresh : &w->found;

    n->state = QUEUE_READY;
    n->ready = ready;
    n->is_fresh = is_fresh;
    l->count++;
    l->bytes += queue_window_cost(ready);
    if (is_first)
        TAILQ_INSERT_HEAD(&l->nodes, n, link);
    else
        TAILQ_INSERT_TAIL(&l->nodes, n, link);
}

struct queue_ready *queue_window_remove(struct queue_window *w, struct queue_known *n,
                                        enum queue_known_state state)
{
    struct queue_ready_list *l = n->is_fresh ? &w->fresh : &w->found;
    struct queue_ready *ready = n->ready;

    TAILQ_REMOVE(&l->nodes, n, link);
    l->count--;
    l->bytes -= queue_window_cost(ready);
    n->ready = NULL;
    n->state = state;
    return ready;
}

struct queue_ready *queue_window_take(struct queue_window *w)
{
    bool is_fresh_turn = w->turn % FRESH_EVERY == FRESH_EVERY - 1;
    struct queue_known *n = TAILQ_FIRST(is_fresh_turn ? &w->fresh.nodes : &w->found.nodes);

    if (n == NULL)
        n = TAILQ_FIRST(is_fresh_turn ? &w->found.nodes : &w->fresh.nodes);
    if (n == NULL)
        return NULL;
    w->turn++;
    return queue_window_remove(w, n, QUEUE_TAKEN);
}
