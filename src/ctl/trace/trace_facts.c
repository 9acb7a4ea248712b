/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_facts_private.h"
#include "base/ascii.h"

#include <string.h>

/* A field, and what follows it. */
struct field {
    struct slice name, value;
    struct slice note; /* the text in parentheses after it, if it is the last field */
    bool is_whole;
};

size_t trace_facts_path_len(const char *at, size_t len)
{
    bool is_quoted = false;

    for (size_t i = 1; i < len; i++) {
        if (at[i] == '\\' && is_quoted)
            i++;
        else if (at[i] == '"')
            is_quoted = !is_quoted;
        else if (at[i] == '>' && !is_quoted)
            return i + 1;
    }
    /* An address may have a single quote in its text: then the first '>' before a separator ends
     * it. */
    for (size_t i = 1; i < len; i++)
        if (at[i] == '>' && (i + 1 == len || at[i + 1] == ',' || at[i + 1] == ' '))
            return i + 1;
    return 0;
}

size_t trace_facts_paths_len(const char *at, size_t len)
{
    size_t n = 0;

    for (;;) {
        size_t one = trace_facts_path_len(at + n, len - n);
        if (one == 0)
            return 0;
        n += one;
        if (n + 1 >= len || at[n] != ',' || at[n + 1] != '<')
            return n;
        n++;
    }
}

/* The length of the text before the first ", ", or before " (" if that comes first and no field
 * follows. */
static size_t plain_len(const char *at, size_t len)
{
    const char *comma = memmem(at, len, ", ", 2), *note = memmem(at, len, " (", 2);

    if (comma == NULL)
        return note != NULL ? (size_t)(note - at) : len;
    return (size_t)(comma - at);
}

/* The length of the text before the first space or comma. */
static size_t word_len(const char *at, size_t len)
{
    size_t n = 0;

    while (n < len && at[n] != ' ' && at[n] != ',')
        n++;
    return n;
}

/* Take what follows the value: a note in parentheses up to the end of the text. */
static void take_note(struct slice *rest, struct field *f)
{
    if (rest->len < 2 || rest->at[0] != ' ' || rest->at[1] != '(')
        return;
    f->is_whole = rest->at[rest->len - 1] == ')' && rest->len > 2;
    f->note = (struct slice){rest->at + 2, rest->len - 2 - f->is_whole};
    rest->len = 0;
}

static void take_value(struct slice *rest, struct field *f)
{
    bool is_status = slice_is(f->name, "status");

    if (slice_is(f->name, "stat")) {
        f->value = *rest;
        rest->len = 0;
        return;
    }
    if (rest->len > 0 && rest->at[0] == '<') {
        size_t n = trace_facts_paths_len(rest->at, rest->len);
        f->is_whole = n > 0;
        f->value = (struct slice){n > 0 ? rest->at : NULL, n};
        n = n > 0 ? n : rest->len;
        rest->at += n;
        rest->len -= n;
        /* "<a@b> (1000/8)": more of the value */
        size_t more = plain_len(rest->at, rest->len);
        if (more > 0 && more < rest->len && rest->at[more] == ',') {
            rest->at += more;
            rest->len -= more;
        }
    } else {
        size_t n = is_status ? word_len(rest->at, rest->len) : plain_len(rest->at, rest->len);
        f->value = (struct slice){rest->at, n};
        rest->at += n;
        rest->len -= n;
    }
    take_note(rest, f);
}

/* Get the next field. False: there is none. */
static bool next_field(struct slice *rest, struct field *f)
{
    size_t n = 0;

    memset(f, 0, sizeof *f);
    f->is_whole = true;
    if (rest->len >= 2 && rest->at[0] == ',' && rest->at[1] == ' ') {
        rest->at += 2;
        rest->len -= 2;
    }
    while (n < rest->len &&
           (ascii_is_alnum(rest->at[n]) || rest->at[n] == '_' || rest->at[n] == '-'))
        n++;
    if (n == 0 || n >= rest->len || rest->at[n] != '=')
        return false;
    f->name = (struct slice){rest->at, n};
    rest->at += n + 1;
    rest->len -= n + 1;
    take_value(rest, f);
    return true;
}

/* --- meanings --- */

static struct slice without_brackets(struct slice s)
{
    if (s.len >= 2 && s.at[0] == '<' && trace_facts_path_len(s.at, s.len) == s.len)
        return (struct slice){s.at + 1, s.len - 2};
    return s;
}

