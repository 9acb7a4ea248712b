/* SPDX-License-Identifier: ISC */
#include "ctl/summary.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/process.h"
#include "ctl/columns.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/progress.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* From this number of rows on, a new reason is counted as "other reasons" of its destination. */
#define REASONS_MAX 1000
/* From this number of rows on, a new destination is counted as "others". */
#define DESTINATIONS_MAX 2000
/* Slots of the hash table, a power of 2. Less than half of them are used, because there are at most
 * 2 * (DESTINATIONS_MAX + 1) rows: after DESTINATIONS_MAX rows come only the row "others", and a
 * row "other reasons" for each destination and for "others". */
#define SLOTS 8192

/* Upper bounds of age in minutes, those of qshape(1); the last column has no bound. */
static const long long bounds[] = {5, 10, 20, 40, 80, 160, 320, 640, 1280};
enum { AGES = sizeof bounds / sizeof bounds[0] + 1 };

/* A line: a destination (reason ""), or one of its reasons. */
struct row {
    char destination[QUEUE_DESTINATION_SIZE];
    char reason[QUEUE_REASON_SIZE];
    uint64_t total, by_age[AGES];
};

struct rows {
    struct progress progress; /* the first member, for progress_of_reading() */
    struct row *items;
    size_t count;
    size_t slots[SLOTS]; /* hash table of the items: index plus 1; 0: a free slot */
    struct row sum;
    time_t now;
};

static size_t age_column(time_t arrival, time_t now)
{
    long long minutes = (long long)(now - arrival) / 60;
    size_t i = 0;

    while (i < AGES - 1 && minutes >= bounds[i])
        i++;
    return i;
}

/* Return the slot of a row, or the free slot where it is to be added. */
static size_t *find_slot(struct rows *rows, const char *destination, const char *reason)
{
    uint64_t hash = hash_untrusted(reason) ^ hash_string(destination);

    for (;; hash++) {
        size_t *slot = &rows->slots[hash % SLOTS];
        const struct row *row = *slot == 0 ? NULL : &rows->items[*slot - 1];
        if (row == NULL ||
            (strcmp(row->destination, destination) == 0 && strcmp(row->reason, reason) == 0))
            return slot;
    }
}

/* Return the row of a destination (reason ""), or of one of its reasons, after adding it if it is
 * missing. Reasons beyond REASONS_MAX share one row of their destination. */
static struct row *row_of(struct rows *rows, const char *destination, const char *reason)
{
    size_t *slot = find_slot(rows, destination, reason);

    if (*slot == 0 && rows->count >= REASONS_MAX && reason[0] != '\0')
        slot = find_slot(rows, destination, reason = "other reasons");
    if (*slot != 0)
        return &rows->items[*slot - 1];
    rows->items = mem_grow(rows->items, rows->count + 1, sizeof *rows->items);
    struct row *row = &rows->items[rows->count++];
    *slot = rows->count;
    memset(row, 0, sizeof *row);
    snprintf(row->destination, sizeof row->destination, "%s", destination);
    snprintf(row->reason, sizeof row->reason, "%s", reason);
    return row;
}

static void count_in(struct row *row, size_t column)
{
    row->total++;
    row->by_age[column]++;
}

/* Return the last reason of a recipient that has not got the copy, or, if there is none, a text
 * about the state of the copy. */
static const char *reason_of(const struct queue_entry *e)
{
    if (e->problem[0] != '\0')
        return e->problem;
    for (size_t i = 0; i < e->recipient_count; i++)
        if (e->recipients[i].state != QUEUE_SENT && e->recipients[i].reason[0] != '\0')
            return e->recipients[i].reason;
    return e->place == QUEUE_IN_HOLD ? "held" : "not tried yet";
}

/* Copy a reason with its addresses shortened to "<>". Servers repeat the recipient's address in
 * their replies. Without the address, replies that are otherwise equal count as one reason. */
static void shorten(const char *reason, char out[QUEUE_REASON_SIZE])
{
    size_t len = 0;

    for (const char *p = reason; *p != '\0' && len + 2 < QUEUE_REASON_SIZE; p++) {
        const char *end = *p == '<' ? strchr(p, '>') : NULL;
        out[len++] = *p;
        if (end != NULL && memchr(p, '@', (size_t)(end - p)) != NULL) {
            out[len++] = '>';
            p = end;
        }
    }
    out[len] = '\0';
}

