/* SPDX-License-Identifier: ISC */
/* Decides about one recipient. policy_plan.c makes the changes of the envelope from the decisions
 * about all recipients of a message. */
#include "policy/policy.h"
#include "base/mem.h"
#include "policy/policy_choice.h"
#include "policy/policy_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct policy_reply reply_tag_domain = {
    550, "5.7.1", "Recipient address rejected: internal routing domain"};
static const struct policy_reply reply_sender = {
    550, "5.7.1", "Sender address rejected: internal routing domain"};
static const struct policy_reply reply_bad_address = {
    550, "5.1.3", "Recipient address rejected: bad address syntax"};
static const struct policy_reply reply_cannot_tag = {
    550, "5.1.3",
    "Recipient address rejected: cannot be routed through a content filter or copied"};
static const struct policy_reply reply_tempfail = {
    451, "4.3.0", "Recipient policy is not available, try again later"};
static const struct policy_reply reply_mixed = {
    451, "4.5.3", "Recipient goes through another content filter, send it separately"};

void policy_reason_set(struct policy_reason *r, const struct table_match *m)
{
    const char *path = table_path(m->table);

    r->table = mem_strdup(table_spec(m->table));
    r->key = mem_strdup(buf_str(&m->key));
    r->value = mem_strdup(buf_str(&m->value));
    r->path = mem_strdup(path == NULL ? "" : path);
    r->line = m->line;
    r->host = mem_strdup(buf_str(&m->host));
    r->query = mem_strdup(buf_str(&m->query));
}

void policy_reason_copy(struct policy_reason *r, const struct policy_reason *from)
{
    r->table = mem_strdup(from->table);
    r->key = mem_strdup(from->key);
    r->value = mem_strdup(from->value);
    r->path = mem_strdup(from->path);
    r->line = from->line;
    r->host = mem_strdup(from->host);
    r->query = mem_strdup(from->query);
}

void policy_reason_clear(struct policy_reason *r)
{
    free(r->table);
    free(r->key);
    free(r->value);
    free(r->path);
    free(r->host);
    free(r->query);
}

enum table_result policy_bad_answer(const struct table_match *m, struct err *err)
{
    const char *path = table_path(m->table);

    if (path != NULL && m->line > 0)
        err_wrap(err, "%s:%u: result of \"%s\"", path, m->line, buf_str(&m->key));
    else
        err_wrap(err, "%s: result of \"%s\"", table_spec(m->table), buf_str(&m->key));
    return TABLE_FAILED;
}

enum policy_failed policy_failed_of(enum table_result result)
{
    switch (result) {
    case TABLE_FOUND:
    case TABLE_NOT_FOUND:
        break;
    case TABLE_FAILED:
        return POLICY_FAILED;
    case TABLE_LIMIT:
        return POLICY_LIMIT;
    }
    return POLICY_OK;
}

/* What the steps of one decision share. */
struct deciding {
    const struct policy *p;
    struct table_scratch *scratch;
    const struct policy_message *message;
    struct address address; /* as the client sent it, or completed */
    bool is_ambiguous;      /* address_is_ambiguous() of the path that the client sent */
    struct table_match match;
    struct policy_decision *out;
};

static enum table_result decide_original(struct deciding *d)
{
    struct address original;
    enum table_result r = policy_find_original(d->p, d->scratch, d->out->dsn.orcpt, &d->address,
                                               &original, &d->out->failure);

    if (r == TABLE_FOUND) {
        d->address = original;
        free(d->out->original);
        d->out->original = mem_strdup(original.text);
        d->out->is_from_orcpt = true;
    }
    return r;
}

static enum table_result decide_canonical(struct deciding *d)
{
    struct address end;

    if (!config_has_canonical_class(d->p->config, "envelope_recipient"))
        return TABLE_NOT_FOUND;
    enum table_result r =
        lookup_canonical(&d->p->maps[POLICY_CANONICAL], d->scratch, &d->address,
                         d->p->config->recipient_delimiter, &end, &d->match, &d->out->failure);

