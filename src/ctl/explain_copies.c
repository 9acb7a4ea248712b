/* SPDX-License-Identifier: ISC */
#include "base/buf.h"
#include "ctl/ctl.h"
#include "ctl/explain.h"
#include "ctl/json.h"
#include "format/format.h"
#include "mail/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* What the destination of a copy gets. */
struct copy {
    struct buf sender, recipient;
    struct buf maildir; /* the path, if the copy arrives now; empty: the destination has a server */
    bool is_dead;       /* it becomes a dead letter, because of: */
    struct err why;
};

static void make_copy(const struct explanation *x, const struct policy_decision *d,
                      const struct config_destination *dest, struct copy *out)
{
    const char *rcpt = dest->recipient == CONFIG_ADDRESS_CANONICAL ? d->final : d->original;
    const struct endpoint *to = &dest->relay_to[0];
    size_t made_at;

    *out = (struct copy){0};
    out->is_dead = format_sender(dest, x->sender, rcpt, &out->sender, &out->why) < 0;
    if (!out->is_dead && to->kind == ENDPOINT_MAILDIR)
        out->is_dead =
            template_path(to->path, rcpt, time(NULL), &out->maildir, &made_at, &out->why) < 0;
    else if (!out->is_dead)
        out->is_dead = format_recipient(dest, rcpt, &out->recipient, &out->why) < 0;
}

static void clear_copy(struct copy *c)
{
    buf_clear(&c->sender);
    buf_clear(&c->recipient);
    buf_clear(&c->maildir);
}

static bool has_template(const struct config_destination *d)
{
    return d->sender == CONFIG_ADDRESS_TEMPLATE || d->recipient == CONFIG_ADDRESS_TEMPLATE ||
           (d->relay_to[0].kind == ENDPOINT_MAILDIR && template_varies(d->relay_to[0].path));
}

void explain_print_copies(const struct explanation *x, const struct policy_decision *d)
{
    for (size_t i = 0; i < d->copy_count; i++) {
        struct buf line = {0};
        struct copy c;
        if (!has_template(d->copies[i]))
            continue;
        make_copy(x, d, d->copies[i], &c);
        buf_addf(&line, "  %-10s %s: ", "", d->copies[i]->name);
        if (c.is_dead)
            buf_addf(&line, "dead letter: %s", c.why.text);
        else if (c.maildir.len > 0)
            buf_addf(&line, "from=<%s>, maildir:%s", buf_str(&c.sender), buf_str(&c.maildir));
        else
            buf_addf(&line, "from=<%s>, to=<%s>", buf_str(&c.sender), buf_str(&c.recipient));
        ctl_print(buf_str(&line));
        putchar('\n');
        buf_clear(&line);
        clear_copy(&c);
    }
}

json_t *explain_copies_json(const struct explanation *x, const struct policy_decision *d)
{
    json_t *list = json_array();

    for (size_t i = 0; i < d->copy_count; i++) {
        json_t *o = json_object();
        struct copy c;
        make_copy(x, d, d->copies[i], &c);
        ctl_json_set(o, "destination", ctl_json_text(d->copies[i]->name));
        ctl_json_set(o, "sender", ctl_json_text(buf_str(&c.sender)));
        ctl_json_set(o, "recipient", ctl_json_text(buf_str(&c.recipient)));
        ctl_json_set(o, "maildir", ctl_json_text(buf_str(&c.maildir)));
        ctl_json_set(o, "failure", ctl_json_text(c.is_dead ? c.why.text : ""));
        if (json_array_append_new(list, o) < 0)
            abort();
        clear_copy(&c);
    }
    return list;
}
