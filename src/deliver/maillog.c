/* SPDX-License-Identifier: ISC */
#include "deliver/maillog.h"
#include "base/log.h"
#include "format/format.h"
#include "task/task.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define SERVICE_SIZE (QUEUE_DESTINATION_SIZE + 16)
#define FIELD_SIZE 1024      /* bytes of an address or a reason, which are cut to fit */
#define FLOOD_LINES 1000     /* lines about refusals that may be logged at once */
#define FLOOD_LINES_BACK 200 /* after a flood, logging goes on when so many are allowed again */
#define FLOOD_LINES_PER_S 20

static atomic_bool is_postfix; /* written at a reload, while other threads read it */

void maillog_set_style(const char *style)
{
    atomic_store(&is_postfix, strcmp(style, "postfix") == 0);
}

/* --- the pieces of Postfix's grammar --- */

/* Copy an address so that it can stand in <>. */
static const char *plain_address(const char *text, char out[FIELD_SIZE])
{
    snprintf(out, FIELD_SIZE, "%s", text);
    for (char *c = out; *c != '\0'; c++)
        if (*c == '<' || *c == '>')
            *c = '?';
    return out;
}

/* Copy a Message-ID without its own brackets, so that it can stand in <>. */
static const char *plain_message_id(const char *text, char out[FIELD_SIZE])
{
    size_t len = strlen(text);
    bool has_brackets = len >= 2 && text[0] == '<' && text[len - 1] == '>';

    plain_address(has_brackets ? text + 1 : text, out);
    if (has_brackets && len - 2 < FIELD_SIZE)
        out[len - 2] = '\0';
    return out;
}

/* Copy other text from outside, with "=<" replaced: tools look for "to=<" and "from=<" anywhere in
 * a line. */
static const char *plain_text(const char *text, char out[FIELD_SIZE])
{
    snprintf(out, FIELD_SIZE, "%s", text);
    for (char *c = out; (c = strstr(c, "=<")) != NULL; c++)
        *c = '?';
    return out;
}

/* Format the destination and the program of Postfix that would deliver to it: "archive/smtp". */
static const char *service_of(const struct config_destination *d, char out[SERVICE_SIZE])
{
    const char *program = d->protocol == CONFIG_LMTP ? "lmtp" : "smtp";

    if (d->relay_to_count > 0 && d->relay_to[0].kind == ENDPOINT_MAILDIR)
        program = "local";
    snprintf(out, SERVICE_SIZE, "%s/%s", d->name, program);
    return out;
}

/*
 * --- fields ---
 *
 * The fields of splitrelay itself come first, since there may be no room for all that a client
 * sends (log_format.h).
 */

#define NUMBER_SIZE 24

static const char *number(uint64_t n, char out[NUMBER_SIZE])
{
    snprintf(out, NUMBER_SIZE, "%llu", (unsigned long long)n);
    return out;
}

/* NULL, so that the line does not have the field, for a text that is empty. */
static const char *text_or_null(const char *text)
{
    return text[0] == '\0' ? NULL : text;
}

struct outcome_line {
    const char *id, *to, *orig_to, *destination;
    const struct maillog_attempt *attempt;
    const char *status, *reason;
};

enum { OUTCOME_FIELDS = 12 };

/* conn_use: for the text of the number. */
static void set_outcome_fields(const struct outcome_line *l, char conn_use[NUMBER_SIZE],
                               struct log_field out[OUTCOME_FIELDS])
{
    const struct maillog_attempt *a = l->attempt;
    const struct log_field fields[OUTCOME_FIELDS] = {
        LOG_TEXT("copy_id", l->id),
        LOG_TEXT("dest", l->destination),
        LOG_TEXT("relay", a->relay),
        LOG_NUMBER("conn_use", a->conn_use == 0 ? NULL : number(a->conn_use, conn_use)),
        LOG_NUMBER("delay", a->delay),
        LOG_TEXT("delays", a->delays),
        LOG_TEXT("dsn", a->dsn),
        LOG_TEXT("status", l->status),
        LOG_TEXT("reason", l->reason),
        LOG_TEXT("to", l->to),
        LOG_TEXT("orig_to", text_or_null(l->orig_to)),
        LOG_END,
    };

    memcpy(out, fields, sizeof fields);
}

