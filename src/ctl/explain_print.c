/* SPDX-License-Identifier: ISC */
#include "base/buf.h"
#include "ctl/ctl.h"
#include "ctl/explain.h"
#include "ctl/json.h"

#include <stdio.h>
#include <stdlib.h>

static void print_line(const struct buf *line)
{
    ctl_print(buf_str(line));
    putchar('\n');
}

static void add_reply(struct buf *out, const struct policy_reply *reply)
{
    buf_addf(out, "%d %s %s", reply->code, reply->enhanced, reply->text);
}

static void add_copies(struct buf *out, const struct policy_decision *d)
{
    if (d->copy_count == 0)
        buf_adds(out, "none");
    for (size_t i = 0; i < d->copy_count; i++)
        buf_addf(out, "%s%s", i == 0 ? "" : ", ", d->copies[i]->name);
}

static bool has_reason(const struct policy_reason *r)
{
    return r->table != NULL && r->table[0] != '\0';
}

/* Print a line such as
 *
 *       filter     secondary            (texthash:/path line 3: key -> value) */
static void print_part(const char *name, const char *value, const struct policy_reason *r)
{
    struct buf line = {0};

    buf_addf(&line, "  %-10s %-20s", name, value);
    if (!has_reason(r))
        buf_adds(&line, " (no table has it)");
    else if (r->line > 0)
        buf_addf(&line, " (%s line %u: %s -> %s)", r->table, r->line, r->key, r->value);
    else
        buf_addf(&line, " (%s: %s -> %s)", r->table, r->key, r->value);
    print_line(&line);
    if (has_reason(r) && r->query[0] != '\0') {
        buf_reset(&line);
        buf_addf(&line, "  %-10s asked: host %s: %s", "", r->host, r->query);
        print_line(&line);
    }
    buf_clear(&line);
}

/* Is there a destination that does not take mail of each direction? */
static bool direction_matters(const struct config *config)
{
    for (size_t i = 0; i < config->destination_count; i++)
        if (!config_destination_takes_all(&config->destinations[i]))
            return true;
    return false;
}

/* Print the direction, and why it is that one. */
static void print_direction(const struct explanation *x, const struct policy_decision *d)
{
    const struct policy_client *client = &x->client;
    struct buf line = {0};

    buf_addf(&line, "  %-10s %-20s (%s", "direction", config_direction_name(d->direction),
             client->is_authenticated  ? "the client has authenticated"
             : x->message.is_outbound  ? "the client is in local_networks"
             : client->address == NULL ? "without --client, a client outside is assumed"
                                       : "the client is not in local_networks");
    if (x->message.is_outbound)
        buf_adds(&line, d->direction == CONFIG_INTERNAL
                            ? ", the recipient is in local_domains"
                            : ", the recipient is not in local_domains");
    buf_addc(&line, ')');
    print_line(&line);
    buf_clear(&line);
}

/* Print the fallbacks of the filter, which get the mail while the filter takes none. */
static void print_fallback(const struct config_filter *f)
{
    struct buf line = {0};

    if (f == NULL || f->fallback.count == 0)
        return;
    buf_addf(&line, "  %-10s or, while it takes no mail: ", "");
    for (size_t i = 0; i < f->fallback.count; i++)
        buf_addf(&line, "%s%s", i == 0 ? "" : ", ", f->fallback.items[i]);
    print_line(&line);
    buf_clear(&line);
}

/* Print each copy that is skipped, with the directions that its destination takes. */
static void print_skips(const struct policy_decision *d)
{
    struct buf line = {0};

    for (size_t i = 0; i < d->skip_count; i++) {
        const struct string_list *taken = &d->skips[i]->direction;
        buf_reset(&line);
        buf_addf(&line, "  %-10s %-20s (direction =", "skipped", d->skips[i]->name);
        for (size_t k = 0; k < taken->count; k++)
            buf_addf(&line, "%s %s", k == 0 ? "" : ",", taken->items[k]);
        buf_addc(&line, ')');
        print_line(&line);
    }
    buf_clear(&line);
}

static void print_decision(const struct explanation *x, const struct policy_decision *d)
{
    struct buf line = {0};

    ctl_print(d->original);
    putchar('\n');
    if (explain_is_completed(d)) {
        buf_addf(&line, "  given as   %-20s (no domain: %s is assumed, %s)", d->rcpt,
                 x->origin.domain, x->origin.source);
        print_line(&line);
        buf_reset(&line);
    }
    if (d->reply.code != 0) {
        buf_adds(&line, "  refused    ");
        add_reply(&line, &d->reply);
        print_line(&line);
        buf_reset(&line);
    }
    if (d->failed != POLICY_OK) {
        buf_addf(&line, "  failure    %s", d->failure.text);
        print_line(&line);
    } else if (d->reply.code == 0 || has_reason(&d->canonical_reason) ||
               has_reason(&d->filter_reason) || has_reason(&d->copy_reason) ||
               has_reason(&d->sender_copy_reason)) {
        print_part("canonical", d->is_rewritten ? d->final : "unchanged", &d->canonical_reason);
        print_part("filter", d->filter == NULL ? "none" : d->filter->name, &d->filter_reason);
        print_fallback(d->filter);
        buf_reset(&line);
        add_copies(&line, d);
        print_part("copies", buf_str(&line), &d->copy_reason);
        if (has_reason(&d->sender_copy_reason))
            print_part("", "and by the sender", &d->sender_copy_reason);
        explain_print_copies(x, d);
        if (direction_matters(x->config) && !x->message.is_bypassed)
            print_direction(x, d);
        print_skips(d);
        explain_print_conditions(x->config, d, x->content);
    }
    buf_clear(&line);
}

