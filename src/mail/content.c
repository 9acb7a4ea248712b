/* SPDX-License-Identifier: ISC */
/*
 * RFC 5321 sections 2.3.8 and 4.5.2. A line ends in CRLF. Neither a lone CR nor a bare LF ends one,
 * so a dot behind them is data:
 *
 *     wire = *( ["."] line CRLF ) "." CRLF
 *
 * The header (RFC 5322 2.2) consists of fields, folded lines included. It ends at the empty line,
 * or at the first line that cannot be a field, as in Postfix's cleanup(8). The body below the
 * header is not examined.
 */
#include "mail/content.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/ascii.h"
#include "mail/header_condition.h"

#include <stdlib.h>
#include <string.h>

#define FIELD_MAX 1024 /* bytes of a header field that are examined */

enum state {
    AT_LINE_START,  /* behind CRLF, or at the beginning */
    AFTER_DOT,      /* "." at a line start, held back */
    AFTER_DOT_CR,   /* "." CR at a line start, both held back */
    IN_LINE,        /* anywhere else */
    IN_LINE_AND_CR, /* the byte before was a CR */
    AT_END,
};

/* The kind of the present header field. For FIELD_COPY and FIELD_MESSAGE_ID its body is collected
 * in content.field. */
enum field { FIELD_OTHER, FIELD_COPY, FIELD_MESSAGE_ID };

struct content {
    const char *hostname;
    enum state state;
    bool has_bare_lf;
    bool is_header;
    bool has_many_copies; /* more X-Split-Copy fields of this host than are stored */
    enum field field_kind;
    unsigned hops;
    size_t line_len, field_len;
    size_t destination_count;
    char *destinations[CONTENT_LOOP_DESTINATIONS];
    char line[FIELD_MAX]; /* start of a header line that is not complete yet */
    char field[FIELD_MAX];
    char *message_id; /* NULL until there is one */
    struct content_watch *watches;
    size_t watch_count;
    /* The present header field, if conditions are about it. */
    char watched_name[HEADER_CONDITION_MAX];
    size_t watched_name_len; /* 0: no condition is about the field */
    struct header_value watched_value;
};

struct content *content_new(const char *hostname)
{
    struct content *c = mem_zalloc(sizeof *c);

    c->hostname = hostname;
    c->state = AT_LINE_START;
    c->is_header = true;
    return c;
}

void content_free(struct content *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->destination_count; i++)
        free(c->destinations[i]);
    free(c->message_id);
    buf_clear(&c->watched_value.text);
    free(c);
}

void content_watch(struct content *c, struct content_watch *watches, size_t count)
{
    c->watches = watches;
    c->watch_count = count;
}

static void remember(struct content *c, const char *destination, size_t len)
{
    char *copy = mem_strndup(destination, len);

    if (content_has_copy_for(c, copy)) {
        free(copy);
    } else if (c->destination_count == CONTENT_LOOP_DESTINATIONS) {
        c->has_many_copies = true;
        free(copy);
    } else {
        c->destinations[c->destination_count++] = copy;
    }
}

static bool is_blank(char ch)
{
    return ch == ' ' || ch == '\t';
}

/* Is [part, part + len) "KEY=value"? Sets the value. */
static bool part_is(const char *part, size_t len, const char *key, const char **value,
                    size_t *value_len)
{
    size_t n = strlen(key);

    if (len <= n || !ascii_equal_n(part, key, n) || part[n] != '=')
        return false;
    *value = part + n + 1;
    *value_len = len - n - 1;
    return true;
}

/* Parse the X-Split-Copy field in content.field, which is complete: "destination=NAME; id=COPYID;
 * host=HOSTNAME". */
static void end_copy_field(struct content *c)
{
    const char *destination = "", *host = "";
    size_t destination_len = 0, host_len = 0;
    const char *end = c->field + c->field_len;

    for (const char *p = c->field; p < end;) {
        const char *semicolon = memchr(p, ';', (size_t)(end - p));
        const char *stop = semicolon != NULL ? semicolon : end;
        const char *next = semicolon != NULL ? stop + 1 : end;
        while (p < stop && is_blank(*p))
            p++;
        while (stop > p && is_blank(stop[-1]))
            stop--;
        if (!part_is(p, (size_t)(stop - p), "destination", &destination, &destination_len))
            part_is(p, (size_t)(stop - p), "host", &host, &host_len);
        p = next;
    }
    if (destination_len > 0 && host_len == strlen(c->hostname) &&
        ascii_equal_n(host, c->hostname, host_len))
        remember(c, destination, destination_len);
}

