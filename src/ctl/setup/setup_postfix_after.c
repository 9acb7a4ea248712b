/* SPDX-License-Identifier: ISC */
/*
 * Copies behind the filters. The port where filters give mail back asks a second splitmilter, that
 * of the section SETUP_AFTER. With one instance, only mail that has a filter passes this port; with
 * several, all mail does. The second splitmilter only adds copies, whose suffixes lead to
 * splitrelay, so a message passes the port once.
 */
#include "base/mem.h"
#include "ctl/setup/setup_postfix.h"
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>

const struct config_milter *setup_after(const struct setup *s)
{
    for (size_t i = 0; s->options->copies_after_filter && i < s->config->other_milter_count; i++)
        if (strcmp(s->config->other_milters[i].name, SETUP_AFTER) == 0)
            return &s->config->other_milters[i];
    return NULL;
}

/* Begin `err' with the place of the section. Returns -1. */
static int fail(const struct config_milter *m, struct err *err)
{
    err_wrap(err, "%s", m->label);
    return config_place_fail(m->place, err);
}

/* What the splitmilter before the filters has decided must not be decided again. */
static int check_tables(const struct config_milter *m, struct err *err)
{
    const struct {
        const char *option;
        const struct string_list *tables;
    } decided[] = {{"canonical_maps", &m->canonical_maps},
                   {"filter_maps", &m->filter_maps},
                   {"sender_filter_maps", &m->sender_filter_maps}};

    for (size_t i = 0; i < sizeof decided / sizeof decided[0]; i++)
        if (decided[i].tables->count > 0) {
            err_set(err,
                    "%s: mail behind the filters is neither rewritten nor filtered again; "
                    "allowed with --copies=after-filter: copy_maps, sender_copy_maps",
                    decided[i].option);
            return fail(m, err);
        }
    if (m->copy_maps.count + m->sender_copy_maps.count > 0)
        return 0;
    err_set(err, "copy_maps is missing: --copies=after-filter would copy nothing");
    return fail(m, err);
}

static bool has_same(const struct string_list *a, const struct string_list *b)
{
    bool is_same = a->count == b->count;

    for (size_t i = 0; is_same && i < a->count; i++)
        is_same = strcmp(a->items[i], b->items[i]) == 0;
    return is_same;
}

/* If the front rewrites recipients, the tables of copies would be searched for other addresses. */
static int check_originals(const struct setup *s, const struct config_milter *m, struct err *err)
{
    if (!config_has_canonical_class(s->config, "envelope_recipient") ||
        has_same(&s->config->milter.canonical_maps, &m->orcpt_maps))
        return 0;
    err_set(err, "orcpt_maps: copy_maps are to be searched for recipients as clients gave them, so "
                 "these have to be the canonical_maps of section milter");
    return fail(m, err);
}

static void ignore(const struct policy_fault *fault, void *ctx)
{
    (void)fault;
    (void)ctx;
}

/* A destination of both splitmilters would get each copy twice. Behind the filters each client is a
 * filter, so that no direction is known there. */
static int check_destination(const struct config_destination *d, bool is_in_front,
                             const struct config_milter *m, struct err *err)
{
    if (is_in_front)
        err_set(err,
                "destination %s is also in the tables of section milter: each copy would be made "
                "twice, before the filters and behind them",
                d->name);
    else if (!config_destination_takes_all(d))
        err_set(err,
                "destination %s has a direction, but behind the filters the client is not known: "
                "copies for it are made by section milter only",
                d->name);
    else
        return 0;
    return fail(m, err);
}

/* Only results that can be seen without a look-up are known. */
static int check_destinations(const struct setup *s, const struct config_milter *m, struct err *err)
{
    struct config view = *s->config;
    struct policy_review front, after;
    int rc = 0;

    policy_review(s->config, NULL, ignore, NULL, &front);
    view.milter = *m;
    policy_review(&view, NULL, ignore, NULL, &after);
    for (size_t i = 0; rc == 0 && i < view.destination_count; i++)
        if (after.destination_is_used[i])
            rc = check_destination(&view.destinations[i], front.destination_is_used[i], m, err);
    policy_review_clear(&front);
    policy_review_clear(&after);
    return rc;
}

int setup_check_after(const struct setup *s, struct err *err)
{
    const struct config_milter *m = setup_after(s);

    if (!s->options->copies_after_filter)
        return 0;
    if (m == NULL) {
        err_set(err,
                "%s has no section \"milter " SETUP_AFTER "\": --copies=after-filter needs one, "
                "with socket and copy_maps",
                s->config->path);
        return -1;
    }
    if (check_tables(m, err) < 0 || check_originals(s, m, err) < 0)
        return -1;
    return check_destinations(s, m, err);
}

void setup_remark_after(const struct setup *s)
{
    char port[300];

    if (setup_after(s) == NULL || s->is_multi)
        return;
    setup_format_nexthop(&s->options->reinject, port, sizeof port);
    char *nexthop = mem_printf("smtp:%s", port);
    if (config_find_nexthop(s->config, nexthop) == NULL)
        steps_say(s->steps,
                  "mail of recipients without filter does not come back to port %u, and is not "
                  "copied there: where it is to be copied, give them a filter with nexthop = "
                  "\"%s\"",
                  (unsigned)s->options->reinject.port, nexthop);
    free(nexthop);
}
