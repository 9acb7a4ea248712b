/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "base/process.h"
#include "relay/entry.h"
#include "ctl/ctl.h"
#include "ctl/health.h"
#include "ctl/json.h"
#include "ctl/progress.h"
#include "ctl/select.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (64 * 1024)

struct show {
    bool is_json, has_content;
};

static void print_line(const char *name, const char *value)
{
    ctl_printf("%-14s ", name);
    ctl_print(value);
    putchar('\n');
}

static void print_time(const char *name, time_t t)
{
    char when[64];
    struct tm tm;

    if (localtime_r(&t, &tm) == NULL ||
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S %z", &tm) == 0)
        snprintf(when, sizeof when, "%lld", (long long)t);
    print_line(name, when);
}

static void print_message(const struct queue_message *m)
{
    char text[64];

    print_line("sender", m->sender[0] == '\0' ? "<>" : m->sender);
    print_time("arrival", m->arrival.tv_sec);
    snprintf(text, sizeof text, "%" PRIu64 " bytes%s%s%s", m->size_bytes,
             m->is_8bit ? ", 8bit" : "", m->is_utf8 ? ", SMTPUTF8" : "",
             m->needs_requiretls ? ", REQUIRETLS" : "");
    print_line("size", text);
    char *client = mem_printf("%s[%s]", m->client_name, m->client_addr);
    print_line("client", client);
    free(client);
    print_line("helo", m->helo);
    print_line("protocol", m->protocol);
    print_line("mta_queue_id", m->mta_queue_id);
    print_line("message_id", m->message_id);
}

static void print_entry(const struct queue_entry *e, struct health *health, time_t now)
{
    const struct destination_suspension *suspension = health_of(health, e->destination);
    const struct queue_suspension *order = health_order(health, e->destination, now);
    time_t next = health_next_attempt(health, e, now);
    char attempts[16];

    print_line("copy", e->id);
    print_line("destination", e->destination);
    print_line("place", entry_queue(e, next, now));
    if (e->problem[0] != '\0')
        print_line("problem", e->problem);
    if (e->owner[0] != '\0')
        print_line("node", e->owner);
    if (e->ordered[0] != '\0')
        print_line("ordered", e->ordered);
    print_message(e->message);
    snprintf(attempts, sizeof attempts, "%u", e->attempts);
    print_line("attempts", attempts);
    if (next > now)
        print_time("next_attempt", next);
    else if (next != 0)
        print_line("next_attempt", "now");
    if (order != NULL) {
        print_time("suspended", order->since);
        print_line("because", order->reason[0] == '\0' ? "an administrator" : order->reason);
    } else if (next != 0 && suspension->since != 0) {
        print_time("suspended", suspension->since);
        print_line("because", suspension->reason);
    }
    for (size_t i = 0; i < e->recipient_count; i++) {
        const struct queue_recipient *r = &e->recipients[i];
        char *text = mem_printf("%s  %s%s%s%s%s%s", r->address, entry_status(r->state),
                                r->reason[0] == '\0' ? "" : "  (", r->reason,
                                r->reason[0] == '\0' ? "" : ")",
                                r->orcpt[0] == '\0' ? "" : "  orcpt=", r->orcpt);
        print_line("recipient", text);
        free(text);
    }
}

static void print_json(const struct queue_entry *e, struct health *health, time_t now)
{
    ctl_json_line(entry_json_whole(e, health_next_attempt(health, e, now), now));
}

/* Print text on a terminal. The CR at the end of a line is left out; a tab or NUL becomes a space,
 * any other control character '?'. */
static void print_safely(char *text, size_t len)
{
    size_t at = 0;

    while (at < len) {
        char *end = memchr(text + at, '\n', len - at);
        size_t line = end == NULL ? len - at : (size_t)(end - text) - at;
        char *copy = mem_strndup(text + at, line);
        for (size_t i = 0; i < line; i++) /* a NUL would end the text */
            copy[i] = text[at + i] == '\0' || text[at + i] == '\t' ? ' ' : text[at + i];
        if (line > 0 && copy[line - 1] == '\r')
            copy[line - 1] = '\0';
        ctl_print(copy);
        free(copy);
        if (end != NULL)
            putchar('\n');
        at += line + (end != NULL);
    }
}

/* Print the content: unchanged to a file or pipe, with printable characters only to a terminal. */
static int print_content(struct queue_reader *reader, const char *id)
{
    bool is_terminal = isatty(STDOUT_FILENO);
    char *chunk = mem_zalloc(CHUNK);
    struct err err;
    uint64_t at = 0;
    ssize_t n;

    while ((n = queue_reader_content(reader, id, at, chunk, CHUNK, &err)) > 0) {
        if (is_terminal)
            print_safely(chunk, (size_t)n);
        else
            (void)fwrite(chunk, 1, (size_t)n, stdout);
        at += (uint64_t)n;
    }
    free(chunk);
    if (n < 0)
        ctl_complain("%s", err.text);
    return n < 0 ? EXIT_CHECK_FAILED : EXIT_OK;
}

struct found {
    struct progress progress; /* the first member, for progress_of_reading() */
    const struct show *show;
    struct health *health;
    uint64_t count;
    bool has_problem;
};

static bool print_found(void *ctx, const struct queue_entry *e)
{
    struct found *f = ctx;

    progress_end(&f->progress);
    f->has_problem |= e->problem[0] != '\0';
    if (f->show->is_json) {
        print_json(e, f->health, time(NULL));
    } else if (!f->show->has_content) {
        if (f->count > 0)
            putchar('\n');
        print_entry(e, f->health, time(NULL));
    }
    f->count++;
    return !ferror(stdout);
}

/* Show the copies of one selection, which may be one id. */
static int show(struct queue_reader *reader, struct found *f,
                const struct queue_selection *selection)
{
    struct err err;

    progress_begin(&f->progress, "reading", 0);
    int64_t count =
        queue_reader_list(reader, selection, print_found, progress_of_reading(), f, &err);
    progress_end(&f->progress);
    if (count < 0) {
        ctl_complain("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    if (count == 0 && selection->id != NULL) {
        ctl_complain("no copy %s", selection->id);
        return EXIT_CHECK_FAILED;
    }
    if (count == 0 && !f->show->is_json)
        ctl_printf("No such copy\n");
    if (f->show->has_content && selection->id != NULL)
        return print_content(reader, selection->id);
    return f->has_problem ? EXIT_CHECK_FAILED : EXIT_OK;
}

static int show_all(const struct config *config, const struct show *s,
                    const struct select_request *request)
{
    struct queue_selection selection = request->selection;
    struct found f = {.show = s};
    struct err err;
    int code = EXIT_OK;
    struct queue_reader *reader =
        queue_reader_open(config->relay.spool_directory, config->relay.queue, &err);

    if (reader == NULL) {
        ctl_complain("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    f.health = health_new(config, reader);
    for (int i = 0; i < (request->id_count == 0 ? 1 : request->id_count); i++) {
        selection.id = request->id_count == 0 ? NULL : request->ids[i];
        int rc = show(reader, &f, &selection);
        code = rc == EXIT_OK ? code : rc;
    }
    health_free(f.health);
    queue_reader_close(reader);
    return code;
}

int ctl_show(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    static const struct option options[] = {
        SELECT_OPTIONS, {"content", no_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'}, {0}};
    struct select_request request = {0};
    struct show s = {0};
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == '?')
            return ctl_usage(self);
        if (c >= SELECT_FROM && !select_option(&request, c, optarg))
            return EXIT_USAGE;
        s.has_content |= c == 'c';
        s.is_json |= c == 'j';
    }
    if (!select_words(&request, false, argc - optind, argv + optind) ||
        (s.has_content && (s.is_json || request.id_count != 1)))
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    select_destination(&request, config);
    int code = show_all(config, &s, &request);
    config_free(config);
    return code;
}