static enum trace_status status_of(struct slice word)
{
    static const struct {
        const char *word;
        enum trace_status status;
    } words[] = {{"sent", TRACE_STATUS_SENT},
                 {"deferred", TRACE_STATUS_DEFERRED},
                 {"bounced", TRACE_STATUS_BOUNCED},
                 {"dead", TRACE_STATUS_DEAD},
                 {"expired", TRACE_STATUS_EXPIRED},
                 {"refused", TRACE_STATUS_REFUSED},
                 {"tempfail", TRACE_STATUS_REFUSED},
                 {"skipped", TRACE_STATUS_SKIPPED},
                 {"deleted", TRACE_STATUS_DELETED},
                 {"SOFTBOUNCE", TRACE_STATUS_DEFERRED},
                 {"force-expired", TRACE_STATUS_EXPIRED}};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (slice_is(word, words[i].word))
            return words[i].status;
    return TRACE_STATUS_OTHER;
}

/* Sendmail: "Sent (reply)", "Deferred: reason", "User unknown", "queued". The class of dsn= decides
 * if there is one. */
static void read_stat(struct slice stat, struct trace_facts *out)
{
    size_t word = 0;

    while (word < stat.len && (ascii_is_letter(stat.at[word]) || stat.at[word] == ' '))
        word++;
    out->reply = stat;
    out->status = TRACE_STATUS_BOUNCED;
    char class = out->dsn.len > 0 ? out->dsn.at[0] : '\0';
    if (slice_begins(stat, "Sent"))
        out->status = TRACE_STATUS_SENT;
    else if (class == '4' || slice_begins(stat, "queued") ||
             (class == '\0' && slice_begins(stat, "Deferred")))
        out->status = TRACE_STATUS_DEFERRED;
    out->status_text = (struct slice){stat.at, word};
    const char *open = slice_find(stat, " (");
    if (out->status == TRACE_STATUS_SENT && open != NULL) {
        bool is_whole = stat.at[stat.len - 1] == ')';
        out->reply = (struct slice){open + 2, (size_t)(stat.at + stat.len - open) - 2 - is_whole};
        out->is_whole &= is_whole;
    }
}

static void set_field(const struct field *f, struct trace_facts *out)
{
    static const struct {
        const char *name;
        size_t at;
    } names[] = {{"to", offsetof(struct trace_facts, to)},
                 {"orig_to", offsetof(struct trace_facts, orig_to)},
                 {"from", offsetof(struct trace_facts, from)},
                 {"canonical", offsetof(struct trace_facts, canonical)},
                 {"message-id", offsetof(struct trace_facts, message_id)},
                 {"msgid", offsetof(struct trace_facts, message_id)},
                 {"filter", offsetof(struct trace_facts, filter)},
                 {"copy", offsetof(struct trace_facts, copy)},
                 {"skip", offsetof(struct trace_facts, skip)},
                 {"dest", offsetof(struct trace_facts, dest)},
                 {"listener", offsetof(struct trace_facts, listener)},
                 {"client", offsetof(struct trace_facts, client)},
                 {"queue_id", offsetof(struct trace_facts, queue_id)},
                 {"orig_queue_id", offsetof(struct trace_facts, queue_id)},
                 {"size", offsetof(struct trace_facts, size)},
                 {"nrcpt", offsetof(struct trace_facts, nrcpt)},
                 {"nrcpts", offsetof(struct trace_facts, nrcpt)},
                 {"dsn", offsetof(struct trace_facts, dsn)},
                 {"relay", offsetof(struct trace_facts, relay)},
                 {"delay", offsetof(struct trace_facts, delay)},
                 {"status", offsetof(struct trace_facts, status_text)}};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct slice *slot = (struct slice *)(void *)((char *)out + names[i].at);
        if (slice_is(f->name, names[i].name) && slot->at == NULL)
            *slot = without_brackets(f->value);
    }
    if (f->note.at != NULL)
        out->reply = f->note;
    if (slice_is(f->name, "status"))
        out->status = status_of(f->value);
    else if (slice_is(f->name, "stat"))
        read_stat(f->value, out);
}

void trace_facts_read(const char *text, size_t len, struct trace_facts *out)
{
    struct slice rest = {text, len};
    struct field f;

    memset(out, 0, sizeof *out);
    out->is_whole = true;
    while (next_field(&rest, &f)) {
        out->is_whole &= f.is_whole;
        set_field(&f, out);
    }
    /* what is left is not a field: a name without its value */
    out->is_whole &= rest.len == 0;
    /* a delivery without status has lost its end */
    out->is_whole &= out->delay.at == NULL || out->status != TRACE_STATUS_NONE;
    if (slice_is(out->queue_id, "-"))
        out->queue_id = (struct slice){0};
}

bool trace_facts_address(struct slice list, size_t *at, struct slice *out)
{
    if (list.at == NULL || *at >= list.len)
        return false;
    struct slice rest = {list.at + *at, list.len - *at};
    size_t n = rest.at[0] == '<' ? trace_facts_path_len(rest.at, rest.len) : 0;
    if (n == 0) { /* one address, whose brackets are gone, or Sendmail's without brackets */
        *at = list.len;
        *out = rest;
        return true;
    }
    *out = (struct slice){rest.at + 1, n - 2};
    *at += n + 1;
    return true;
}
