/* SPDX-License-Identifier: ISC */
#include "deliver/flow.h"

void flow_configure(struct flow *f, const struct config_destination *d)
{
    f->max = d->concurrency > 0 ? d->concurrency : 1;
    f->initial = d->initial_concurrency;
    if (f->initial == 0 || f->initial > f->max)
        f->initial = f->max;
    f->interval_us = d->rate_limit.count == 0
                         ? 0
                         : (int64_t)d->rate_limit.period_s * 1000000 / d->rate_limit.count;
    flow_reset(f);
}

void flow_reset(struct flow *f)
{
    f->window = f->initial;
    f->successes = 0;
}

void flow_succeeded(struct flow *f, unsigned busy)
{
    if (f->window == f->max || f->window >= busy + f->initial)
        return;
    if (++f->successes < f->window)
        return;
    f->window++;
    f->successes = 0;
}

void flow_failed(struct flow *f)
{
    if (f->window > 1)
        f->window--;
    f->successes = 0;
}

int64_t flow_next_us(const struct flow *f, int64_t now_us)
{
    return f->interval_us > 0 && f->next_us > now_us ? f->next_us : now_us;
}

int64_t flow_reserve_us(struct flow *f, int64_t now_us)
{
    int64_t at_us = flow_next_us(f, now_us);

    f->next_us = at_us + f->interval_us;
    return at_us;
}
