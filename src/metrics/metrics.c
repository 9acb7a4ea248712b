/* SPDX-License-Identifier: ISC */
#include "metrics/metrics.h"
#include "base/mem.h"
#include "base/clock.h"
#include "base/hash.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MILLION 1000000
#define HIDDEN INT64_MIN /* the value of a gauge that the page leaves out */

/* The cells of a name: a single one; or one for each kind; or, for a histogram, one for each bound,
 * one for values above all bounds, and the sum. A series is never removed, because a thread that
 * counts may have a pointer to it. */
struct metrics_series {
    struct metrics_series *next; /* set before the series is published */
    char *name;
    _Atomic int64_t cells[];
};

const int64_t metrics_short_us[] = {
    10,    25,    50,     100,    250,    500,     1000,    2500,        5000,         10000,
    25000, 50000, 100000, 250000, 500000, MILLION, 2500000, 5 * MILLION, 10 * MILLION, 0};
const int64_t metrics_long_us[] = {5000,
                                   10000,
                                   25000,
                                   50000,
                                   100000,
                                   250000,
                                   500000,
                                   MILLION,
                                   2500000,
                                   5 * MILLION,
                                   10 * MILLION,
                                   30 * MILLION,
                                   60 * MILLION,
                                   300 * (int64_t)MILLION,
                                   900 * (int64_t)MILLION,
                                   3600 * (int64_t)MILLION,
                                   14400 * (int64_t)MILLION,
                                   86400 * (int64_t)MILLION,
                                   432000 * (int64_t)MILLION,
                                   0};

static bool is_on; /* set before there are threads */
static pthread_mutex_t publishing = PTHREAD_MUTEX_INITIALIZER;

void metrics_enable(void)
{
    is_on = true;
}

bool metrics_is_on(void)
{
    return is_on;
}

static unsigned count_bounds(const struct metrics_family *f)
{
    unsigned n = 0;

    while (f->bounds_us[n] != 0)
        n++;
    return n;
}

static unsigned count_cells(const struct metrics_family *f)
{
    unsigned n = 0;

    if (f->type == METRICS_HISTOGRAM)
        return count_bounds(f) + 2;
    while (f->kinds != NULL && f->kinds[n] != NULL)
        n++;
    return n == 0 ? 1 : n;
}

static unsigned slot_of(const char *name)
{
    return (unsigned)(hash_string(name) % METRICS_SLOTS);
}

static struct metrics_series *find(struct metrics_family *f, unsigned slot, const char *name)
{
    struct metrics_series *s = atomic_load_explicit(&f->slots[slot], memory_order_acquire);

    while (s != NULL && strcmp(s->name, name) != 0)
        s = s->next;
    return s;
}

static struct metrics_series *series_of(struct metrics_family *f, const char *name)
{
    unsigned slot = slot_of(name);
    struct metrics_series *s = find(f, slot, name);

    if (s != NULL)
        return s;
    pthread_mutex_lock(&publishing);
    s = find(f, slot, name);
    if (s == NULL) {
        s = mem_zalloc(sizeof *s + count_cells(f) * sizeof s->cells[0]);
        s->name = mem_strdup(name);
        s->next = atomic_load_explicit(&f->slots[slot], memory_order_relaxed);
        atomic_store_explicit(&f->slots[slot], s, memory_order_release);
    }
    pthread_mutex_unlock(&publishing);
    return s;
}

static void add(_Atomic int64_t *cell, int64_t n)
{
    atomic_fetch_add_explicit(cell, n, memory_order_relaxed);
}

static int64_t get(const _Atomic int64_t *cell)
{
    return atomic_load_explicit(cell, memory_order_relaxed);
}

void metrics_declare(struct metrics_family *f, const char *name)
{
    if (is_on)
        (void)series_of(f, name);
}

void metrics_add(struct metrics_family *f, const char *name, unsigned kind, int64_t n)
{
    if (is_on)
        add(&series_of(f, name)->cells[kind], n);
}

void metrics_set(struct metrics_family *f, const char *name, unsigned kind, int64_t value)
{
    if (is_on)
        atomic_store_explicit(&series_of(f, name)->cells[kind], value, memory_order_relaxed);
}

void metrics_hide(struct metrics_family *f)
{
    unsigned n = count_cells(f);

    for (unsigned slot = 0; slot < METRICS_SLOTS; slot++) {
        struct metrics_series *s = atomic_load_explicit(&f->slots[slot], memory_order_acquire);
        for (; s != NULL; s = s->next)
            for (unsigned i = 0; i < n; i++)
                atomic_store_explicit(&s->cells[i], HIDDEN, memory_order_relaxed);
    }
}

void metrics_observe(struct metrics_family *f, const char *name, int64_t us)
{
    unsigned at = 0;

    if (!is_on)
        return;
    if (us < 0)
        us = 0;
    while (f->bounds_us[at] != 0 && us > f->bounds_us[at])
        at++;
    struct metrics_series *s = series_of(f, name);
    add(&s->cells[at], 1);
    add(&s->cells[count_bounds(f) + 1], us);
}

void metrics_set_histogram(struct metrics_family *f, const char *name, const uint64_t *counts,
                           int64_t sum_us)
{
    unsigned sum_at = count_bounds(f) + 1;

    for (unsigned i = 0; i < sum_at; i++)
        metrics_set(f, name, i, (int64_t)counts[i]);
    metrics_set(f, name, sum_at, sum_us);
}

