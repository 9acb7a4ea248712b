/* SPDX-License-Identifier: ISC */
/* Decide which parts of the status need attention, and set the level. */
#include "base/verdict.h"
#include "ctl/status.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

static void blame(struct status *s, enum status_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void blame(struct status *s, enum status_level level, const char *fmt, ...)
{
    va_list ap;

    if (level > s->level)
        s->level = level;
    if (s->reasons.len > 0)
        buf_adds(&s->reasons, "; ");
    va_start(ap, fmt);
    buf_vaddf(&s->reasons, fmt, ap);
    va_end(ap);
}

static void judge_service(struct status *s, const struct service *service)
{
    struct verdict v;
    struct err ignored;

    if (service->run == SERVICE_STOPPED && service->belongs_here)
        blame(s, STATUS_CRITICAL, "%s does not run", service->name);
    else if (service->run == SERVICE_UNKNOWN)
        blame(s, STATUS_WARNING, "%s: %s", service->name, service->problem.text);
    if (service->has_other_lock)
        blame(s, STATUS_WARNING, "%s needs a restart: its lock is elsewhere", service->name);
    else if (service->pid > 0 && service->lock_path[0] != '\0' &&
             verdict_read(service->lock_path, &v, &ignored) == 0 && v.pid == service->pid &&
             v.outcome == VERDICT_FAILED)
        blame(s, STATUS_WARNING, "the last reload of %s failed: %s", service->name, v.text.text);
}

static void judge_age(struct status *s, const char *kind, const char *name, time_t oldest)
{
    time_t now = time(NULL);

    if (s->warn_age_s > 0 && oldest != 0 && now - oldest >= (time_t)s->warn_age_s)
        blame(s, STATUS_WARNING, "%s%s: the oldest waits for %lld s", kind, name,
              (long long)(now - oldest));
}

static void judge_copies(struct status *s)
{
    uint64_t dead = 0;

    if (s->refusal.text[0] != '\0')
        blame(s, STATUS_CRITICAL, "%s", s->refusal.text);
    if (s->spool_problem.text[0] != '\0' && s->relay.run != SERVICE_UNKNOWN &&
        status_needs_spool(s))
        blame(s, s->relay.belongs_here ? STATUS_CRITICAL : STATUS_WARNING, "%s",
              s->spool_problem.text);
    for (size_t i = 0; i < s->destinations.count; i++) {
        const struct status_group *g = &s->destinations.items[i];
        dead += g->dead;
        judge_age(s, "copies for ", g->name, g->oldest_waiting);
    }
    if (s->warn_dead > 0 && dead >= s->warn_dead)
        blame(s, STATUS_WARNING, "%" PRIu64 " dead letter%s", dead, dead == 1 ? "" : "s");
}

static void judge_nodes(struct status *s)
{
    const struct queue_nodes *n = &s->nodes;

    if (n->replication.problem[0] != '\0' && s->config->relay.queue_replicated &&
        s->refusal.text[0] == '\0')
        blame(s, s->relay.belongs_here ? STATUS_CRITICAL : STATUS_WARNING, "replication: %s",
              n->replication.problem);
    for (size_t i = 0; i < n->count; i++)
        if (n->items[i].until != 0 && !n->items[i].is_alive)
            blame(s, STATUS_WARNING, "node %s is silent", n->items[i].name);
}

static void judge_instance(struct status *s, const struct status_instance *i)
{
    if (i->run == SERVICE_STOPPED && i->belongs_here)
        blame(s, STATUS_CRITICAL, "%s does not run", i->name);
    if (i->problem.text[0] != '\0' && (i->belongs_here || i->run == SERVICE_RUNS))
        blame(s, STATUS_WARNING, "%s: %s", i->name, i->problem.text);
    for (size_t k = 0; k < i->ways.count; k++) /* ordinary mail does not change the level */
        if (i->ways.items[k].way != STATUS_TO_OTHER)
            judge_age(s, "", i->ways.items[k].name, i->ways.items[k].oldest);
}

void status_judge(struct status *s)
{
    s->level = STATUS_OK;
    for (size_t i = 0; i <= s->config->other_milter_count; i++)
        judge_service(s, &s->milters[i]);
    judge_service(s, &s->relay);
    judge_copies(s);
    judge_nodes(s);
    for (size_t i = 0; i < s->instance_count; i++)
        judge_instance(s, &s->instances[i]);
}
