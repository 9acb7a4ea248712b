/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_log.h"
#include "base/mem.h"
#include "ctl/trace/trace_object.h"

#include <stdlib.h>
#include <string.h>

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

struct trace_log *trace_log_new(time_t now, const struct trace_words *words)
{
    struct trace_log *log = mem_zalloc(sizeof *log);

    trace_stamp_init(&log->stamp, now);
    log->select = trace_select_new(words);
    log->memory_max = SIZE_MAX;
    return log;
}

void trace_index_free(struct trace_index *ix)
{
    if (ix == NULL)
        return;
    free(ix->facts);
    free(ix->events);
    free(ix->namings);
    free(ix->common);
    free(ix);
}

void trace_log_free(struct trace_log *log)
{
    if (log == NULL)
        return;
    for (uint32_t i = 0; i < log->tag_count; i++)
        free(log->tags[i].text);
    for (uint32_t i = 0; i < log->message_count; i++)
        trace_index_free(log->messages[i].index);
    trace_pool_clear(&log->kept);
    trace_log_forget(log);
    trace_select_free(log->select);
    free(log->tags);
    free(log->tag_slots);
    free(log->systems);
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

static uint32_t *slot_of_tag(const struct trace_log *log, struct slice host, struct slice tag)
{
    uint32_t mask = log->tag_slot_count - 1;
    uint32_t i = (uint32_t)(slice_hash(host) + 3 * slice_hash(tag)) & mask;

    while (log->tag_slots[i] != TRACE_NONE &&
           !(slice_is_equal(log->tags[log->tag_slots[i]].tag, tag) &&
             slice_is_equal(log->tags[log->tag_slots[i]].host, host)))
        i = (i + 1) & mask;
    return &log->tag_slots[i];
}

static void grow_tags(struct trace_log *log)
{
    log->tag_cap = log->tag_cap == 0 ? 64 : 2 * log->tag_cap;
    log->tags = mem_grow(log->tags, log->tag_cap, sizeof *log->tags);
    log->tag_slot_count = 4 * log->tag_cap;
    free(log->tag_slots);
    log->tag_slots = mem_grow(NULL, log->tag_slot_count, sizeof *log->tag_slots);
    memset(log->tag_slots, 0xff, log->tag_slot_count * sizeof *log->tag_slots);
    for (uint32_t i = 0; i < log->tag_count; i++)
        *slot_of_tag(log, log->tags[i].host, log->tags[i].tag) = i;
}

/* Return the index of host and tag. */
static uint32_t tag_of(struct trace_log *log, const struct trace_line *line)
{
    if (log->tag_count == log->tag_cap)
        grow_tags(log);
    uint32_t *slot = slot_of_tag(log, line->host, line->tag);
    if (*slot != TRACE_NONE)
        return *slot;
    struct trace_source_tag *tag = &log->tags[log->tag_count];
    tag->text = mem_zalloc(line->host.len + line->tag.len + 2);
    memcpy(tag->text, line->host.at, line->host.len);
    memcpy(tag->text + line->host.len + 1, line->tag.at, line->tag.len);
    tag->host = (struct slice){tag->text, line->host.len};
    tag->tag = (struct slice){tag->text + line->host.len + 1, line->tag.len};
    trace_kind_origin(tag->tag, &tag->origin);
    tag->system = system_of(log, tag);
    log->systems[tag->system].has_qmgr |= slice_is(tag->origin.service, "qmgr");
    return *slot = log->tag_count++;
}

static void note_unstamped(struct trace_log *log, const char *line, size_t len)
{
    if (len == 0 || line[0] == ' ' || (len > 2 && memcmp(line, "-- ", 3) == 0))
        return; /* the second line of a text, or a remark of journalctl(1) */
    if (log->unstamped++ == 0)
        log->first_unstamped = mem_strndup(line, len < 200 ? len : 200);
}

/* More lines wait than there is memory for. */
static void make_room(struct trace_log *log)
{
    size_t others = log->kept.bytes + trace_select_bytes(log->select);

    if (log->when_full == TRACE_LOG_AGES && log->recent.bytes > log->memory_max / 4) {
        trace_pool_clear(&log->older);
        log->older = log->recent;
        log->recent = (struct trace_pool){0};
        log->checked = 0;
        trace_select_age(log->select);
    }
    if (others + log->recent.bytes + log->older.bytes <= log->memory_max)
        return;
    if (log->when_full == TRACE_LOG_READS_AGAIN && log->mode == TRACE_LOG_WAITS) {
        trace_pool_clear(&log->recent);
        log->mode = TRACE_LOG_NOTES;
    }
    log->is_full = others + log->recent.bytes > log->memory_max;
}

static void add_event(struct trace_log *log, const struct trace_line *line, size_t raw_len)
{
    struct trace_origin origin;
    struct slice text = line->text;

    trace_kind_origin(line->tag, &origin);
    if (origin.program == TRACE_PROGRAM_OTHER)
        return;
    size_t id_len = trace_kind_id(origin.program, &text);
    struct slice id = {text.at, id_len}, body = text;
    slice_skip(&body, id_len > 0 ? id_len + 2 : 0);
    enum trace_kind kind = trace_kind_of(&origin, body);
    if (id_len == 0 && kind != TRACE_KIND_FILTERED && kind != TRACE_KIND_REFUSED)
        return;
    uint32_t tag = tag_of(log, line);
    struct trace_noted noted = trace_select_note(log->select, origin.program, kind, id, body);
    if (log->mode == TRACE_LOG_WANTS && id_len > 0)
        trace_select_want(log->select, id);
    if (log->mode != TRACE_LOG_NOTES &&
        (log->mode != TRACE_LOG_SELECTS || trace_select_has(log->select, &noted)))
        trace_pool_add(&log->recent, &(struct trace_event){.us = log->last_us,
                                                           .text = text.at,
                                                           .noted = noted,
                                                           .len = (uint32_t)text.len,
                                                           .serial = log->serial++,
                                                           .tag = tag,
                                                           .file = log->file,
                                                           .message = TRACE_NONE,
                                                           .next = TRACE_NONE,
                                                           .line_len = (uint16_t)raw_len,
                                                           .id_len = (uint8_t)id_len,
                                                           .kind = (uint8_t)kind,
                                                           .is_undated = line->us == 0});
    make_room(log);
}

/* Move the events that are selected, from the given one on, to those that are kept. */
static void take(struct trace_log *log, struct trace_pool *from, uint32_t first)
{
    uint32_t left = first;

    for (uint32_t i = first; i < from->count; i++) {
        if (trace_select_has(log->select, &from->events[i].noted))
            trace_pool_add(&log->kept, &from->events[i]);
        else
            from->events[left++] = from->events[i];
    }
    from->count = left;
}

bool trace_log_settle(struct trace_log *log)
{
    uint32_t before = log->kept.count;
    bool are_more = trace_select_close(log->select);

    if (are_more)
        take(log, &log->older, 0);
    take(log, &log->recent, are_more ? 0 : log->checked);
    log->checked = log->recent.count;
    return log->kept.count > before;
}

void trace_log_forget(struct trace_log *log)
{
    trace_pool_clear(&log->recent);
    trace_pool_clear(&log->older);
    log->checked = 0;
}

void trace_log_follow(struct trace_log *log)
{
    if (log->is_full)
        trace_log_forget(log);
    log->is_full = false;
    log->mode = TRACE_LOG_WAITS;
    log->when_full = TRACE_LOG_AGES;
    trace_select_freeze(log->select, false);
}

void trace_log_begin_again(struct trace_log *log)
{
    if (log->file_cap > 0)
        memset(log->files, 0, log->file_cap * sizeof *log->files);
    log->file = 0;
    log->lines = log->bytes = log->unstamped = log->overlong = 0;
    free(log->first_unstamped);
    log->first_unstamped = NULL;
    log->mode = TRACE_LOG_SELECTS;
    log->is_full = false;
    trace_select_freeze(log->select, true);
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
    if (log->is_full)
        return;
    if (len > LINE_MAX_LEN || log->serial == TRACE_NONE - 1) {
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

/* --- texts of events --- */

struct slice trace_log_body(const struct trace_event *e)
{
    size_t skip = e->id_len == 0 ? 0 : e->id_len + 2U;

    return (struct slice){e->text + skip, e->len - skip};
}

void trace_log_facts(const struct trace_log *log, const struct trace_event *e,
                     struct trace_facts *out)
{
    trace_facts_read_line(log->tags[e->tag].origin.program, (enum trace_kind)e->kind,
                          trace_log_body(e), out);
}
