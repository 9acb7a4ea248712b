/* SPDX-License-Identifier: ISC */
/* The decision about one recipient. What becomes of all decisions of a message is policy_plan.c. */
#include "policy.h"
#include "mem.h"
#include "policy_choice.h"
#include "policy_private.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct policy_reply reply_tag_domain = {
    550, "5.7.1", "Recipient address rejected: internal routing domain"};
static const struct policy_reply reply_bad_address = {
    550, "5.1.3", "Recipient address rejected: bad address syntax"};
static const struct policy_reply reply_cannot_tag = {
    550, "5.1.3",
    "Recipient address rejected: cannot be routed through a content filter or copied"};
static const struct policy_reply reply_tempfail = {
    451, "4.3.0", "Recipient policy is not available, try again later"};
static const struct policy_reply reply_mixed = {
    451, "4.5.3", "Recipient goes through another content filter, send it separately"};

/* One declared filter or destination of a look-up result; which of them is up to the kind of map.
 */
static const struct config_filter *find_filter(const struct config *c, const char *name)
{
    const struct config_filter *f = config_find_filter(c, name);

    return f != NULL ? f : config_find_nexthop(c, name);
}

/*
 * Take a filter_maps result apart. A nexthop may itself hold commas or spaces, so the whole text is
 * tried first. *whole_out: then the filter, and `choices` is empty; NULL otherwise.
 */
static int parse_filters(const struct config *config, const char *value,
                         const struct config_filter **whole_out, struct policy_choices *choices,
                         struct err *err)
{
    choices->count = 0;
    *whole_out = find_filter(config, value);
    if (*whole_out != NULL)
        return 0;
    if (policy_choices_parse(value, choices, err) != 0)
        return -1;
    for (size_t i = 0; i < choices->count; i++) {
        const char *name = choices->items[i].name;
        if (strcasecmp(name, "none") != 0 && find_filter(config, name) == NULL) {
            err_set(err, "\"%s\" is neither a declared filter, nor the nexthop of one, nor none",
                    name);
            policy_choices_clear(choices);
            return -1;
        }
    }
    return 0;
}

static int parse_copies(const struct config *config, const char *value,
                        struct policy_choices *choices, struct err *err)
{
    if (policy_choices_parse(value, choices, err) != 0)
        return -1;
    for (size_t i = 0; i < choices->count; i++) {
        const char *name = choices->items[i].name;
        if (config_find_destination(config, name) == NULL) {
            err_set(err, "\"%s\" is not a declared destination", name);
            policy_choices_clear(choices);
            return -1;
        }
    }
    return 0;
}

struct check_context {
    const struct policy *policy;
    const struct table *table;
    struct err *err;
};

/* `reason` is in ctx->err: put the place in the table before it. */
static int bad_value(const struct check_context *ctx, const char *key, unsigned line)
{
    const char *path = table_path(ctx->table);

    if (path != NULL && line > 0)
        err_wrap(ctx->err, "%s:%u: result of \"%s\"", path, line, key);
    else
        err_wrap(ctx->err, "%s: %s: result of \"%s\"", ctx->policy->config->path,
                 table_spec(ctx->table), key);
    return -1;
}

static int check_filter(const char *key, const char *value, unsigned line, void *arg)
{
    struct check_context *ctx = arg;
    const struct config_filter *whole;
    struct policy_choices choices;

    if (parse_filters(ctx->policy->config, value, &whole, &choices, ctx->err) != 0)
        return bad_value(ctx, key, line);
    policy_choices_clear(&choices);
    return 0;
}

static int check_copies(const char *key, const char *value, unsigned line, void *arg)
{
    struct check_context *ctx = arg;
    struct policy_choices choices;

    if (parse_copies(ctx->policy->config, value, &choices, ctx->err) != 0)
        return bad_value(ctx, key, line);
    policy_choices_clear(&choices);
    return 0;
}

static int check_canonical(const char *key, const char *value, unsigned line, void *arg)
{
    struct check_context *ctx = arg;
    struct address parsed;
    char *with_local = *value == '@' ? mem_printf("user%s", value) : mem_strdup(value);
    int rc = address_parse(with_local, strlen(with_local), ADDRESS_LENIENT, &parsed, ctx->err);

    free(with_local);
    if (rc == 0 && parsed.text[parsed.domain_at] == '\0') {
        err_set(ctx->err, "\"%s\" has no domain", value);
        rc = -1;
    }
    return rc == 0 ? 0 : bad_value(ctx, key, line);
}

static const struct {
    const char *option;
    size_t specs; /* offset of the struct config_strings in struct config_milter */
    int (*check)(const char *key, const char *value, unsigned line, void *arg);
} maps[POLICY_MAP_COUNT] = {
    [POLICY_CANONICAL] = {"canonical_maps", offsetof(struct config_milter, canonical_maps),
                          check_canonical},
    [POLICY_FILTERS] = {"filter_maps", offsetof(struct config_milter, filter_maps), check_filter},
    [POLICY_COPIES] = {"copy_maps", offsetof(struct config_milter, copy_maps), check_copies},
};

