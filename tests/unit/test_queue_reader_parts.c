/* SPDX-License-Identifier: ISC */
/* queue_reader: reading that is stopped again and again goes on where it has stopped. */
#include "queue/queue_id.h"
#include "queue/queue_reader.h"
#include "queue_unit.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#define MANY 12001

static unsigned char seen[MANY];
static int64_t calls_left; /* of goes_on() */

static void add_many(const char *table)
{
    char text[1000];

    snprintf(text, sizeof text,
             "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %d) %s",
             MANY, table);
    queue_unit_execute(text);
}

static bool see(int64_t id)
{
    ck_assert_int_ge(id, 1);
    ck_assert_int_le(id, MANY);
    seen[id - 1]++;
    return true;
}

static bool see_copy(void *ctx, const struct queue_entry *e)
{
    int64_t id;

    (void)ctx;
    ck_assert(queue_id_parse(e->id, &id));
    ck_assert_uint_eq(e->recipient_count, 2);
    return see((id - 513) / 512 + 1);
}

static bool see_event(void *ctx, const struct queue_event *e)
{
    (void)ctx;
    return see(e->number);
}

static bool goes_on(void *ctx)
{
    (void)ctx;
    return calls_left-- > 0;
}

/* The database of a server does not call goes_on() for each row. */
static bool tell(void *ctx, uint64_t looked_at, uint64_t total)
{
    (void)ctx;
    (void)looked_at;
    ck_assert_uint_eq(total, 0);
    calls_left -= 50;
    return calls_left > 0;
}

/* Read with so many calls of goes_on(), from `position` on. Returns true at the end. */
static bool read_part(bool is_history, int64_t calls, int64_t *position)
{
    char after[QUEUE_ID_SIZE];
    struct queue_selection selection = {0};
    struct err err = {""};
    struct queue_reader *r = queue_reader_open(queue_unit_dir, queue_unit_queue, &err);

    ck_assert_msg(r != NULL, "%s", err.text);
    queue_reader_watch(r, goes_on, NULL);
    calls_left = calls;
    int64_t n;
    if (is_history) {
        selection.before = *position;
        n = queue_reader_history(r, &selection, see_event, tell, NULL, &err);
    } else {
        queue_id_format(*position, after);
        selection.after = *position == 0 ? NULL : after;
        n = queue_reader_list(r, &selection, see_copy, tell, NULL, &err);
    }
    bool is_over = n >= 0 && calls_left > 0;
    if (!is_over)
        *position = queue_reader_position(r);
    queue_reader_close(r);
    return is_over;
}

/* Each row is told of once, however often reading stops. */
static void read_in_parts(bool is_history)
{
    int64_t position = 0;
    unsigned parts = 0;

    memset(seen, 0, sizeof seen);
    for (int64_t calls = 60; !read_part(is_history, calls, &position); calls = 60 + parts % 997) {
        ck_assert_uint_lt(++parts, 100000);
        if (is_history)
            ck_assert_int_ge(position, 0);
    }
    for (unsigned i = 0; i < MANY; i++)
        ck_assert_msg(seen[i] == 1, "row %u was told of %u times", i, seen[i]);
    ck_assert_uint_ge(parts, 3);
}

START_TEST(a_list_in_parts)
{
    add_many("INSERT INTO message SELECT i * 512 + 512, 1000 + i, 5, 's@x', '', '', '', '', '', '',"
             " '', 'body', 'stored' FROM n");
    add_many("INSERT INTO copy (id, message, destination, state, due, attempts) SELECT"
             " i * 512 + 513, i * 512 + 512, 'archive', 'queued', i, i % 2 FROM n");
    add_many("INSERT INTO recipient (copy, number, address, orcpt, state, reason) SELECT"
             " i * 512 + 513, 0, 'a', '', 'pending', '' FROM n");
    add_many("INSERT INTO recipient (copy, number, address, orcpt, state, reason) SELECT"
             " i * 512 + 513, 1, 'b', '', 'pending', '' FROM n");
    read_in_parts(false);
}
END_TEST

START_TEST(a_history_in_parts)
{
    add_many("INSERT INTO history (copy, destination, time, sender, recipients, message_id,"
             " mta_queue_id, size, result, relay, reply, attempts) SELECT i + 1, 'archive',"
             " 1700000000, 's', 'r', '', '', 1, 'sent', '', '', 0 FROM n");
    read_in_parts(true);
}
END_TEST

static TCase *make(void)
{
    TCase *tests = queue_unit_case("queue_reader_parts");

    tcase_add_test(tests, a_list_in_parts);
    tcase_add_test(tests, a_history_in_parts);
    return tests;
}

int main(void)
{
    return queue_unit_run("queue_reader_parts", make);
}
