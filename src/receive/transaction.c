/* SPDX-License-Identifier: ISC */
#include "receive/transaction_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "deliver/maillog.h"
#include "base/clock.h"
#include "base/ascii.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENDER_MAX 2000 /* bytes of a sender that is no address; Postfix takes a line of 2048 */
#define BLOCK_KEEP_MAX 16384 /* bytes of memory kept for the next message */

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
    free(t->message.message_id);
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

int transaction_refuse_size(struct transaction *t, uint64_t size, struct err *reply)
{
    if (t->is_original)
        return refuse(reply, "552 5.3.4 Message size exceeds the limit");
    err_set(&t->detail, "%llu bytes, the limit is %llu; the MTA keeps the copy until it is raised",
            (unsigned long long)size,
            (unsigned long long)t->config->relay.message_size_limit_bytes);
    return refuse(reply, "452 4.3.4 Message size exceeds message_size_limit of splitrelay");
}

/* Refuse a parameter that comes twice or is not valid. Sets *seen. */
static int check_once(bool *seen, bool is_valid, const char *what, struct err *reply)
{
    if (*seen || !is_valid) {
        err_set(reply, "501 5.5.4 %s %s", *seen ? "Duplicate" : "Bad", what);
        return -1;
    }
    *seen = true;
    return 0;
}

/* Parse 1 to 20 digits (RFC 1870). A number that does not fit into 64 bits counts as UINT64_MAX. */
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
        w->is_8bit = ascii_equal(value, "8BITMIME");
        return check_once(&w->has_body, w->is_8bit || ascii_equal(value, "7BIT"), "BODY", reply);
    }
    if (smtp_command_word(word, "SMTPUTF8", &value))
        return check_once(&w->has_utf8, strchr(word, '=') == NULL, "SMTPUTF8", reply);
    if (smtp_command_word(word, "RET", &value))
        return check_once(&w->has_ret, ascii_equal(value, "FULL") || ascii_equal(value, "HDRS"),
                          "RET", reply);
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
 * Get the sender in the form that is stored. The MTA has accepted the message and reports no
 * refusal of a copy, so a client must not be able to avoid copies by an odd sender. A sender that
 * is no address is kept as text, as far as possible; a destination may refuse it. path: with its
 * brackets. The caller frees the result.
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
    if (maillog_has_room())
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
    if (words.has_requiretls && !t->has_tls) /* it was not offered: RFC 8689 section 3 */
        return refuse(reply, "530 5.7.10 REQUIRETLS needs STARTTLS first");
    if (words.size > t->config->relay.message_size_limit_bytes)
        return transaction_refuse_size(t, words.size, reply);
    t->detail.text[0] = '\0';
    t->room = t->queue->ops->has_room(t->queue, words.size, &t->detail);
    if (t->room != QUEUE_PUT_OK && !t->is_original)
        return transaction_refuse_fault(t, t->room, reply);

    t->is_open = true;
    t->message = (struct queue_message){
        .sender = sender_of(c->path),
        .message_id = mem_strdup(""),
        .is_8bit = words.is_8bit,
        .is_utf8 = words.has_utf8,
        .needs_requiretls = words.has_requiretls,
    };
    t->message.arrival = clock_realtime();
    err_set(reply, "250 2.1.0 Ok");
    return 0;
}

/* RCPT */

/* The copy for this destination; NULL if there is none yet. The pointers are compared, because
 * `destination` is always the configuration's own string. */
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

static bool has_recipient(const struct queue_new_copy *copy, const struct address *a)
{
    for (size_t i = 0; i < copy->recipient_count; i++) {
        if (address_is_same(copy->recipients[i].address, a->text))
            return true;
    }
    return false;
}

static void append(struct queue_new_copy *copy, const char *address, const char *orcpt)
{
    size_t n = copy->recipient_count;

    /* The capacity is a power of two, so the array is full when the count is 0 or a power of
     * two. */
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
        /* A malformed parameter is ignored: Postfix passes on an ORCPT that it did not check. */
        if (dsn_parse_word(dsn, c->words[i], &err) == 0)
            return refuse(reply, "555 5.5.4 Unsupported parameter");
    }
    return 0;
}

int transaction_route(const struct transaction *t, const struct address *tagged,
                      struct address *plain, const char **destination_out, struct err *reply)
{
    const char *tag_domain = t->config->tag_domain;
    struct buf name = {0};
    int status = -1;

    /* The address below the suffix must not lead into the tag domain again: only one suffix is
     * ours, and no destination may get an address with another one. */
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
