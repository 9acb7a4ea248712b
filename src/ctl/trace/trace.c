/* SPDX-License-Identifier: ISC */
/* trace: the command `splitctl trace`. */
#include "base/mem.h"
#include "base/process.h"
#include "config/config_queue.h"
#include "ctl/ctl.h"
#include "ctl/trace/trace_seen.h"
#include "ctl/trace/trace_join.h"
#include "ctl/trace/trace_print.h"
#include "ctl/trace/trace_queue.h"
#include "ctl/trace/trace_reader.h"
#include "ctl/trace/trace_when.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOURNAL_SINCE_S 86400 /* how far back the journal is read if --since is not given */

struct trace {
    char **words, **files; /* borrowed from argv */
    int word_count, file_count;
    time_t since, until; /* 0: not given */
    bool is_json, is_followed;

    const struct config *config;
    struct trace_log *log;
    struct trace_words *set;
    struct trace_queue *queue; /* NULL: it cannot be read */
    struct trace_reader **readers;
    int reader_count;
    char host[256];
    char **unread; /* what could not be read, as a part of each answer */
    size_t unread_count;
};

/* --- reading --- */

/* Complain, and remember what is missing in the answers. */
static void miss(struct trace *t, const struct err *err, const char *what, const char *name)
{
    ctl_complain("%s", err->text);
    t->unread = mem_grow(t->unread, t->unread_count + 1, sizeof *t->unread);
    t->unread[t->unread_count++] = mem_printf("%s%s", what, name);
}

static void add_reader(struct trace *t, struct trace_reader *r, const char *name,
                       const struct err *err)
{
    if (r == NULL) {
        miss(t, err, "the log ", name);
        return;
    }
    t->readers = mem_grow(t->readers, (size_t)t->reader_count + 1, sizeof(struct trace_reader *));
    t->readers[t->reader_count++] = r;
}

static void open_readers(struct trace *t)
{
    struct err err = {0};

    for (int i = 0; i < t->file_count; i++) {
        struct trace_reader *r = trace_reader_open(t->files[i], &err);
        add_reader(t, r, t->files[i], &err);
    }
    if (t->file_count > 0)
        return;
    struct trace_reader *r =
        trace_reader_journal(t->log->since_us, t->log->until_us, t->config->log.facility, &err);
    add_reader(t, r, "of systemd", &err);
}

/* Read all logs. */
static void read_logs(struct trace *t)
{
    struct err err;

    open_readers(t);
    for (int i = 0; i < t->reader_count; i++)
        if (trace_reader_all(t->readers[i], t->log, t->is_followed, &err) < 0)
            miss(t, &err, "the rest of the log ", trace_reader_name(t->readers[i]));
    if (t->log->unstamped > 0)
        ctl_complain("%llu lines are not used, because their time or form is not understood. The "
                     "first: %s",
                     (unsigned long long)t->log->unstamped, t->log->first_unstamped);
    if (t->log->overlong > 0)
        ctl_complain("%llu lines are not used, because they are too long",
                     (unsigned long long)t->log->overlong);
}

/* Add what the queue knows of copies of which the log has no line. */
static void read_queue(struct trace *t)
{
    int64_t added = 0;
    struct err err;

    t->queue = trace_queue_open(t->config, &err);
    for (int i = 0; t->queue != NULL && i < t->word_count; i++) {
        int64_t n = trace_queue_add(t->queue, t->words[i], t->since, t->log, &err);
        if (n < 0) {
            trace_queue_close(t->queue);
            t->queue = NULL;
            break;
        }
        added += n;
    }
    if (t->queue == NULL) {
        err_wrap(&err, "the queue of splitrelay cannot be read");
        miss(t, &err, "what the queue of splitrelay says", "");
    }
    if (added > 0)
        trace_log_sort(t->log);
}

/* --- output --- */