static bool add_entry(void *ctx, const struct queue_entry *e)
{
    struct rows *rows = ctx;
    size_t column = age_column(e->message->arrival.tv_sec, rows->now);
    const char *destination = e->destination;
    char reason[QUEUE_REASON_SIZE];

    /* The reasons of a destination follow its row, so a destination without a row of its own cannot
     * have reasons of its own either. */
    if (rows->count >= DESTINATIONS_MAX && *find_slot(rows, destination, "") == 0)
        destination = "others";
    shorten(reason_of(e), reason);
    count_in(&rows->sum, column);
    count_in(row_of(rows, destination, ""), column);
    count_in(row_of(rows, destination, reason), column);
    return true;
}

/* Sort destinations by name. The reasons follow their destination; those with most copies are
 * first. */
static int by_place(const void *a, const void *b)
{
    const struct row *left = a, *right = b;
    int order = strcmp(left->destination, right->destination);

    if (order != 0)
        return order;
    if ((left->reason[0] == '\0') != (right->reason[0] == '\0'))
        return left->reason[0] == '\0' ? -1 : 1;
    if (left->total != right->total)
        return left->total > right->total ? -1 : 1;
    return strcmp(left->reason, right->reason);
}

static void add_row(struct columns *c, enum terminal_style style, const struct row *row,
                    const char *name)
{
    columns_add(c, style, "%s", name);
    columns_add(c, TERMINAL_PLAIN, "%" PRIu64, row->total);
    for (size_t i = 0; i < AGES; i++)
        columns_add(c, row->by_age[i] == 0 ? TERMINAL_FAINT : TERMINAL_PLAIN, "%" PRIu64,
                    row->by_age[i]);
}

static void print_table(const struct rows *rows)
{
    static const int widths[] = {46, 7, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6};
    enum { COUNT = sizeof widths / sizeof widths[0] };
    struct columns *c = columns_new(widths, COUNT, true);

    static_assert((int)COUNT == (int)AGES + 2, "a width for each column");
    columns_add(c, TERMINAL_PLAIN, "%s", "");
    columns_add(c, TERMINAL_HEAD, "T");
    for (size_t i = 0; i < AGES - 1; i++)
        columns_add(c, TERMINAL_HEAD, "%lld", bounds[i]);
    columns_add(c, TERMINAL_HEAD, "%lld+", bounds[AGES - 2]);
    add_row(c, TERMINAL_HEAD, &rows->sum, "TOTAL");
    for (size_t i = 0; i < rows->count; i++) {
        const struct row *row = &rows->items[i];
        bool is_destination = row->reason[0] == '\0';
        char *name =
            is_destination ? mem_strdup(row->destination) : mem_printf("  %s", row->reason);
        add_row(c, is_destination ? TERMINAL_HEAD : TERMINAL_PLAIN, row, name);
        free(name);
    }
    columns_print(c);
    columns_free(c);
}

static void print_json(const struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        const struct row *row = &rows->items[i];
        json_t *o = json_object(), *ages = json_array();
        ctl_json_set(o, "destination", ctl_json_text(row->destination));
        ctl_json_set(o, "reason",
                     row->reason[0] == '\0' ? json_null() : ctl_json_text(row->reason));
        ctl_json_set(o, "copies", json_integer((json_int_t)row->total));
        for (size_t k = 0; k < AGES; k++)
            if (json_array_append_new(ages, json_integer((json_int_t)row->by_age[k])) < 0)
                abort();
        ctl_json_set(o, "by_age", ages);
        ctl_json_line(o);
    }
}

int summary(struct queue_reader *reader, const struct queue_selection *selection, bool is_json)
{
    struct rows *rows = mem_zalloc(sizeof *rows);
    struct err err;

    rows->now = time(NULL);
    progress_begin(&rows->progress, "counting", 0);
    int64_t count =
        queue_reader_list(reader, selection, add_entry, progress_of_reading(), rows, &err);
    progress_end(&rows->progress);
    if (rows->count > 0)
        qsort(rows->items, rows->count, sizeof *rows->items, by_place);
    if (count < 0)
        ctl_complain("%s", err.text);
    else if (is_json)
        print_json(rows);
    else
        print_table(rows);
    free(rows->items);
    free(rows);
    return count < 0 ? EXIT_UNAVAILABLE : EXIT_OK;
}
