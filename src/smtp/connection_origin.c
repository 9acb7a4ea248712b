/* SPDX-License-Identifier: ISC */
#include "smtp/client_origin.h"
#include "smtp/connection_private.h"

#include "base/log.h"
#include "mail/xtext.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define VALUE_MAX 255 /* bytes of an encoded value: XCLIENT_README */
#define LINE_MAX_BYTES 510

enum attribute { ATTR_NAME, ATTR_ADDR, ATTR_PORT, ATTR_PROTO, ATTR_HELO, ATTR_IDENT, ATTR_COUNT };

static const char *const names[ATTR_COUNT] = {"NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT"};

unsigned client_origin_attributes(const char *text, size_t len)
{
    unsigned set = 0;

    for (size_t at = 0; at < len;) {
        size_t word = 0;
        while (at + word < len && text[at + word] != ' ')
            word++;
        for (unsigned i = 0; i < ATTR_COUNT; i++)
            if (strlen(names[i]) == word && strncasecmp(text + at, names[i], word) == 0)
                set |= 1U << i;
        at += word + 1;
    }
    return set;
}

/* Letters, digits and what stands between them: a name that no server takes for malformed, and that
 * needs no quoting. */
static bool is_plain(const char *text, const char *more)
{
    static const char usual[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";
    size_t len = 0;

    while (text[len] != '\0' &&
           (strchr(usual, text[len]) != NULL || strchr(more, text[len]) != NULL))
        len++;
    return len > 0 && len <= VALUE_MAX && text[len] == '\0';
}

/* " NAME=xtext", cut to VALUE_MAX; unknown is "[UNAVAILABLE]". */
static void add(struct buf *line, enum attribute a, const char *value)
{
    struct buf encoded = {0};

    for (const char *p = value; *p != '\0' && encoded.len + 3 <= VALUE_MAX; p++)
        xtext_encode(p, 1, &encoded);
    buf_addf(line, " %s=%s", names[a], encoded.len == 0 ? "[UNAVAILABLE]" : buf_str(&encoded));
    buf_clear(&encoded);
}

static void add_addr(struct buf *line, const char *addr)
{
    unsigned char address[16];

    if (inet_pton(AF_INET6, addr, address) == 1)
        buf_addf(line, " ADDR=IPV6:%s", addr);
    else
        add(line, ATTR_ADDR, inet_pton(AF_INET, addr, address) == 1 ? addr : "");
}

static void add_attribute(struct buf *line, enum attribute a, const struct xforward *x)
{
    switch (a) {
    case ATTR_NAME:
        add(line, a, is_plain(x->name, "") ? x->name : "");
        break;
    case ATTR_ADDR:
        add_addr(line, x->addr);
        break;
    case ATTR_PORT: /* the spool does not keep it */
        add(line, a, "");
        break;
    case ATTR_PROTO:
        add(line, a, x->proto);
        break;
    case ATTR_HELO:
        add(line, a, x->helo);
        break;
    case ATTR_IDENT:
        add(line, a, x->ident);
        break;
    case ATTR_COUNT:
        break;
    }
}

/* One command with those of [from, to) that are offered, as far as a line has room. Empty if there
 * are none. */
static void format_command(struct buf *out, const char *verb, unsigned offered, enum attribute from,
                           enum attribute to, const struct xforward *x)
{
    struct buf line = {0};
    struct buf one = {0};

    for (enum attribute a = from; a < to; a++) {
        buf_reset(&one);
        if ((offered & 1U << a) != 0)
            add_attribute(&one, a, x);
        if (line.len + one.len + strlen(verb) <= LINE_MAX_BYTES)
            buf_add(&line, buf_str(&one), one.len);
    }
    if (line.len > 0)
        buf_addf(out, "%s%s\r\n", verb, buf_str(&line));
    buf_clear(&line);
    buf_clear(&one);
}

static int take_answer(struct client *c, enum client_step step, const char *who)
{
    if (client_ask(c, step) != 0)
        return -1;
    if (c->reply.code / 100 == 2)
        return 0;
    if (step == CLIENT_RSET) /* what was said before is still there */
        return client_fail_reply(c, step);
    log_warning("%s: %s refuses XFORWARD with %d", who, c->peer, c->reply.code);
    return 0;
}

/* lines: the commands, RSET first if is_reset. All at once with PIPELINING, else one at a time. */
static int say(struct client *c, const char *lines, bool is_reset, const char *who)
{
    const char *unsent = lines;

    for (const char *end; (end = strchr(lines, '\n')) != NULL; lines = end + 1) {
        enum client_step step = is_reset ? CLIENT_RSET : CLIENT_XFORWARD;
        if (unsent == lines) {
            size_t len = c->features.pipelining ? strlen(lines) : (size_t)(end + 1 - lines);
            client_begin_wait(c);
            enum stream_status status = stream_write(c->stream, unsent, len);
            if (status != STREAM_OK)
                return client_fail_io(c, step, status);
            unsent += len;
        }
        if (take_answer(c, step, who) != 0)
            return -1;
        is_reset = false;
    }
    return 0;
}

int client_origin_forward(struct client *c, const struct xforward *x, const char *who)
{
    unsigned offered = c->features.xforward_attributes;
    struct buf lines = {0};
    bool is_reset = c->needs_rset;

    if (is_reset)
        buf_adds(&lines, "RSET\r\n");
    format_command(&lines, "XFORWARD", offered, ATTR_NAME, ATTR_HELO, x);
    format_command(&lines, "XFORWARD", offered, ATTR_HELO, ATTR_COUNT, x);
    c->needs_rset = false;
    int result = say(c, buf_str(&lines), is_reset, who);
    buf_clear(&lines);
    return result;
}

static void copy_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text);
}

