/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/trace/trace_print.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *slice_json(struct slice s)
{
    if (s.at == NULL)
        return json_null();
    char *text = mem_strndup(s.at, s.len);
    json_t *value = ctl_json_text(text);
    free(text);
    return value;
}

/* Seconds since 1970 with a fraction; null: unknown. */
static json_t *time_json(int64_t us)
{
    return us == 0 ? json_null() : json_real((double)us / 1e6);
}

static json_t *system_json(const struct trace_log *log, uint32_t message)
{
    if (message == TRACE_NONE)
        return json_null();
    return slice_json(log->systems[log->messages[message].system].name);
}

static json_t *end_json(const struct trace_log *log, const struct trace_end *e)
{
    json_t *o = json_object();

    if (e->is_copy)
        ctl_json_set(o, "destination", ctl_json_text(e->name));
    else if (e->name[0] != '\0')
        ctl_json_set(o, "filter", ctl_json_text(e->name));
    ctl_json_set(o, "status", ctl_json_text(trace_print_state(e->state)));
    ctl_json_set(o, "time", time_json(e->us));
    ctl_json_set(o, "system", system_json(log, e->message));
    ctl_json_set(o, "queue_id", ctl_json_text(e->id));
    ctl_json_set(o, "address", ctl_json_text(e->address));
    ctl_json_set(o, "relay", ctl_json_text(e->relay));
    ctl_json_set(o, "reason", ctl_json_text(e->why));
    if (e->next != 0)
        ctl_json_set(o, "next_attempt", json_integer(e->next));
    return o;
}

static json_t *ends_json(const struct trace_log *log, const struct trace_way *way, bool are_copies)
{
    json_t *list = json_array();

    for (size_t i = 0; i < way->end_count; i++)
        if (way->ends[i].is_copy == are_copies &&
            json_array_append_new(list, end_json(log, &way->ends[i])) < 0)
            abort();
    return list;
}

static const char *kind_name(enum trace_kind kind)
{
    static const char *const names[] = {
        [TRACE_KIND_OTHER] = "other",           [TRACE_KIND_ARRIVED] = "arrived",
        [TRACE_KIND_MESSAGE_ID] = "message-id", [TRACE_KIND_SENDER] = "taken",
        [TRACE_KIND_DECIDED] = "decided",       [TRACE_KIND_DELIVERY] = "delivery",
        [TRACE_KIND_REFUSED] = "refused",       [TRACE_KIND_NOTIFIED] = "notified",
        [TRACE_KIND_FILTERED] = "filtered",     [TRACE_KIND_ORDER] = "order",
        [TRACE_KIND_EXPIRED] = "expired",       [TRACE_KIND_REMOVED] = "removed",
        [TRACE_KIND_DISCARDED] = "discarded",   [TRACE_KIND_HELD] = "held",
        [TRACE_KIND_REQUEUED] = "requeued"};

    return names[kind];
}

static json_t *steps_json(const struct trace_log *log, const struct trace_way *way)
{
    json_t *list = json_array();

    for (size_t i = 0; i < way->step_count; i++) {
        const struct trace_step *s = &way->steps[i];
        json_t *o = json_object();
        ctl_json_set(o, "time", s->is_undated ? json_null() : time_json(s->us));
        ctl_json_set(o, "host", slice_json(log->systems[s->system].host));
        ctl_json_set(o, "system", slice_json(log->systems[s->system].name));
        ctl_json_set(o, "queue_id", slice_json(log->messages[s->message].id));
        ctl_json_set(o, "event", ctl_json_text(kind_name(s->kind)));
        ctl_json_set(o, "text", ctl_json_text(s->text));
        if (json_array_append_new(list, o) < 0)
            abort();
    }
    return list;
}

void trace_print_json(const struct trace_log *log, uint32_t root, const struct trace_mail *mail,
                      const struct trace_way *way)
{
    json_t *o = json_object(), *missing = json_array();

    for (size_t i = 0; i < way->missing_count; i++)
        if (json_array_append_new(missing, ctl_json_text(way->missing[i])) < 0)
            abort();
    ctl_json_set(o, "recipient", ctl_json_text(way->recipient));
    ctl_json_set(o, "sender", mail->has_sender ? slice_json(mail->sender) : json_null());
    ctl_json_set(o, "message_id", slice_json(mail->message_id));
    ctl_json_set(o, "system", system_json(log, root));
    ctl_json_set(o, "queue_id", slice_json(log->messages[root].id));
    ctl_json_set(o, "time", time_json(log->messages[root].first_us));
    ctl_json_set(o, "mail", ends_json(log, way, false));
    ctl_json_set(o, "copies", ends_json(log, way, true));
    ctl_json_set(o, "missing", missing);
    ctl_json_set(o, "steps", steps_json(log, way));
    ctl_json_line(o);
}

void trace_print_json_refusal(const struct trace_log *log, const struct trace_event *e,
                              const struct trace_facts *facts)
{
    const struct trace_source_tag *tag = &log->tags[e->tag];
    json_t *o = json_object();

    ctl_json_set(o, "recipient", slice_json(facts->to));
    ctl_json_set(o, "sender", slice_json(facts->from));
    ctl_json_set(o, "host", slice_json(tag->host));
    ctl_json_set(o, "system", slice_json(tag->origin.system));
    ctl_json_set(o, "time", time_json(e->us));
    ctl_json_set(o, "refused", slice_json(facts->reply));
    ctl_json_line(o);
}
