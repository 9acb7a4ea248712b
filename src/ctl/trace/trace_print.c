/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_print.h"
#include "base/mem.h"
#include "base/buf.h"
#include "ctl/ctl.h"
#include "ctl/terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TIME_SIZE 32
#define INDENT 8 /* of the further lines on a narrow terminal */

const char *trace_print_state(enum trace_end_state state)
{
    switch (state) {
    case TRACE_END_SENT:
        return "sent";
    case TRACE_END_WAITS:
        return "waits";
    case TRACE_END_HELD:
        return "held";
    case TRACE_END_DEAD:
        return "dead";
    case TRACE_END_BOUNCED:
        return "bounced";
    case TRACE_END_REFUSED:
        return "refused";
    case TRACE_END_DELETED:
        return "deleted";
    case TRACE_END_SKIPPED:
        return "skipped";
    case TRACE_END_UNKNOWN:
        break;
    }
    return "unknown";
}

static const char *time_text(int64_t us, char out[TIME_SIZE])
{
    time_t t = (time_t)(us / 1000000);
    struct tm tm;

    if (us == 0 || localtime_r(&t, &tm) == NULL ||
        strftime(out, TIME_SIZE, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(out, TIME_SIZE, "%19s", "-");
    return out;
}

void trace_print_mail(struct trace_log *log, uint32_t root, struct trace_mail *out)
{
    struct trace_facts f;

    memset(out, 0, sizeof *out);
    out->message_id = log->messages[root].message_id;
    for (uint32_t e = log->messages[root].first; e != TRACE_NONE; e = log->kept.events[e].next) {
        if (log->kept.events[e].kind != TRACE_KIND_SENDER &&
            log->kept.events[e].kind != TRACE_KIND_ARRIVED)
            continue;
        trace_log_facts(log, &log->kept.events[e], &f);
        if (f.from.at != NULL && f.client.at == NULL && f.size.at != NULL) {
            out->has_sender = true;
            out->sender = f.from;
            out->size = f.size;
        }
    }
}

/* "HOST/SYSTEM ID", without the host if all lines have the same. */
static char *place_of(const struct trace_log *log, uint32_t message, uint32_t system)
{
    const struct trace_message *m = &log->messages[message];
    const struct trace_system *s = &log->systems[system];

    for (uint32_t i = 0; i < log->system_count; i++)
        if (log->systems[i].host.len > 0 && s->host.len > 0 &&
            !slice_is_equal(log->systems[i].host, s->host))
            return mem_printf("%.*s/%.*s %.*s", SLICE(s->host), SLICE(s->name), SLICE(m->id));
    return mem_printf("%.*s %.*s", SLICE(s->name), SLICE(m->id));
}

static enum terminal_style style_of(enum trace_end_state state)
{
    switch (state) {
    case TRACE_END_SENT:
        return TERMINAL_GOOD;
    case TRACE_END_WAITS:
    case TRACE_END_HELD:
    case TRACE_END_UNKNOWN:
        return TERMINAL_NOTICE;
    case TRACE_END_DEAD:
    case TRACE_END_BOUNCED:
    case TRACE_END_REFUSED:
    case TRACE_END_DELETED:
        return TERMINAL_BAD;
    case TRACE_END_SKIPPED:
        break;
    }
    return TERMINAL_PLAIN;
}

/* Print the rest of a line, of which `at` columns are there. On a narrow terminal it has lines of
 * its own. */
static void print_rest(enum terminal_style style, size_t at, const char *text)
{
    size_t width = terminal_width();

    if (width > 0 && at > width / 2) {
        putchar('\n');
        terminal_print_wrapped(style, 0, INDENT, text);
    } else {
        terminal_print_wrapped(style, at, at, text);
    }
    putchar('\n');
}

/* recipient: that of the way; another address is shown. */
static void print_end(const struct trace_log *log, const struct trace_end *e, const char *recipient)
{
    char when[TIME_SIZE];
    struct buf rest = {0};
    char *what = e->is_copy           ? mem_printf("copy %s", e->name)
                 : e->name[0] != '\0' ? mem_printf("mail (%s)", e->name)
                                      : mem_strdup("mail");

    buf_adds(&rest, time_text(e->us, when));
    if (e->address[0] != '\0' && strcasecmp(e->address, recipient) != 0)
        buf_addf(&rest, "  to <%s>", e->address);
    if (e->state != TRACE_END_SENT && e->state != TRACE_END_UNKNOWN && e->id[0] != '\0') {
        char *place = e->message == TRACE_NONE
                          ? mem_printf("the queue %s", e->id)
                          : place_of(log, e->message, log->messages[e->message].system);
        buf_addf(&rest, "  in %s", place);
        free(place);
    }
    if (e->relay[0] != '\0' && strcmp(e->relay, "none") != 0)
        buf_addf(&rest, "  %s", e->relay);
    if (e->next != 0)
        buf_addf(&rest, "  next attempt %s", time_text((int64_t)e->next * 1000000, when));
    if (e->why[0] != '\0')
        buf_addf(&rest, "  (%s)", e->why);
    size_t columns = terminal_columns(what);
    ctl_printf("  %-18s ", what);
    terminal_printf(style_of(e->state), "%-8s", trace_print_state(e->state));
    putchar(' ');
    print_rest(TERMINAL_PLAIN, 2 + (columns > 18 ? columns : 18) + 10, buf_str(&rest));
    buf_clear(&rest);
    free(what);
}

void trace_print_step(const struct trace_log *log, const struct trace_step *step,
                      const char *recipient)
{
    char when[TIME_SIZE];
    char *place = place_of(log, step->message, step->system);
    char *text =
        recipient == NULL ? mem_strdup(step->text) : mem_printf("%s: %s", recipient, step->text);
    size_t columns = terminal_columns(place);

    ctl_printf("    %s  %-28s  ", time_text(step->is_undated ? 0 : step->us, when), place);
    print_rest(TERMINAL_PLAIN, 4 + 19 + 2 + (columns > 28 ? columns : 28) + 2, text);
    free(place);
    free(text);
}

static void print_missing(const char *text)
{
    static const char head[] = "  missing: ";

    terminal_print(TERMINAL_NOTICE, head);
    print_rest(TERMINAL_PLAIN, sizeof head - 1, text);
}

void trace_print_way(const struct trace_log *log, const struct trace_mail *mail,
                     const struct trace_way *way)
{
    terminal_print(TERMINAL_HEAD,
                   way->recipient[0] == '\0' ? "(recipient unknown)" : way->recipient);
    if (mail->has_sender)
        ctl_printf(", from <%.*s>, %.*s bytes", SLICE(mail->sender), SLICE(mail->size));
    if (mail->message_id.len > 0)
        ctl_printf(", Message-ID <%.*s>", SLICE(mail->message_id));
    putchar('\n');
    for (size_t i = 0; i < way->end_count; i++)
        if (!way->ends[i].is_copy)
            print_end(log, &way->ends[i], way->recipient);
    for (size_t i = 0; i < way->end_count; i++)
        if (way->ends[i].is_copy)
            print_end(log, &way->ends[i], way->recipient);
    for (size_t i = 0; i < way->missing_count; i++)
        print_missing(way->missing[i]);
    for (size_t i = 0; i < way->step_count; i++)
        trace_print_step(log, &way->steps[i], NULL);
    putchar('\n');
}

void trace_print_refusal(const struct trace_log *log, const struct trace_event *e,
                         const struct trace_facts *facts)
{
    const struct slice system = log->tags[e->tag].origin.system;
    const char *verb = e->kind == TRACE_KIND_DISCARDED ? "discarded" : "refused";
    char *recipient = mem_printf("%.*s", SLICE(facts->to));
    char *reply = mem_printf("%.*s", SLICE(facts->reply));
    char *where = mem_printf("by %.*s", SLICE(system));
    char when[TIME_SIZE];

    terminal_print(TERMINAL_HEAD, recipient[0] == '\0' ? "(recipient unknown)" : recipient);
    ctl_printf(", from <%.*s>", SLICE(facts->from));
    putchar('\n');
    ctl_printf("  ");
    terminal_print(TERMINAL_BAD, verb);
    ctl_printf(" %s  %s  ", where, time_text(e->us, when));
    print_rest(TERMINAL_PLAIN, 2 + strlen(verb) + 1 + terminal_columns(where) + 2 + 19 + 2, reply);
    putchar('\n');
    free(recipient);
    free(reply);
    free(where);
}
