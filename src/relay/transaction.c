/* SPDX-License-Identifier: ISC */
#include "transaction.h"
#include "../log.h"
#include "../mem.h"
#include "content.h"
#include "counters.h"
#include "maillog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SENDER_MAX 2000      /* bytes of one that is no address; Postfix takes 2048 with MAIL */
#define BLOCK_KEEP_MAX 16384 /* bytes of memory kept for the next message */
#define IDS_SHOWN_MAX 8      /* copy ids in the reply */

void transaction_init(struct transaction *t, const struct config *config, struct queue *queue)
{
    memset(t, 0, sizeof *t);
    t->config = config;
    t->queue = queue;
}

void transaction_drop_put(struct transaction *t)
{
    if (t->put != NULL)
        t->queue->ops->put_abort(t->put);
    t->put = NULL;
}

void transaction_reset(struct transaction *t)
{
    transaction_drop_put(t);
    for (size_t i = 0; i < t->copy_count; i++) {
        for (size_t k = 0; k < t->copies[i].recipient_count; k++) {
            free(t->copies[i].recipients[k].address);
            free(t->copies[i].recipients[k].orcpt);
        }
        free(t->copies[i].recipients);
    }
    free(t->copies);
    t->copies = NULL;
    t->copy_count = t->recipient_count = t->accepted_count = 0;
    free(t->message.sender);
    memset(&t->message, 0, sizeof t->message);
    t->is_open = false;
    t->detail.text[0] = '\0';
    if (t->block.cap > BLOCK_KEEP_MAX)
        buf_clear(&t->block);
}

void transaction_clear(struct transaction *t)
{
    transaction_reset(t);
    buf_clear(&t->block);
}

/* MAIL */

struct mail_words {
    uint64_t size;
    bool has_size, has_body, has_utf8, has_ret, has_envid, has_requiretls;
    bool is_8bit;
};

static int refuse(struct err *reply, const char *text)
{
    err_set(reply, "%s", text);
    return -1;
}

static int refuse_size(struct transaction *t, uint64_t size, struct err *reply)
{
    if (t->is_original)
        return refuse(reply, "552 5.3.4 Message size exceeds the limit");
    err_set(&t->detail, "%llu bytes, the limit is %llu; the MTA keeps the copy until it is raised",
            (unsigned long long)size,
            (unsigned long long)t->config->relay.message_size_limit_bytes);
    return refuse(reply, "452 4.3.4 Message size exceeds message_size_limit of splitrelay");
}

/* Once each; *seen is set. */
static int check_once(bool *seen, bool is_valid, const char *what, struct err *reply)
{
    if (*seen || !is_valid) {
        err_set(reply, "501 5.5.4 %s %s", *seen ? "Duplicate" : "Bad", what);
        return -1;
    }
    *seen = true;
    return 0;
}

/* RFC 1870: 1 to 20 digits, which can be more than 64 bits hold. */
static bool parse_size(const char *value, uint64_t *size_out)
{
    size_t len = strlen(value);
    uint64_t size = 0;

    if (len == 0 || len > 20 || strspn(value, "0123456789") != len)
        return false;
    for (; *value != '\0'; value++) {
        uint64_t digit = (uint64_t)(*value - '0');
        size = size > (UINT64_MAX - digit) / 10 ? UINT64_MAX : size * 10 + digit;
    }
    *size_out = size;
    return true;
}

static int mail_word(struct mail_words *w, const char *word, struct err *reply)
{
    const char *value;

    if (smtp_command_word(word, "SIZE", &value))
        return check_once(&w->has_size, parse_size(value, &w->size), "SIZE", reply);
    if (smtp_command_word(word, "BODY", &value)) {
        w->is_8bit = strcasecmp(value, "8BITMIME") == 0;
        return check_once(&w->has_body, w->is_8bit || strcasecmp(value, "7BIT") == 0, "BODY",
                          reply);
    }
    if (smtp_command_word(word, "SMTPUTF8", &value))
        return check_once(&w->has_utf8, strchr(word, '=') == NULL, "SMTPUTF8", reply);
    if (smtp_command_word(word, "RET", &value))
        return check_once(&w->has_ret,
                          strcasecmp(value, "FULL") == 0 || strcasecmp(value, "HDRS") == 0, "RET",
                          reply);
    if (smtp_command_word(word, "ENVID", &value)) /* of no use here: no notification is sent */
        return check_once(&w->has_envid, true, "ENVID", reply);
    if (smtp_command_word(word, "REQUIRETLS", &value))
        return check_once(&w->has_requiretls, strchr(word, '=') == NULL, "REQUIRETLS", reply);
    return refuse(reply, "555 5.5.4 Unsupported parameter");
}

