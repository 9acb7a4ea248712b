/* SPDX-License-Identifier: ISC */
/* The grammar is in spool_envelope.c. */
#include "queue/spool_envelope.h"

#include "mail/xtext.h"

#include <inttypes.h>
#include <string.h>

#define REASON_WIDTH (QUEUE_REASON_SIZE - 1)
#define ATTEMPTS_DIGITS 4

static void add_value(struct buf *out, const char *value)
{
    if (value[0] == '\0')
        buf_addc(out, '-');
    else if (strcmp(value, "-") == 0)
        buf_adds(out, "+2D");
    else
        xtext_encode(value, strlen(value), out);
}

static void put_reason(char *at, const char *reason)
{
    size_t len = strnlen(reason, REASON_WIDTH);

    for (size_t i = 0; i < len; i++)
        at[i] = (unsigned char)reason[i] >= ' ' && reason[i] != 127 ? reason[i] : '?';
    memset(at + len, ' ', REASON_WIDTH - len);
}

static bool state_is_valid(char state)
{
    return state == QUEUE_PENDING || state == QUEUE_SENT || state == QUEUE_DEAD;
}

static int check_value(const char *name, const char *value, struct err *err)
{
    if (strlen(value) <= SPOOL_VALUE_MAX)
        return 0;
    err_set(err, "%s is longer than %d bytes", name, SPOOL_VALUE_MAX);
    return -1;
}

static int add_line(struct buf *out, const char *name, const char *value, struct err *err)
{
    if (check_value(name, value, err) < 0)
        return -1;
    buf_adds(out, name);
    buf_addc(out, ' ');
    add_value(out, value);
    buf_addc(out, '\n');
    return 0;
}

static void add_flags(const struct queue_message *m, struct buf *out)
{
    const char *comma = "";

    buf_adds(out, "flags ");
    if (m->is_8bit) {
        buf_adds(out, "8bit");
        comma = ",";
    }
    if (m->is_utf8) {
        buf_addf(out, "%sutf8", comma);
        comma = ",";
    }
    if (m->needs_requiretls) {
        buf_addf(out, "%srequiretls", comma);
        comma = ",";
    }
    buf_adds(out, comma[0] == '\0' ? "-\n" : "\n");
}

static int format_message(const struct queue_message *m, struct buf *out, struct err *err)
{
    char size[SPOOL_SIZE_DIGITS + 1];
    int64_t seconds = m->arrival.tv_sec < 0 ? 0 : m->arrival.tv_sec;

    spool_envelope_size_text(m->size_bytes, size);
    buf_addf(out, "splitrelay-spool 1\nsize %s\ntime %" PRId64 ".%06ld\n", size, seconds,
             m->arrival.tv_nsec / 1000);
    if (add_line(out, "sender", m->sender, err) < 0 ||
        add_line(out, "client_name", m->client_name, err) < 0 ||
        add_line(out, "client_addr", m->client_addr, err) < 0 ||
        add_line(out, "helo", m->helo, err) < 0 || add_line(out, "protocol", m->protocol, err) < 0)
        return -1;
    if (add_line(out, "mta_queue_id", m->mta_queue_id, err) < 0)
        return -1;
    add_flags(m, out);
    return 0;
}

static int format_recipient(const struct queue_recipient *r, struct buf *out, struct err *err)
{
    if (!state_is_valid((char)r->state)) {
        err_set(err, "a recipient has no valid state");
        return -1;
    }
    if (check_value("recipient", r->address, err) < 0 || check_value("orcpt", r->orcpt, err) < 0)
        return -1;
    buf_addf(out, "rcpt %c ", (char)r->state);
    add_value(out, r->address);
    buf_addc(out, ' ');
    add_value(out, r->orcpt);
    buf_addc(out, ' ');
    put_reason(buf_reserve(out, REASON_WIDTH), r->reason);
    out->len += REASON_WIDTH;
    buf_addc(out, '\n');
    return 0;
}

static int format_copy(const struct queue_new_copy *c, struct buf *out, size_t *id_at,
                       struct err *err)
{
    if (!spool_id_is_valid(c->id) || !spool_destination_is_valid(c->destination) ||
        c->recipient_count == 0) {
        err_set(err, "a copy has no valid id, no valid destination or no recipient");
        return -1;
    }
    *id_at = out->len + strlen("copy ");
    buf_addf(out, "copy %s %s %0*d\n", c->id, c->destination, ATTEMPTS_DIGITS, 0);
    for (size_t i = 0; i < c->recipient_count; i++) {
        if (format_recipient(&c->recipients[i], out, err) < 0)
            return -1;
        if (out->len > SPOOL_HEAD_MAX) {
            err_set(err, "envelope is larger than %d bytes", SPOOL_HEAD_MAX);
            return -1;
        }
    }
    return 0;
}

int spool_envelope_format(const struct queue_message *message, const struct queue_new_copy *copies,
                          size_t copy_count, struct buf *out, size_t *id_at, struct err *err)
{
    size_t recipients = 0;

    if (copy_count == 0) {
        err_set(err, "message has no copies");
        return -1;
    }
    for (size_t i = 0; i < copy_count; i++) {
        recipients += copies[i].recipient_count;
        if (copies[i].recipient_count > QUEUE_RECIPIENTS_MAX || recipients > QUEUE_RECIPIENTS_MAX) {
            err_set(err, "message has more than %d recipients", QUEUE_RECIPIENTS_MAX);
            return -1;
        }
    }
    if (format_message(message, out, err) < 0)
        goto fail;
    for (size_t i = 0; i < copy_count; i++)
        if (format_copy(&copies[i], out, &id_at[i], err) < 0)
            goto fail;
    buf_adds(out, "END\n");
    return 0;
fail:
    buf_reset(out);
    return -1;
}

void spool_envelope_size_text(uint64_t size_bytes, char out[SPOOL_SIZE_DIGITS + 1])
{
    for (int i = SPOOL_SIZE_DIGITS - 1; i >= 0; i--, size_bytes /= 10)
        out[i] = (char)('0' + size_bytes % 10);
    out[SPOOL_SIZE_DIGITS] = '\0';
}

void spool_envelope_patch(const struct spool_envelope_copy *c, char *section)
{
    unsigned attempts = c->attempts > SPOOL_ATTEMPTS_MAX ? SPOOL_ATTEMPTS_MAX : c->attempts;

    for (int i = ATTEMPTS_DIGITS - 1; i >= 0; i--, attempts /= 10)
        section[c->attempts_at + (size_t)i] = (char)('0' + attempts % 10);
    for (size_t i = 0; i < c->recipient_count; i++) {
        section[c->state_at[i]] = (char)c->recipients[i].state;
        put_reason(section + c->reason_at[i], c->recipients[i].reason);
    }
}
