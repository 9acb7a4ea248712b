/* SPDX-License-Identifier: ISC */
#include "base/buf.h"
#include "base/mem.h"
#include "base/process.h"
#include "queue/queue_reader.h"
#include "relay/entry.h"
#include "ctl/ctl.h"
#include "ctl/health.h"
#include "ctl/json.h"
#include "ctl/progress.h"
#include "ctl/select.h"
#include "ctl/summary.h"
#include "ctl/terminal.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REASON_INDENT 4
#define RECIPIENT_INDENT 50

struct listing {
    struct progress progress; /* the first member, for progress_of_reading() */
    const struct config *config;
    struct health *health;
    time_t now;
    bool is_json;
    uint64_t copies, bytes, problems;
};

static void format_time(time_t t, char *out, size_t size)
{
    struct tm tm;

    if (localtime_r(&t, &tm) == NULL || strftime(out, size, "%a %b %e %H:%M:%S", &tm) == 0)
        snprintf(out, size, "%lld", (long long)t);
}

static void print_reason(const char *reason)
{
    char *text = mem_printf("(%s)", reason);

    terminal_print_wrapped(TERMINAL_FAINT, 0, REASON_INDENT, text);
    putchar('\n');
    free(text);
}

static void print_recipient(const struct queue_recipient *r)
{
    enum terminal_style style = r->state == QUEUE_SENT   ? TERMINAL_GOOD
                                : r->state == QUEUE_DEAD ? TERMINAL_BAD
                                                         : TERMINAL_PLAIN;
    const char *word = r->state == QUEUE_SENT ? "  sent" : r->state == QUEUE_DEAD ? "  dead" : "";
    size_t width = terminal_width(), indent = RECIPIENT_INDENT;
    size_t needed = terminal_columns(r->address) + strlen(word);

    if (width > 0 && indent + needed > width) /* an address that is too long begins further left */
        indent = needed + REASON_INDENT < width ? width - needed : REASON_INDENT;
    printf("%*s", (int)indent, "");
    ctl_print(r->address);
    terminal_print(style, word);
    putchar('\n');
}

/* Print the recipients. A reason is printed once, above the successive recipients that share it. */
static void print_recipients(const struct queue_entry *e)
{
    const char *last = "";

    for (size_t i = 0; i < e->recipient_count; i++) {
        const struct queue_recipient *r = &e->recipients[i];
        if (strcmp(r->reason, last) != 0 && r->reason[0] != '\0')
            print_reason(r->reason);
        last = r->reason;
        print_recipient(r);
    }
}

/* next: time of the next attempt, 0: not to be printed. */
static void print_details(const struct queue_entry *e, time_t next)
{
    struct buf text = {0};
    char when[32];

    buf_addf(&text, "dest=%s, attempts=%u", e->destination, e->attempts);
    if (e->message->mta_queue_id[0] != '\0')
        buf_addf(&text, ", queue_id=%s", e->message->mta_queue_id);
    if (next != 0) {
        format_time(next, when, sizeof when);
        buf_addf(&text, ", next %s", when);
    }
    terminal_print_wrapped(TERMINAL_PLAIN, 0, REASON_INDENT, buf_str(&text));
    putchar('\n');
    buf_clear(&text);
}

static void print_human(const struct queue_entry *e, time_t next, time_t now, bool is_first)
{
    char id[QUEUE_ID_SIZE + 8], when[32];

    if (is_first) {
        terminal_printf(TERMINAL_HEAD, "%-21s %10s %-20s %s", "----Copy ID----", "--Size--",
                        "---Arrival Time---", "-Sender/Recipient-------");
        putchar('\n');
    }
    snprintf(id, sizeof id, "%.*s%s", QUEUE_ID_SIZE, e->id,
             e->place == QUEUE_IN_HOLD   ? "!"
             : e->place == QUEUE_IN_DEAD ? "#"
             : next != 0 && next <= now  ? "*"
                                         : "");
    format_time(e->message->arrival.tv_sec, when, sizeof when);
    terminal_print_cell(e->place == QUEUE_IN_DEAD   ? TERMINAL_BAD
                        : e->place == QUEUE_IN_HOLD ? TERMINAL_NOTICE
                                                    : TERMINAL_PLAIN,
                        id, 21);
    ctl_printf(" %10" PRIu64 " %-18s  ", e->message->size_bytes, when);
    ctl_print(e->message->sender[0] == '\0' ? "<>" : e->message->sender);
    putchar('\n');
    print_details(e, next > now ? next : 0);
    if (e->problem[0] != '\0')
        print_reason(e->problem);
    print_recipients(e);
    putchar('\n');
}

