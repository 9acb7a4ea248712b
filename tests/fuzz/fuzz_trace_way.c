/* SPDX-License-Identifier: ISC */
/* Logs, line by line, and the ways of all mail in them. */
#include "ctl/trace/trace_join.h"
#include "ctl/trace/trace_way.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void follow_all(struct trace_log *log, const struct trace_words *set)
{
    const struct trace_way_options o = {.log = log, .words = set, .tag_domain = "split.invalid"};
    uint32_t *roots;

    trace_words_mark(set, log);
    for (uint32_t i = 0; i < log->message_count; i++)
        log->messages[i].is_wanted = true;
    size_t count = trace_way_roots(&o, &roots);
    for (size_t i = 0; i < count; i++) {
        struct trace_way *ways;
        size_t n = trace_ways(&o, roots[i], &ways);
        trace_ways_free(ways, n);
    }
    free(roots);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    char word[] = "anna@example.com", *words[] = {word};
    struct trace_words *set = trace_words_new(words, 1, "split.invalid");
    struct trace_log *log = trace_log_new(1796126400, set);

    if (size > 0 && data[0] % 2 == 0) /* all messages, or those that the word selects */
        log->mode = TRACE_LOG_WANTS;

    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((stop == NULL ? end : stop) - at);
        trace_log_add(log, at, len);
        at += len + 1;
    }
    (void)trace_log_settle(log);
    trace_log_sort(log);
    trace_join(log, "split.invalid");
    follow_all(log, set);
    trace_log_free(log);
    trace_words_free(set);
    return 0;
}