static void set_origin(struct xforward *x, const struct queue_copy *copy)
{
    const struct queue_message *m = &copy->message;

    memset(x, 0, sizeof *x);
    copy_text(x->name, sizeof x->name, m->client_name);
    copy_text(x->addr, sizeof x->addr, m->client_addr);
    copy_text(x->helo, sizeof x->helo, m->helo);
    copy_text(x->ident, sizeof x->ident, m->mta_queue_id[0] != '\0' ? m->mta_queue_id : copy->id);
    /* There are no others in either command; LMTP is extended, too. */
    if (m->protocol[0] != '\0')
        copy_text(x->proto, sizeof x->proto,
                  strcasecmp(m->protocol, "SMTP") == 0 ? "SMTP" : "ESMTP");
}

/* IDENT is no attribute of it, and all must be in one command. */
static void format_xclient(struct buf *out, unsigned offered, const struct xforward *x)
{
    format_command(out, "XCLIENT", offered, ATTR_NAME, ATTR_IDENT, x);
}

static enum client_origin_told refused(struct client *c)
{
    client_outcome_of_reply(c, CLIENT_XCLIENT, &c->fault);
    c->fault.result = OUTCOME_RETRY;
    c->fault.dsn[0] = '4';
    client_close(c);
    return CLIENT_ORIGIN_REFUSED;
}

static enum client_origin_told tell_xclient(struct client *c, const struct xforward *x)
{
    struct buf line = {0};

    c->xclient_attributes = c->features.xclient_attributes;
    format_xclient(&line, c->xclient_attributes, x);
    if (line.len == 0)
        return CLIENT_ORIGIN_TOLD;
    buf_add(&c->xclient, buf_str(&line), line.len);
    client_begin_wait(c);
    enum stream_status status = stream_write(c->stream, buf_str(&line), line.len);
    buf_clear(&line);
    if (status != STREAM_OK)
        client_fail_io(c, CLIENT_XCLIENT, status);
    else if (client_ask(c, CLIENT_XCLIENT) == 0 && c->reply.code / 100 != 2)
        return refused(c);
    if (c->stream == NULL ||
        client_introduce(c, is_plain(x->helo, ":[]") ? x->helo : c->hostname) != 0)
        return CLIENT_ORIGIN_LOST;
    return CLIENT_ORIGIN_TOLD;
}

enum client_origin_told client_origin_tell(struct client *c, const struct queue_copy *copy)
{
    const struct config_destination *d = c->destination;
    enum client_origin_told told = CLIENT_ORIGIN_TOLD;
    struct xforward x;
    char who[80];

    if (d->xforward == 0 && d->xclient == 0)
        return told;
    set_origin(&x, copy);
    if (d->xclient == 1 && c->xclient.len == 0)
        told = tell_xclient(c, &x);
    if (told == CLIENT_ORIGIN_TOLD && d->xforward == 1 && c->features.xforward) {
        snprintf(who, sizeof who, "dest=%s", d->name);
        if (client_origin_forward(c, &x, who) != 0)
            told = CLIENT_ORIGIN_LOST;
    }
    return told;
}

bool client_origin_fits(const struct client *c, const struct queue_copy *copy)
{
    struct xforward x;
    struct buf line = {0};

    if (c->xclient.len == 0)
        return true;
    set_origin(&x, copy);
    format_xclient(&line, c->xclient_attributes, &x);
    bool is_same = strcmp(buf_str(&line), buf_str(&c->xclient)) == 0;
    buf_clear(&line);
    return is_same;
}