static void end_message_id_field(struct content *c)
{
    char *begin = c->field, *end = c->field + c->field_len;

    while (begin < end && is_blank(*begin))
        begin++;
    while (end > begin && is_blank(end[-1]))
        end--;
    for (char *p = begin; p < end; p++)
        *p = *p == '\0' ? '?' : *p == '\t' ? ' ' : *p;
    size_t len = (size_t)(end - begin);
    c->message_id =
        mem_strndup(begin, len < CONTENT_MESSAGE_ID_SIZE ? len : CONTENT_MESSAGE_ID_SIZE - 1);
    log_sanitize(c->message_id);
}

/* Find the first condition of a watch that is about fields of this name, and that the value meets.
 * value NULL: any value. NULL: there is none, or the watch has found one already. */
static const char *find_condition(const struct content_watch *w, const char *name, size_t name_len,
                                  const struct header_value *value)
{
    for (size_t i = 0; i < w->conditions->count && w->met == NULL; i++) {
        const char *condition = w->conditions->items[i];
        if (header_condition_has_name(condition, name, name_len) &&
            (value == NULL || header_condition_is_met(condition, value)))
            return condition;
    }
    return NULL;
}

static void end_watched_field(struct content *c)
{
    for (size_t i = 0; i < c->watch_count && c->watched_name_len > 0; i++) {
        const char *met =
            find_condition(&c->watches[i], c->watched_name, c->watched_name_len, &c->watched_value);
        if (met != NULL)
            c->watches[i].met = met;
    }
    c->watched_name_len = 0;
}

/* Collect the value of a field if conditions are about it. body: the value in the first line. */
static void begin_watched_field(struct content *c, const char *name, size_t name_len,
                                const char *body, size_t len, bool is_cut)
{
    for (size_t i = 0; i < c->watch_count && c->watched_name_len == 0; i++) {
        if (find_condition(&c->watches[i], name, name_len, NULL) == NULL)
            continue;
        memcpy(c->watched_name, name, name_len); /* it is in a condition, so there is room */
        c->watched_name_len = name_len;
        header_value_reset(&c->watched_value);
        header_value_add(&c->watched_value, body, len, is_cut);
    }
}

/* Evaluate the field that was collected, which is complete. */
static void end_field(struct content *c)
{
    end_watched_field(c);
    switch (c->field_kind) {
    case FIELD_COPY:
        end_copy_field(c);
        break;
    case FIELD_MESSAGE_ID:
        end_message_id_field(c);
        break;
    case FIELD_OTHER:
        break;
    }
    c->field_kind = FIELD_OTHER;
}

static void extend_field(struct content *c, const char *text, size_t len)
{
    size_t room = sizeof c->field - c->field_len;

    if (len > room)
        len = room;
    memcpy(c->field + c->field_len, text, len);
    c->field_len += len;
}

/* The length of the field name at the beginning of the line; *body_out: the text behind its colon.
 * 0 if the line is no field. */
static size_t field_name(const char *line, size_t len, const char **body_out)
{
    size_t name = 0, colon;

    while (name < len && line[name] > ' ' && line[name] < '\x7f' && line[name] != ':')
        name++;
    for (colon = name; colon < len && is_blank(line[colon]); colon++) {
    }
    if (colon == len || line[colon] != ':')
        return 0;
    *body_out = line + colon + 1;
    return name;
}

/* Begin to collect the body of a field of this kind. */
static void begin_field(struct content *c, enum field kind, const char *body, size_t len)
{
    c->field_kind = kind;
    c->field_len = 0;
    extend_field(c, body, len);
}

static bool name_is(const char *line, size_t name_len, const char *name)
{
    return name_len == strlen(name) && ascii_equal_n(line, name, name_len);
}

