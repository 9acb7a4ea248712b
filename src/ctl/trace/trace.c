/* SPDX-License-Identifier: ISC */
/* trace: the command `splitctl trace`. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/process.h"
#include "config/config_queue.h"
#include "config/config_units.h"
#include "ctl/ctl.h"
#include "ctl/trace/trace_input.h"
#include "ctl/trace/trace_join.h"
#include "ctl/trace/trace_keys.h"
#include "ctl/trace/trace_print.h"
#include "ctl/trace/trace_queue.h"
#include "ctl/trace/trace_when.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_MAX (256U << 20)
#define JOURNAL_SINCE_S 86400 /* how far back the journal is read if --since is not given */

struct trace {
    char **words; /* borrowed from argv */
    int word_count;
    time_t since, until; /* 0: not given */
    uint64_t memory_max;
    bool is_json;

    const struct config *config;
    struct trace_input input;
    struct trace_log *log;
    struct trace_words *set;
    struct trace_queue *queue; /* NULL: it cannot be read */
    char host[256];            /* whose queue it is; "": all hosts of the logs have this one */
};

/* --- reading --- */

/* Find the copies in the queue that the words select. */
static void search_queue(struct trace *t)
{
    struct err err = {0};

    t->queue = trace_queue_open(t->config, &err);
    for (int i = 0; t->queue != NULL && i < t->word_count; i++)
        if (trace_queue_search(t->queue, t->words[i], t->since, t->log->select, &err) < 0) {
            trace_queue_close(t->queue);
            t->queue = NULL;
        }
    if (t->queue != NULL)
        return;
    err_wrap(&err, "the queue of splitrelay cannot be read");
    trace_input_miss(&t->input, &err, "what the queue of splitrelay says", "");
}

/* Read the logs and the queue. */
static void read_all(struct trace *t)
{
    trace_input_read(&t->input, t->log);
    search_queue(t);
    (void)trace_log_settle(t->log);
    trace_input_read_again(&t->input, t->log);
    (void)trace_log_settle(t->log);
    if (!t->input.is_followed)
        trace_log_forget(t->log);
    trace_log_sort(t->log);
    if (t->queue == NULL)
        return;
    trace_queue_add(t->queue, t->log);
    if (trace_log_settle(t->log))
        trace_log_sort(t->log);
}

/* --- output --- */

/* Is the event, as a part of the way for this recipient, written for the first time? */
static bool is_new(struct trace_keys *seen, uint32_t serial, const char *recipient)
{
    return trace_keys_add(seen,
                          hash_untrusted(recipient) ^ (serial * UINT64_C(0x9e3779b97f4a7c15)));
}

/* Write the messages that were refused before they had a queue id. Returns their number. */
static size_t print_refusals(const struct trace *t, struct trace_keys *seen)
{
    struct trace_facts f;
    size_t count = 0;

    for (uint32_t i = 0; i < t->log->kept.count; i++) {
        const struct trace_event *e = &t->log->kept.events[i];
        if (e->message != TRACE_NONE ||
            (e->kind != TRACE_KIND_REFUSED && e->kind != TRACE_KIND_DISCARDED))
            continue;
        trace_log_facts(t->log, e, &f);
        bool is_wanted = (f.to.at != NULL && trace_words_have(t->set, f.to)) ||
                         (f.from.len > 0 && trace_words_have(t->set, f.from));
        if (!is_wanted)
            continue;
        count++;
        if (is_new(seen, e->serial, ""))
            (t->is_json ? trace_print_json_refusal : trace_print_refusal)(t->log, e, &f);
    }
    return count;
}

/* Write the steps of a way that were not written before. */
static void print_new_steps(const struct trace *t, struct trace_keys *seen,
                            const struct trace_way *way, bool is_first)
{
    for (size_t i = 0; i < way->step_count; i++) {
        bool is_unseen = way->steps[i].serial != TRACE_NONE &&
                         is_new(seen, way->steps[i].serial, way->recipient);
        if (is_unseen && !is_first)
            trace_print_step(t->log, &way->steps[i], way->recipient);
    }
}

/* Connect the messages, and write those that the words select. is_first: whole ways; otherwise the
 * steps that are new. Returns the number of ways. */
static size_t report(struct trace *t, struct trace_keys *seen, bool is_first)
{
    const struct trace_way_options options = {.log = t->log,
                                              .words = t->set,
                                              .tag_domain = t->config->tag_domain,
                                              .find = t->queue == NULL ? NULL : trace_queue_find,
                                              .ctx = t->queue,
                                              .host = t->host[0] == '\0' ? NULL : t->host,
                                              .unread = t->input.unread,
                                              .unread_count = t->input.unread_count};
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
            if (t->input.is_followed)
                print_new_steps(t, seen, &ways[k], is_first);
        }
        trace_ways_free(ways, way_count);
    }
    free(roots);
    return found + print_refusals(t, seen);
}