static int check_table(const struct policy *p, enum policy_map map, const struct table *t,
                       struct err *err)
{
    struct check_context ctx = {p, t, err};

    return table_each_value(t, maps[map].check, &ctx) == 0 ? 0 : -1;
}

static int open_map(const struct policy *p, enum policy_map map, struct lookup_list *list,
                    struct err *err)
{
    const struct config_strings *specs =
        (const void *)((const char *)&p->config->milter + maps[map].specs);

    if (lookup_open(list, specs->items, specs->count, err) != 0) {
        err_wrap(err, "%s", maps[map].option);
        return -1;
    }
    for (size_t i = 0; i < list->count; i++)
        if (check_table(p, map, list->tables[i], err) != 0)
            return -1;
    return 0;
}

struct policy *policy_open(const struct config *config, struct err *err)
{
    struct policy *p = mem_zalloc(sizeof *p);

    p->config = config;
    for (enum policy_map map = 0; map < POLICY_MAP_COUNT; map++) {
        if (open_map(p, map, &p->maps[map], err) != 0) {
            policy_close(p);
            return NULL;
        }
    }
    return p;
}

void policy_close(struct policy *p)
{
    if (p == NULL)
        return;
    for (enum policy_map map = 0; map < POLICY_MAP_COUNT; map++)
        lookup_close(&p->maps[map]);
    free(p);
}

/* One table of the new policy: opened anew and checked if it comes from this file. */
static struct table *replace_table(const struct policy *p, enum policy_map map, struct table *t,
                                   const char *path, struct err *err)
{
    const char *own_path = table_path(t);

    if (own_path == NULL || strcmp(own_path, path) != 0)
        return table_ref(t);
    struct table *fresh = table_open(table_spec(t), err);
    if (fresh != NULL && check_table(p, map, fresh, err) != 0) {
        table_close(fresh);
        fresh = NULL;
    }
    return fresh;
}

struct policy *policy_replace(const struct policy *p, const char *path, struct err *err)
{
    struct policy *next = mem_zalloc(sizeof *next);

    next->config = p->config;
    for (enum policy_map map = 0; map < POLICY_MAP_COUNT; map++) {
        const struct lookup_list *from = &p->maps[map];
        struct lookup_list *to = &next->maps[map];
        to->tables = mem_zalloc(from->count * sizeof(struct table *));
        for (; to->count < from->count; to->count++) {
            struct table *t = replace_table(p, map, from->tables[to->count], path, err);
            if (t == NULL) {
                policy_close(next);
                return NULL;
            }
            to->tables[to->count] = t;
        }
    }
    return next;
}

const struct table *policy_table(const struct policy *p, size_t index)
{
    for (enum policy_map map = 0; map < POLICY_MAP_COUNT; map++) {
        if (index < p->maps[map].count)
            return p->maps[map].tables[index];
        index -= p->maps[map].count;
    }
    return NULL;
}

static void set_reason(struct policy_reason *r, const struct table_match *m)
{
    const char *path = table_path(m->table);

    r->table = mem_strdup(table_spec(m->table));
    r->key = mem_strdup(buf_str(&m->key));
    r->value = mem_strdup(buf_str(&m->value));
    r->path = mem_strdup(path == NULL ? "" : path);
    r->line = m->line;
}

/* An answer that is no answer: say which table gave it, and count it as a failed look-up. */
static enum table_result bad_answer(const struct table_match *m, struct err *err)
{
    const char *path = table_path(m->table);

    if (path != NULL && m->line > 0)
        err_wrap(err, "%s:%u: result of \"%s\"", path, m->line, buf_str(&m->key));
    else
        err_wrap(err, "%s: result of \"%s\"", table_spec(m->table), buf_str(&m->key));
    return TABLE_FAILED;
}

/* What all look-ups for one recipient need. */
struct deciding {
    const struct policy *p;
    struct table_scratch *scratch;
    struct address address; /* as the client sent it */
    struct table_match match;
    struct policy_decision *out;
};

static enum table_result decide_canonical(struct deciding *d)
{
    struct address end;
    enum table_result r =
        lookup_canonical(&d->p->maps[POLICY_CANONICAL], d->scratch, &d->address,
                         d->p->config->recipient_delimiter, &end, &d->match, &d->out->failure);

