/* SPDX-License-Identifier: ISC */
#include "relay/relay_rates.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct rate {
    char *destination;
    int64_t arrived, sent; /* the counters at the last sample */
    int64_t period;        /* number of the present period since the clock's origin */
    struct relay_rates_view view;
};

struct relay_rates {
    struct rate *items;
    size_t count;
    size_t next; /* where the next destination is if they come in the same order as before */
};

struct relay_rates *relay_rates_new(void)
{
    return mem_zalloc(sizeof(struct relay_rates));
}

void relay_rates_free(struct relay_rates *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->items[i].destination);
    free(r->items);
    free(r);
}

static struct rate *find(const struct relay_rates *r, const char *destination)
{
    for (size_t i = 0; i < r->count; i++) {
        size_t at = (r->next + i) % r->count;
        if (strcmp(r->items[at].destination, destination) == 0)
            return &r->items[at];
    }
    return NULL;
}

/* Move the periods of an array to the left by `steps`, and fill up with zeros. */
static void shift(int64_t periods[RELAY_RATES_SLOTS], size_t steps)
{
    memmove(periods, periods + steps, (RELAY_RATES_SLOTS - steps) * sizeof periods[0]);
    memset(periods + RELAY_RATES_SLOTS - steps, 0, steps * sizeof periods[0]);
}

void relay_rates_sample(struct relay_rates *r, const char *destination, int64_t arrived,
                        int64_t sent, int64_t now_ms)
{
    const int64_t period = now_ms / (RELAY_RATES_SLOT_S * 1000);
    struct rate *rate = find(r, destination);

    if (rate == NULL && r->count == RELAY_RATES_MAX)
        return;
    if (rate == NULL) {
        r->items = mem_grow(r->items, r->count + 1, sizeof *r->items);
        rate = &r->items[r->count++];
        memset(rate, 0, sizeof *rate);
        rate->destination = mem_strdup(destination);
        rate->period = period;
    }
    r->next = (size_t)(rate - r->items) + 1;
    if (period > rate->period) {
        const int64_t steps = period - rate->period;
        const size_t shifted = steps < RELAY_RATES_SLOTS ? (size_t)steps : RELAY_RATES_SLOTS;
        shift(rate->view.arrived, shifted);
        shift(rate->view.sent, shifted);
        rate->period = period;
    }
    rate->view.arrived[RELAY_RATES_SLOTS - 1] += arrived - rate->arrived;
    rate->view.sent[RELAY_RATES_SLOTS - 1] += sent - rate->sent;
    rate->arrived = arrived;
    rate->sent = sent;
}

void relay_rates_get(const struct relay_rates *r, const char *destination,
                     struct relay_rates_view *out)
{
    const struct rate *rate = find(r, destination);

    memset(out, 0, sizeof *out);
    if (rate != NULL)
        *out = rate->view;
}
