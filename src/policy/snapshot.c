/* SPDX-License-Identifier: ISC */
#include "policy/snapshot.h"
#include "config/config_file.h"
#include "base/mem.h"

#include <stdlib.h>

static int open_listener_tables(struct snapshot *s, struct err *err)
{
    const struct config *c = s->config;

    s->listener_copies = mem_zalloc(c->listener_count * sizeof(struct policy_copies *));
    for (size_t i = 0; i < c->listener_count; i++) {
        s->listener_copies[i] = policy_copies_open(c, &c->listeners[i].copy_maps, err);
        if (s->listener_copies[i] == NULL)
            return -1;
    }
    return 0;
}

static int open_tables(struct snapshot *s, enum snapshot_parts parts, struct err *err)
{
    switch (parts) {
    case SNAPSHOT_CONFIG_ONLY:
        return 0;
    case SNAPSHOT_WITH_TABLES:
        s->policy = policy_open(s->config, err);
        return s->policy == NULL ? -1 : 0;
    case SNAPSHOT_WITH_LISTENER_TABLES:
        return open_listener_tables(s, err);
    }
    abort();
}

struct snapshot *snapshot_load(const char *path, const char *milter, enum snapshot_parts parts,
                               struct err *err)
{
    struct snapshot *s = mem_zalloc(sizeof *s);

    s->refs = 1;
    s->config_refs = mem_zalloc(sizeof *s->config_refs);
    *s->config_refs = 1;
    s->config = config_file_load(path, err);
    if (s->config == NULL || config_use_milter(s->config, milter, err) != 0 ||
        open_tables(s, parts, err) != 0) {
        snapshot_unref(s);
        return NULL;
    }
    return s;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void snapshot_unref(struct snapshot *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    policy_close(s->policy);
    for (size_t i = 0; s->listener_copies != NULL && i < s->config->listener_count; i++)
        policy_copies_close(s->listener_copies[i]);
    free(s->listener_copies);
    if (__atomic_sub_fetch(s->config_refs, 1, __ATOMIC_ACQ_REL) == 0) {
        config_free(s->config);
        free(s->config_refs);
    }
    free(s);
}

const struct table *snapshot_table(const struct snapshot *s, size_t index)
{
    const struct table *t;
    size_t count = s->listener_copies == NULL ? 0 : s->config->listener_count;
    size_t before = 0; /* number of tables in the policies that were searched so far */

    if (s->policy != NULL) {
        if ((t = policy_table(s->policy, index)) != NULL)
            return t;
        while (policy_table(s->policy, before) != NULL)
            before++;
    }
    for (size_t i = 0; i < count; i++) {
        size_t own = 0;
        if ((t = policy_copies_table(s->listener_copies[i], index - before)) != NULL)
            return t;
        while (policy_copies_table(s->listener_copies[i], own) != NULL)
            own++;
        before += own;
    }
    return NULL;
}

static int replace_policies(struct snapshot *next, const struct snapshot *s, const char *path,
                            struct err *err)
{
    size_t count = s->listener_copies == NULL ? 0 : s->config->listener_count;

    if (s->policy != NULL) {
        next->policy = policy_replace(s->policy, path, err);
        if (next->policy == NULL)
            return -1;
    }
    if (count > 0)
        next->listener_copies = mem_zalloc(count * sizeof(struct policy_copies *));
    for (size_t i = 0; i < count; i++) {
        next->listener_copies[i] = policy_copies_replace(s->listener_copies[i], path, err);
        if (next->listener_copies[i] == NULL)
            return -1;
    }
    return 0;
}

struct snapshot *snapshot_configuration(const struct snapshot *s)
{
    struct snapshot *next = mem_zalloc(sizeof *next);

    *next = (struct snapshot){.config = s->config, .refs = 1, .config_refs = s->config_refs};
    __atomic_add_fetch(s->config_refs, 1, __ATOMIC_RELAXED);
    return next;
}

struct snapshot *snapshot_replace(const struct snapshot *s, const char *path, struct err *err)
{
    struct snapshot *next = snapshot_configuration(s);

    if (replace_policies(next, s, path, err) == 0)
        return next;
    snapshot_unref(next);
    return NULL;
}

void snapshot_slot_init(struct snapshot_slot *slot, struct snapshot *first)
{
    pthread_mutex_init(&slot->lock, NULL);
    slot->current = first;
}

void snapshot_slot_clear(struct snapshot_slot *slot)
{
    snapshot_unref(slot->current);
    slot->current = NULL;
    pthread_mutex_destroy(&slot->lock);
}

struct snapshot *snapshot_slot_get(struct snapshot_slot *slot)
{
    pthread_mutex_lock(&slot->lock);
    struct snapshot *s = snapshot_ref(slot->current);
    pthread_mutex_unlock(&slot->lock);
    return s;
}

void snapshot_slot_swap(struct snapshot_slot *slot, struct snapshot *next)
{
    pthread_mutex_lock(&slot->lock);
    struct snapshot *former = slot->current;
    slot->current = next;
    pthread_mutex_unlock(&slot->lock);
    snapshot_unref(former);
}