int64_t metrics_now_us(void)
{
    return is_on ? clock_now_us() : 0;
}

/* --- text --- */

static void add_escaped(struct buf *out, const char *text, bool is_label)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            buf_adds(out, "\\n");
        else if (*text == '\\' || (*text == '"' && is_label))
            buf_addf(out, "\\%c", *text);
        else
            buf_addc(out, *text);
    }
}

/* Append a value. is_micro: the value is in millionths, and is written as a decimal without
 * trailing zeros. */
static void add_number(struct buf *out, int64_t value, bool is_micro)
{
    if (!is_micro) {
        buf_addf(out, "%lld", (long long)value);
        return;
    }
    long long whole = value / MILLION, part = value % MILLION;
    buf_addf(out, "%s%lld.%06lld", value < 0 ? "-" : "", whole < 0 ? -whole : whole,
             part < 0 ? -part : part);
    size_t len = out->len;
    while (out->data[len - 1] == '0')
        len--;
    buf_truncate(out, out->data[len - 1] == '.' ? len - 1 : len);
}

/* Append {label="name",kind_label="kind",last}, without the pairs that the family does not have.
 * last: a whole pair, or NULL. */
static void add_labels(struct buf *out, const struct metrics_family *f, const char *name,
                       const char *kind, const char *last)
{
    const char *separator = "{";

    if (f->label != NULL) {
        buf_addf(out, "{%s=\"", f->label);
        add_escaped(out, name, true);
        buf_addc(out, '"');
        separator = ",";
    }
    if (f->kind_label != NULL) {
        buf_addf(out, "%s%s=\"", separator, f->kind_label);
        add_escaped(out, kind, true);
        buf_addc(out, '"');
        separator = ",";
    }
    if (last != NULL)
        buf_addf(out, "%s%s", separator, last);
    if (f->label != NULL || f->kind_label != NULL || last != NULL)
        buf_addc(out, '}');
}

static void add_bucket(struct buf *out, const struct metrics_family *f, const char *name,
                       const char *le, int64_t count)
{
    char pair[64];

    mem_copy_string(pair, sizeof pair, le);
    buf_addf(out, "%s_bucket", f->name);
    add_labels(out, f, name, "", pair);
    buf_addf(out, " %lld\n", (long long)count);
}

/* Other threads change the cells meanwhile. Therefore `count` is added up from the cells as they
 * are read, so that it equals the last bucket. */
static void add_histogram(struct buf *out, const struct metrics_family *f,
                          const struct metrics_series *s)
{
    unsigned n = count_bounds(f);
    struct buf le = {0};
    int64_t count = 0;

    for (unsigned i = 0; i < n; i++) {
        count += get(&s->cells[i]);
        buf_reset(&le);
        buf_adds(&le, "le=\"");
        add_number(&le, f->bounds_us[i], true);
        buf_addc(&le, '"');
        add_bucket(out, f, s->name, buf_str(&le), count);
    }
    buf_clear(&le);
    count += get(&s->cells[n]);
    add_bucket(out, f, s->name, "le=\"+Inf\"", count);
    buf_addf(out, "%s_sum", f->name);
    add_labels(out, f, s->name, "", NULL);
    buf_addc(out, ' ');
    add_number(out, get(&s->cells[n + 1]), true);
    buf_addf(out, "\n%s_count", f->name);
    add_labels(out, f, s->name, "", NULL);
    buf_addf(out, " %lld\n", (long long)count);
}

static void add_series(struct buf *out, const struct metrics_family *f,
                       const struct metrics_series *s)
{
    if (f->type == METRICS_HISTOGRAM) {
        add_histogram(out, f, s);
        return;
    }
    unsigned n = count_cells(f);
    for (unsigned i = 0; i < n; i++) {
        int64_t value = get(&s->cells[i]);
        if (value == HIDDEN)
            continue;
        buf_adds(out, f->name);
        add_labels(out, f, s->name, f->kinds == NULL ? "" : f->kinds[i], NULL);
        buf_addc(out, ' ');
        add_number(out, value, f->is_micro);
        buf_addc(out, '\n');
    }
}

void metrics_render(struct metrics_family *const *families, struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};

    for (size_t i = 0; families[i] != NULL; i++) {
        struct metrics_family *f = families[i];
        if (f->label == NULL)
            metrics_declare(f, "");
        buf_addf(out, "# HELP %s ", f->name);
        add_escaped(out, f->help, false);
        buf_addf(out, "\n# TYPE %s %s\n", f->name, types[f->type]);
        for (unsigned slot = 0; slot < METRICS_SLOTS; slot++) {
            const struct metrics_series *s =
                atomic_load_explicit(&f->slots[slot], memory_order_acquire);
            for (; s != NULL; s = s->next)
                add_series(out, f, s);
        }
    }
}

int64_t metrics_value(struct metrics_family *f, const char *name, unsigned kind)
{
    const struct metrics_series *s = find(f, slot_of(name), name);
    int64_t count = 0;

    if (s == NULL)
        return 0;
    if (f->type != METRICS_HISTOGRAM)
        return get(&s->cells[kind]);
    for (unsigned i = 0; i <= count_bounds(f); i++)
        count += get(&s->cells[i]);
    return count;
}
