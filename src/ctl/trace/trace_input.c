/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_input.h"
#include "base/mem.h"
#include "ctl/ctl.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

void trace_input_miss(struct trace_input *in, const struct err *err, const char *what,
                      const char *name)
{
    char *text = mem_printf("%s%s", what, name);

    for (size_t i = 0; i < in->unread_count; i++)
        if (strcmp(in->unread[i], text) == 0) { /* at the first reading */
            free(text);
            return;
        }
    ctl_complain("%s", err->text);
    in->unread = mem_grow(in->unread, in->unread_count + 1, sizeof *in->unread);
    in->unread[in->unread_count++] = text;
}

static void add_reader(struct trace_input *in, struct trace_reader *r, const char *name,
                       const struct err *err)
{
    if (r == NULL) {
        trace_input_miss(in, err, "the log ", name);
        return;
    }
    in->readers =
        mem_grow(in->readers, (size_t)in->reader_count + 1, sizeof(struct trace_reader *));
    in->readers[in->reader_count++] = r;
}

static void close_readers(struct trace_input *in)
{
    for (int i = 0; i < in->reader_count; i++)
        trace_reader_close(in->readers[i]);
    in->reader_count = 0;
}

static void read_all(struct trace_input *in, struct trace_log *log)
{
    struct err err = {0};

    for (int i = 0; i < in->reader_count; i++)
        if (trace_reader_all(in->readers[i], log, in->is_followed, &err) < 0)
            trace_input_miss(in, &err, "the rest of the log ", trace_reader_name(in->readers[i]));
}

static void open_files(struct trace_input *in)
{
    struct err err = {0};

    for (int i = 0; i < in->file_count; i++) {
        struct trace_reader *r = trace_reader_open(in->files[i], &err);
        add_reader(in, r, in->files[i], &err);
    }
}

void trace_input_read(struct trace_input *in, struct trace_log *log)
{
    struct err err = {0};
    bool are_files = in->file_count > 0;

    open_files(in);
    if (in->file_count == 0) {
        struct trace_reader *r =
            trace_reader_journal(log->since_us, log->until_us, in->facility, &err);
        add_reader(in, r, "of systemd", &err);
    }
    for (int i = 0; i < in->reader_count; i++)
        are_files &= trace_reader_is_file(in->readers[i]);
    log->when_full = are_files ? TRACE_LOG_READS_AGAIN : TRACE_LOG_STOPS;
    read_all(in, log);
}

void trace_input_read_again(struct trace_input *in, struct trace_log *log)
{
    if (log->mode == TRACE_LOG_NOTES) {
        close_readers(in);
        open_files(in);
        trace_log_begin_again(log);
        read_all(in, log);
    }
    if (log->unstamped > 0)
        ctl_complain("%llu lines are not used, because their time or form is not understood. The "
                     "first: %s",
                     (unsigned long long)log->unstamped, log->first_unstamped);
    if (log->overlong > 0)
        ctl_complain("%llu lines are not used, because they are too long",
                     (unsigned long long)log->overlong);
}

void trace_input_follow(struct trace_input *in, struct trace_log *log)
{
    struct err err = {0};

    trace_log_follow(log);
    if (in->file_count > 0 || in->reader_count == 0)
        return;
    struct trace_reader *r =
        trace_reader_journal_follow(in->readers[0], log->since_us, in->facility, &err);
    close_readers(in);
    add_reader(in, r, "of systemd", &err);
}

bool trace_input_more(struct trace_input *in, struct trace_log *log)
{
    struct err err = {0};
    bool is_open = false;

    trace_stamp_go_on(&log->stamp, time(NULL));
    for (int i = 0; i < in->reader_count; i++) {
        int rc = trace_reader_more(in->readers[i], log, &err);
        if (rc < 0)
            ctl_complain("%s", err.text);
        is_open |= rc == 0;
    }
    return is_open;
}

void trace_input_clear(struct trace_input *in)
{
    close_readers(in);
    free(in->readers);
    for (size_t i = 0; i < in->unread_count; i++)
        free(in->unread[i]);
    free(in->unread);
}