    if (r == TABLE_FOUND) {
        set_reason(&d->out->canonical_reason, &d->match);
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

static enum table_result decide_filter(struct deciding *d)
{
    const struct config *config = d->p->config;
    struct policy_choices choices;
    enum table_result r =
        lookup_transport(&d->p->maps[POLICY_FILTERS], d->scratch, &d->address,
                         config->recipient_delimiter, &d->match, &d->out->failure);

    if (r != TABLE_FOUND)
        return r;
    if (parse_filters(config, buf_str(&d->match.value), &d->out->filter, &choices,
                      &d->out->failure) != 0)
        return bad_answer(&d->match, &d->out->failure);
    set_reason(&d->out->filter_reason, &d->match);
    int i = policy_choose_one(&choices, choices.count > 0 ? share_of(&d->address) : 0);
    if (i >= 0)
        d->out->filter = find_filter(config, choices.items[i].name); /* NULL for none */
    policy_choices_clear(&choices);
    return TABLE_FOUND;
}

static void add_copy(struct policy_decision *out, const struct config_destination *dest)
{
    for (size_t i = 0; i < out->copy_count; i++) {
        if (out->copies[i] == dest)
            return;
    }
    out->copies = mem_grow(out->copies, out->copy_count + 1, sizeof(struct config_destination *));
    out->copies[out->copy_count++] = dest;
}

static enum table_result decide_copies(struct deciding *d)
{
    const struct config *config = d->p->config;
    struct policy_choices choices;
    enum table_result r =
        lookup_transport(&d->p->maps[POLICY_COPIES], d->scratch, &d->address,
                         config->recipient_delimiter, &d->match, &d->out->failure);

    if (r != TABLE_FOUND)
        return r;
    if (parse_copies(config, buf_str(&d->match.value), &choices, &d->out->failure) != 0)
        return bad_answer(&d->match, &d->out->failure);
    set_reason(&d->out->copy_reason, &d->match);
    unsigned share = choices.count > 0 ? share_of(&d->address) : 0;
    for (size_t i = 0; i < choices.count; i++) {
        if (share < choices.items[i].share)
            add_copy(d->out, config_find_destination(config, choices.items[i].name));
    }
    policy_choices_clear(&choices);
    return TABLE_FOUND;
}

/* The recipient stays as it is. */
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
 * as long as all recipients agree, which is not known yet: policy_plan() refuses the message in the
 * rare case.
 */
static bool can_carry_tags(const struct policy *p, const struct policy_decision *d)
{
    struct buf tagged = {0};
    struct err ignored;
    bool ok = true;

    if (d->filter != NULL && p->config->milter.filter_method == CONFIG_METHOD_TAG)
        ok = policy_tagged(p, d, NULL, &tagged, &ignored) == 0;
    for (size_t i = 0; ok && i < d->copy_count; i++)
        ok = policy_tagged(p, d, d->copies[i], &tagged, &ignored) == 0;
    buf_clear(&tagged);
    return ok;
}

static void decide_by_tables(struct deciding *d)
{
    struct policy_decision *out = d->out;

    table_match_init(&d->match);
    bool failed = decide_canonical(d) == TABLE_FAILED || decide_filter(d) == TABLE_FAILED ||
                  decide_copies(d) == TABLE_FAILED;
    table_match_clear(&d->match);
    if (failed) {
        undecide(out);
        if (d->p->config->milter.on_failure == CONFIG_FAIL_TEMPFAIL)
            out->reply = reply_tempfail;
        return;
    }
    bool changes = out->is_rewritten || out->filter != NULL || out->copy_count > 0;
    if (changes && (address_is_ambiguous(&d->address) || !can_carry_tags(d->p, out)))
        out->reply = reply_cannot_tag;
}

void policy_decide(const struct policy *p, struct table_scratch *s, const char *rcpt,
                   char *const *words, struct policy_decision *out)
{
    struct deciding d = {.p = p, .scratch = s, .out = out};
    struct err ignored;
    size_t len = strlen(rcpt);

    memset(out, 0, sizeof *out);
    out->rcpt = mem_strdup(rcpt);
    dsn_init(&out->dsn);
    /* The MTA has checked the words; one that is not valid is no wish. */
    for (size_t i = 0; words != NULL && words[i] != NULL; i++)
        (void)!dsn_parse_word(&out->dsn, words[i], &ignored);
    int parsed = address_parse(rcpt, len, ADDRESS_LENIENT, &d.address, &ignored);
    size_t bracket = parsed != 0 && len >= 2 && rcpt[0] == '<' && rcpt[len - 1] == '>';
    out->original =
        parsed == 0 ? mem_strdup(d.address.text) : mem_strndup(rcpt + bracket, len - 2 * bracket);
    out->final = mem_strdup(out->original);
    if (address_leads_into(rcpt, len, p->config->tag_domain))
        out->reply = reply_tag_domain;
    else if (parsed != 0)
        out->reply = reply_bad_address;
    else
        decide_by_tables(&d);
}

static void reason_clear(struct policy_reason *r)
{
    free(r->table);
    free(r->key);
    free(r->value);
    free(r->path);
}

void policy_decision_clear(struct policy_decision *d)
{
    free(d->rcpt);
    free(d->original);
    free(d->final);
    free(d->copies);
    dsn_clear(&d->dsn);
    reason_clear(&d->canonical_reason);
    reason_clear(&d->filter_reason);
    reason_clear(&d->copy_reason);
    memset(d, 0, sizeof *d);
}

struct policy_reply policy_admit(const struct policy *p, const struct policy_decision *accepted,
                                 size_t count, const struct policy_decision *next)
{
    const struct config_milter *m = &p->config->milter;

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
