/* SPDX-License-Identifier: ISC */
#include "base/log_format.h"
#include "base/ascii.h"
#include "base/utf8.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The room that is kept for the end of the object. */
static const char truncated_end[] = ",\"truncated\":true}";

/* Copy the text of a field, printable and cut between characters at `max` bytes. Returns false if
 * it was cut. */
static bool copy_value(const char *text, size_t max, char out[LOG_VALUE_MAX + 1])
{
    size_t len = strnlen(text, max + 1);
    bool is_whole = len <= max;

    if (!is_whole)
        len = log_whole_characters(text, max);
    memcpy(out, text, len);
    out[len] = '\0';
    log_sanitize(out);
    return is_whole;
}

/* Append printable text as a JSON string of at most `room` bytes, at least 2. Returns false if it
 * was cut. */
static bool add_string(struct buf *out, const char *text, size_t room)
{
    size_t end = out->len + room - 1, left = strlen(text);

    buf_addc(out, '"');
    while (left > 0) {
        uint32_t code;
        size_t n = utf8_decode(text, left, &code), is_escaped = *text == '"' || *text == '\\';
        if (out->len + n + is_escaped > end)
            break;
        if (is_escaped)
            buf_addc(out, '\\');
        buf_add(out, text, n);
        text += n;
        left -= n;
    }
    buf_addc(out, '"');
    return left == 0;
}

/* How much of the members an object has. */
enum fit {
    FIT_WHOLE,
    FIT_CUT,     /* a text was too long */
    FIT_NO_ROOM, /* a text was cut, or a member left out, because the object was full */
};

/* Append ,"name":value if there is room before `end`. */
static enum fit add_member(struct buf *out, const struct log_field *f, size_t max, size_t end)
{
    char value[LOG_VALUE_MAX + 1];
    enum fit fit = copy_value(f->text, max, value) ? FIT_WHOLE : FIT_CUT;
    size_t need = strlen(f->name) + sizeof ",\"\":" - 1 + (f->is_number ? strlen(value) : 2);

    if (out->len + need > end)
        return FIT_NO_ROOM;
    buf_addf(out, ",\"%s\":", f->name);
    if (f->is_number)
        buf_adds(out, value);
    else if (!add_string(out, value, end - out->len))
        return FIT_NO_ROOM;
    return fit;
}

/* Append all fields, with texts of at most `max` bytes. */
static enum fit add_members(struct buf *out, const struct log_field *f, size_t max, size_t end)
{
    enum fit all = FIT_WHOLE;

    for (; f->name != NULL; f++) {
        enum fit fit = f->text == NULL ? FIT_WHOLE : add_member(out, f, max, end);
        all = fit > all ? fit : all;
    }
    return all;
}

static void add_time(struct buf *out, const struct timespec *now)
{
    char text[32];
    struct tm tm;

    if (gmtime_r(&now->tv_sec, &tm) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        return;
    buf_addf(out, "\"time\":\"%s.%06ldZ\",", text, now->tv_nsec / 1000);
}

void log_format_json(const struct log_line *l, const struct timespec *now, struct buf *out)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    const struct log_field message[] = {LOG_TEXT("message", l->message), LOG_END};
    const struct log_field *f = l->fields == NULL ? message : l->fields;
    size_t end = out->len + LOG_JSON_MAX - sizeof truncated_end + 1;

    buf_addc(out, '{');
    add_time(out, now);
    buf_adds(out, "\"program\":");
    (void)add_string(out, l->program, 100);
    buf_addf(out, ",\"pid\":%ld,\"level\":\"%s\"", l->pid, levels[l->level]);
    size_t head = out->len;
    enum fit fit = add_members(out, f, LOG_VALUE_MAX, end);
    if (fit == FIT_NO_ROOM) {
        buf_truncate(out, head);
        (void)add_members(out, f, LOG_VALUE_SHORT, end);
    }
    buf_adds(out, fit == FIT_WHOLE ? "}" : truncated_end);
}

/* No value contains a line end, so each field has the form for text. */
void log_format_journal(const struct log_line *l, int priority, int facility, struct buf *out)
{
    char value[LOG_VALUE_MAX + 1];

    buf_addf(out, "PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=%.*s\nSYSLOG_PID=%ld\n",
             priority, facility >> 3, (int)l->tag_len, l->tag, l->pid);
    buf_addf(out, "MESSAGE=%s\n", l->text);
    for (const struct log_field *f = l->fields; f != NULL && f->name != NULL; f++) {
        if (f->text == NULL)
            continue;
        buf_adds(out, "SPLIT_");
        for (const char *c = f->name; *c != '\0'; c++)
            buf_addc(out, ascii_to_upper(*c));
        (void)copy_value(f->text, LOG_VALUE_MAX, value);
        buf_addf(out, "=%s\n", value);
    }
}
