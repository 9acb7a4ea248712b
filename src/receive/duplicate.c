/* SPDX-License-Identifier: ISC */
#include "receive/duplicate_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "task/task.h"

#include <stdlib.h>
#include <string.h>

struct duplicate *duplicate_new(const struct duplicate_options *options)
{
    struct duplicate *d = mem_zalloc(sizeof *d);

    d->o = *options;
    d->o.transaction->is_original = true;
    d->scratch = table_scratch_new();
    return d;
}

static void clear_due(struct duplicate *d)
{
    for (size_t i = 0; i < d->due_count; i++) {
        free(d->due[i].path);
        free(d->due[i].orcpt);
        free(d->due[i].copies);
    }
    d->due_count = d->due_at = 0;
}

void duplicate_reset(struct duplicate *d)
{
    clear_due(d);
    for (size_t i = 0; i < d->accepted_count; i++)
        free(d->accepted[i]);
    free(d->accepted);
    d->accepted = NULL;
    d->accepted_count = 0;
    d->copies_missing = false;
    primary_reset(d->o.primary);
}

void duplicate_free(struct duplicate *d)
{
    if (d == NULL)
        return;
    duplicate_reset(d);
    free(d->due);
    table_scratch_free(d->scratch);
    buf_clear(&d->trace);
    buf_clear(&d->reply);
    buf_clear(&d->replies);
    free(d);
}

const struct smtp_features *duplicate_greet(struct duplicate *d, bool is_lmtp, struct err *reply)
{
    d->is_lmtp = is_lmtp;
    bool is_there = primary_open(d->o.primary);
    d->has_promised = primary_features_known(d->o.primary, &d->promised);
    if (!is_there && !d->has_promised)
        primary_fault(d->o.primary, reply);
    return d->has_promised ? &d->promised : NULL;
}

size_t duplicate_due(const struct duplicate *d)
{
    return d->due_count - d->due_at;
}

static struct due *add_due(struct duplicate *d, const struct due *item)
{
    size_t n = d->due_count;

    if ((n & (n - 1)) == 0)
        d->due = mem_grow(d->due, n == 0 ? 1 : n * 2, sizeof *d->due);
    d->due[n] = *item;
    return &d->due[d->due_count++];
}

/* --- MAIL and RCPT --- */

static int refuse(struct err *reply, const char *text)
{
    err_set(reply, "%s", text);
    return -1;
}

/*
 * Refuse ESMTP parameters (words) that need an extension which the present primary does not offer:
 * this primary may be another host than the one whose extensions the reply to EHLO had, or the
 * client used an extension that was not offered. If the extension was offered, the refusal is
 * temporary: the client comes again, and gets another reply to EHLO. Parameters are not dropped
 * instead, because that would change how the message is handled. -1: refused with `reply`.
 */
static int check_words(struct duplicate *d, const char *const *words, struct err *reply)
{
    const struct smtp_features *f = primary_features(d->o.primary);

    for (; f != NULL && *words != NULL; words++) {
        const char *text = NULL;
        switch (primary_classify_word(f, *words)) {
        case PRIMARY_WORD_PASSED:
        case PRIMARY_WORD_LEFT_OUT:
            continue;
        case PRIMARY_WORD_NO_8BITMIME:
            text = "451 4.6.3 8BITMIME is not offered by the primary at hand";
            break;
        case PRIMARY_WORD_NO_SMTPUTF8:
            text = d->has_promised && d->promised.smtputf8
                       ? "451 4.6.7 SMTPUTF8 is not offered by the primary at hand"
                       : "553 5.6.7 SMTPUTF8 is not offered by the primary";
            break;
        case PRIMARY_WORD_NO_REQUIRETLS:
            text = d->has_promised && d->promised.requiretls
                       ? "451 4.7.30 REQUIRETLS support required: not at the primary at hand"
                       : "550 5.7.30 REQUIRETLS support required: not at the primary";
            break;
        case PRIMARY_WORD_NO_DSN:
            text = "451 4.3.3 DSN is not offered by the primary at hand";
            break;
        }
        err_set(&d->o.transaction->detail, "primary %s", primary_peer(d->o.primary));
        return refuse(reply, text);
    }
    return 0;
}

int duplicate_mail(struct duplicate *d, const struct smtp_command *c, const struct xforward *x,
                   struct err *reply)
{
    if (transaction_mail(d->o.transaction, c, reply) != 0)
        return -1;
    d->begin_ms = task_now_ms();
    (void)primary_open(d->o.primary);
    if (check_words(d, c->words, reply) != 0) {
        struct err detail = d->o.transaction->detail;
        transaction_reset(d->o.transaction);
        d->o.transaction->detail = detail;
        return -1;
    }
    struct due item = {.is_mail = true, .path = mem_strdup(c->path), .orcpt = mem_strdup("")};
    add_due(d, &item);
    primary_mail(d->o.primary, c->path, c->words, x);
    return 0;
}

static void add_destination(struct due *item, const char *name)
{
    item->copies = mem_grow(item->copies, item->copy_count + 1, sizeof *item->copies);
    item->copies[item->copy_count++] = name;
}

/* Choose the copies of a recipient: by copy_maps, or by `copies` if copy_maps has no result. -1:
 * refused with `reply`. */
