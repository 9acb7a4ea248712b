/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_object.h"
#include "base/buf.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

/* Append text with what could be taken for a line end replaced. */
static void add_text(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++)
        buf_addc(out, (unsigned char)*text < ' ' ? '?' : *text);
}

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strcmp(name, *names) == 0)
            return true;
    return false;
}

/* Append ", name=value", with an address in brackets. */
static void add_field(struct buf *out, bool *is_first, const char *name, const json_t *value)
{
    static const char *const addresses[] = {"to", "orig_to", "from", "canonical", NULL};

    buf_adds(out, *is_first ? "" : ", ");
    *is_first = false;
    if (json_is_integer(value)) {
        buf_addf(out, "%s=%lld", name, (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        buf_addf(out, "%s=%.3g", name, json_real_value(value));
    } else if (is_one_of(name, addresses)) {
        buf_addf(out, "%s=<", name);
        add_text(out, json_string_value(value));
        buf_addc(out, '>');
    } else if (strcmp(name, "message_id") == 0) {
        const char *id = json_string_value(value);
        buf_adds(out, id[0] == '<' ? "message-id=" : "message-id=<");
        add_text(out, id);
        buf_adds(out, id[0] == '<' ? "" : ">");
    } else {
        buf_addf(out, "%s=", name);
        add_text(out, json_string_value(value));
    }
}

/* "NOQUEUE: reject: STAGE from [CLIENT]: REPLY; from=<a> to=<b>" */
static void add_reject(struct buf *out, const json_t *o)
{
    static const char *const names[] = {"stage", "client", "reason", "from"};
    const char *texts[4], *to = text_of(o, "to");

    for (int i = 0; i < 4; i++)
        texts[i] = text_of(o, names[i]) == NULL ? "" : text_of(o, names[i]);
    buf_addf(out, "NOQUEUE: reject: %s from [%s]: ", texts[0], texts[1]);
    add_text(out, texts[2]);
    buf_addf(out, "; from=<%s>", texts[3]);
    if (to != NULL)
        buf_addf(out, to[0] == '<' ? " to=%s" : " to=<%s>", to);
}

static void add_fields(struct buf *out, json_t *o)
{
    static const char *const skipped[] = {"to",        "from",       "time",         "program",
                                          "service",   "pid",        "level",        "status",
                                          "copy_id",   "reason",     "delays",       "conn_use",
                                          "truncated", "message_id", "mta_queue_id", NULL};
    const char *status = text_of(o, "status"), *reason = text_of(o, "reason");
    bool has_copy_id = text_of(o, "copy_id") != NULL, is_first = true;
    const char *name;
    json_t *value;

    /* in a classic line an address comes first */
    for (size_t i = 0; i < 2; i++)
        if (text_of(o, skipped[i]) != NULL)
            add_field(out, &is_first, skipped[i], json_object_get(o, skipped[i]));
    json_object_foreach(o, name, value)
    {
        bool is_id = !has_copy_id && strcmp(name, "queue_id") == 0;
        if (is_id || is_one_of(name, skipped) || (!json_is_string(value) && !json_is_number(value)))
            continue;
        add_field(out, &is_first, name, value);
    }
    bool is_taken = status != NULL && text_of(o, "from") != NULL;
    /* The sender chooses the Message-ID: so it comes last, and no other field is missing. */
    if (is_taken && has_copy_id && text_of(o, "queue_id") == NULL)
        buf_adds(out, ", queue_id=-");
    if (is_taken && text_of(o, "message_id") != NULL)
        add_field(out, &is_first, "message_id", json_object_get(o, "message_id"));
    bool is_order = reason != NULL && strcmp(reason, "by an administrator") == 0;
    if (status != NULL && !is_taken) {
        buf_adds(out, is_order ? ": " : is_first ? "status=" : ", status=");
        add_text(out, status);
    }
    if (reason != NULL || is_taken) {
        buf_adds(out, is_order ? " " : " (");
        add_text(out, reason != NULL ? reason : status);
        buf_adds(out, is_order ? "" : ")");
    }
}

/* Write tag and text: TAG, NUL, text. Returns false if the object is not a line about mail. */
static bool write_classic(struct buf *out, json_t *o, size_t *text_at_out)
{
    const char *program = text_of(o, "program"), *id = text_of(o, "copy_id");
    const char *status = text_of(o, "status");

    id = id == NULL ? text_of(o, "queue_id") : id;
    bool is_reject = status != NULL && strcmp(status, "rejected") == 0;
    if (program == NULL || (id == NULL && !is_reject) ||
        (strncmp(program, "splitmilter", 11) != 0 && strncmp(program, "splitrelay", 10) != 0))
        return false;
    add_text(out, program);
    buf_addc(out, '\0');
    *text_at_out = out->len;
    if (is_reject) {
        add_reject(out, o);
    } else {
        add_text(out, id);
        buf_adds(out, ": ");
        add_fields(out, o);
    }
    return true;
}

char *trace_object_read(struct trace_line *line, bool *is_broken_out)
{
    json_t *o = json_loadb(line->text.at, line->text.len, JSON_DISABLE_EOF_CHECK, NULL);
    const char *time = text_of(o, "time");
    struct trace_stamp stamp;
    struct buf out = {0};
    size_t text_at = 0;

    *is_broken_out = o == NULL;
    if (line->us == 0 && time != NULL) {
        trace_stamp_init(&stamp, 0);
        (void)trace_stamp_parse(&stamp, time, strlen(time), &line->us);
    }
    bool is_line = json_is_object(o) && write_classic(&out, o, &text_at);
    json_decref(o);
    if (!is_line) {
        buf_clear(&out);
        return NULL;
    }
    size_t len = out.len;
    char *memory = buf_take(&out);
    line->tag = (struct slice){memory, text_at - 1};
    line->text = (struct slice){memory + text_at, len - text_at};
    return memory;
}