/* --- the lines --- */

/* Log the fate of a recipient whose copy is not put into the queue, or is dead on arrival. */
static void log_end_on_arrival(const struct queue_new_copy *copy, const struct queue_recipient *r)
{
    const bool is_skipped = copy->skip != QUEUE_WANTED;
    const char *dsn = is_skipped ? "2.0.0" : "5.4.6", *status = is_skipped ? "skipped" : "dead";
    const char *reason = is_skipped ? copy->skip_reason : r->reason;
    const enum log_level level = is_skipped ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING;
    const struct maillog_attempt none = {
        .relay = "none", .delay = "0", .delays = "0/0/0/0", .dsn = dsn};
    const struct outcome_line line = {copy->id, r->address, "",    copy->destination,
                                      &none,    status,     reason};
    static const char rest[] = "relay=none, delay=0, delays=0/0/0/0";
    char service[SERVICE_SIZE], text[2][FIELD_SIZE], unused[NUMBER_SIZE];
    struct log_field fields[OUTCOME_FIELDS];

    set_outcome_fields(&line, unused, fields);
    if (!atomic_load(&is_postfix)) {
        log_event(level, NULL, fields, "%s: to=<%s>, dest=%s, %s, dsn=%s, status=%s (%s)", copy->id,
                  r->address, copy->destination, rest, dsn, status, reason);
        return;
    }
    snprintf(service, sizeof service, "%s/%s", copy->destination, is_skipped ? "discard" : "error");
    log_event(level, service, fields, "%s: to=<%s>, %s, dsn=%s, status=%s (%s)", copy->id,
              plain_address(r->address, text[0]), rest, dsn, is_skipped ? status : "bounced",
              plain_text(reason, text[1]));
}

/* Postfix's line about sender and size. pflogsumm 1.3 looks for the size only in lines of exactly
 * this service. */
static void log_queue_active(const char *id, const char *sender, uint64_t size, size_t count,
                             const struct log_field *fields)
{
    char from[FIELD_SIZE];

    log_event(LOG_LEVEL_INFO, "qmgr", fields, "%s: from=<%s>, size=%llu, nrcpt=%zu (queue active)",
              id, plain_address(sender, from), (unsigned long long)size, count);
}

void maillog_taken(const struct queue_message *m, const struct queue_new_copy *copy, size_t count,
                   uint64_t size)
{
    const char *queue_id = m->mta_queue_id;
    const char *status = copy->skip != QUEUE_WANTED ? "skipped" : copy->is_dead ? "dead" : "queued";
    char message_id[FIELD_SIZE], numbers[2][NUMBER_SIZE];
    const struct log_field id[] = {LOG_TEXT("copy_id", copy->id), LOG_END};

    plain_message_id(m->message_id, message_id);
    const struct log_field fields[] = {
        LOG_TEXT("copy_id", copy->id),
        LOG_TEXT("dest", copy->destination),
        LOG_NUMBER("size", number(size, numbers[0])),
        LOG_NUMBER("nrcpt", number(count, numbers[1])),
        LOG_TEXT("status", status),
        LOG_TEXT("queue_id", text_or_null(queue_id)),
        LOG_TEXT("mta_queue_id", text_or_null(queue_id)),
        LOG_TEXT("from", m->sender),
        LOG_TEXT("message_id", text_or_null(message_id)),
        LOG_END,
    };
    if (atomic_load(&is_postfix)) {
        log_event(LOG_LEVEL_INFO, "smtpd", id, "%s: client=%s[%s]%s%s, dest=%s", copy->id,
                  m->client_name[0] == '\0' ? "unknown" : m->client_name,
                  m->client_addr[0] == '\0' ? "unknown" : m->client_addr,
                  queue_id[0] == '\0' ? "" : ", orig_queue_id=", queue_id, copy->destination);
        log_event(LOG_LEVEL_INFO, "cleanup", id, "%s: message-id=<%s>", copy->id, message_id);
        log_queue_active(copy->id, m->sender, size, count, fields);
    } else {
        log_event(LOG_LEVEL_INFO, NULL, fields,
                  "%s: from=<%s>, size=%llu, nrcpt=%zu, dest=%s, queue_id=%s, message-id=<%s> (%s)",
                  copy->id, m->sender, (unsigned long long)size, count, copy->destination,
                  queue_id[0] == '\0' ? "-" : queue_id, message_id, status);
    }
    for (size_t i = 0; i < copy->recipient_count && strcmp(status, "queued") != 0; i++)
        if (copy->recipients[i].state != QUEUE_SENT)
            log_end_on_arrival(copy, &copy->recipients[i]);
}

