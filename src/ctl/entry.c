/* SPDX-License-Identifier: ISC */
#include "ctl/entry.h"
#include "ctl/json.h"

#include <stdlib.h>

const char *ctl_entry_queue(const struct queue_entry *e, time_t next, time_t now)
{
    if (e->place != QUEUE_IN_QUEUE)
        return e->place == QUEUE_IN_HOLD ? "hold" : "dead";
    return next != 0 && next <= now ? "active" : "deferred";
}

const char *ctl_entry_status(enum queue_recipient_state state)
{
    switch (state) {
    case QUEUE_PENDING:
        return "queued";
    case QUEUE_SENT:
        return "sent";
    case QUEUE_DEAD:
        return "dead";
    }
    return "unknown";
}

static json_t *recipients_json(const struct queue_entry *e)
{
    json_t *recipients = json_array();

    for (size_t i = 0; i < e->recipient_count; i++) {
        json_t *r = json_object();
        ctl_json_set(r, "address", ctl_json_text(e->recipients[i].address));
        ctl_json_set(r, "status", ctl_json_text(ctl_entry_status(e->recipients[i].state)));
        ctl_json_set(r, "delay_reason", ctl_json_text(e->recipients[i].reason));
        if (json_array_append_new(recipients, r) < 0)
            abort();
    }
    return recipients;
}

json_t *ctl_entry_json(const struct queue_entry *e, time_t next, time_t now)
{
    const struct queue_message *m = e->message;
    json_t *o = json_object();

    ctl_json_set(o, "queue_name", ctl_json_text(ctl_entry_queue(e, next, now)));
    ctl_json_set(o, "queue_id", ctl_json_text(e->id));
    ctl_json_set(o, "destination", ctl_json_text(e->destination));
    if (e->problem[0] != '\0')
        ctl_json_set(o, "problem", ctl_json_text(e->problem));
    if (e->owner[0] != '\0')
        ctl_json_set(o, "node", ctl_json_text(e->owner));
    if (e->ordered[0] != '\0')
        ctl_json_set(o, "ordered", ctl_json_text(e->ordered));
    ctl_json_set(o, "arrival_time", json_integer(m->arrival.tv_sec));
    ctl_json_set(o, "message_size", json_integer((json_int_t)m->size_bytes));
    ctl_json_set(o, "sender", ctl_json_text(m->sender));
    ctl_json_set(o, "mta_queue_id", ctl_json_text(m->mta_queue_id));
    ctl_json_set(o, "message_id", ctl_json_text(m->message_id));
    ctl_json_set(o, "attempts", json_integer(e->attempts));
    ctl_json_set(o, "next_attempt", next != 0 ? json_integer(next) : json_null());
    ctl_json_set(o, "recipients", recipients_json(e));
    return o;
}