/* Take one line of the header, with its line end. A line that is too long is cut. */
static void header_line(struct content *c, const char *line, size_t len)
{
    const bool is_cut = len == 0 || line[len - 1] != '\n';
    const char *body;

    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        len--;
    if (len > 0 && is_blank(line[0])) {
        if (c->field_kind != FIELD_OTHER)
            extend_field(c, line, len);
        if (c->watched_name_len > 0)
            header_value_add(&c->watched_value, line, len, is_cut);
        return;
    }
    end_field(c);
    size_t name_len = field_name(line, len, &body);
    if (name_len == 0) {
        c->is_header = false;
        return;
    }
    begin_watched_field(c, line, name_len, body, len - (size_t)(body - line), is_cut);
    if (name_is(line, name_len, "Received")) {
        c->hops++;
    } else if (name_is(line, name_len, "X-Split-Copy")) {
        begin_field(c, FIELD_COPY, body, len - (size_t)(body - line));
    } else if (name_is(line, name_len, "Message-ID") && c->message_id == NULL) {
        begin_field(c, FIELD_MESSAGE_ID, body, len - (size_t)(body - line));
    }
}

static void header_feed(struct content *c, const char *data, size_t len)
{
    while (len > 0 && c->is_header) {
        const char *lf = memchr(data, '\n', len);
        size_t n = lf != NULL ? (size_t)(lf - data) + 1 : len;
        if (lf != NULL && c->line_len == 0) { /* cut like a line that comes in pieces */
            header_line(c, data, n < sizeof c->line ? n : sizeof c->line);
        } else {
            size_t room = sizeof c->line - c->line_len;
            size_t take = n < room ? n : room;
            memcpy(c->line + c->line_len, data, take);
            c->line_len += take;
            if (lf != NULL) {
                header_line(c, c->line, c->line_len);
                c->line_len = 0;
            }
        }
        data += n;
        len -= n;
    }
}

static void emit(struct content *c, const char *data, size_t len, struct buf *out)
{
    buf_add(out, data, len);
    if (c->is_header)
        header_feed(c, data, len);
}

/* Emit the bytes up to the next dot at a line start, or all of them. The first byte is content even
 * if it is a dot. Returns where the rest begins. */
static const char *feed_lines(struct content *c, const char *data, const char *end, struct buf *out)
{
    const char *p = data;

    c->state = IN_LINE;
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        if (lf == NULL) {
            c->state = end[-1] == '\r' ? IN_LINE_AND_CR : IN_LINE;
            p = end;
            break;
        }
        p = lf + 1;
        /* An LF at the start of `data` is bare, because the caller handles an LF behind a CR. */
        if (lf == data || lf[-1] != '\r') {
            c->has_bare_lf = true;
        } else if (p == end || *p == '.') {
            c->state = AT_LINE_START;
            break;
        }
    }
    emit(c, data, (size_t)(p - data), out);
    return p;
}

size_t content_feed(struct content *c, const char *data, size_t len, struct buf *out)
{
    const char *p = data, *end = data + len;

    while (p < end && c->state != AT_END) {
        switch (c->state) {
        case AT_LINE_START:
            if (*p != '.') {
                p = feed_lines(c, p, end, out);
            } else {
                c->state = AFTER_DOT;
                p++;
            }
            break;
        case AFTER_DOT:
            if (*p != '\r') {
                p = feed_lines(c, p, end, out);
            } else {
                c->state = AFTER_DOT_CR;
                p++;
            }
            break;
        case AFTER_DOT_CR:
            if (*p != '\n') {
                emit(c, "\r", 1, out);
                c->state = IN_LINE_AND_CR;
            } else {
                c->state = AT_END;
                p++;
            }
            break;
        case IN_LINE_AND_CR:
            if (*p != '\n') {
                p = feed_lines(c, p, end, out);
            } else {
                emit(c, p, 1, out);
                c->state = AT_LINE_START;
                p++;
            }
            break;
        case IN_LINE:
            p = feed_lines(c, p, end, out);
            break;
        case AT_END:
            break;
        }
    }
    if (c->state == AT_END)
        end_field(c);
    return (size_t)(p - data);
}

bool content_is_complete(const struct content *c)
{
    return c->state == AT_END;
}

bool content_has_bare_lf(const struct content *c)
{
    return c->has_bare_lf;
}

bool content_has_too_many_hops(const struct content *c)
{
    return c->hops > CONTENT_HOPS_MAX || c->has_many_copies;
}

const char *content_message_id(const struct content *c)
{
    return c->message_id != NULL ? c->message_id : "";
}

bool content_has_copy_for(const struct content *c, const char *destination)
{
    for (size_t i = 0; i < c->destination_count; i++) {
        if (ascii_equal(c->destinations[i], destination))
            return true;
    }
    return false;
}
