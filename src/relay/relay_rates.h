/* SPDX-License-Identifier: ISC */
/*
 * relay_rates: how many copies arrived for each destination, and how many recipients were
 * delivered, in each of the last RELAY_RATES_SLOTS periods of RELAY_RATES_SLOT_S seconds. For the
 * graphs of the page. The caller samples the counters from time to time; what was counted since the
 * last sample belongs to the present period. One thread.
 */
#ifndef SPLIT_RELAY_RATES_H
#define SPLIT_RELAY_RATES_H

#include <stdint.h>

#define RELAY_RATES_SLOTS 60
#define RELAY_RATES_SLOT_S 10

struct relay_rates;

/* Make rates without a destination; free them. */
struct relay_rates *relay_rates_new(void) __attribute__((returns_nonnull, warn_unused_result));
void relay_rates_free(struct relay_rates *r) __attribute__((nonnull));

/* Take a sample of a destination. arrived, sent: counters that begin with 0 and never fall. now_ms:
 * of a monotonic clock. At most RELAY_RATES_MAX destinations are kept; further ones have no rates.
 */
#define RELAY_RATES_MAX 2000
void relay_rates_sample(struct relay_rates *r, const char *destination, int64_t arrived,
                        int64_t sent, int64_t now_ms) __attribute__((nonnull));

struct relay_rates_view {
    /* The oldest period first; the last one is the present period, which is not over. */
    int64_t arrived[RELAY_RATES_SLOTS], sent[RELAY_RATES_SLOTS];
};
/* Get the periods of a destination at the time of its last sample; zeros if it has none. */
void relay_rates_get(const struct relay_rates *r, const char *destination,
                     struct relay_rates_view *out) __attribute__((nonnull));

#endif
