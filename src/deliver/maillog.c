/* SPDX-License-Identifier: ISC */
#include "deliver/maillog.h"
#include "base/log.h"
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

static void log_queue_active(const char *id, const char *destination, const char *sender,
                             uint64_t size, size_t count)
{
    char service[SERVICE_SIZE], from[FIELD_SIZE];

    snprintf(service, sizeof service, "%s/qmgr", destination);
    log_as(LOG_LEVEL_INFO, service, "%s: from=<%s>, size=%llu, nrcpt=%zu (queue active)", id,
           plain_address(sender, from), (unsigned long long)size, count);
}

/* --- the lines --- */

static void log_dead_on_arrival(const struct queue_new_copy *copy, const struct queue_recipient *r)
{
    static const char rest[] = "relay=none, delay=0, delays=0/0/0/0, dsn=5.4.6";
    char service[SERVICE_SIZE], to[FIELD_SIZE];

    if (!atomic_load(&is_postfix)) {
        log_warning("%s: to=<%s>, dest=%s, %s, status=dead (%s)", copy->id, r->address,
                    copy->destination, rest, r->reason);
        return;
    }
    snprintf(service, sizeof service, "%s/error", copy->destination);
    log_as(LOG_LEVEL_WARNING, service, "%s: to=<%s>, %s, status=bounced (%s)", copy->id,
           plain_address(r->address, to), rest, r->reason);
}

void maillog_taken(const struct queue_message *m, const struct queue_new_copy *copy, size_t count,
                   uint64_t size)
{
    const char *queue_id = m->mta_queue_id;
    char message_id[FIELD_SIZE];

    plain_message_id(m->message_id, message_id);
    if (atomic_load(&is_postfix)) {
        log_as(LOG_LEVEL_INFO, "smtpd", "%s: client=%s[%s]%s%s", copy->id,
               m->client_name[0] == '\0' ? "unknown" : m->client_name,
               m->client_addr[0] == '\0' ? "unknown" : m->client_addr,
               queue_id[0] == '\0' ? "" : ", orig_queue_id=", queue_id);
        log_as(LOG_LEVEL_INFO, "cleanup", "%s: message-id=<%s>", copy->id, message_id);
        log_queue_active(copy->id, copy->destination, m->sender, size, count);
    } else {
        log_info("%s: from=<%s>, size=%llu, nrcpt=%zu, dest=%s, queue_id=%s, message-id=<%s> (%s)",
                 copy->id, m->sender, (unsigned long long)size, count, copy->destination,
                 queue_id[0] == '\0' ? "-" : queue_id, message_id,
                 copy->is_dead ? "dead" : "queued");
    }
    for (size_t i = 0; i < copy->recipient_count && copy->is_dead; i++)
        log_dead_on_arrival(copy, &copy->recipients[i]);
}

void maillog_active(const struct queue_copy *c)
{
    size_t pending = 0;

    if (!atomic_load(&is_postfix))
        return;
    for (size_t i = 0; i < c->recipient_count; i++)
        pending += c->recipients[i].state == QUEUE_PENDING;
    log_queue_active(c->id, c->destination, c->message.sender, c->message.size_bytes, pending);
}

/* The value of status= for a recipient that was tried. */
static const char *status_word(enum queue_recipient_state state, bool for_postfix)
{
    switch (state) {
    case QUEUE_PENDING:
        return "deferred";
    case QUEUE_SENT:
        return "sent";
    case QUEUE_DEAD:
        break;
    }
    return for_postfix ? "bounced" : "dead";
}

void maillog_outcome(const struct queue_copy *c, size_t i, const struct config_destination *d,
                     const struct maillog_attempt *a)
{
    const struct queue_recipient *r = &c->recipients[i];
    bool is_fixed = d->recipient == CONFIG_ADDRESS_FIXED;
    const char *to = is_fixed ? d->recipient_address : r->address;
    const char *orig_to = is_fixed ? r->address : "";
    const char *begin = is_fixed ? ", orig_to=<" : "", *end = is_fixed ? ">" : "";
    char conn_use[32] = "", service[SERVICE_SIZE], text[3][FIELD_SIZE];

    if (a->conn_use > 1)
        snprintf(conn_use, sizeof conn_use, ", conn_use=%u", a->conn_use);
    if (!atomic_load(&is_postfix)) {
        log_info("%s: to=<%s>%s%s%s, dest=%s, relay=%s%s, %s, dsn=%s, status=%s (%s)", c->id, to,
                 begin, orig_to, end, c->destination, a->relay, conn_use, a->delays, a->dsn,
                 status_word(r->state, false), r->reason);
        return;
    }
    log_as(LOG_LEVEL_INFO, service_of(d, service),
           "%s: to=<%s>%s%s%s, relay=%s%s, %s, dsn=%s, status=%s (%s)", c->id,
           plain_address(to, text[0]), begin, plain_address(orig_to, text[1]), end, a->relay,
           conn_use, a->delays, a->dsn, status_word(r->state, true),
           plain_text(r->reason, text[2]));
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
static void log_postfix_reject(const struct maillog_reject *r)
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
    log_as(LOG_LEVEL_WARNING, "smtpd",
           "NOQUEUE: reject: %s from unknown[%s]: %.*s%s%s%s%s%s%s%s; from=<%s>%s%s%s proto=%s "
           "helo=<%s>",
           stage, r->client_addr, (int)codes, reply, open, refused, close, reply + codes,
           has_detail ? " (" : "", r->detail, has_detail ? ")" : "", plain_address(r->sender, from),
           has_to ? " to=<" : "", to, has_to ? ">" : "", r->protocol, plain_address(r->helo, helo));
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
    if (atomic_load(&is_postfix)) {
        log_postfix_reject(r);
        return;
    }
    log_warning("NOQUEUE: reject: %s from [%s]: %s%s%s%s; from=<%s>%s%s proto=%s helo=<%s>",
                r->stage, r->client_addr, r->text, r->detail[0] != '\0' ? " (" : "", r->detail,
                r->detail[0] != '\0' ? ")" : "", r->sender, r->to[0] != '\0' ? " to=" : "", r->to,
                r->protocol, r->helo);
}
