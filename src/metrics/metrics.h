/* SPDX-License-Identifier: ISC */
/*
 * metrics: the counters of the daemons, and their text for Prometheus (exposition format 0.0.4). A
 * family is a static object of the module that counts in it. Any thread may count. Cells are C11
 * atomics, so counting takes no lock, except for the first value of a name. Nothing is counted, and
 * no clock is read, before metrics_enable().
 *
 * Values of labels are names from the configuration and words of the code, never data from outside:
 * the number of series is bounded by the configurations that the process has seen.
 */
#ifndef SPLIT_METRICS_H
#define SPLIT_METRICS_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

#define METRICS_SLOTS 32

struct metrics_series;

/* The fields up to bounds_us are for the definition; the others start zeroed and are private. */
struct metrics_family {
    const char *name; /* by Prometheus' conventions: base units, counters end in _total */
    const char *help;
    enum metrics_type type;
    bool is_micro;            /* values are kept in millionths: seconds as microseconds */
    const char *label;        /* its values are names; NULL: one series, whose name is "" */
    const char *kind_label;   /* its values are `kinds`; NULL: none */
    const char *const *kinds; /* NULL-terminated; each series has a cell for each */
    const int64_t *bounds_us; /* histograms: upper bounds in microseconds, rising, 0 at the end */
    _Atomic(struct metrics_series *) slots[METRICS_SLOTS];
};

/* Bounds for what takes microseconds to seconds, and for what takes milliseconds to days. */
extern const int64_t metrics_short_us[], metrics_long_us[];

/* Count from now on. Called by main() before the first thread. metrics_is_on(): was
 * metrics_enable() called? */
void metrics_enable(void);
bool metrics_is_on(void);

/* Create the series of a name, so that the page shows it with zeros. */
void metrics_declare(struct metrics_family *f, const char *name) __attribute__((nonnull));

/* Add n to a cell, or set the cell to a value. name: "" if the family has no label. kind: index
 * into kinds, 0 if the family has none. */
void metrics_add(struct metrics_family *f, const char *name, unsigned kind, int64_t n)
    __attribute__((nonnull));
void metrics_set(struct metrics_family *f, const char *name, unsigned kind, int64_t value)
    __attribute__((nonnull));

/* Leave all series of a family of gauges out of the page until they are set again. For gauges whose
 * names may disappear. The thread that sets the gauges calls this first. */
void metrics_hide(struct metrics_family *f) __attribute__((nonnull));

/* Add an observation in microseconds to a histogram; a negative one counts as 0. */
void metrics_observe(struct metrics_family *f, const char *name, int64_t us)
    __attribute__((nonnull));

/* Set a histogram that was counted elsewhere. counts: the number of observations in each bucket,
 * one bucket for each bound, and a last one for values above all bounds. sum_us: the sum of the
 * observations. */
void metrics_set_histogram(struct metrics_family *f, const char *name, const uint64_t *counts,
                           int64_t sum_us) __attribute__((nonnull));

/* CLOCK_MONOTONIC in microseconds; 0 while nothing is counted. */
int64_t metrics_now_us(void);

/* Append the text of these families (NULL-terminated). */
void metrics_render(struct metrics_family *const *families, struct buf *out)
    __attribute__((nonnull));

/* Append the families process_* that the Prometheus clients for other languages have, with present
 * values: CPU, memory, descriptors, time of start. */
void metrics_render_process(struct buf *out) __attribute__((nonnull));

/* The value of a cell; for a histogram, the number of observations. 0: nothing was counted. */
int64_t metrics_value(struct metrics_family *f, const char *name, unsigned kind)
    __attribute__((nonnull));

#endif