/* Write the messages that were refused before they had a queue id. Returns their number. */
static size_t print_refusals(const struct trace *t, struct trace_seen *seen)
{
    struct trace_facts f;
    size_t count = 0;

    for (uint32_t i = 0; i < t->log->event_count; i++) {
        const struct trace_event *e = &t->log->events[i];
        if (e->message != TRACE_NONE ||
            (e->kind != TRACE_KIND_REFUSED && e->kind != TRACE_KIND_DISCARDED))
            continue;
        trace_log_facts(t->log, e, &f);
        bool is_wanted = (f.to.at != NULL && trace_words_have(t->set, f.to)) ||
                         (f.from.len > 0 && trace_words_have(t->set, f.from));
        if (!is_wanted)
            continue;
        count++;
        if (trace_seen_is_new(seen, e->serial, ""))
            (t->is_json ? trace_print_json_refusal : trace_print_refusal)(t->log, e, &f);
    }
    return count;
}

/* Write the steps of a way that were not written before. */
static void print_new_steps(const struct trace *t, struct trace_seen *seen,
                            const struct trace_way *way, bool is_first)
{
    for (size_t i = 0; i < way->step_count; i++) {
        bool is_new = way->steps[i].serial != TRACE_NONE &&
                      trace_seen_is_new(seen, way->steps[i].serial, way->recipient);
        if (is_new && !is_first)
            trace_print_step(t->log, &way->steps[i], way->recipient);
    }
}

/* Connect the messages, and write those that the words select. is_first: whole ways; otherwise the
 * steps that are new. Returns the number of ways. */
static size_t report(struct trace *t, struct trace_seen *seen, bool is_first)
{
    const struct trace_way_options options = {.log = t->log,
                                              .words = t->set,
                                              .tag_domain = t->config->tag_domain,
                                              .find = t->queue == NULL ? NULL : trace_queue_find,
                                              .ctx = t->queue,
                                              .host = t->host[0] == '\0' ? NULL : t->host,
                                              .unread = t->unread,
                                              .unread_count = t->unread_count};
    size_t found = 0;
    uint32_t *roots;

    trace_join(t->log, t->config->tag_domain);
    trace_words_mark(t->set, t->log);
    size_t count = trace_way_roots(&options, &roots);
    for (size_t i = 0; i < count; i++) {
        struct trace_way *ways;
        struct trace_mail mail;
        size_t way_count = trace_ways(&options, roots[i], &ways);
        trace_print_mail(t->log, roots[i], &mail);
        for (size_t k = 0; k < way_count; k++) {
            if (!ways[k].is_wanted)
                continue;
            found++;
            if (is_first && t->is_json)
                trace_print_json(t->log, roots[i], &mail, &ways[k]);
            else if (is_first)
                trace_print_way(t->log, &mail, &ways[k]);
            if (t->is_followed)
                print_new_steps(t, seen, &ways[k], is_first);
        }
        trace_ways_free(ways, way_count);
    }
    free(roots);
    return found + print_refusals(t, seen);
}

/* Start journalctl(1) again, for the lines from now on. */
static void follow_journal(struct trace *t)
{
    struct err err = {0};

    if (t->file_count > 0 || t->reader_count == 0)
        return;
    struct trace_reader *r =
        trace_reader_journal_follow(t->readers[0], t->log->since_us, t->config->log.facility, &err);
    trace_reader_close(t->readers[0]);
    t->reader_count = 0;
    add_reader(t, r, "of systemd", &err);
}

/* Write what comes, until all logs end or the process is stopped. */
static void follow_logs(struct trace *t, struct trace_seen *seen)
{
    static const struct timespec pause = {.tv_nsec = 500000000};
    struct err err;
    bool is_open = true;

    follow_journal(t);
    while (is_open && fflush(stdout) == 0) {
        uint32_t before = t->log->event_count;
        is_open = false;
        (void)nanosleep(&pause, NULL);
        trace_stamp_go_on(&t->log->stamp, time(NULL));
        for (int i = 0; i < t->reader_count; i++) {
            int rc = trace_reader_more(t->readers[i], t->log, &err);
            if (rc < 0)
                ctl_complain("%s", err.text);
            is_open |= rc == 0;
        }
        if (t->log->event_count == before)
            continue;
        trace_log_sort(t->log);
        (void)report(t, seen, false);
    }
}

