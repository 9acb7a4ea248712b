/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_way_private.h"
#include "base/buf.h"

#include <string.h>

/* The client without what smtpd(8) says about it after a comma. */
static struct slice client_of(const struct trace_facts *f, struct slice body)
{
    if (f->client.at != NULL)
        return f->client;
    return f->relay.at != NULL ? f->relay : body; /* Sendmail: relay= */
}

static bool is_root(const struct trace_log *log, uint32_t message)
{
    for (uint32_t e = log->messages[message].in; e != TRACE_NONE; e = log->edges[e].next_in)
        if (log->edges[e].kind != TRACE_EDGE_NOTIFICATION)
            return false;
    return true;
}

static void describe_arrival(const struct trace_way_options *o, struct trace_way *w,
                             const struct trace_event *e, const struct trace_facts *f)
{
    struct slice body = trace_log_body(e), client = client_of(f, body);

    if (slice_begins(body, "uid="))
        trace_way_step(o, w, e, "submitted on this machine (%.*s)", SLICE(body));
    else
        trace_way_step(o, w, e, "%s %.*s",
                       is_root(o->log, e->message) ? "accepted from" : "taken from", SLICE(client));
}

static void describe_decision(const struct trace_way_options *o, struct trace_way *w,
                              const struct trace_event *e, const struct trace_facts *f)
{
    struct buf text = {0};

    if (f->canonical.at != NULL)
        buf_addf(&text, ", canonical <%.*s>", SLICE(f->canonical));
    if (f->filter.at != NULL)
        buf_addf(&text, ", filter %.*s", SLICE(f->filter));
    if (f->copy.at != NULL)
        buf_addf(&text, ", copies for %.*s", SLICE(f->copy));
    if (f->skip.at != NULL)
        buf_addf(&text, ", no copy for %.*s", SLICE(f->skip));
    if (f->status != TRACE_STATUS_NONE)
        buf_addf(&text, ", %.*s (%.*s)", SLICE(f->status_text), SLICE(f->reply));
    if (text.len > 0) {
        trace_way_step(o, w, e, "decided: %s", buf_str(&text) + 2);
    } else {
        struct slice body = trace_log_body(e);
        trace_way_step(o, w, e, "%.*s", SLICE(body));
    }
    buf_clear(&text);
}

/* The destination of a copy: in the text, or in the tag of the style "postfix". */
static struct slice destination_of(const struct trace_log *log, const struct trace_event *e,
                                   const struct trace_facts *f)
{
    return f->dest.at != NULL ? f->dest : log->tags[e->tag].origin.middle;
}

void trace_way_describe(const struct trace_way_options *o, struct trace_way *w,
                        const struct trace_event *e, const struct trace_facts *f)
{
    enum trace_program program = o->log->tags[e->tag].origin.program;
    struct slice body = trace_log_body(e), dest = destination_of(o->log, e, f);

    switch ((enum trace_kind)e->kind) {
    case TRACE_KIND_ARRIVED:
        describe_arrival(o, w, e, f);
        break;
    case TRACE_KIND_DECIDED:
        describe_decision(o, w, e, f);
        break;
    case TRACE_KIND_SENDER:
        if (program == TRACE_PROGRAM_SPLITRELAY && f->dest.at != NULL)
            trace_way_step(o, w, e, "taken, a copy for %.*s", SLICE(dest));
        break;
    case TRACE_KIND_FILTERED:
        trace_way_step(o, w, e, "%.*s%s%.*s", SLICE(f->status_text),
                       f->delay.len > 0 ? ", after " : "", SLICE(f->delay));
        break;
    case TRACE_KIND_REFUSED:
    case TRACE_KIND_DISCARDED:
    case TRACE_KIND_HELD:
        trace_way_step(o, w, e, "%.*s", SLICE(f->reply));
        break;
    case TRACE_KIND_OTHER:
        if (program == TRACE_PROGRAM_SPLITRELAY || program == TRACE_PROGRAM_SPLITMILTER)
            trace_way_step(o, w, e, "%.*s", SLICE(body));
        break;
    case TRACE_KIND_NOTIFIED:
    case TRACE_KIND_ORDER:
    case TRACE_KIND_REQUEUED:
    case TRACE_KIND_EXPIRED:
        trace_way_step(o, w, e, "%.*s", SLICE(body));
        break;
    case TRACE_KIND_DELIVERY:
    case TRACE_KIND_MESSAGE_ID:
    case TRACE_KIND_REMOVED:
        break;
    }
}

void trace_way_describe_delivery(const struct trace_way_options *o, struct trace_way *w,
                                 const struct trace_event *e, const struct trace_facts *f)
{
    struct slice plain, name, dest = destination_of(o->log, e, f);
    enum trace_route route = trace_word_untag(f->to, o->tag_domain, &plain, &name);
    struct buf text = {0};

    if (f->listener.at != NULL)
        buf_addf(&text, "listener %.*s to its primary", SLICE(f->listener));
    else if (o->log->tags[e->tag].origin.program == TRACE_PROGRAM_SPLITRELAY)
        buf_addf(&text, "to %.*s", SLICE(dest));
    else if (route == TRACE_ROUTE_FILTER)
        buf_addf(&text, "to filter %.*s", SLICE(name));
    else if (route == TRACE_ROUTE_COPY)
        buf_addf(&text, "a copy for %.*s", SLICE(name));
    else
        buf_addf(&text, "to <%.*s>", SLICE(plain));
    if (f->relay.at != NULL)
        buf_addf(&text, " at %.*s", SLICE(f->relay));
    if (f->delay.at != NULL)
        buf_addf(&text,
                 memchr(f->delay.at, ':', f->delay.len) == NULL ? ", after %.*s s" : ", after %.*s",
                 SLICE(f->delay));
    if (f->status != TRACE_STATUS_NONE)
        buf_addf(&text, ": %.*s", SLICE(f->status_text));
    if (f->reply.at != NULL)
        buf_addf(&text, " (%.*s)", SLICE(f->reply));
    if (!f->is_whole)
        buf_adds(&text, " [the line is cut here]");
    trace_way_step(o, w, e, "%s", buf_str(&text));
    buf_clear(&text);
}