void maillog_active(const struct queue_copy *c)
{
    const struct log_field id[] = {LOG_TEXT("copy_id", c->id), LOG_END};
    size_t pending = 0;

    if (!atomic_load(&is_postfix))
        return;
    for (size_t i = 0; i < c->recipient_count; i++)
        pending += c->recipients[i].state == QUEUE_PENDING;
    log_queue_active(c->id, c->message.sender, c->message.size_bytes, pending, id);
}

/* The value of status= for a recipient that was tried. */
static const char *status_word(enum queue_recipient_state state)
{
    switch (state) {
    case QUEUE_PENDING:
        return "deferred";
    case QUEUE_SENT:
        return "sent";
    case QUEUE_DEAD:
        break;
    }
    return "dead";
}

void maillog_outcome(const struct queue_copy *c, size_t i, const struct config_destination *d,
                     const struct maillog_attempt *a)
{
    const struct queue_recipient *r = &c->recipients[i];
    struct buf to = {0};
    struct err ignored;
    bool is_other =
        (d->recipient == CONFIG_ADDRESS_FIXED || d->recipient == CONFIG_ADDRESS_TEMPLATE) &&
        format_recipient(d, r->address, &to, &ignored) == 0;
    const char *status = status_word(r->state);
    const char *begin = is_other ? ", orig_to=<" : "", *end = is_other ? ">" : "";
    char conn_use[32] = "", number_text[NUMBER_SIZE], service[SERVICE_SIZE], text[3][FIELD_SIZE];
    const struct outcome_line l = {c->id,
                                   is_other ? buf_str(&to) : r->address,
                                   is_other ? r->address : "",
                                   c->destination,
                                   a,
                                   status,
                                   r->reason};
    struct log_field fields[OUTCOME_FIELDS];

    set_outcome_fields(&l, number_text, fields);
    if (a->conn_use > 1)
        snprintf(conn_use, sizeof conn_use, ", conn_use=%u", a->conn_use);
    if (!atomic_load(&is_postfix)) {
        log_event(LOG_LEVEL_INFO, NULL, fields,
                  "%s: to=<%s>%s%s%s, dest=%s, relay=%s%s, delay=%s, delays=%s, dsn=%s, status=%s "
                  "(%s)",
                  c->id, l.to, begin, l.orig_to, end, c->destination, a->relay, conn_use, a->delay,
                  a->delays, a->dsn, status, r->reason);
    } else {
        log_event(LOG_LEVEL_INFO, service_of(d, service), fields,
                  "%s: to=<%s>%s%s%s, relay=%s%s, delay=%s, delays=%s, dsn=%s, status=%s (%s)",
                  c->id, plain_address(l.to, text[0]), begin, plain_address(l.orig_to, text[1]),
                  end, a->relay, conn_use, a->delay, a->delays, a->dsn,
                  r->state == QUEUE_DEAD ? "bounced" : status, plain_text(r->reason, text[2]));
    }
    buf_clear(&to);
}

/* The length of the codes at the beginning of a reply: of "550 5.7.1", or of "550". */
static size_t codes_length(const char *reply)
{
    size_t code = strspn(reply, "0123456789");
    size_t dsn = reply[code] == ' ' ? strspn(reply + code + 1, "0123456789.") : 0;

    return dsn > 0 ? code + 1 + dsn : code;
}

/*
 * Postfix names what it refuses between the codes and the reason: "550 5.7.1 <a@b>: Recipient
 * address rejected: reason; from=...". pflogsumm looks for a reason there, but only with the stages
 * that Postfix has. Therefore the stage END-OF-MESSAGE becomes DATA, and stages such as EHLO become
 * CONNECT.
 */