int transaction_refuse_fault(struct transaction *t, enum queue_put_status status, struct err *reply)
{
    switch (status) {
    case QUEUE_PUT_OK:
        return 0;
    case QUEUE_PUT_FULL:
        return refuse(reply, "452 4.3.1 Insufficient system storage");
    case QUEUE_PUT_FAULT:
        break;
    }
    if (t->detail.text[0] == '\0')
        err_set(&t->detail, "fault of the queue");
    return refuse(reply, "451 4.3.0 Local fault, try again later");
}

/*
 * The MTA has accepted the message, and nobody hears of it when we do not: whoever sends must not
 * be able to avoid copies by a strange sender. One that is no address is kept as far as it can be;
 * what a destination thinks of it is another matter. path: with its brackets. The caller frees.
 */
static char *sender_of(const char *path)
{
    size_t len = strlen(path);
    struct address sender;
    struct err err;

    if (address_parse(path, len, ADDRESS_NULL_OK | ADDRESS_LENIENT, &sender, &err) == 0)
        return mem_strdup(sender.text);
    char *text = mem_strndup(path + 1, len - 2);
    log_sanitize(text);
    log_warning("sender is no address (%s): from=<%s>", err.text, text);
    if (len - 2 > SENDER_MAX)
        text[0] = '\0';
    return text;
}

int transaction_mail(struct transaction *t, const struct smtp_command *c, struct err *reply)
{
    struct mail_words words = {0};

    for (size_t i = 0; i < c->word_count; i++) {
        if (mail_word(&words, c->words[i], reply) != 0)
            return -1;
    }
    if (words.has_requiretls && !t->has_tls) /* not offered: RFC 8689 section 3 */
        return refuse(reply, "530 5.7.10 REQUIRETLS needs STARTTLS first");
    if (words.size > t->config->relay.message_size_limit_bytes)
        return refuse_size(t, words.size, reply);
    t->detail.text[0] = '\0';
    t->room = t->queue->ops->has_room(t->queue, words.size, &t->detail);
    if (t->room != QUEUE_PUT_OK && !t->is_original)
        return transaction_refuse_fault(t, t->room, reply);

    t->is_open = true;
    t->message = (struct queue_message){
        .sender = sender_of(c->path),
        .is_8bit = words.is_8bit,
        .is_utf8 = words.has_utf8,
        .needs_requiretls = words.has_requiretls,
    };
    clock_gettime(CLOCK_REALTIME, &t->message.arrival);
    err_set(reply, "250 2.1.0 Ok");
    return 0;
}

/* RCPT */

/* NULL if there is none yet. Destination names are the configuration's own: one pointer each. */
static struct queue_new_copy *find_copy(struct transaction *t, const char *destination)
{
    for (size_t i = 0; i < t->copy_count; i++) {
        if (t->copies[i].destination == destination)
            return &t->copies[i];
    }
    return NULL;
}

static struct queue_new_copy *new_copy(struct transaction *t, const char *destination)
{
    t->copies = mem_grow(t->copies, t->copy_count + 1, sizeof *t->copies);
    struct queue_new_copy *copy = &t->copies[t->copy_count++];
    memset(copy, 0, sizeof *copy);
    copy->destination = destination;
    return copy;
}

/* Local parts as they are, domains without regard to case (RFC 5321 2.4). */
static bool has_recipient(const struct queue_new_copy *copy, const struct address *a)
{
    for (size_t i = 0; i < copy->recipient_count; i++) {
        const char *other = copy->recipients[i].address;
        if (strcasecmp(other, a->text) == 0 && strncmp(other, a->text, a->local_len) == 0)
            return true;
    }
    return false;
}

static void append(struct queue_new_copy *copy, const char *address, const char *orcpt)
{
    size_t n = copy->recipient_count;

    /* The capacity is the next power of two: full when the count is one. */
    if ((n & (n - 1)) == 0)
        copy->recipients = mem_grow(copy->recipients, n == 0 ? 1 : n * 2, sizeof *copy->recipients);
    struct queue_recipient *r = &copy->recipients[copy->recipient_count++];
    r->address = mem_strdup(address);
    r->orcpt = mem_strdup(orcpt);
    r->state = QUEUE_PENDING;
    r->reason[0] = '\0';
}

void transaction_add_copy(struct transaction *t, const char *destination, const struct address *a,
                          const char *orcpt)
{
    struct queue_new_copy *copy = find_copy(t, destination);

    if (copy != NULL && has_recipient(copy, a))
        return;
    append(copy != NULL ? copy : new_copy(t, destination), a->text, orcpt);
    t->recipient_count++;
}

static int add_recipient(struct transaction *t, const char *destination, const struct address *a,
                         const char *orcpt, struct err *reply)
{
    struct queue_new_copy *copy = find_copy(t, destination);

    if ((copy == NULL || !has_recipient(copy, a)) && t->recipient_count >= QUEUE_RECIPIENTS_MAX)
        return refuse(reply, "452 4.5.3 Too many recipients");
    transaction_add_copy(t, destination, a, orcpt);
    t->accepted_count++;
    err_set(reply, "250 2.1.5 Ok");
    return 0;
}

