/* SPDX-License-Identifier: ISC */
#include "ctl/health.h"
#include "base/log.h"
#include "base/mem.h"
#include "relay/control.h"
#include "relay/entry.h"
#include "ctl/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct health {
    const struct config *config;
    bool cannot_ask;
    bool *is_known; /* for each destination of the configuration, by its index: items[i] is valid */
    struct destination_suspension *items;
    struct queue_suspension *orders;
    size_t order_count;
    struct err problem;
};

static const struct destination_suspension none;

struct health *health_new(const struct config *config, struct queue_reader *reader)
{
    struct health *h = mem_zalloc(sizeof *h);

    h->config = config;
    h->is_known = mem_zalloc(config->destination_count * sizeof *h->is_known);
    h->items = mem_zalloc(config->destination_count * sizeof *h->items);
    if (queue_reader_suspensions(reader, &h->orders, &h->order_count, &h->problem) != 0)
        ctl_complain("%s", h->problem.text);
    else
        h->problem.text[0] = '\0';
    return h;
}

const char *health_problem(const struct health *h)
{
    return h->problem.text;
}

int health_refuses(const struct config *config, struct err *why)
{
    char *text = NULL;
    int refuses = 0;

    if (control_request(config->relay.spool_directory, "ping", CTL_REPLY_TIMEOUT_MS, NULL, NULL,
                        &text, why) == 0 &&
        text[0] != '\0') {
        err_set(why, "no copies are taken: %s", text);
        log_sanitize(why->text);
        refuses = 1;
    }
    free(text);
    return refuses;
}

void health_free(struct health *h)
{
    free(h->is_known);
    free(h->items);
    free(h->orders);
    free(h);
}

/* Parse the text of a reply to a request "health": "SINCE UNTIL REASON". */
static void parse(const char *text, struct destination_suspension *out)
{
    char *end;

    memset(out, 0, sizeof *out);
    out->since = (time_t)strtoll(text, &end, 10);
    out->until = (time_t)strtoll(end, &end, 10);
    snprintf(out->reason, sizeof out->reason, "%s", end + (*end == ' '));
    log_sanitize(out->reason);
}

static void ask(struct health *h, size_t i)
{
    char *request = mem_printf("health %s", h->config->destinations[i].name), *text = NULL;
    struct err ignored;

    h->is_known[i] = true;
    if (control_request(h->config->relay.spool_directory, request, CTL_REPLY_TIMEOUT_MS, NULL, NULL,
                        &text, &ignored) == 0)
        parse(text, &h->items[i]);
    else
        h->cannot_ask = true; /* no further destination is asked about */
    free(text);
    free(request);
}

const struct destination_suspension *health_of(struct health *h, const char *destination)
{
    const struct config_destination *d = config_find_destination(h->config, destination);

    if (d == NULL)
        return &none;
    size_t i = (size_t)(d - h->config->destinations);
    if (!h->is_known[i] && !h->cannot_ask)
        ask(h, i);
    return &h->items[i];
}

const struct queue_suspension *health_order(const struct health *h, const char *destination,
                                            time_t now)
{
    for (size_t i = 0; i < h->order_count; i++) {
        const struct queue_suspension *s = &h->orders[i];
        if (strcmp(s->destination, destination) == 0 && (s->until == 0 || s->until > now))
            return s;
    }
    return NULL;
}

time_t health_next_attempt(struct health *h, const struct queue_entry *e, time_t now)
{
    if (e->place != QUEUE_IN_QUEUE) /* splitrelay is asked only if its reply matters */
        return 0;
    return entry_next_attempt(e, health_order(h, e->destination, now), health_of(h, e->destination),
                              now);
}