    if (r == TABLE_FOUND && policy_canonical_check(d->p->config, &end, &d->out->failure) != 0)
        return policy_bad_answer(&d->match, &d->out->failure);
    if (r == TABLE_FOUND) {
        policy_reason_set(&d->out->canonical_reason, &d->match);
        d->out->is_rewritten = strcmp(end.text, d->out->original) != 0;
        free(d->out->final);
        d->out->final = mem_strdup(end.text);
    }
    return r;
}

static unsigned share_of(const struct address *a)
{
    struct buf folded = {0};

    address_fold(a, &folded);
    unsigned share = policy_share_of(buf_str(&folded));
    buf_clear(&folded);
    return share;
}

/* Set the filter of this recipient from a result of filter_maps or sender_filter_maps. */
static int apply_filters(struct deciding *d, const char *value)
{
    const struct config *config = d->p->config;
    struct policy_choices choices;

    if (policy_parse_filters(config, value, &d->out->filter, &choices, &d->out->failure) != 0)
        return -1;
    int i = policy_choose_one(&choices, choices.count > 0 ? share_of(&d->address) : 0);
    if (i >= 0)
        d->out->filter = policy_find_filter(config, choices.items[i].name); /* NULL: no filter */
    policy_choices_clear(&choices);
    return 0;
}

static enum table_result decide_filter(struct deciding *d)
{
    if (d->message->filter_value != NULL) { /* policy_begin() has checked it */
        policy_reason_copy(&d->out->filter_reason, &d->message->filter_reason);
        return apply_filters(d, d->message->filter_value) == 0 ? TABLE_FOUND : TABLE_FAILED;
    }
    enum table_result r =
        lookup_transport(&d->p->maps[POLICY_FILTERS], d->scratch, &d->address,
                         d->p->config->recipient_delimiter, &d->match, &d->out->failure);
    if (r != TABLE_FOUND)
        return r;
    if (apply_filters(d, buf_str(&d->match.value)) != 0)
        return policy_bad_answer(&d->match, &d->out->failure);
    policy_reason_set(&d->out->filter_reason, &d->match);
    return TABLE_FOUND;
}

static void add_copy(const struct config_destination ***copies, size_t *count,
                     const struct config_destination *dest)
{
    for (size_t i = 0; i < *count; i++)
        if ((*copies)[i] == dest)
            return;
    *copies = mem_grow(*copies, *count + 1, sizeof(struct config_destination *));
    (*copies)[(*count)++] = dest;
}

int policy_add_copies(const struct config *config, enum policy_map map, const struct address *to,
                      const char *value, const struct config_destination ***copies, size_t *count,
                      struct err *err)
{
    struct policy_choices choices;

    if (policy_parse_copies(config, map, value, &choices, err) != 0)
        return -1;
    unsigned share = choices.count > 0 ? share_of(to) : 0;
    for (size_t i = 0; i < choices.count; i++) {
        if (share < choices.items[i].share)
            add_copy(copies, count, config_find_destination(config, choices.items[i].name));
    }
    policy_choices_clear(&choices);
    return 0;
}

static int apply_copies(struct deciding *d, enum policy_map map, const char *value)
{
    return policy_add_copies(d->p->config, map, &d->address, value, &d->out->copies,
                             &d->out->copy_count, &d->out->failure);
}