static int choose_copies(struct duplicate *d, const char *path, struct due *item, struct err *reply)
{
    const struct config_listener *l = d->o.listener;
    struct transaction *t = d->o.transaction;
    struct policy_copies_decision decision;
    int status = 0;

    policy_copies_decide_in_task(d->o.copies, d->scratch, path, &decision);
    if (decision.failed != POLICY_OK) {
        /* POLICY_LIMIT refuses the recipient even without require_copies, because a client must not
         * be able to avoid copies by its choice of address. */
        if (l->require_copies || decision.failed == POLICY_LIMIT) {
            t->detail = decision.failure;
            status = refuse(reply, "451 4.3.0 Local fault, try again later");
        } else {
            log_error("listener=%s: to=<%s>: no copies: %s", l->name, item->address.text,
                      decision.failure.text);
        }
    } else if (decision.has_result) {
        for (size_t i = 0; i < decision.copy_count; i++)
            add_destination(item, decision.copies[i]->name);
    } else {
        for (size_t i = 0; i < l->copies.count; i++)
            add_destination(item, config_find_destination(t->config, l->copies.items[i])->name);
    }
    policy_copies_decision_clear(&decision);
    return status;
}

/* Set the destinations of this recipient's copies, and its address without suffix. -1: refused with
 * `reply`. */
static int plan_recipient(struct duplicate *d, const char *path, struct due *item,
                          struct err *reply)
{
    struct transaction *t = d->o.transaction;
    struct address tagged;
    const char *destination;
    struct err err;

    if (address_parse(path, strlen(path), ADDRESS_LENIENT | ADDRESS_OCTETS, &tagged, &err) != 0) {
        err_set(reply, "501 5.1.3 Bad recipient: %s", err.text);
        return -1;
    }
    if (address_leads_into(path, strlen(path), t->config->tag_domain)) {
        if (transaction_route(t, &tagged, &item->address, &destination, reply) != 0)
            return -1;
        add_destination(item, destination);
        item->path = mem_printf("<%s>", item->address.text);
    } else {
        item->address = tagged;
        item->path = mem_strdup(path);
        if (choose_copies(d, path, item, reply) != 0)
            return -1;
    }
    const char *address = item->address.text;
    if (item->copy_count > 0 && t->queue->needs_utf8 && !utf8_is_valid(address, strlen(address)))
        return refuse(reply, "553 5.6.7 Recipient is no UTF-8, and its copy cannot be stored");
    return 0;
}

/* True: the message has as many recipients as it may have. With an SMTP client and an LMTP primary
 * it may have one: the client gets a single reply to the content, but the primary sends one for
 * each recipient. */
static bool is_full(const struct duplicate *d, const struct due *item)
{
    size_t others = d->accepted_count + duplicate_due(d);
    size_t copies = d->o.transaction->recipient_count + item->copy_count;

    for (size_t i = d->due_at; i < d->due_count; i++)
        copies += d->due[i].copy_count;
    if (d->o.listener->primary.protocol == CONFIG_LMTP && !d->is_lmtp)
        return others > (duplicate_due(d) > 0 && d->due[d->due_at].is_mail ? 1u : 0u);
    return others >= QUEUE_RECIPIENTS_MAX || copies > QUEUE_RECIPIENTS_MAX;
}

int duplicate_rcpt(struct duplicate *d, const struct smtp_command *c, struct err *reply)
{
    struct due item = {0};
    struct dsn dsn;

    dsn_init(&dsn);
    int status = plan_recipient(d, c->path, &item, reply);
    if (status == 0)
        status = transaction_rcpt_words(c, &dsn, reply);
    if (status == 0)
        status = check_words(d, c->words, reply);
    if (status == 0 && is_full(d, &item))
        status = refuse(reply, "452 4.5.3 Too many recipients");
    if (status == 0) {
        item.orcpt = mem_strdup(dsn.orcpt);
        add_due(d, &item);
        primary_rcpt(d->o.primary, item.path, c->words);
    } else {
        free(item.path);
        free(item.copies);
    }
    dsn_clear(&dsn);
    return status;
}

static void accept_recipient(struct duplicate *d, const struct due *item)
{
    for (size_t i = 0; i < item->copy_count; i++)
        transaction_add_copy(d->o.transaction, item->copies[i], &item->address, item->orcpt);
    d->o.transaction->accepted_count++;
    d->accepted = mem_grow(d->accepted, d->accepted_count + 1, sizeof(char *));
    d->accepted[d->accepted_count++] = mem_strdup(item->address.text);
}

bool duplicate_settle(struct duplicate *d, struct duplicate_answer *out)
{
    if (duplicate_due(d) == 0) {
        clear_due(d);
        return false;
    }
    const struct due *item = &d->due[d->due_at++];
    buf_reset(&d->reply);
    enum primary_answer answer = primary_answer(d->o.primary, &d->reply);
    *out = (struct duplicate_answer){
        .is_mail = item->is_mail,
        .is_yes = answer == PRIMARY_YES,
        .to = item->path,
        .reply = buf_str(&d->reply),
    };
    if (answer == PRIMARY_LOST)
        err_set(&d->o.transaction->detail, "primary %s", primary_peer(d->o.primary));
    if (answer == PRIMARY_YES && !item->is_mail)
        accept_recipient(d, item);
    return true;
}