static bool print_copy(void *ctx, const struct queue_entry *e)
{
    struct listing *l = ctx;
    time_t next = health_next_attempt(l->health, e, l->now);

    progress_end(&l->progress);
    if (l->is_json)
        ctl_json_line(entry_json(e, next, l->now));
    else
        print_human(e, next, l->now, l->copies == 0);
    l->copies++;
    l->bytes += e->message->size_bytes;
    l->problems += e->problem[0] != '\0';
    return !ferror(stdout);
}

static int list(struct listing *l, struct queue_reader *reader, const struct select_request *s)
{
    const char *destination = s->selection.destination;
    struct queue_selection selection = s->selection;
    struct err err;
    int64_t count = 0;
    int code = EXIT_OK;

    l->health = health_new(l->config, reader);
    progress_begin(&l->progress, "reading", 0);
    for (int i = 0; count >= 0 && i < (s->id_count == 0 ? 1 : s->id_count); i++) {
        selection.id = s->id_count == 0 ? NULL : s->ids[i];
        count = queue_reader_list(reader, &selection, print_copy, progress_of_reading(), l, &err);
        if (count == 0 && selection.id != NULL) {
            ctl_complain("no copy %s", selection.id);
            code = EXIT_CHECK_FAILED;
        }
    }
    progress_end(&l->progress);
    health_free(l->health);
    if (count < 0) {
        ctl_complain("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    if (l->copies == 0 && destination != NULL &&
        config_find_destination(l->config, destination) == NULL) {
        ctl_complain("there is no destination '%s'", destination);
        return EXIT_CHECK_FAILED;
    }
    if (!l->is_json && l->copies == 0 && s->id_count == 0)
        ctl_printf(s->has_condition || s->selection.places != 0 ? "No such copy\n"
                                                                : "The queue is empty\n");
    else if (!l->is_json && l->copies > 0)
        ctl_printf("-- %" PRIu64 " kB in %" PRIu64 " cop%s.\n", (l->bytes + 1023) / 1024, l->copies,
                   l->copies == 1 ? "y" : "ies");
    return l->problems > 0 ? EXIT_CHECK_FAILED : code;
}

static int run(const struct config *config, const struct select_request *s, bool is_json,
               bool is_summary)
{
    struct listing l = {.config = config, .now = time(NULL), .is_json = is_json};
    struct err err;
    struct queue_reader *reader =
        queue_reader_open(config->relay.spool_directory, config->relay.queue, &err);

    if (reader == NULL) {
        ctl_complain("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    int code = is_summary ? summary(reader, &s->selection, is_json) : list(&l, reader, s);
    queue_reader_close(reader);
    return code;
}

int ctl_queue(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    static const struct option options[] = {
        SELECT_OPTIONS, {"json", no_argument, NULL, 'j'}, {"summary", no_argument, NULL, 's'}, {0}};
    struct select_request request = {0};
    bool is_json = false, is_summary = false;
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == '?')
            return ctl_usage(self);
        if (c >= SELECT_FROM && !select_option(&request, c, optarg))
            return EXIT_USAGE;
        is_json |= c == 'j';
        is_summary |= c == 's';
    }
    if (!select_words(&request, true, argc - optind, argv + optind) ||
        (is_summary && request.id_count > 0))
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    select_destination(&request, config);
    int code = run(config, &request, is_json, is_summary);
    config_free(config);
    return code;
}
