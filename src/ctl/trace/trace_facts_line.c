/* SPDX-License-Identifier: ISC */
/* trace_facts_line: the facts of a whole line, by its kind. */
#include "base/ascii.h"
#include "ctl/trace/trace_facts.h"

#include <string.h>

/* The last word of the text, of letters, digits and '-', if it follows the mark. */
static struct slice last_word(struct slice body, const char *mark)
{
    size_t n = 0, mark_len = strlen(mark);

    while (n < body.len &&
           (ascii_is_alnum(body.at[body.len - n - 1]) || body.at[body.len - n - 1] == '-'))
        n++;
    const char *word = body.at + body.len - n;
    if (n > 0 && body.len - n >= mark_len && memcmp(word - mark_len, mark, mark_len) == 0)
        return (struct slice){word, n};
    return (struct slice){0};
}

/* Arrivals: the client, and for Sendmail all about the sender. */
static void read_arrival(enum trace_program program, struct slice body, struct trace_facts *out)
{
    struct trace_facts f;

    trace_facts_read(body.at, body.len, &f);
    *out = (struct trace_facts){.client = f.client, .is_whole = f.is_whole};
    if (program == TRACE_PROGRAM_SENDMAIL) {
        out->from = f.from;
        out->size = f.size;
        out->nrcpt = f.nrcpt;
        out->message_id = f.message_id;
        out->relay = f.relay;
    } else if (f.client.at != NULL) {
        out->queue_id = f.queue_id;
        /* The client's name may have any text. */
        if (program == TRACE_PROGRAM_SPLITRELAY)
            out->dest = last_word(body, ", dest=");
    } else {
        /* pickup(8): "uid=N from=<SENDER> orig_id=ID". The sender may have any text. */
        out->queue_id = last_word(body, "> orig_id=");
    }
}

/* Orders of an administrator: "dest=NAME: deleted by an administrator" */
static struct slice before_colon(struct slice s)
{
    const char *colon = s.at == NULL ? NULL : memchr(s.at, ':', s.len);

    return colon == NULL ? s : (struct slice){s.at, (size_t)(colon - s.at)};
}

/* Take the fields that lines of this kind have. */
static void take_fields(enum trace_kind kind, const struct trace_facts *f, struct trace_facts *out)
{
    *out = (struct trace_facts){.is_whole = f->is_whole};
    if (kind == TRACE_KIND_DELIVERY) {
        *out = *f;
        out->message_id = out->client = out->from = (struct slice){0};
    } else if (kind == TRACE_KIND_DECIDED) {
        out->to = f->to;
        out->canonical = f->canonical;
        out->filter = f->filter;
        out->copy = f->copy;
        out->skip = f->skip;
        out->status = f->status;
        out->status_text = f->status_text;
        out->reply = f->reply;
    } else if (kind == TRACE_KIND_MESSAGE_ID) {
        out->message_id = f->message_id;
    } else if (kind == TRACE_KIND_SENDER) {
        out->from = f->from;
        out->size = f->size;
        out->nrcpt = f->nrcpt;
        out->dest = f->dest;
        out->queue_id = f->queue_id;
        out->message_id = f->message_id;
    } else if (kind == TRACE_KIND_EXPIRED) {
        out->from = f->from;
    } else {
        out->dest = before_colon(f->dest);
    }
}

/*
 * A line has text of a sender in some of its fields, such as the Message-ID, which could look like
 * further fields. So only those fields are taken that lines of this kind have.
 */
void trace_facts_read_line(enum trace_program program, enum trace_kind kind, struct slice body,
                           struct trace_facts *out)
{
    struct trace_facts f;

    switch (kind) {
    case TRACE_KIND_FILTERED:
        trace_facts_read_amavis(body.at, body.len, out);
        return;
    case TRACE_KIND_REFUSED:
    case TRACE_KIND_DISCARDED:
    case TRACE_KIND_HELD:
        trace_facts_read_reject(body.at, body.len, out);
        return;
    case TRACE_KIND_ARRIVED:
        read_arrival(program, body, out);
        return;
    case TRACE_KIND_NOTIFIED:
    case TRACE_KIND_REQUEUED:
    case TRACE_KIND_REMOVED:
        *out = (struct trace_facts){.is_whole = true};
        return;
    case TRACE_KIND_DELIVERY:
    case TRACE_KIND_DECIDED:
    case TRACE_KIND_MESSAGE_ID:
    case TRACE_KIND_SENDER:
    case TRACE_KIND_EXPIRED:
    case TRACE_KIND_ORDER:
    case TRACE_KIND_OTHER:
        trace_facts_read(body.at, body.len, &f);
        take_fields(kind, &f, out);
        return;
    }
}

struct slice trace_facts_notification(struct slice body)
{
    static const char mark[] = "notification: ";
    const char *at = slice_find(body, mark);
    struct slice id = at == NULL ? body : slice_from(body, at + sizeof mark - 1);
    size_t n = 0;

    while (n < id.len && ascii_is_alnum(id.at[n]))
        n++;
    return (struct slice){id.at, n};
}
