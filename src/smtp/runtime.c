/* SPDX-License-Identifier: ISC */
#include "smtp/runtime.h"

#include "base/mem.h"

#include <stdlib.h>

static struct runtime *make(struct snapshot *snapshot, struct security *security)
{
    struct runtime *r = mem_zalloc(sizeof *r);

    *r = (struct runtime){.snapshot = snapshot, .security = security, .refs = 1};
    return r;
}

struct runtime *runtime_open(struct snapshot *snapshot, struct err *err)
{
    struct security *security = security_open(snapshot->config, err);

    if (security != NULL)
        return make(snapshot, security);
    snapshot_unref(snapshot);
    return NULL;
}

struct runtime *runtime_with_snapshot(const struct runtime *r, struct snapshot *snapshot)
{
    return make(snapshot, security_ref(r->security));
}

struct runtime *runtime_ref(struct runtime *r)
{
    __atomic_add_fetch(&r->refs, 1, __ATOMIC_RELAXED);
    return r;
}

void runtime_unref(struct runtime *r)
{
    if (r == NULL || __atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    security_unref(r->security); /* first, because it borrows the configuration */
    snapshot_unref(r->snapshot);
    free(r);
}

const struct config *runtime_config(const struct runtime *r)
{
    return r->snapshot->config;
}

void runtime_slot_init(struct runtime_slot *slot, struct runtime *first)
{
    pthread_mutex_init(&slot->lock, NULL);
    slot->current = first;
}

void runtime_slot_clear(struct runtime_slot *slot)
{
    runtime_unref(slot->current);
    slot->current = NULL;
    pthread_mutex_destroy(&slot->lock);
}

struct runtime *runtime_slot_get(struct runtime_slot *slot)
{
    pthread_mutex_lock(&slot->lock);
    struct runtime *r = runtime_ref(slot->current);
    pthread_mutex_unlock(&slot->lock);
    return r;
}

void runtime_slot_swap(struct runtime_slot *slot, struct runtime *next)
{
    pthread_mutex_lock(&slot->lock);
    struct runtime *former = slot->current;
    slot->current = next;
    pthread_mutex_unlock(&slot->lock);
    runtime_unref(former);
}