static enum table_result decide_copies(struct deciding *d)
{
    if (d->message->copy_value != NULL) { /* policy_begin() has checked it */
        policy_reason_copy(&d->out->sender_copy_reason, &d->message->copy_reason);
        if (apply_copies(d, POLICY_SENDER_COPIES, d->message->copy_value) != 0)
            return TABLE_FAILED;
    }
    enum table_result r =
        lookup_transport(&d->p->maps[POLICY_COPIES], d->scratch, &d->address,
                         d->p->config->recipient_delimiter, &d->match, &d->out->failure);
    if (r != TABLE_FOUND)
        return r;
    if (apply_copies(d, POLICY_COPIES, buf_str(&d->match.value)) != 0)
        return policy_bad_answer(&d->match, &d->out->failure);
    policy_reason_set(&d->out->copy_reason, &d->match);
    return TABLE_FOUND;
}

/* After a look-up that failed: take back what earlier look-ups decided, so that the recipient stays
 * as it is. */
static void undecide(struct policy_decision *out)
{
    free(out->final);
    out->final = mem_strdup(out->original);
    out->is_rewritten = false;
    out->filter = NULL;
    out->copy_count = 0;
}

int policy_tagged(const struct policy *p, const struct policy_decision *d,
                  const struct config_destination *copy, struct buf *out, struct err *err)
{
    struct address a;
    const char *text =
        copy != NULL && copy->recipient != CONFIG_ADDRESS_CANONICAL ? d->original : d->final;

    if (address_parse(text, strlen(text), ADDRESS_LENIENT, &a, err) != 0)
        return -1;
    if (copy != NULL)
        return address_tag(&a, copy->name, "copy", p->config->tag_domain, out, err);
    assert(d->filter != NULL);
    return address_tag(&a, d->filter->name, "filter", p->config->tag_domain, out, err);
}

int policy_tagged_back(const struct policy *p, const struct policy_decision *d, struct buf *out)
{
    struct address a;
    struct err ignored;

    if (address_parse(d->final, strlen(d->final), ADDRESS_LENIENT, &a, &ignored) != 0)
        return -1;
    return address_tag(&a, "rewritten", "back", p->config->tag_domain, out, &ignored);
}

/*
 * Can the address carry the tags that it needs? With filter_method = "header" a filter needs no tag
 * if all recipients have the same filter. Whether they have is known only at the end of the
 * message: policy_plan() refuses a message in which an address needs a tag and cannot carry it.
 * A filter with fallback needs a tag with both methods.
 */
static bool can_carry_tags(const struct policy *p, const struct policy_decision *d)
{
    struct buf tagged = {0};
    struct err ignored;
    bool ok = true;

    if (d->filter != NULL &&
        (p->config->milter.filter_method == CONFIG_METHOD_TAG || d->filter->fallback.count > 0))
        ok = policy_tagged(p, d, NULL, &tagged, &ignored) == 0;
    for (size_t i = 0; ok && i < d->copy_count; i++)
        ok = policy_tagged(p, d, d->copies[i], &tagged, &ignored) == 0;
    buf_clear(&tagged);
    return ok;
}

static enum policy_failed ask_tables(struct deciding *d)
{
    static enum table_result (*const steps[])(struct deciding *) = {
        decide_original, decide_canonical, decide_filter, decide_copies};
    enum policy_failed failed = d->message->failed;

    if (failed != POLICY_OK)
        d->out->failure = d->message->failure;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && failed == POLICY_OK; i++)
        failed = policy_failed_of(steps[i](d));
    return failed;
}

static void decide_by_tables(struct deciding *d)
{
    struct policy_decision *out = d->out;

    table_match_init(&d->match);
    out->failed = ask_tables(d);
    table_match_clear(&d->match);
    assert((out->failed != POLICY_OK) == (out->failure.text[0] != '\0'));
    if (out->failed != POLICY_OK) {
        undecide(out);
        if (!policy_may_accept(d->p, out))
            out->reply = reply_tempfail;
        return;
    }
    policy_skip_copies(out);
    bool changes = out->is_rewritten || out->filter != NULL || out->copy_count > 0;
    if (changes && (d->is_ambiguous || !can_carry_tags(d->p, out)))
        out->reply = reply_cannot_tag;
}

