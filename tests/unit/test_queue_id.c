/* SPDX-License-Identifier: ISC */
#include "queue/queue_id.h"

#include "base/clock.h"
#include "unit.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

START_TEST(ids_increase_and_have_room_for_copies)
{
    struct queue_id_source s;
    int64_t last = 0;

    queue_id_source_init(&s, 0, 0);
    for (int i = 0; i < 100000; i++) {
        int64_t id = queue_id_next(&s);
        ck_assert_int_gt(id, last + QUEUE_ID_COPIES_MAX);
        ck_assert_int_eq(queue_id_message(id), id);
        ck_assert_int_eq(queue_id_message(id + 1), id);
        ck_assert_int_eq(queue_id_message(id + QUEUE_ID_COPIES_MAX), id);
        last = id;
    }
}
END_TEST

START_TEST(ids_are_of_their_time)
{
    struct queue_id_source s;

    queue_id_source_init(&s, 0, 0);
    int64_t before_us = clock_realtime_us();
    int64_t id = queue_id_next(&s);
    int64_t at_us = (id >> 15) * 16;
    ck_assert_int_ge(at_us, before_us - 16);
    ck_assert_int_le(at_us, clock_realtime_us());
}
END_TEST

/* The clock was set back over a restart. */
START_TEST(ids_continue_after_the_last_one)
{
    struct queue_id_source s;
    int64_t last = (clock_realtime_us() / 16 + 1000000000) << 15 | 17;

    queue_id_source_init(&s, 0, last);
    ck_assert_int_gt(queue_id_next(&s), last);
    ck_assert_int_lt(queue_id_next(&s), last + (10L << 15));
}
END_TEST

START_TEST(nodes_have_ids_of_their_own)
{
    struct queue_id_source a, b;
    int64_t last = (clock_realtime_us() / 16 + 1000000000) << 15; /* so that both count alike */

    queue_id_source_init(&a, 5, last);
    queue_id_source_init(&b, QUEUE_ID_NODES_MAX - 1, last);
    int64_t one = queue_id_next(&a), other = queue_id_next(&b);
    ck_assert_int_eq(one >> 9 & 63, 5);
    ck_assert_int_eq(other >> 9 & 63, 63);
    ck_assert_int_eq(one >> 15, other >> 15);
}
END_TEST

enum { THREADS = 4, IDS = 20000 };

static struct queue_id_source common;
static int64_t ids[THREADS][IDS];

static void *take_ids(void *ctx)
{
    int64_t *mine = ctx;

    for (int i = 0; i < IDS; i++)
        mine[i] = queue_id_next(&common);
    return NULL;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

START_TEST(threads_never_get_the_same)
{
    pthread_t threads[THREADS];

    queue_id_source_init(&common, 0, 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_ids, ids[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    qsort(ids, (size_t)THREADS * IDS, sizeof ids[0][0], compare);
    const int64_t *all = &ids[0][0];
    for (int i = 1; i < THREADS * IDS; i++)
        ck_assert_int_gt(all[i], all[i - 1]);
}
END_TEST

static const struct {
    const char *text;
    int64_t id; /* -1: none */
} texts[] = {
    {"1", 1},
    {"6A8C2F01B3400001", 0x6A8C2F01B3400001},
    {"6a8c2f01b3400001", 0x6A8C2F01B3400001},
    {"7FFFFFFFFFFFFFFF", INT64_MAX},
    {"8000000000000000", -1},
    {"FFFFFFFFFFFFFFFF", -1},
    {"10000000000000000", -1},
    {"", -1},
    {"0", -1},
    {"01", -1},
    {"0x1", -1},
    {" 1", -1},
    {"1 ", -1},
    {"-1", -1},
    {"1G", -1},
    {"../1", -1},
};

START_TEST(texts_are_ids_or_not)
{
    char text[QUEUE_ID_SIZE];
    int64_t id = -1;

    ck_assert(queue_id_parse(texts[_i].text, &id) == (texts[_i].id >= 0));
    ck_assert_int_eq(id, texts[_i].id);
    if (id < 0)
        return;
    queue_id_format(id, text);
    ck_assert_int_eq(strcasecmp(text, texts[_i].text), 0);
}
END_TEST

static const struct {
    const char *name;
    bool is_valid;
} names[] = {
    {"archive", true},  {"a", true},    {"new-mail-2", true},  {"", false},
    {"Archive", false}, {"a.b", false}, {"a/b", false},        {"a b", false},
    {"a_b", false},     {"a\n", false}, {"ar\xc3\xa9", false},
};

START_TEST(names_of_destinations)
{
    ck_assert(queue_destination_is_valid(names[_i].name) == names[_i].is_valid);
}
END_TEST

START_TEST(names_of_destinations_have_a_length)
{
    char name[QUEUE_DESTINATION_SIZE + 1];

    memset(name, 'a', sizeof name);
    name[QUEUE_DESTINATION_SIZE] = '\0';
    ck_assert(!queue_destination_is_valid(name));
    name[QUEUE_DESTINATION_SIZE - 1] = '\0';
    ck_assert(queue_destination_is_valid(name));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("queue_id");

    tcase_add_test(tests, ids_increase_and_have_room_for_copies);
    tcase_add_test(tests, ids_are_of_their_time);
    tcase_add_test(tests, ids_continue_after_the_last_one);
    tcase_add_test(tests, nodes_have_ids_of_their_own);
    tcase_add_test(tests, threads_never_get_the_same);
    tcase_add_loop_test(tests, texts_are_ids_or_not, 0, UNIT_COUNT(texts));
    tcase_add_loop_test(tests, names_of_destinations, 0, UNIT_COUNT(names));
    tcase_add_test(tests, names_of_destinations_have_a_length);
    return unit_run("queue_id", tests);
}