int transaction_rcpt_words(const struct smtp_command *c, struct dsn *dsn, struct err *reply)
{
    struct err err;

    for (size_t i = 0; i < c->word_count; i++) {
        /* A malformed one is no wish: Postfix passes on an ORCPT that it did not check. */
        if (dsn_parse_word(dsn, c->words[i], &err) == 0)
            return refuse(reply, "555 5.5.4 Unsupported parameter");
    }
    return 0;
}

/* The destination that this address names and the address below it, or the reply. */
int transaction_route(const struct transaction *t, const struct address *tagged,
                      struct address *plain, const char **destination_out, struct err *reply)
{
    const char *tag_domain = t->config->tag_domain;
    struct buf name = {0};
    int status = -1;

    /* What lies below the suffix must not lead back into the tag domain: only one suffix is ours,
     * and a destination must not be made to see another. */
    if (!address_untag(tagged, "copy", tag_domain, plain, &name) ||
        address_leads_into(plain->text, strlen(plain->text), tag_domain)) {
        err_set(reply, "550 5.7.1 Relay access denied: not below .copy.%s", tag_domain);
    } else {
        const struct config_destination *d = config_find_destination(t->config, buf_str(&name));
        if (d == NULL) {
            err_set(reply, "451 4.3.5 Destination %s is not configured", buf_str(&name));
        } else {
            *destination_out = d->name;
            status = 0;
        }
    }
    buf_clear(&name);
    return status;
}

int transaction_rcpt(struct transaction *t, const struct smtp_command *c, struct err *reply)
{
    struct address tagged, plain;
    const char *destination;
    struct dsn dsn;
    struct err err;

    if (address_parse(c->path, strlen(c->path), ADDRESS_LENIENT, &tagged, &err) != 0) {
        err_set(reply, "501 5.1.3 Bad recipient: %s", err.text);
        return -1;
    }
    if (transaction_route(t, &tagged, &plain, &destination, reply) != 0)
        return -1;
    dsn_init(&dsn);
    int status = transaction_rcpt_words(c, &dsn, reply);
    if (status == 0)
        status = add_recipient(t, destination, &plain, dsn.orcpt, reply);
    dsn_clear(&dsn);
    return status;
}

/* DATA */

int transaction_data(struct transaction *t, struct err *reply)
{
    t->detail.text[0] = '\0';
    enum queue_put_status status = t->queue->ops->put_begin(t->queue, &t->message, t->copies,
                                                            t->copy_count, &t->put, &t->detail);
    if (status != QUEUE_PUT_OK) {
        t->put = NULL;
        return transaction_refuse_fault(t, status, reply);
    }
    err_set(reply, "354 End data with <CR><LF>.<CR><LF>");
    return 0;
}

static void mark_dead(struct queue_new_copy *copy, const char *reason)
{
    copy->is_dead = true;
    for (size_t k = 0; k < copy->recipient_count; k++) {
        copy->recipients[k].state = QUEUE_DEAD;
        snprintf(copy->recipients[k].reason, QUEUE_REASON_SIZE, "%s", reason);
    }
}

/*
 * Copies that loop, by what the header says: dead on arrival. Returns the reply if that is true of
 * all of them, NULL otherwise. A header is the sender's: he could forge one to keep his mail out of
 * an archive. So they are kept as dead letters even if the reply is a refusal, after which the MTA
 * forgets them (NOTIFY=NEVER).
 */
static const char *mark_loops(struct transaction *t, const struct content *content)
{
    bool has_hops = content_has_too_many_hops(content);
    size_t loops = 0;

    for (size_t i = 0; i < t->copy_count; i++) {
        struct queue_new_copy *copy = &t->copies[i];
        if (has_hops)
            mark_dead(copy, "554 5.4.6 too many hops");
        else if (content_has_copy_for(content, copy->destination))
            mark_dead(copy, "554 5.4.6 mail loops: it carries X-Split-Copy of this host");
        loops += copy->is_dead;
    }
    if (has_hops)
        return "554 5.4.6 Too many hops";
    return loops > 0 && loops == t->copy_count ? "554 5.4.6 Mail loops back to this host" : NULL;
}

/* How many recipients get it. */
static size_t count_recipients(const struct queue_new_copy *copy)
{
    size_t count = 0;

    for (size_t k = 0; k < copy->recipient_count; k++)
        count += copy->recipients[k].state != QUEUE_SENT;
    return count;
}

struct stored {
    const struct transaction *t;
    uint64_t size;
};