/* Write what comes, until all logs end or the process is stopped. */
static void follow_logs(struct trace *t, struct trace_keys *seen)
{
    static const struct timespec pause = {.tv_nsec = 500000000};
    bool is_open = true;

    trace_input_follow(&t->input, t->log);
    while (is_open && fflush(stdout) == 0) {
        (void)nanosleep(&pause, NULL);
        is_open = trace_input_more(&t->input, t->log);
        if (!trace_log_settle(t->log))
            continue;
        trace_log_sort(t->log);
        (void)report(t, seen, false);
    }
}

/* Prepare what is read into. */
static void begin(struct trace *t)
{
    time_t now = time(NULL);

    t->set = trace_words_new(t->words, t->word_count, t->config->tag_domain);
    t->log = trace_log_new(now, t->set);
    if (t->input.file_count == 0 && t->since == 0)
        t->since = now - JOURNAL_SINCE_S;
    t->log->since_us = (int64_t)t->since * 1000000;
    t->log->until_us = (int64_t)t->until * 1000000;
    t->log->memory_max = t->memory_max;
    t->input.facility = t->config->log.facility;
    /* nodes that share a database have one queue */
    if (config_queue_is_postgresql(t->config->relay.queue) ||
        gethostname(t->host, sizeof t->host - 1) < 0)
        t->host[0] = '\0';
}

static int trace(struct trace *t)
{
    struct trace_keys seen = {0};
    int code = EXIT_OK;

    begin(t);
    read_all(t);
    size_t found = report(t, &seen, true);
    bool is_all_read = t->input.unread_count == 0;
    if (found == 0 && !t->is_json)
        ctl_printf("Nothing was found in the logs%s%s\n", t->queue == NULL ? "" : " and the queue",
                   is_all_read ? "" : ", as far as they could be read");
    if (!is_all_read)
        code = EXIT_UNAVAILABLE;
    else if (found == 0)
        code = EXIT_CHECK_FAILED;
    if (t->input.is_followed)
        follow_logs(t, &seen);
    trace_input_clear(&t->input);
    trace_queue_close(t->queue);
    trace_keys_clear(&seen);
    trace_log_free(t->log);
    trace_words_free(t->set);
    return code;
}

/* --- command line --- */

/* A plain argument is a word. After --log it is a further file, if there is such a file, or if it
 * looks like a path: the shell makes several arguments of --log mail.log*. */
static void take_argument(struct trace *t, char *text)
{
    bool is_file =
        t->input.file_count > 0 && (strchr(text, '/') != NULL || access(text, F_OK) == 0);

    if (is_file)
        t->input.files[t->input.file_count++] = text;
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

static bool take_size(uint64_t *out, const char *text)
{
    if (config_units_parse_size(text, out) == 0 && *out > 0)
        return true;
    ctl_complain("--memory %s: not a size such as 64M or 1G", text);
    return false;
}

/* Returns false if the command line is not valid. */
static bool read_arguments(struct trace *t, int argc, char **argv)
{
    enum { SINCE = 256, UNTIL, LOG, MEMORY, JSON, FOLLOW };
    static const struct option options[] = {{"since", required_argument, NULL, SINCE},
                                            {"until", required_argument, NULL, UNTIL},
                                            {"log", required_argument, NULL, LOG},
                                            {"json", no_argument, NULL, JSON},
                                            {"follow", no_argument, NULL, FOLLOW},
                                            {"memory", required_argument, NULL, MEMORY},
                                            {0}};
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
            t->input.files[t->input.file_count++] = optarg;
        else if (c == MEMORY)
            is_valid = take_size(&t->memory_max, optarg);
        else if (c == JSON)
            t->is_json = true;
        else if (c == FOLLOW)
            t->input.is_followed = true;
        else
            is_valid = false;
    }
    while (is_valid && optind < argc) /* after "--" */
        t->words[t->word_count++] = argv[optind++];
    return is_valid && t->word_count > 0 &&
           !(t->input.is_followed && (t->is_json || t->until != 0));
}

int ctl_trace(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    struct trace t = {.words = mem_zalloc((size_t)argc * sizeof(char *)),
                      .memory_max = MEMORY_MAX,
                      .input.files = mem_zalloc((size_t)argc * sizeof(char *))};
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
    free(t.input.files);
    return code;
}