static void print_envelope(const struct explanation *x)
{
    struct explained_recipient *recipients;
    size_t count = explain_recipients(x, &recipients);
    struct buf line = {0};

    ctl_printf("Envelope\n");
    buf_addf(&line, "  MAIL FROM:<%s>", x->sender);
    print_line(&line);
    for (size_t i = 0; i < count; i++) {
        buf_reset(&line);
        buf_addf(&line, "  RCPT TO:<%s>%s%s", recipients[i].address,
                 recipients[i].words[0] == '\0' ? "" : " ", recipients[i].words);
        print_line(&line);
    }
    buf_reset(&line);
    if (x->plan.reply.code != 0) {
        buf_adds(&line, "  message refused: ");
        add_reply(&line, &x->plan.reply);
        print_line(&line);
    } else if (count == 0) {
        ctl_printf("  no recipient is left: nothing is sent\n");
    } else if (x->plan.header_name != NULL) {
        buf_addf(&line, "  header %s: %s", x->plan.header_name, x->plan.header_value);
        print_line(&line);
    }
    buf_clear(&line);
    free(recipients);
}

void explain_print_human(const struct explanation *x)
{
    if (x->message.is_bypassed)
        ctl_printf("The client is one of bypass_clients: its mail is left alone.\n");
    for (size_t i = 0; i < x->count; i++)
        print_decision(x, &x->decisions[i]);
    print_envelope(x);
}

static json_t *reply_json(const struct policy_reply *reply)
{
    struct buf text = {0};

    if (reply->code == 0)
        return json_null();
    add_reply(&text, reply);
    json_t *value = ctl_json_text(buf_str(&text));
    buf_clear(&text);
    return value;
}

static json_t *reason_json(const struct policy_reason *r)
{
    if (!has_reason(r))
        return json_null();
    json_t *o = json_object();
    ctl_json_set(o, "table", ctl_json_text(r->table));
    ctl_json_set(o, "key", ctl_json_text(r->key));
    ctl_json_set(o, "value", ctl_json_text(r->value));
    ctl_json_set(o, "path", ctl_json_text(r->path));
    ctl_json_set(o, "line", json_integer(r->line));
    ctl_json_set(o, "host", ctl_json_text(r->host));
    ctl_json_set(o, "query", ctl_json_text(r->query));
    return o;
}

static void append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) < 0)
        abort();
}

static void print_decision_json(const struct explanation *x, const struct policy_decision *d)
{
    json_t *o = json_object(), *copies = json_array(), *skips = json_array(),
           *fallback = json_array();

    for (size_t i = 0; i < d->copy_count; i++)
        append(copies, ctl_json_text(d->copies[i]->name));
    for (size_t i = 0; d->filter != NULL && i < d->filter->fallback.count; i++)
        append(fallback, ctl_json_text(d->filter->fallback.items[i]));
    ctl_json_set(o, "recipient", ctl_json_text(d->original));
    ctl_json_set(o, "given", ctl_json_text(d->rcpt));
    ctl_json_set(o, "final", ctl_json_text(d->final));
    ctl_json_set(o, "filter", d->filter == NULL ? json_null() : ctl_json_text(d->filter->name));
    for (size_t i = 0; i < d->skip_count; i++)
        append(skips, ctl_json_text(d->skips[i]->name));
    ctl_json_set(o, "fallback", fallback);
    ctl_json_set(o, "copies", copies);
    ctl_json_set(o, "direction", ctl_json_text(config_direction_name(d->direction)));
    ctl_json_set(o, "skipped", skips);
    ctl_json_set(o, "copy_envelopes", explain_copies_json(x, d));
    ctl_json_set(o, "conditions", explain_conditions_json(x->config, d, x->content));
    ctl_json_set(o, "reply", reply_json(&d->reply));
    ctl_json_set(o, "failure", ctl_json_text(d->failure.text));
    ctl_json_set(o, "canonical_reason", reason_json(&d->canonical_reason));
    ctl_json_set(o, "filter_reason", reason_json(&d->filter_reason));
    ctl_json_set(o, "copy_reason", reason_json(&d->copy_reason));
    ctl_json_set(o, "sender_copy_reason", reason_json(&d->sender_copy_reason));
    ctl_json_line(o);
}

void explain_print_json(const struct explanation *x)
{
    struct explained_recipient *recipients;
    size_t count = explain_recipients(x, &recipients);
    json_t *o = json_object(), *envelope = json_object(), *list = json_array();

    for (size_t i = 0; i < x->count; i++)
        print_decision_json(x, &x->decisions[i]);
    for (size_t i = 0; i < count; i++) {
        json_t *r = json_object();
        ctl_json_set(r, "address", ctl_json_text(recipients[i].address));
        ctl_json_set(r, "words", ctl_json_text(recipients[i].words));
        append(list, r);
    }
    free(recipients);
    ctl_json_set(envelope, "sender", ctl_json_text(x->sender));
    ctl_json_set(envelope, "bypassed", json_boolean(x->message.is_bypassed));
    ctl_json_set(envelope, "recipients", list);
    json_t *header = json_null();
    if (x->plan.reply.code == 0 && x->plan.header_name != NULL) {
        header = json_object();
        ctl_json_set(header, "name", ctl_json_text(x->plan.header_name));
        ctl_json_set(header, "value", ctl_json_text(x->plan.header_value));
    }
    ctl_json_set(envelope, "header", header);
    ctl_json_set(envelope, "reply", reply_json(&x->plan.reply));
    ctl_json_set(o, "envelope", envelope);
    ctl_json_line(o);
}
