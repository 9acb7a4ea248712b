/* SPDX-License-Identifier: ISC */
/*
 * Grammar (one space between fields, each line ends in LF, nothing is optional):
 *
 *     head    = "splitrelay-spool 1" LF "size" SP 20DIGIT LF "time" SP 1*12DIGIT "." 6DIGIT LF
 *               5( name SP value LF ) "mta_queue_id" SP value LF "flags" SP flags LF
 *               1*copy "END" LF
 *     name    = sender, client_name, client_addr, helo, protocol (in this order)
 *     value   = xtext / "-"                     ; "-" is the empty value, "+2D" a single minus
 *     flags   = "-" / flag *( "," flag )       flag = "8bit" / "utf8" / "requiretls", in this order
 *     copy    = "copy" SP id SP destination SP 4DIGIT LF 1*rcpt
 *     rcpt    = "rcpt" SP ("q" / "s" / "d") SP value SP value SP reason LF
 *     reason  = 239( any byte but 0-31 and 127 )   ; padded with spaces
 *
 * No line but the last begins with "END", and no field holds an LF: the first LF "END" LF is the
 * end.
 */
#include "queue/spool_envelope.h"

#include "base/mem.h"
#include "mail/xtext.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC "splitrelay-spool 1"
#define REASON_WIDTH (QUEUE_REASON_SIZE - 1)
#define TIME_DIGITS_MAX 12
#define ATTEMPTS_DIGITS 4

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_printable(char c)
{
    return (unsigned char)c >= ' ' && c != 127;
}

