/* SPDX-License-Identifier: ISC */
#include "smtp/connection_private.h"

#include "base/log.h"
#include "mail/xtext.h"

#include <arpa/inet.h>
#include <string.h>

#define VALUE_MAX 255 /* bytes of an encoded value: XCLIENT_README */
#define LINE_MAX_BYTES 510

/* Has the text only letters, digits, "-._" and the characters in `more`? Every server accepts such
 * a name, and it needs no quoting. */
static bool is_plain(const char *text, const char *more)
{
    static const char usual[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";
    size_t len = 0;

    while (text[len] != '\0' &&
           (strchr(usual, text[len]) != NULL || strchr(more, text[len]) != NULL))
        len++;
    return len > 0 && len <= VALUE_MAX && text[len] == '\0';
}

/* Add " NAME=xtext", cut to VALUE_MAX; value "": not known, which is sent as "[UNAVAILABLE]". */
static void add(struct buf *line, enum smtp_attribute a, const char *value)
{
    struct buf encoded = {0};

    for (const char *p = value; *p != '\0' && encoded.len + 3 <= VALUE_MAX; p++)
        xtext_encode(p, 1, &encoded);
    buf_addf(line, " %s=%s", smtp_features_attribute_name(a),
             encoded.len == 0 ? "[UNAVAILABLE]" : buf_str(&encoded));
    buf_clear(&encoded);
}

static void add_addr(struct buf *line, const char *addr)
{
    unsigned char address[16];

    if (inet_pton(AF_INET6, addr, address) == 1)
        buf_addf(line, " ADDR=IPV6:%s", addr);
    else
        add(line, SMTP_ATTRIBUTE_ADDR, inet_pton(AF_INET, addr, address) == 1 ? addr : "");
}

static void add_attribute(struct buf *line, enum smtp_attribute a, const struct xforward *x)
{
    switch (a) {
    case SMTP_ATTRIBUTE_NAME:
        add(line, a, is_plain(x->name, "") ? x->name : "");
        break;
    case SMTP_ATTRIBUTE_ADDR:
        add_addr(line, x->addr);
        break;
    case SMTP_ATTRIBUTE_PORT: /* the queue does not keep the port */
        add(line, a, "");
        break;
    case SMTP_ATTRIBUTE_PROTO:
        add(line, a, x->proto);
        break;
    case SMTP_ATTRIBUTE_HELO:
        add(line, a, x->helo);
        break;
    case SMTP_ATTRIBUTE_IDENT:
        add(line, a, x->ident);
        break;
    case SMTP_ATTRIBUTE_COUNT:
        break;
    }
}

/* Append one command with the attributes of [from, to) that are offered, as far as a line has room;
 * nothing if there are none. */
static void format_command(struct buf *out, const char *verb, unsigned offered,
                           enum smtp_attribute from, enum smtp_attribute to,
                           const struct xforward *x)
{
    struct buf line = {0};
    struct buf one = {0};

    for (enum smtp_attribute a = from; a < to; a++) {
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

static int take_reply(struct connection *c, enum connection_step step, const char *log_name)
{
    if (connection_ask(c, step) != 0)
        return -1;
    if (c->reply.code / 100 == 2)
        return 0;
    if (step == CONNECTION_RSET) /* the transaction may still be open */
        return connection_fail_reply(c, step);
    log_warning("%s: %s refuses XFORWARD with %d", log_name, c->link.peer, c->reply.code);
    return 0;
}

/* Send the commands and read their replies: with PIPELINING all at once, else one at a time.
 * is_reset: the first command is RSET, the others are XFORWARD. */
static int send_lines(struct connection *c, const char *lines, bool is_reset, const char *log_name)
{
    const char *unsent = lines;

    for (const char *end; (end = strchr(lines, '\n')) != NULL; lines = end + 1) {
        enum connection_step step = is_reset ? CONNECTION_RSET : CONNECTION_XFORWARD;
        if (unsent == lines) {
            size_t len = c->link.features.pipelining ? strlen(lines) : (size_t)(end + 1 - lines);
            if (connection_send(c, step, unsent, len) != 0)
                return -1;
            unsent += len;
        }
        if (take_reply(c, step, log_name) != 0)
            return -1;
        is_reset = false;
    }
    return 0;
}

int connection_xforward(struct connection *c, const struct xforward *x, const char *log_name)
{
    unsigned offered = c->link.features.xforward_attributes;
    struct buf lines = {0};
    bool is_reset = c->link.needs_rset;

    if (is_reset)
        buf_adds(&lines, "RSET\r\n");
    format_command(&lines, "XFORWARD", offered, SMTP_ATTRIBUTE_NAME, SMTP_ATTRIBUTE_HELO, x);
    format_command(&lines, "XFORWARD", offered, SMTP_ATTRIBUTE_HELO, SMTP_ATTRIBUTE_COUNT, x);
    c->link.needs_rset = false;
    int result = send_lines(c, buf_str(&lines), is_reset, log_name);
    buf_clear(&lines);
    return result;
}

/* XCLIENT has no IDENT, and all attributes must be in one command. */
static void format_xclient(struct buf *out, unsigned offered, const struct xforward *x)
{
    format_command(out, "XCLIENT", offered, SMTP_ATTRIBUTE_NAME, SMTP_ATTRIBUTE_IDENT, x);
}

static enum connection_xclient_result refused(struct connection *c)
{
    connection_outcome_of_reply(c, CONNECTION_XCLIENT, &c->fault);
    c->fault.result = OUTCOME_RETRY;
    c->fault.dsn[0] = '4';
    connection_close(c);
    return CONNECTION_XCLIENT_REFUSED;
}

enum connection_xclient_result connection_xclient(struct connection *c, const struct xforward *x)
{
    if (c->xclient.len > 0)
        return CONNECTION_XCLIENT_OK;
    c->xclient_attributes = c->link.features.xclient_attributes;
    format_xclient(&c->xclient, c->xclient_attributes, x);
    if (c->xclient.len == 0)
        return CONNECTION_XCLIENT_OK;
    if (connection_send(c, CONNECTION_XCLIENT, buf_str(&c->xclient), c->xclient.len) != 0 ||
        connection_ask(c, CONNECTION_XCLIENT) != 0)
        return CONNECTION_XCLIENT_LOST;
    if (c->reply.code / 100 != 2)
        return refused(c);
    if (connection_introduce(c, is_plain(x->helo, ":[]") ? x->helo : c->hostname) != 0)
        return CONNECTION_XCLIENT_LOST;
    return CONNECTION_XCLIENT_OK;
}

bool connection_xclient_fits(const struct connection *c, const struct xforward *x)
{
    struct buf line = {0};

    if (c->xclient.len == 0)
        return true;
    format_xclient(&line, c->xclient_attributes, x);
    bool is_same = strcmp(buf_str(&line), buf_str(&c->xclient)) == 0;
    buf_clear(&line);
    return is_same;
}