void policy_decide(const struct policy *p, struct table_scratch *s,
                   const struct policy_message *message, const char *rcpt, const char *completed,
                   char *const *words, struct policy_decision *out)
{
    struct deciding d = {.p = p, .scratch = s, .message = message, .out = out};
    struct err ignored;
    size_t len = strlen(rcpt);

    table_scratch_begin(s);
    memset(out, 0, sizeof *out);
    out->rcpt = mem_strdup(rcpt);
    dsn_init(&out->dsn);
    /* The MTA has checked the words; one that is still invalid is ignored. */
    for (size_t i = 0; words != NULL && words[i] != NULL; i++)
        (void)!dsn_parse_word(&out->dsn, words[i], &ignored);
    const char *text = completed == NULL ? rcpt : completed;
    if (address_parse(rcpt, len, ADDRESS_LENIENT, &d.address, &ignored) == 0) {
        d.is_ambiguous = address_is_ambiguous(&d.address);
        out->written = completed == NULL ? NULL : mem_strdup(d.address.text);
    }
    int parsed = address_parse(text, strlen(text), ADDRESS_LENIENT, &d.address, &ignored);
    size_t bracket = parsed != 0 && len >= 2 && rcpt[0] == '<' && rcpt[len - 1] == '>';
    out->original =
        parsed == 0 ? mem_strdup(d.address.text) : mem_strndup(rcpt + bracket, len - 2 * bracket);
    out->final = mem_strdup(out->original);
    if (parsed == 0)
        out->direction = policy_direction(p->config, message->is_outbound, &d.address);
    if (address_leads_into(rcpt, len, p->config->tag_domain) ||
        address_leads_into(text, strlen(text), p->config->tag_domain))
        out->reply = reply_tag_domain;
    else if (message->is_from_tag_domain)
        out->reply = reply_sender;
    else if (message->is_bypassed)
        return;
    else if (parsed != 0)
        out->reply = reply_bad_address;
    else
        decide_by_tables(&d);
}

void policy_decision_clear(struct policy_decision *d)
{
    free(d->rcpt);
    free(d->original);
    free(d->written);
    free(d->final);
    free(d->copies);
    free(d->skips);
    dsn_clear(&d->dsn);
    policy_reason_clear(&d->canonical_reason);
    policy_reason_clear(&d->filter_reason);
    policy_reason_clear(&d->copy_reason);
    policy_reason_clear(&d->sender_copy_reason);
    memset(d, 0, sizeof *d);
}

bool policy_refuses(const struct policy *p, enum policy_failed failed)
{
    switch (failed) {
    case POLICY_OK:
        return false;
    case POLICY_FAILED:
        return p->config->milter.on_failure == CONFIG_FAIL_TEMPFAIL;
    case POLICY_LIMIT:
        break;
    }
    return true;
}

bool policy_may_accept(const struct policy *p, const struct policy_decision *d)
{
    return d->reply.code == 0 && !policy_refuses(p, d->failed);
}

struct policy_reply policy_admit(const struct policy *p, const struct policy_decision *accepted,
                                 size_t count, const struct policy_decision *next)
{
    const struct config_milter *m = &p->config->milter;

    if (next->reply.code != 0)
        return next->reply;
    if (!policy_may_accept(p, next))
        return reply_tempfail;
    if (m->filter_method == CONFIG_METHOD_HEADER && m->mixed_filters == CONFIG_MIXED_DEFER &&
        count > 0 && accepted[0].filter != next->filter)
        return reply_mixed;
    return (struct policy_reply){0, "", ""};
}

struct policy_reply policy_admit_back(const struct policy *p, const struct policy_decision *next)
{
    struct buf tagged = {0};
    bool ok =
        !next->is_rewritten || next->filter != NULL || policy_tagged_back(p, next, &tagged) == 0;

    buf_clear(&tagged);
    return ok ? (struct policy_reply){0, "", ""} : reply_cannot_tag;
}
