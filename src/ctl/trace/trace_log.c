/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_log.h"
#include "base/mem.h"
#include "ctl/trace/trace_object.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE (4U << 20)
#define LINE_MAX_LEN 65535 /* longer lines are no log lines */
#define CUT_MIN 400        /* relays of RFC 3164 may cut at 480 bytes, others later */

/* The lengths at which syslog daemons cut: 1024 bytes in RFC 3164, multiples of it elsewhere. What
 * a daemon puts before the text or leaves out of it differs a little. */
static bool is_cut_length(size_t len)
{
    for (size_t cut = 1024; cut <= 8192; cut *= 2)
        if (len + 24 >= cut && len <= cut + 8)
            return true;
    return false;
}

struct trace_log *trace_log_new(time_t now)
{
    struct trace_log *log = mem_zalloc(sizeof *log);

    trace_stamp_init(&log->stamp, now);
    log->last_tag = TRACE_NONE;
    return log;
}

void trace_log_free(struct trace_log *log)
{
    if (log == NULL)
        return;
    for (uint32_t i = 0; i < log->tag_count; i++)
        free(log->tags[i].text);
    for (uint32_t i = 0; i < log->message_count; i++)
        free(log->messages[i].facts);
    for (size_t i = 0; i < log->block_count; i++)
        free(log->blocks[i]);
    free(log->blocks);
    free(log->tags);
    free(log->systems);
    free(log->events);
    free(log->messages);
    free(log->heads);
    free(log->edges);
    free(log->files);
    free(log->first_unstamped);
    free(log);
}

void trace_log_begin_file(struct trace_log *log, time_t written)
{
    log->last_us = 0;
    trace_stamp_begin_file(&log->stamp, written);
    log->file++;
    if (log->file < log->file_cap)
        return;
    uint32_t cap = log->file + 16;
    log->files = mem_grow(log->files, cap, sizeof *log->files);
    memset(log->files + log->file_cap, 0, (cap - log->file_cap) * sizeof *log->files);
    log->file_cap = cap;
}

/* --- lines --- */

/* Keep a text, with a NUL behind it. */
static const char *keep(struct trace_log *log, struct slice s)
{
    if (log->block_count == 0 || log->block_used + s.len + 1 > log->block_size) {
        log->blocks = mem_grow(log->blocks, log->block_count + 1, sizeof *log->blocks);
        log->block_size = s.len + 1 > BLOCK_SIZE ? s.len + 1 : BLOCK_SIZE;
        log->blocks[log->block_count++] = mem_grow(NULL, log->block_size, 1);
        log->block_used = 0;
    }
    char *at = log->blocks[log->block_count - 1] + log->block_used;
    memcpy(at, s.at, s.len);
    at[s.len] = '\0';
    log->block_used += s.len + 1;
    return at;
}

static uint32_t system_of(struct trace_log *log, const struct trace_source_tag *tag)
{
    for (uint32_t i = 0; i < log->system_count; i++)
        if (slice_is_equal(log->systems[i].name, tag->origin.system) &&
            slice_is_equal(log->systems[i].host, tag->host))
            return i;
    log->systems = mem_grow(log->systems, log->system_count + 1, sizeof *log->systems);
    log->systems[log->system_count] =
        (struct trace_system){tag->host, tag->origin.system, tag->origin.program, false};
    return log->system_count++;
}

static bool is_tag(const struct trace_source_tag *tag, const struct trace_line *line)
{
    return slice_is_equal(
               (struct slice){tag->text + tag->host.len + 1, strlen(tag->text + tag->host.len + 1)},
               line->tag) &&
           slice_is_equal(tag->host, line->host);
}

/* Return the index of host and tag. The number of tags is small: services times instances. */
static uint32_t tag_of(struct trace_log *log, const struct trace_line *line)
{
    if (log->last_tag != TRACE_NONE && is_tag(&log->tags[log->last_tag], line))
        return log->last_tag;
    for (uint32_t i = 0; i < log->tag_count; i++)
        if (is_tag(&log->tags[i], line))
            return log->last_tag = i;
    log->tags = mem_grow(log->tags, log->tag_count + 1, sizeof *log->tags);
    struct trace_source_tag *tag = &log->tags[log->tag_count];
    tag->text = mem_zalloc(line->host.len + line->tag.len + 2);
    memcpy(tag->text, line->host.at, line->host.len);
    memcpy(tag->text + line->host.len + 1, line->tag.at, line->tag.len);
    tag->host = (struct slice){tag->text, line->host.len};
    trace_kind_origin((struct slice){tag->text + line->host.len + 1, line->tag.len}, &tag->origin);
    tag->system = system_of(log, tag);
    log->systems[tag->system].has_qmgr |= slice_is(tag->origin.service, "qmgr");
    return log->last_tag = log->tag_count++;
}