static void log_postfix_reject(const struct maillog_reject *r, const struct log_field *fields)
{
    char reply[FIELD_SIZE], to[FIELD_SIZE], from[FIELD_SIZE], helo[FIELD_SIZE], what[100] = "";
    const char *stage = r->stage, *open = "", *refused = "", *close = "";

    plain_text(r->text, reply);
    if (strspn(reply, "0123456789") == 3 && reply[3] == '-') /* this is the first line of several */
        reply[3] = ' ';
    plain_address(r->to[0] == '<' ? r->to + 1 : r->to, to);
    size_t len = strlen(to);
    if (r->to[0] == '<' && len > 0)
        to[len - 1] = '\0';
    if (strcmp(stage, "RCPT") == 0) {
        open = " <";
        refused = to;
        close = ">: Recipient address rejected:";
    } else if (strcmp(stage, "END-OF-MESSAGE") == 0 || strcmp(stage, "DATA") == 0) {
        stage = "DATA";
        open = " <DATA>:";
    } else if (strcmp(stage, "MAIL") != 0) {
        stage = "CONNECT";
        snprintf(what, sizeof what, "unknown[%.80s]", r->client_addr);
        open = " <";
        refused = what;
        close = ">: Client host rejected:";
    }
    size_t codes = codes_length(reply);
    bool has_detail = r->detail[0] != '\0', has_to = r->to[0] != '\0';
    log_event(LOG_LEVEL_WARNING, "smtpd", fields,
              "NOQUEUE: reject: %s from unknown[%s]: %.*s%s%s%s%s%s%s%s; from=<%s>%s%s%s proto=%s "
              "helo=<%s>",
              stage, r->client_addr, (int)codes, reply, open, refused, close, reply + codes,
              has_detail ? " (" : "", r->detail, has_detail ? ")" : "",
              plain_address(r->sender, from), has_to ? " to=<" : "", to, has_to ? ">" : "",
              r->protocol, plain_address(r->helo, helo));
}

bool maillog_has_room(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static double room = FLOOD_LINES;
    static int64_t last_ms;
    static unsigned missing; /* lines not logged; 0: there is no flood */
    unsigned say_missing = 0;
    int64_t now_ms = task_now_ms();

    pthread_mutex_lock(&lock);
    room += (double)(now_ms - last_ms) * FLOOD_LINES_PER_S / 1000;
    room = room > FLOOD_LINES ? FLOOD_LINES : room;
    last_ms = now_ms;
    bool has_room = room >= (missing > 0 ? FLOOD_LINES_BACK : 1);
    bool is_first = !has_room && missing++ == 0;
    if (has_room) {
        room--;
        say_missing = missing;
        missing = 0;
    }
    pthread_mutex_unlock(&lock);
    if (say_missing > 0)
        log_warning("%u refusals before this one were not logged", say_missing);
    if (is_first)
        log_warning("too many refusals: from here on they are not logged for a while");
    return has_room;
}

void maillog_reject(const struct maillog_reject *r)
{
    if (!maillog_has_room())
        return;
    size_t len = strlen(r->to);
    bool is_path = len >= 2 && r->to[0] == '<' && r->to[len - 1] == '>';
    char to[FIELD_SIZE];
    snprintf(to, sizeof to, "%.*s", (int)(is_path ? len - 2 : len), r->to + is_path);
    const struct log_field fields[] = {
        LOG_TEXT("status", "rejected"),     LOG_TEXT("stage", r->stage),
        LOG_TEXT("client", r->client_addr), LOG_TEXT("proto", r->protocol),
        LOG_TEXT("reason", r->text),        LOG_TEXT("detail", text_or_null(r->detail)),
        LOG_TEXT("from", r->sender),        LOG_TEXT("to", r->to[0] == '\0' ? NULL : to),
        LOG_TEXT("helo", r->helo),          LOG_END,
    };
    if (atomic_load(&is_postfix)) {
        log_postfix_reject(r, fields);
        return;
    }
    log_event(LOG_LEVEL_WARNING, NULL, fields,
              "NOQUEUE: reject: %s from [%s]: %s%s%s%s; from=<%s>%s%s proto=%s helo=<%s>", r->stage,
              r->client_addr, r->text, r->detail[0] != '\0' ? " (" : "", r->detail,
              r->detail[0] != '\0' ? ")" : "", r->sender, r->to[0] != '\0' ? " to=" : "", r->to,
              r->protocol, r->helo);
}
