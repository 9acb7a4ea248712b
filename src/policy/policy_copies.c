/* SPDX-License-Identifier: ISC */
#include "policy/policy_copies.h"

#include "base/clock.h"
#include "base/mem.h"
#include "policy/policy_private.h"
#include "task/task.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Octets that are not UTF-8 are accepted here, because the primary decides about them. */
#define ADDRESS_FLAGS (ADDRESS_LENIENT | ADDRESS_OCTETS)

/* The decisions that run on helper threads. */
struct running {
    pthread_mutex_t lock;
    struct task_cond freed;
    unsigned count;
};

struct policy_copies {
    const struct config *config;
    struct lookup_list tables;
    struct running *running;
};

static struct policy_copies *new_copies(const struct config *config)
{
    struct policy_copies *p = mem_zalloc(sizeof *p);

    p->config = config;
    p->running = mem_zalloc(sizeof *p->running);
    pthread_mutex_init(&p->running->lock, NULL);
    task_cond_init(&p->running->freed);
    return p;
}

struct policy_copies *policy_copies_open(const struct config *config,
                                         const struct string_list *copy_maps, struct err *err)
{
    struct policy_copies *p = new_copies(config);

    if (policy_open_map(config, POLICY_LISTENER_COPIES, copy_maps, &p->tables, err) == 0)
        return p;
    policy_copies_close(p);
    return NULL;
}

void policy_copies_close(struct policy_copies *p)
{
    if (p == NULL)
        return;
    lookup_close(&p->tables);
    task_cond_clear(&p->running->freed);
    pthread_mutex_destroy(&p->running->lock);
    free(p->running);
    free(p);
}

struct policy_copies *policy_copies_replace(const struct policy_copies *p, const char *path,
                                            struct err *err)
{
    struct policy_copies *next = new_copies(p->config);

    if (policy_replace_map(p->config, POLICY_LISTENER_COPIES, &p->tables, path, &next->tables,
                           err) == 0)
        return next;
    policy_copies_close(next);
    return NULL;
}

const struct table *policy_copies_table(const struct policy_copies *p, size_t index)
{
    return index < p->tables.count ? p->tables.tables[index] : NULL;
}

static bool may_take_long(const struct policy_copies *p)
{
    for (size_t i = 0; i < p->tables.count; i++)
        if (table_may_take_long(p->tables.tables[i]))
            return true;
    return false;
}

static enum table_result ask(const struct policy_copies *p, struct table_scratch *s,
                             const struct address *a, struct table_match *match,
                             struct policy_copies_decision *out)
{
    enum table_result r =
        lookup_transport(&p->tables, s, a, p->config->recipient_delimiter, match, &out->failure);

    if (r == TABLE_FOUND &&
        policy_add_copies(p->config, POLICY_LISTENER_COPIES, a, buf_str(&match->value),
                          &out->copies, &out->copy_count, &out->failure) != 0)
        return policy_bad_answer(match, &out->failure);
    return r;
}

void policy_copies_decide(const struct policy_copies *p, struct table_scratch *s, const char *path,
                          struct policy_copies_decision *out)
{
    struct table_match match;
    struct address a;
    struct err ignored;
    size_t len = strlen(path);

    table_scratch_begin(s);
    *out = (struct policy_copies_decision){.failed = POLICY_OK};
    if (address_leads_into(path, len, p->config->tag_domain) ||
        address_parse(path, len, ADDRESS_FLAGS, &a, &ignored) != 0)
        return;
    table_match_init(&match);
    enum table_result r = ask(p, s, &a, &match, out);
    table_match_clear(&match);
    out->has_result = r == TABLE_FOUND;
    out->failed = policy_failed_of(r);
    if (out->failed != POLICY_OK)
        out->copy_count = 0;
}

struct deciding {
    const struct policy_copies *policy;
    struct table_scratch *scratch;
    const char *path;
    struct policy_copies_decision *out;
};

static void decide(void *arg)
{
    const struct deciding *d = arg;

    policy_copies_decide(d->policy, d->scratch, d->path, d->out);
}

/* Wait until one more decision may run. False: the time limit of a look-up is over. */
static bool enter(const struct policy_copies *p)
{
    int64_t deadline_ms = clock_now_ms() + p->config->milter.lookup_timeout_ms;
    struct running *r = p->running;

    pthread_mutex_lock(&r->lock);
    bool may = r->count < POLICY_COPIES_RUNNING_MAX;
    while (!may && task_cond_wait(&r->freed, &r->lock, deadline_ms))
        may = r->count < POLICY_COPIES_RUNNING_MAX;
    r->count += may;
    pthread_mutex_unlock(&r->lock);
    return may;
}

static void leave(const struct policy_copies *p)
{
    pthread_mutex_lock(&p->running->lock);
    p->running->count--;
    task_cond_signal(&p->running->freed);
    pthread_mutex_unlock(&p->running->lock);
}

void policy_copies_decide_in_task(const struct policy_copies *p, struct table_scratch *s,
                                  const char *path, struct policy_copies_decision *out)
{
    struct deciding d = {p, s, path, out};

    if (!may_take_long(p)) {
        decide(&d);
        return;
    }
    if (!enter(p)) {
        *out = (struct policy_copies_decision){.failed = POLICY_FAILED};
        err_set(&out->failure, "%s: no time is left, because %d other look-ups run",
                table_spec(p->tables.tables[0]), POLICY_COPIES_RUNNING_MAX);
        return;
    }
    task_block(decide, &d);
    leave(p);
}

void policy_copies_decision_clear(struct policy_copies_decision *d)
{
    free(d->copies);
    memset(d, 0, sizeof *d);
}