static void note_unstamped(struct trace_log *log, const char *line, size_t len)
{
    if (len == 0 || line[0] == ' ' || (len > 2 && memcmp(line, "-- ", 3) == 0))
        return; /* the second line of a text, or a remark of journalctl(1) */
    if (log->unstamped++ == 0)
        log->first_unstamped = mem_strndup(line, len < 200 ? len : 200);
}

static void add_event(struct trace_log *log, const struct trace_line *line, size_t raw_len)
{
    uint32_t tag = tag_of(log, line);
    const struct trace_origin *origin = &log->tags[tag].origin;
    struct slice text = line->text;

    if (origin->program == TRACE_PROGRAM_OTHER)
        return;
    size_t id_len = trace_kind_id(origin->program, &text);
    struct slice body = text;
    if (id_len > 0)
        body = (struct slice){text.at + id_len + 2, text.len - id_len - 2};
    enum trace_kind kind = trace_kind_of(origin, body);
    if (id_len == 0 && kind != TRACE_KIND_FILTERED && kind != TRACE_KIND_REFUSED)
        return;
    if (log->event_count == log->event_cap) {
        log->event_cap = log->event_cap == 0 ? 4096 : log->event_cap * 2;
        log->events = mem_grow(log->events, log->event_cap, sizeof *log->events);
    }
    log->events[log->event_count] = (struct trace_event){.us = log->last_us,
                                                         .text = keep(log, text),
                                                         .len = (uint32_t)text.len,
                                                         .serial = log->event_count,
                                                         .tag = tag,
                                                         .file = log->file,
                                                         .message = TRACE_NONE,
                                                         .next = TRACE_NONE,
                                                         .id_len = (uint8_t)id_len,
                                                         .kind = (uint8_t)kind,
                                                         .is_undated = line->us == 0,
                                                         .line_len = (uint16_t)raw_len};
    log->event_count++;
}

/* Is the text an object that splitmilter or splitrelay wrote? Others write objects, too. */
static bool is_object(const struct trace_line *line)
{
    struct trace_origin origin;

    if (line->text.len == 0 || line->text.at[0] != '{')
        return false;
    if (line->tag.len == 0)
        return true;
    trace_kind_origin(line->tag, &origin);
    return origin.program == TRACE_PROGRAM_SPLITMILTER ||
           origin.program == TRACE_PROGRAM_SPLITRELAY;
}

/* May a line that has a stamp, but no tag where it should be, be about mail? */
static bool is_of_mail(const char *line, size_t len)
{
    return memmem(line, len, " postfix", 8) != NULL ||
           memmem(line, len, " splitrelay", 11) != NULL ||
           memmem(line, len, " splitmilter", 12) != NULL;
}

/* Remember what the line says of its file. */
static void note_line(struct trace_log *log, int64_t us, size_t len)
{
    if (log->file >= log->file_cap)
        return;
    struct trace_file *f = &log->files[log->file];
    f->us = f->us == 0 ? us : f->us;
    if (len > f->longest) {
        f->longest = (uint32_t)len;
        f->longest_count = 0;
    }
    f->longest_count += len == f->longest;
}

bool trace_log_may_be_cut(const struct trace_log *log, const struct trace_event *e)
{
    const struct trace_file *f = e->file < log->file_cap ? &log->files[e->file] : NULL;

    return is_cut_length(e->line_len) || (f != NULL && e->line_len >= CUT_MIN &&
                                          e->line_len == f->longest && f->longest_count > 1);
}

void trace_log_add(struct trace_log *log, const char *line, size_t len)
{
    struct trace_line parsed;
    char *classic = NULL;
    bool is_broken = false;

    log->lines++;
    log->bytes += len + 1;
    if (len > LINE_MAX_LEN || log->event_count == TRACE_NONE - 1) {
        log->overlong++;
        return;
    }
    enum trace_line_result result = trace_line_parse(&log->stamp, line, len, &parsed);
    if (result == TRACE_LINE_NO_STAMP && len > 0 && line[0] == '{') {
        parsed = (struct trace_line){.host = {line, 0}, .tag = {line, 0}, .text = {line, len}};
        result = TRACE_LINE_OK;
    }
    if (result == TRACE_LINE_OK && is_object(&parsed)) {
        classic = trace_object_read(&parsed, &is_broken);
        if (is_broken)
            note_unstamped(log, line, len);
        if (classic == NULL)
            return;
    }
    if (result == TRACE_LINE_NO_STAMP || (result == TRACE_LINE_NO_TAG && is_of_mail(line, len)))
        note_unstamped(log, line, len);
    if (result == TRACE_LINE_OK) {
        log->last_us = parsed.us != 0 ? parsed.us : log->last_us;
        note_line(log, parsed.us, len);
        bool is_outside = (log->since_us != 0 && log->last_us < log->since_us) ||
                          (log->until_us != 0 && log->last_us > log->until_us);
        if (!is_outside || log->last_us == 0)
            add_event(log, &parsed, len);
    }
    free(classic);
}