/* Before any of them is delivered: whoever reads the log finds the size above the deliveries. */
static void record_stored(void *ctx)
{
    const struct stored *stored = ctx;
    const struct transaction *t = stored->t;

    counters_message(stored->size);
    for (size_t i = 0; i < t->copy_count; i++) {
        const struct queue_new_copy *copy = &t->copies[i];
        size_t count = count_recipients(copy);
        if (count == 0)
            continue;
        maillog_taken(&t->message, copy, count, stored->size);
        counters_copy(copy->destination, stored->size);
        for (size_t k = 0; k < copy->recipient_count && copy->is_dead; k++)
            counters_outcome(copy->destination, QUEUE_DEAD, 0);
    }
}

enum queue_put_status transaction_commit(struct transaction *t, uint64_t size)
{
    struct stored stored = {t, size};
    enum queue_put_status status =
        t->queue->ops->put_commit(t->put, record_stored, &stored, &t->detail);

    t->put = NULL;
    return status;
}

static void accepted_reply(const struct transaction *t, struct err *reply)
{
    struct buf text = {0};

    buf_adds(&text, "250 2.0.0 Ok: queued as");
    for (size_t i = 0; i < t->copy_count && i < IDS_SHOWN_MAX; i++)
        buf_addf(&text, " %s", t->copies[i].id);
    err_set(reply, "%s", buf_str(&text));
    buf_clear(&text);
}

/* The content can be kept. */
static enum transaction_result finish_whole(struct transaction *t, const struct content *content,
                                            uint64_t size, enum queue_put_status status,
                                            const struct transaction_tee *tee, struct err *reply)
{
    const char *loop = mark_loops(t, content);

    if (tee != NULL && loop == NULL) {
        tee->finish(tee->ctx, status, size);
        return TRANSACTION_FINISHED;
    }
    if (tee != NULL) { /* the client is told, and tells the sender */
        refuse(reply, loop);
        transaction_drop_put(t);
        return TRANSACTION_REFUSED;
    }
    status = transaction_commit(t, size);
    if (status != QUEUE_PUT_OK) {
        transaction_refuse_fault(t, status, reply);
        return TRANSACTION_REFUSED;
    }
    if (loop != NULL) {
        refuse(reply, loop);
        return TRANSACTION_REFUSED;
    }
    accepted_reply(t, reply);
    return TRANSACTION_COMMITTED;
}

/* The whole content is there: commit it, or say why not. */
static enum transaction_result finish(struct transaction *t, const struct content *content,
                                      uint64_t size, enum queue_put_status status,
                                      const struct transaction_tee *tee, struct err *reply)
{
    if (content_has_bare_lf(content)) {
        refuse(reply, "550 5.5.2 Bare <LF> received");
    } else if (size > t->config->relay.message_size_limit_bytes) {
        refuse_size(t, size, reply);
    } else if (status != QUEUE_PUT_OK && tee == NULL) {
        transaction_refuse_fault(t, status, reply);
    } else {
        return finish_whole(t, content, size, status, tee, reply);
    }
    transaction_drop_put(t);
    return TRANSACTION_REFUSED;
}

enum stream_status transaction_receive(struct transaction *t, struct stream *stream,
                                       unsigned timeout_ms, const struct transaction_tee *tee,
                                       enum transaction_result *result_out, struct err *reply)
{
    const uint64_t limit = t->config->relay.message_size_limit_bytes;
    struct content *content = content_new(t->config->relay.hostname);
    enum queue_put_status put_status = QUEUE_PUT_OK;
    enum stream_status status = STREAM_OK;
    uint64_t size = 0;

    while (!content_is_complete(content)) {
        const char *data;
        size_t len;
        stream_set_deadline(stream, timeout_ms);
        status = stream_peek(stream, &data, &len);
        if (status != STREAM_OK)
            break;
        buf_reset(&t->block);
        stream_consume(stream, content_feed(content, data, len, &t->block));
        size += t->block.len;
        /* What cannot be kept is still read to its end: the reply belongs there. */
        bool is_unfit = size > limit || content_has_bare_lf(content);
        if (is_unfit)
            transaction_drop_put(t);
        if (tee != NULL && is_unfit)
            tee->abandon(tee->ctx);
        else if (tee != NULL && t->block.len > 0)
            tee->write(tee->ctx, t->block.data, t->block.len);
        if (t->put == NULL || t->block.len == 0)
            continue;
        put_status = t->queue->ops->put_data(t->put, t->block.data, t->block.len, &t->detail);
        if (put_status != QUEUE_PUT_OK)
            transaction_drop_put(t);
    }
    if (status == STREAM_OK)
        *result_out = finish(t, content, size, put_status, tee, reply);
    else
        transaction_drop_put(t);
    if (tee != NULL && (status != STREAM_OK || *result_out == TRANSACTION_REFUSED))
        tee->abandon(tee->ctx);
    content_free(content);
    return status;
}
