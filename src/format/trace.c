/* SPDX-License-Identifier: ISC */
#include "format/trace.h"
#include "base/ascii.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 77 /* RFC 5322 2.1.1: lines should stay below 78 characters */
#define TAB_COLUMNS 8
#define OUTSIDE_MAX 60  /* bytes kept of a text from outside, so that it fits on a line */
#define QUEUE_ID_MAX 48 /* bytes kept of the MTA's queue id */

/* Writes words, and breaks the line before a word that would go over COLUMNS_MAX. */
struct folder {
    struct buf *out;
    size_t column;
    bool has_word; /* the present line has a word */
};

static void fold(struct folder *f)
{
    buf_adds(f->out, "\r\n\t");
    f->column = TAB_COLUMNS;
    f->has_word = false;
}

static void add_word(struct folder *f, const char *word)
{
    size_t len = strlen(word);

    if (f->has_word && f->column + 1 + len > COLUMNS_MAX)
        fold(f);
    if (f->has_word) {
        buf_addc(f->out, ' ');
        f->column++;
    }
    buf_adds(f->out, word);
    f->column += len;
    f->has_word = true;
}

/*
 * Copy text, at most max bytes, with '?' for all but letters, digits and the characters in `more`.
 * None of the characters that are let through has a meaning in a header field or in a comment.
 */
static const char *reduce(const char *text, const char *more, size_t max, char *out, size_t size)
{
    size_t n = 0;

    for (; n < max && n + 1 < size && text[n] != '\0'; n++)
        out[n] = ascii_is_alnum(text[n]) || strchr(more, text[n]) != NULL ? text[n] : '?';
    out[n] = '\0';
    return out;
}

void trace_hostname(const char *hostname, char out[TRACE_HOSTNAME_SIZE])
{
    reduce(hostname, "-._:[]", TRACE_HOSTNAME_SIZE - 1, out, TRACE_HOSTNAME_SIZE);
}

/* Add "HELO (NAME [ADDR])". */
static void add_client(struct folder *f, const struct queue_message *m)
{
    static const char host_chars[] = "-._:[]";
    char text[OUTSIDE_MAX + 1];
    char word[OUTSIDE_MAX + 4];

    add_word(f, m->helo[0] == '\0' ? "unknown"
                                   : reduce(m->helo, host_chars, OUTSIDE_MAX, text, sizeof text));
    bool has_addr = m->client_addr[0] != '\0';
    snprintf(word, sizeof word, "(%s%s",
             m->client_name[0] == '\0'
                 ? "unknown"
                 : reduce(m->client_name, host_chars, OUTSIDE_MAX, text, sizeof text),
             has_addr ? "" : ")");
    add_word(f, word);
    if (has_addr) {
        snprintf(word, sizeof word, "[%s])",
                 reduce(m->client_addr, "-._:/", OUTSIDE_MAX, text, sizeof text));
        add_word(f, word);
    }
}

/* strftime(3) would write the names of days and months in the language of the locale. */
void trace_date(time_t when, char out[TRACE_DATE_SIZE])
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm;
    char rest[32];

    if (localtime_r(&when, &tm) == NULL)
        memset(&tm, 0, sizeof tm);
    strftime(rest, sizeof rest, "%Y %H:%M:%S %z", &tm);
    snprintf(out, TRACE_DATE_SIZE, "%s, %d %s %s", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
             rest);
}

static void add_date(struct folder *f, time_t when)
{
    char date[TRACE_DATE_SIZE];

    trace_date(when, date);
    add_word(f, date);
}

void trace_received(const struct queue_message *m, const char *id, const char *hostname,
                    struct buf *out)
{
    struct folder f = {.out = out};
    char text[OUTSIDE_MAX + 1];
    char word[OUTSIDE_MAX + 20];
    char host[TRACE_HOSTNAME_SIZE];

    trace_hostname(hostname, host);
    add_word(&f, "Received: from");
    add_client(&f, m);
    fold(&f);
    add_word(&f, "by");
    add_word(&f, host);
    add_word(&f, "(splitrelay)");
    add_word(&f, "with");
    add_word(&f, m->protocol[0] == '\0' ? "SMTP" : reduce(m->protocol, "-", 16, text, sizeof text));
    bool has_mta_id = m->mta_queue_id[0] != '\0';
    add_word(&f, id[0] != '\0' ? "id" : "");
    snprintf(word, sizeof word, "%s%s", id, has_mta_id ? "" : ";");
    add_word(&f, word);
    if (has_mta_id) {
        snprintf(word, sizeof word, "(MTA queue id %s);",
                 reduce(m->mta_queue_id, "-._:", QUEUE_ID_MAX, text, sizeof text));
        add_word(&f, word);
    }
    fold(&f);
    add_date(&f, m->arrival.tv_sec);
    buf_adds(out, "\r\n");
}

void trace_header(const struct queue_copy *c, const char *hostname, struct buf *out)
{
    char host[TRACE_HOSTNAME_SIZE];

    trace_hostname(hostname, host);
    trace_received(&c->message, c->id, hostname, out);
    /* The field is on one line, whatever its length, for tools that are simpler than a parser. */
    buf_addf(out, "X-Split-Copy: destination=%s; id=%s; host=%s\r\n", c->destination, c->id, host);
}

void trace_end(const char *content, size_t len, struct buf *out)
{
    if (len > 0 && (content[0] == ' ' || content[0] == '\t'))
        buf_adds(out, "\r\n");
}
