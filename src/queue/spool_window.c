/* SPDX-License-Identifier: ISC */
#include "queue/spool_window.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 2048 /* a power of two */
#define FRESH_EVERY 4

static struct spool_node **bucket(const struct spool_window *w, const char *id)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (; *id != '\0'; id++)
        hash = (hash ^ (unsigned char)*id) * 16777619u;
    return &w->buckets[(hash ^ hash >> 16) & (BUCKETS - 1)];
}

static void list_add(struct spool_list *l, struct spool_node *node, bool first)
{
    node->prev = first ? NULL : l->last;
    node->next = first ? l->first : NULL;
    if (node->prev != NULL)
        node->prev->next = node;
    else
        l->first = node;
    if (node->next != NULL)
        node->next->prev = node;
    else
        l->last = node;
    l->count++;
}

static void list_remove(struct spool_list *l, struct spool_node *node)
{
    if (node->prev != NULL)
        node->prev->next = node->next;
    else
        l->first = node->next;
    if (node->next != NULL)
        node->next->prev = node->prev;
    else
        l->last = node->prev;
    node->prev = node->next = NULL;
    l->count--;
}

static void unlist(struct spool_window *w, struct spool_node *node)
{
    if (node->state == SPOOL_READY)
        list_remove(&w->ready[node->source], node);
    else if (node->state == SPOOL_ASIDE)
        list_remove(&w->aside, node);
    node->state = SPOOL_TAKEN;
}

static void free_node(struct spool_node *node)
{
    spool_copy_close(node->parked);
    free(node->order);
    free(node);
}

void spool_window_init(struct spool_window *w, size_t limit)
{
    memset(w, 0, sizeof *w);
    w->limit = limit;
    w->buckets = mem_zalloc(BUCKETS * sizeof(struct spool_node *));
}

void spool_window_clear(struct spool_window *w)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        struct spool_node *node = w->buckets[i];
        while (node != NULL) {
            struct spool_node *next = node->hash_next;
            free_node(node);
            node = next;
        }
    }
    free(w->buckets);
    memset(w, 0, sizeof *w);
}

struct spool_node *spool_window_find(const struct spool_window *w, const char *id)
{
    struct spool_node *node = *bucket(w, id);

    while (node != NULL && strcmp(node->id, id) != 0)
        node = node->hash_next;
    return node;
}

size_t spool_window_room(const struct spool_window *w, enum spool_source source)
{
    size_t limit = w->limit / 2, count = w->ready[source].count;

    return count < limit ? limit - count : 0;
}

size_t spool_window_ready(const struct spool_window *w)
{
    return w->ready[SPOOL_FRESH].count + w->ready[SPOOL_FOUND].count;
}

struct spool_node *spool_window_reserve(struct spool_window *w, const char *id,
                                        const struct spool_due *due)
{
    struct spool_node *node = mem_zalloc(sizeof *node);
    struct spool_node **head = bucket(w, id);

    mem_copy_string(node->id, sizeof node->id, id);
    node->due = *due;
    node->source = SPOOL_FOUND;
    node->state = SPOOL_TAKEN;
    node->hash_next = *head;
    *head = node;
    return node;
}

void spool_window_add(struct spool_window *w, const char *id, const struct spool_due *due,
                      enum spool_source source, time_t warm_until)
{
    struct spool_node *node = spool_window_reserve(w, id, due);

    node->warm_until = warm_until;
    node->source = source;
    node->state = SPOOL_READY;
    list_add(&w->ready[source], node, false);
}

struct spool_node *spool_window_take(struct spool_window *w)
{
    bool is_fresh_turn = w->turn % FRESH_EVERY == FRESH_EVERY - 1;
    struct spool_list *prefer = &w->ready[is_fresh_turn ? SPOOL_FRESH : SPOOL_FOUND];
    struct spool_list *other = &w->ready[is_fresh_turn ? SPOOL_FOUND : SPOOL_FRESH];
    struct spool_node *node = prefer->first != NULL ? prefer->first : other->first;

    if (node == NULL)
        return NULL;
    w->turn++;
    unlist(w, node);
    return node;
}

void spool_window_claim(struct spool_window *w, struct spool_node *node)
{
    unlist(w, node);
}

bool spool_node_order(struct spool_node *node, const struct spool_order *order)
{
    if (node->order != NULL)
        return false;
    node->order = mem_zalloc(sizeof *node->order);
    *node->order = *order;
    return true;
}

size_t spool_window_order(struct spool_window *w, const struct spool_order *order)
{
    size_t count = 0;

    for (size_t i = 0; i < BUCKETS; i++)
        for (struct spool_node *node = w->buckets[i]; node != NULL; node = node->hash_next)
            if (node->state == SPOOL_TAKEN && spool_node_order(node, order))
                count++;
    return count;
}

void spool_window_return(struct spool_window *w, struct spool_node *node)
{
    unlist(w, node);
    node->state = SPOOL_READY;
    list_add(&w->ready[node->source], node, true);
}

void spool_window_put_aside(struct spool_window *w, struct spool_node *node, time_t until)
{
    unlist(w, node);
    node->state = SPOOL_ASIDE;
    node->aside_until = until;
    list_add(&w->aside, node, false);
}

struct spool_node *spool_window_take_aside(struct spool_window *w, time_t now, time_t horizon)
{
    for (struct spool_node *node = w->aside.first; node != NULL; node = node->next)
        if (node->aside_until <= now || node->aside_until > horizon) {
            unlist(w, node);
            return node;
        }
    return NULL;
}

time_t spool_window_aside_until(const struct spool_window *w, time_t fallback)
{
    for (const struct spool_node *node = w->aside.first; node != NULL; node = node->next)
        if (node->aside_until < fallback)
            fallback = node->aside_until;
    return fallback;
}

size_t spool_window_hurry(struct spool_window *w, const char *id)
{
    size_t count = 0;

    for (struct spool_node *node = w->aside.first; node != NULL; node = node->next)
        if (id == NULL || strcmp(node->id, id) == 0) {
            node->aside_until = 0;
            count++;
        }
    return count;
}

void spool_window_forget(struct spool_window *w, struct spool_node *node)
{
    struct spool_node **at = bucket(w, node->id);

    unlist(w, node);
    while (*at != node)
        at = &(*at)->hash_next;
    *at = node->hash_next;
    free_node(node);
}
