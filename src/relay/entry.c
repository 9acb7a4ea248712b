/* SPDX-License-Identifier: ISC */
#include "relay/entry.h"

#include "base/json_value.h"

time_t entry_next_attempt(const struct queue_entry *e, const struct queue_suspension *order,
                          const struct destination_suspension *fault, time_t now)
{
    time_t next = e->due > now ? e->due : now;

    if (e->place != QUEUE_IN_QUEUE || (order != NULL && order->until == 0))
        return 0;
    if (order != NULL && order->until > next)
        next = order->until;
    return fault->since != 0 && fault->until > next ? fault->until : next;
}

const char *entry_queue(const struct queue_entry *e, time_t next, time_t now)
{
    if (e->place != QUEUE_IN_QUEUE)
        return e->place == QUEUE_IN_HOLD ? "hold" : "dead";
    return next != 0 && next <= now ? "active" : "deferred";
}

const char *entry_status(enum queue_recipient_state state)
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
        json_value_set(r, "address", json_value_text(e->recipients[i].address));
        json_value_set(r, "status", json_value_text(entry_status(e->recipients[i].state)));
        json_value_set(r, "delay_reason", json_value_text(e->recipients[i].reason));
        json_value_append(recipients, r);
    }
    return recipients;
}

json_t *entry_json(const struct queue_entry *e, time_t next, time_t now)
{
    const struct queue_message *m = e->message;
    json_t *o = json_object();

    json_value_set(o, "queue_name", json_value_text(entry_queue(e, next, now)));
    json_value_set(o, "queue_id", json_value_text(e->id));
    json_value_set(o, "copy_id", json_value_text(e->id));
    json_value_set(o, "destination", json_value_text(e->destination));
    if (e->problem[0] != '\0')
        json_value_set(o, "problem", json_value_text(e->problem));
    if (e->owner[0] != '\0')
        json_value_set(o, "node", json_value_text(e->owner));
    if (e->ordered[0] != '\0')
        json_value_set(o, "ordered", json_value_text(e->ordered));
    json_value_set(o, "arrival_time", json_integer(m->arrival.tv_sec));
    json_value_set(o, "message_size", json_integer((json_int_t)m->size_bytes));
    json_value_set(o, "sender", json_value_text(m->sender));
    json_value_set(o, "mta_queue_id", json_value_text(m->mta_queue_id));
    json_value_set(o, "message_id", json_value_text(m->message_id));
    json_value_set(o, "attempts", json_integer(e->attempts));
    json_value_set(o, "next_attempt", next != 0 ? json_integer(next) : json_null());
    json_value_set(o, "recipients", recipients_json(e));
    return o;
}

json_t *entry_json_whole(const struct queue_entry *e, time_t next, time_t now)
{
    const struct queue_message *m = e->message;
    json_t *o = entry_json(e, next, now);
    json_t *recipients = json_object_get(o, "recipients");

    json_value_set(o, "client_name", json_value_text(m->client_name));
    json_value_set(o, "client_address", json_value_text(m->client_addr));
    json_value_set(o, "helo", json_value_text(m->helo));
    json_value_set(o, "protocol", json_value_text(m->protocol));
    json_value_set(o, "is_8bit", json_boolean(m->is_8bit));
    json_value_set(o, "is_utf8", json_boolean(m->is_utf8));
    json_value_set(o, "needs_requiretls", json_boolean(m->needs_requiretls));
    for (size_t i = 0; i < e->recipient_count; i++)
        json_value_set(json_array_get(recipients, i), "orcpt",
                       json_value_text(e->recipients[i].orcpt));
    return o;
}

json_t *entry_json_event(const struct queue_event *e)
{
    json_t *o = json_object();

    json_value_set(o, "time", json_integer(e->time));
    json_value_set(o, "queue_id", json_value_text(e->id));
    json_value_set(o, "copy_id", json_value_text(e->id));
    json_value_set(o, "destination", json_value_text(e->destination));
    json_value_set(o, "sender", json_value_text(e->sender));
    json_value_set(o, "recipients", json_value_text(e->recipients));
    json_value_set(o, "message_id", json_value_text(e->message_id));
    json_value_set(o, "mta_queue_id", json_value_text(e->mta_queue_id));
    json_value_set(o, "message_size", json_integer((json_int_t)e->size_bytes));
    json_value_set(o, "result", json_value_text(e->result));
    json_value_set(o, "relay", json_value_text(e->relay));
    json_value_set(o, "reply", json_value_text(e->reply));
    json_value_set(o, "attempts", json_integer(e->attempts));
    return o;
}
