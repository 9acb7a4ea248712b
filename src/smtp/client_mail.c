/* SPDX-License-Identifier: ISC */
#include "smtp/client_mail.h"
#include "smtp/client_private.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

/* Does the address have non-ASCII characters? SMTPUTF8 is about UTF-8 (RFC 6531 3.3); other octets
 * are sent unchanged. */
static bool needs_smtputf8(const char *address)
{
    size_t len = strlen(address);

    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)address[i] >= 0x80)
            return utf8_is_valid(address, len);
    }
    return false;
}

/* Can the text stand in a command, which must stay one line? Addresses were parsed when they came
 * in, but the queue's data may have been edited since. */
static bool is_sendable(const char *s)
{
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return false;
    }
    return true;
}

static size_t find_rcpt(const struct client_mail *m, const char *sender, const char *address)
{
    size_t i = 0;

    while (i < m->count &&
           (strcmp(m->rcpts[i].address, address) != 0 || strcmp(m->rcpts[i].sender, sender) != 0))
        i++;
    return i;
}

/* Add a pending recipient of the copy. sender, address: what the destination gets. */
static void add_recipient(struct client_mail *m, size_t i, struct buf *sender, struct buf *address)
{
    const struct queue_recipient *r = &m->copy->recipients[i];
    struct client_rcpt *rcpt = &m->rcpts[find_rcpt(m, buf_str(sender), buf_str(address))];

    if (rcpt < m->rcpts + m->count) {
        if (strcmp(rcpt->recipient->orcpt, r->orcpt) != 0 ||
            strcmp(rcpt->recipient->address, r->address) != 0)
            rcpt->is_shared = true;
    } else {
        *rcpt = (struct client_rcpt){.address = buf_take(address),
                                     .sender = buf_take(sender),
                                     .recipient = r,
                                     .outcome = &m->report->outcomes[i],
                                     .state = CLIENT_RCPT_UNDECIDED};
        m->count++;
    }
    m->same_as[i] = (size_t)(rcpt->recipient - m->copy->recipients);
}

/* By sender, then in the order of the copy. */
static int compare_rcpts(const void *a, const void *b)
{
    const struct client_rcpt *x = a, *y = b;
    int order = strcmp(x->sender, y->sender);

    return order != 0 ? order : (x->recipient > y->recipient) - (x->recipient < y->recipient);
}

void client_mail_init(struct client_mail *m, const struct client *c, const struct queue_copy *copy,
                      struct outcome_report *report)
{
    const struct config_destination *d = c->destination;
    struct buf sender = {0}, address = {0};
    size_t n = copy->recipient_count;
    struct err err;

    *m = (struct client_mail){.copy = copy, .report = report};
    m->rcpts = mem_grow(NULL, n, sizeof *m->rcpts);
    m->same_as = mem_grow(NULL, n, sizeof *m->same_as);
    m->is_included = mem_grow(NULL, n, sizeof *m->is_included);
    for (size_t i = 0; i < n; i++) {
        const struct queue_recipient *r = &copy->recipients[i];
        if (r->state != QUEUE_PENDING)
            continue;
        buf_reset(&sender);
        buf_reset(&address);
        m->same_as[i] = i;
        if (format_recipient(d, r->address, &address, &err) == 0 &&
            format_sender(d, copy->message.sender, r->address, &sender, &err) == 0)
            add_recipient(m, i, &sender, &address);
        else
            outcome_set(&report->outcomes[i], OUTCOME_REFUSED, "5.1.3", "%s", err.text);
    }
    buf_clear(&sender);
    buf_clear(&address);
    if (d->sender == CONFIG_ADDRESS_TEMPLATE)
        qsort(m->rcpts, m->count, sizeof *m->rcpts, compare_rcpts);
}

void client_mail_finish(struct client_mail *m)
{
    for (size_t i = 0; i < m->copy->recipient_count; i++) {
        if (m->copy->recipients[i].state == QUEUE_PENDING)
            m->report->outcomes[i] = m->report->outcomes[m->same_as[i]];
    }
    for (size_t i = 0; i < m->count; i++) {
        free(m->rcpts[i].address);
        free(m->rcpts[i].sender);
    }
    free(m->rcpts);
    free(m->same_as);
    free(m->is_included);
}