bool spool_id_is_valid(const char *id)
{
    size_t len = 0;

    for (; id[len] != '\0'; len++) {
        char c = id[len];
        if (!(is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
            return false;
    }
    return len > 0 && len < QUEUE_ID_SIZE;
}

bool spool_destination_is_valid(const char *name)
{
    size_t len = 0;

    for (; name[len] != '\0'; len++) {
        char c = name[len];
        if (!(is_digit(c) || (c >= 'a' && c <= 'z') || c == '-'))
            return false;
    }
    return len > 0 && len <= SPOOL_DESTINATION_MAX && name[0] != '-' && name[len - 1] != '-';
}

static bool state_is_valid(char state)
{
    return state == QUEUE_PENDING || state == QUEUE_SENT || state == QUEUE_DEAD;
}

struct parser {
    const char *data;
    size_t len, at; /* at: the begin of the next line */
    unsigned line;
    size_t recipients; /* so far, in all copies */
    struct err *err;
};

struct field {
    const char *text;
    size_t len;
};

static int fault(struct parser *p, const char *what)
{
    err_set(p->err, "line %u: %s", p->line, what);
    return -1;
}

/* The next line without its LF. */
static int next_line(struct parser *p, struct field *out)
{
    const char *begin = p->data + p->at;
    const char *end = memchr(begin, '\n', p->len - p->at);

    p->line++;
    if (end == NULL)
        return fault(p, "no end of line");
    *out = (struct field){begin, (size_t)(end - begin)};
    p->at += out->len + 1;
    return 0;
}

/* Cut the first word off the line; true if a space followed it. */
static bool take_word(struct field *line, struct field *word)
{
    const char *space = memchr(line->text, ' ', line->len);

    if (space == NULL)
        return false;
    *word = (struct field){line->text, (size_t)(space - line->text)};
    line->text += word->len + 1;
    line->len -= word->len + 1;
    return true;
}

static bool field_is(const struct field *f, const char *text)
{
    return f->len == strlen(text) && memcmp(f->text, text, f->len) == 0;
}

static bool field_number(const struct field *f, uint64_t *out)
{
    uint64_t value = 0;

    if (f->len == 0)
        return false;
    for (size_t i = 0; i < f->len; i++) {
        if (!is_digit(f->text[i]))
            return false;
        unsigned digit = (unsigned)(f->text[i] - '0');
        if (value > ((uint64_t)INT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* *out is allocated on 0. */
static int field_value(struct parser *p, const struct field *f, char **out)
{
    struct buf value = {0};

    if (f->len > 3 * SPOOL_VALUE_MAX)
        return fault(p, "value is too long");
    if (!field_is(f, "-") &&
        (f->len == 0 || xtext_decode(f->text, f->len, &value) < 0 || value.len == 0)) {
        buf_clear(&value);
        return fault(p, "value is not xtext");
    }
    if (value.len > SPOOL_VALUE_MAX || memchr(buf_str(&value), '\0', value.len) != NULL) {
        buf_clear(&value);
        return fault(p, "value is too long or holds a NUL");
    }
    *out = buf_take(&value);
    return 0;
}

/* A line "name rest". */
static int named_line(struct parser *p, const char *name, struct field *rest)
{
    struct field word;

    if (next_line(p, rest) < 0)
        return -1;
    if (!take_word(rest, &word) || !field_is(&word, name)) {
        err_set(p->err, "line %u: expected \"%s\"", p->line, name);
        return -1;
    }
    return 0;
}

static int value_line(struct parser *p, const char *name, char **out)
{
    struct field rest;

    return named_line(p, name, &rest) < 0 ? -1 : field_value(p, &rest, out);
}

static int parse_time(struct parser *p, struct timespec *out)
{
    struct field rest;
    uint64_t seconds, micro;

    if (named_line(p, "time", &rest) < 0)
        return -1;
    const char *dot = memchr(rest.text, '.', rest.len);
    if (dot == NULL)
        return fault(p, "time is not valid");
    struct field whole = {rest.text, (size_t)(dot - rest.text)};
    struct field part = {dot + 1, rest.len - whole.len - 1};
    if (whole.len > TIME_DIGITS_MAX || part.len != 6 || !field_number(&whole, &seconds) ||
        !field_number(&part, &micro))
        return fault(p, "time is not valid");
    *out = (struct timespec){(time_t)seconds, (long)micro * 1000};
    return 0;
}

/* Is this flag the next one? Takes it off; the text is NULL behind the last. */
static bool take_flag(struct field *rest, const char *name)
{
    size_t len = strlen(name);

    if (rest->text == NULL || rest->len < len || memcmp(rest->text, name, len) != 0)
        return false;
    if (rest->len == len) {
        *rest = (struct field){NULL, 0};
        return true;
    }
    if (rest->text[len] != ',')
        return false;
    *rest = (struct field){rest->text + len + 1, rest->len - len - 1};
    return true;
}

static int parse_flags(struct parser *p, struct queue_message *m)
{
    struct field rest;

    if (named_line(p, "flags", &rest) < 0)
        return -1;
    if (field_is(&rest, "-"))
        return 0;
    m->is_8bit = take_flag(&rest, "8bit");
    m->is_utf8 = take_flag(&rest, "utf8");
    m->needs_requiretls = take_flag(&rest, "requiretls");
    bool is_any = m->is_8bit || m->is_utf8 || m->needs_requiretls;
    return is_any && rest.text == NULL ? 0 : fault(p, "flags are not valid");
}

static int parse_message(struct parser *p, struct queue_message *m)
{
    struct field line;

    if (next_line(p, &line) < 0)
        return -1;
    if (!field_is(&line, MAGIC))
        return fault(p, "no spool file of version 1");
    if (named_line(p, "size", &line) < 0)
        return -1;
    if (line.len != SPOOL_SIZE_DIGITS || !field_number(&line, &m->size_bytes))
        return fault(p, "size is not valid");
    if (parse_time(p, &m->arrival) < 0 || value_line(p, "sender", &m->sender) < 0 ||
        value_line(p, "client_name", &m->client_name) < 0 ||
        value_line(p, "client_addr", &m->client_addr) < 0 || value_line(p, "helo", &m->helo) < 0 ||
        value_line(p, "protocol", &m->protocol) < 0)
        return -1;
    return value_line(p, "mta_queue_id", &m->mta_queue_id) < 0 ? -1 : parse_flags(p, m);
}

/* r and the offsets are filled; on -1 the caller releases r's strings. */
static int parse_recipient(struct parser *p, struct field line, struct queue_recipient *r,
                           const char **state_out, const char **reason_out)
{
    struct field word, state, address, orcpt;

    if (!take_word(&line, &word) || !take_word(&line, &state) || !take_word(&line, &address) ||
        !take_word(&line, &orcpt))
        return fault(p, "recipient has too few fields");
    if (state.len != 1 || !state_is_valid(state.text[0]))
        return fault(p, "state is not valid");
    if (line.len != REASON_WIDTH)
        return fault(p, "reason has the wrong width");
    for (size_t i = 0; i < line.len; i++)
        if (!is_printable(line.text[i]))
            return fault(p, "reason is not printable");
    if (field_value(p, &address, &r->address) < 0 || field_value(p, &orcpt, &r->orcpt) < 0)
        return -1;
    r->state = (enum queue_recipient_state)state.text[0];
    size_t len = line.len;
    while (len > 0 && line.text[len - 1] == ' ')
        len--;
    memcpy(r->reason, line.text, len);
    r->reason[len] = '\0';
    *state_out = state.text;
    *reason_out = line.text;
    return 0;
}

static void clear_copy(struct spool_envelope_copy *c)
{
    for (size_t i = 0; i < c->recipient_count; i++) {
        free(c->recipients[i].address);
        free(c->recipients[i].orcpt);
    }
    free(c->recipients);
    free(c->state_at);
    free(c->reason_at);
    free(c->destination);
    memset(c, 0, sizeof *c);
}

/* Room for one more recipient. Doubles, so that a long list does not cost a copy each. */
static void grow_copy(struct spool_envelope_copy *c)
{
    size_t n = c->recipient_count;

    if ((n & (n - 1)) != 0)
        return;
    size_t cap = n == 0 ? 1 : 2 * n;
    c->recipients = mem_grow(c->recipients, cap, sizeof *c->recipients);
    c->state_at = mem_grow(c->state_at, cap, sizeof *c->state_at);
    c->reason_at = mem_grow(c->reason_at, cap, sizeof *c->reason_at);
}

static bool next_is(const struct parser *p, const char *prefix)
{
    size_t len = strlen(prefix);

    return p->len - p->at >= len && memcmp(p->data + p->at, prefix, len) == 0;
}

static int parse_recipients(struct parser *p, struct spool_envelope_copy *c)
{
    const char *section = p->data + c->section_at;

    while (next_is(p, "rcpt ")) {
        struct field line;
        const char *state = NULL, *reason = NULL;

        if (next_line(p, &line) < 0)
            return -1;
        if (++p->recipients > QUEUE_RECIPIENTS_MAX)
            return fault(p, "too many recipients");
        grow_copy(c);
        struct queue_recipient *r = &c->recipients[c->recipient_count];
        memset(r, 0, sizeof *r);
        size_t i = c->recipient_count++;
        if (parse_recipient(p, line, r, &state, &reason) < 0)
            return -1;
        c->state_at[i] = (uint32_t)(state - section);
        c->reason_at[i] = (uint32_t)(reason - section);
    }
    return c->recipient_count > 0 ? 0 : fault(p, "copy has no recipient");
}

/* On -1 the caller clears c. */
static int parse_copy(struct parser *p, struct spool_envelope_copy *c)
{
    struct field line, word, id, destination;
    uint64_t attempts;

    c->section_at = p->at;
    if (next_line(p, &line) < 0)
        return -1;
    const char *begin = line.text;
    if (!take_word(&line, &word) || !field_is(&word, "copy") || !take_word(&line, &id) ||
        !take_word(&line, &destination))
        return fault(p, "expected \"copy\"");
    if (line.len != ATTEMPTS_DIGITS || !field_number(&line, &attempts))
        return fault(p, "attempts are not valid");
    c->attempts = (unsigned)attempts;
    c->id_at = (size_t)(id.text - begin);
    c->attempts_at = (size_t)(line.text - begin);
    if (id.len >= sizeof c->id || destination.len > SPOOL_DESTINATION_MAX)
        return fault(p, "id or destination is too long");
    memcpy(c->id, id.text, id.len);
    c->destination = mem_strndup(destination.text, destination.len);
    if (strlen(c->id) != id.len || !spool_id_is_valid(c->id) ||
        strlen(c->destination) != destination.len || !spool_destination_is_valid(c->destination))
        return fault(p, "id or destination is not valid");
    if (parse_recipients(p, c) < 0)
        return -1;
    c->section_len = p->at - c->section_at;
    return 0;
}

static int parse_copies(struct parser *p, const char *id, struct spool_envelope *out)
{
    while (!next_is(p, "END\n")) {
        struct spool_envelope_copy c = {0};

        if (parse_copy(p, &c) < 0) {
            clear_copy(&c);
            return -1;
        }
        out->section_count++;
        if (id != NULL && (strcmp(c.id, id) != 0 || out->copy_count > 0)) {
            clear_copy(&c);
            continue;
        }
        out->copies = mem_grow(out->copies, out->copy_count + 1, sizeof *out->copies);
        out->copies[out->copy_count++] = c;
    }
    p->at += strlen("END\n");
    p->line++;
    if (p->at != p->len)
        return fault(p, "text behind END");
    if (p->recipients == 0)
        return fault(p, "no copy");
    if (id != NULL && out->copy_count == 0) {
        err_set(p->err, "no copy %s in it", id);
        return -1;
    }
    return 0;
}

size_t spool_envelope_length(const char *data, size_t len)
{
    const char *end = memmem(data, len, "\nEND\n", 5);

    return end == NULL ? 0 : (size_t)(end - data) + 5;
}

int spool_envelope_parse(const char *data, size_t len, const char *id, struct spool_envelope *out,
                         struct err *err)
{
    struct parser p = {.data = data, .len = len, .err = err};

    memset(out, 0, sizeof *out);
    if (len > SPOOL_HEAD_MAX) {
        err_set(err, "envelope is larger than %d bytes", SPOOL_HEAD_MAX);
        return -1;
    }
    if (parse_message(&p, &out->message) < 0 || parse_copies(&p, id, out) < 0) {
        spool_envelope_clear(out);
        return -1;
    }
    out->head_len = len;
    return 0;
}

void spool_envelope_clear(struct spool_envelope *e)
{
    struct queue_message *m = &e->message;

    free(m->sender);
    free(m->client_name);
    free(m->client_addr);
    free(m->helo);
    free(m->protocol);
    free(m->mta_queue_id);
    for (size_t i = 0; i < e->copy_count; i++)
        clear_copy(&e->copies[i]);
    free(e->copies);
    memset(e, 0, sizeof *e);
}
