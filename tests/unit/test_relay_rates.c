/* SPDX-License-Identifier: ISC */
/* What was counted falls into the period of its sample. */
#include "relay/relay_rates.h"
#include "unit.h"

#include <stdio.h>

#define LAST (RELAY_RATES_SLOTS - 1)
#define PERIOD_MS (RELAY_RATES_SLOT_S * 1000)

static struct relay_rates_view view_of(const struct relay_rates *r, const char *destination)
{
    struct relay_rates_view view;

    relay_rates_get(r, destination, &view);
    return view;
}

START_TEST(samples_are_added_to_their_period)
{
    struct relay_rates *r = relay_rates_new();
    int64_t now_ms = 100 * PERIOD_MS;

    relay_rates_sample(r, "a", 2, 0, now_ms);
    ck_assert_int_eq(view_of(r, "a").arrived[LAST], 2);
    relay_rates_sample(r, "a", 3, 1, now_ms + PERIOD_MS / 2);
    relay_rates_sample(r, "a", 4, 1, now_ms + PERIOD_MS - 1);
    ck_assert_int_eq(view_of(r, "a").arrived[LAST], 4);
    ck_assert_int_eq(view_of(r, "a").sent[LAST], 1);
    relay_rates_sample(r, "a", 10, 11, now_ms + PERIOD_MS);
    struct relay_rates_view view = view_of(r, "a");
    ck_assert_int_eq(view.arrived[LAST], 6);
    ck_assert_int_eq(view.arrived[LAST - 1], 4);
    ck_assert_int_eq(view.sent[LAST], 10);
    ck_assert_int_eq(view.sent[LAST - 1], 1);
    relay_rates_free(r);
}
END_TEST

START_TEST(periods_without_a_sample_are_empty)
{
    struct relay_rates *r = relay_rates_new();

    relay_rates_sample(r, "a", 0, 0, 0);
    relay_rates_sample(r, "a", 1, 0, 1);
    relay_rates_sample(r, "a", 3, 0, 3 * PERIOD_MS);
    struct relay_rates_view view = view_of(r, "a");
    ck_assert_int_eq(view.arrived[LAST], 2);
    ck_assert_int_eq(view.arrived[LAST - 1], 0);
    ck_assert_int_eq(view.arrived[LAST - 2], 0);
    ck_assert_int_eq(view.arrived[LAST - 3], 1);
    for (int64_t steps = RELAY_RATES_SLOTS - 1; steps <= RELAY_RATES_SLOTS + 1; steps++) {
        relay_rates_sample(r, "b", 10, 0, 0);
        relay_rates_sample(r, "b", 10 + steps, 0, steps * PERIOD_MS);
    }
    relay_rates_sample(r, "a", 10, 0, 1000000 * (int64_t)PERIOD_MS);
    view = view_of(r, "a");
    ck_assert_int_eq(view.arrived[LAST], 7);
    for (size_t i = 0; i < LAST; i++)
        ck_assert_int_eq(view.arrived[i], 0);
    relay_rates_free(r);
}
END_TEST

START_TEST(destinations_are_separate_and_limited)
{
    struct relay_rates *r = relay_rates_new();
    char name[32];

    for (int i = 0; i < RELAY_RATES_MAX + 10; i++) {
        snprintf(name, sizeof name, "d%d", i);
        relay_rates_sample(r, name, 0, 0, 0);
        relay_rates_sample(r, name, i, 0, 1);
    }
    ck_assert_int_eq(view_of(r, "d7").arrived[LAST], 7);
    ck_assert_int_eq(view_of(r, "d1999").arrived[LAST], 1999);
    ck_assert_int_eq(view_of(r, "d2000").arrived[LAST], 0);
    ck_assert_int_eq(view_of(r, "other").arrived[LAST], 0);
    relay_rates_free(r);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("all");

    tcase_add_test(tests, samples_are_added_to_their_period);
    tcase_add_test(tests, periods_without_a_sample_are_empty);
    tcase_add_test(tests, destinations_are_separate_and_limited);
    return unit_run("relay_rates", tests);
}