static int trace(struct trace *t)
{
    int code = EXIT_OK;
    time_t now = time(NULL);

    t->log = trace_log_new(now);
    if (t->file_count == 0 && t->since == 0)
        t->since = now - JOURNAL_SINCE_S;
    t->log->since_us = (int64_t)t->since * 1000000;
    t->log->until_us = (int64_t)t->until * 1000000;
    t->set = trace_words_new(t->words, t->word_count, t->config->tag_domain);
    struct trace_seen *seen = trace_seen_new();
    /* nodes that share a database have one queue */
    if (config_queue_is_postgresql(t->config->relay.queue) ||
        gethostname(t->host, sizeof t->host - 1) < 0)
        t->host[0] = '\0';
    read_logs(t);
    trace_log_sort(t->log);
    read_queue(t);
    size_t found = report(t, seen, true);
    if (found == 0 && !t->is_json)
        ctl_printf("Nothing was found in the logs%s%s\n", t->queue == NULL ? "" : " and the queue",
                   t->unread_count == 0 ? "" : ", as far as they could be read");
    if (t->unread_count > 0)
        code = EXIT_UNAVAILABLE;
    else if (found == 0)
        code = EXIT_CHECK_FAILED;
    if (t->is_followed)
        follow_logs(t, seen);
    for (int i = 0; i < t->reader_count; i++)
        trace_reader_close(t->readers[i]);
    free(t->readers);
    for (size_t i = 0; i < t->unread_count; i++)
        free(t->unread[i]);
    free(t->unread);
    trace_queue_close(t->queue);
    trace_words_free(t->set);
    trace_seen_free(seen);
    trace_log_free(t->log);
    return code;
}

/* --- command line --- */

/* A plain argument is a word. After --log it is a further file, if there is such a file, or if it
 * looks like a path: the shell makes several arguments of --log mail.log*. */
static void take_argument(struct trace *t, char *text)
{
    bool is_file = t->file_count > 0 && (strchr(text, '/') != NULL || access(text, F_OK) == 0);

    if (is_file)
        t->files[t->file_count++] = text;
    else
        t->words[t->word_count++] = text;
}

static bool take_time(time_t *out, const char *option, const char *text)
{
    if (trace_when_parse(text, time(NULL), out))
        return true;
    ctl_complain("%s %s: not a time such as 10:00, \"2026-11-30 10:00\" or 2h", option, text);
    return false;
}

/* Returns false if the command line is not valid. */
static bool read_arguments(struct trace *t, int argc, char **argv)
{
    enum { SINCE = 256, UNTIL, LOG, JSON, FOLLOW };
    static const struct option options[] = {
        {"since", required_argument, NULL, SINCE}, {"until", required_argument, NULL, UNTIL},
        {"log", required_argument, NULL, LOG},     {"json", no_argument, NULL, JSON},
        {"follow", no_argument, NULL, FOLLOW},     {0}};
    bool is_valid = true;
    int c;

    optind = 0;
    while (is_valid && (c = getopt_long(argc, argv, "-", options, NULL)) != -1) {
        if (c == 1)
            take_argument(t, optarg);
        else if (c == SINCE)
            is_valid = take_time(&t->since, "--since", optarg);
        else if (c == UNTIL)
            is_valid = take_time(&t->until, "--until", optarg);
        else if (c == LOG)
            t->files[t->file_count++] = optarg;
        else if (c == JSON)
            t->is_json = true;
        else if (c == FOLLOW)
            t->is_followed = true;
        else
            is_valid = false;
    }
    while (is_valid && optind < argc) /* after "--" */
        t->words[t->word_count++] = argv[optind++];
    return is_valid && t->word_count > 0 && !(t->is_followed && (t->is_json || t->until != 0));
}

int ctl_trace(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    struct trace t = {.words = mem_zalloc((size_t)argc * sizeof(char *)),
                      .files = mem_zalloc((size_t)argc * sizeof(char *))};
    int code;

    if (!read_arguments(&t, argc, argv)) {
        code = ctl_usage(self);
    } else {
        struct config *config = ctl_load(config_path);
        t.config = config;
        code = config == NULL ? EXIT_CONFIG : trace(&t);
        if (config != NULL)
            config_free(config);
    }
    free(t.words);
    free(t.files);
    return code;
}