void client_mail_decide(struct client_rcpt *r, const struct outcome *o)
{
    *r->outcome = *o;
    r->state = CLIENT_RCPT_DECIDED;
}

void client_mail_decide_rest(struct client_mail *m, const struct outcome *o)
{
    for (size_t i = m->first; i < m->count; i++) {
        if (m->rcpts[i].state != CLIENT_RCPT_DECIDED)
            client_mail_decide(&m->rcpts[i], o);
    }
}

void client_mail_decide_sender(struct client_mail *m, const char *sender, const struct outcome *o)
{
    for (size_t i = m->first; i < m->count; i++) {
        struct client_rcpt *r = &m->rcpts[i];
        if (r->state != CLIENT_RCPT_DECIDED && strcmp(r->sender, sender) == 0)
            client_mail_decide(r, o);
    }
}

void client_mail_settle(struct client_mail *m)
{
    /* rcpts [0, at) are decided, and rcpts [at, i) are not. */
    for (size_t at = m->first, i = m->first; i < m->count; i++) {
        if (m->rcpts[i].state != CLIENT_RCPT_DECIDED) {
            m->rcpts[i].state = CLIENT_RCPT_UNDECIDED;
            continue;
        }
        struct client_rcpt decided = m->rcpts[i];
        memmove(&m->rcpts[at + 1], &m->rcpts[at], (i - at) * sizeof decided);
        m->rcpts[at++] = decided;
        m->first = at;
    }
}

/* The number of undecided rcpts that may share a transaction with the first of them. */
static size_t count_next(const struct client_mail *m, const struct config_destination *d,
                         size_t max)
{
    bool is_alone = d->recipient == CONFIG_ADDRESS_TEMPLATE && d->format != CONFIG_FORMAT_RAW;
    size_t n = m->first < m->count ? 1 : 0;

    while (n > 0 && n < max && !is_alone && m->first + n < m->count &&
           strcmp(m->rcpts[m->first + n].sender, m->rcpts[m->first].sender) == 0)
        n++;
    return n;
}

size_t client_mail_sort_out(struct client_mail *m, const struct client *c, size_t max,
                            bool *needs_utf8_out)
{
    bool has_utf8 = connection_features(c->connection)->smtputf8;
    bool needs_utf8 = m->copy->message.is_utf8;

    for (size_t i = m->first; i < m->count; i++) {
        struct client_rcpt *r = &m->rcpts[i];
        struct outcome o;
        if (!is_sendable(r->sender) || !is_sendable(r->address) ||
            !is_sendable(r->recipient->orcpt)) {
            outcome_set(&o, OUTCOME_RETRY, "4.3.0", "control character in an address");
            client_mail_decide(r, &o);
        } else if ((needs_smtputf8(r->sender) || needs_smtputf8(r->address)) && !has_utf8) {
            outcome_set(&o, OUTCOME_RETRY, "4.6.7",
                        "SMTPUTF8 is required, but was not offered by host %s",
                        connection_peer(c->connection));
            client_mail_decide(r, &o);
        }
    }
    client_mail_settle(m);
    size_t count = count_next(m, c->destination, max);
    for (const struct client_rcpt *r = m->rcpts + m->first; r < m->rcpts + m->first + count; r++)
        needs_utf8 = needs_utf8 || needs_smtputf8(r->sender) || needs_smtputf8(r->address);
    *needs_utf8_out = has_utf8 && needs_utf8;
    return count;
}

void client_mail_include(struct client_mail *m, size_t n, enum client_rcpt_state state)
{
    const struct queue_recipient *recipients = m->copy->recipients;
    size_t total = m->copy->recipient_count;

    memset(m->is_included, 0, total * sizeof *m->is_included);
    for (size_t i = m->first; i < m->first + n; i++)
        if (m->rcpts[i].state == state)
            m->is_included[m->rcpts[i].recipient - recipients] = true;
    for (size_t i = 0; i < total; i++) /* same_as[i] <= i: its value is set already */
        if (recipients[i].state == QUEUE_PENDING)
            m->is_included[i] = m->is_included[m->same_as[i]];
}
