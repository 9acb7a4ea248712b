/* SPDX-License-Identifier: ISC */
/* The copy_maps of a listener: destinations, the time limit of a decision, and the number of
 * decisions that run at a time. */
#include "base/clock.h"
#include "base/mem.h"
#include "policy/policy_copies.h"
#include "policy/snapshot.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_MS 1000 /* lookup_timeout */

static struct snapshot *load(const char *milter, struct err *err)
{
    char path[] = "/tmp/test_copies.XXXXXX";
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    dprintf(fd,
            "milter { lookup_timeout = \"1s\" %s }\nrelay { hostname = \"relay.test\" }\n"
            "destination archive { relay_to = { \"[127.0.0.1]:2601\" } }\n"
            "destination newmail { relay_to = { \"[127.0.0.1]:2602\" } }\n",
            milter);
    close(fd);
    struct snapshot *s = snapshot_load(path, "", SNAPSHOT_WITH_TABLES, err);
    unlink(path);
    return s;
}

static const struct {
    const char *path;
    bool has_result;
    size_t copies;
} copies_cases[] = {
    {"<a@b.test>", true, 2},
    {"<none@b.test>", true, 0},
    {"<\xff@b.test>", true, 2}, /* the primary decides about it */
    {"<a@other.test>", false, 0},
    {"<a@>", false, 0},
    {"<a=b@x.archive.copy.split.internal>", false, 0},
};

/* The result of a listener's copy_maps for a recipient. */
START_TEST(copies_of_a_listener)
{
    static char spec[] = "inline:{ none@b.test=none, { b.test = archive newmail archive } }";
    char *items[] = {spec};
    struct text_place places[] = {{"here", 1}};
    struct string_list maps = {.items = items, .count = 1, .places = places};
    struct err err = {""};
    struct snapshot *s = load("", &err);
    struct policy_copies *p = policy_copies_open(s->config, &maps, &err);
    struct table_scratch *scratch = table_scratch_new();
    struct policy_copies_decision d;

    ck_assert_msg(p != NULL, "%s", err.text);
    policy_copies_decide(p, scratch, copies_cases[_i].path, &d);
    ck_assert_int_eq(d.failed, POLICY_OK);
    ck_assert_int_eq(d.has_result, copies_cases[_i].has_result);
    ck_assert_uint_eq(d.copy_count, copies_cases[_i].copies);
    if (d.copy_count > 0)
        ck_assert_str_eq(d.copies[0]->name, "archive");
    policy_copies_decision_clear(&d);
    table_scratch_free(scratch);
    policy_copies_close(p);
    snapshot_unref(s);
}
END_TEST

/* --- a socketmap server that has no key, and takes its time --- */

static char directory[] = "/tmp/test_copies.XXXXXX";
static char server_path[64];
static int listening;
static atomic_uint requests;
static atomic_int delay_ms; /* -1: no answer */

static void pause_ms(int ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000L};

    nanosleep(&t, NULL);
}

static void *answer(void *arg)
{
    int fd = *(int *)arg;
    char request[512];

    free(arg);
    while (read(fd, request, sizeof request) > 0) {
        requests++;
        if (delay_ms < 0)
            continue;
        pause_ms(delay_ms);
        if (send(fd, "9:NOTFOUND ,", 12, MSG_NOSIGNAL) != 12)
            break;
    }
    close(fd);
    return NULL;
}

static void *serve(void *arg)
{
    pthread_t thread;
    int fd;

    while ((fd = accept(listening, NULL, NULL)) >= 0) {
        int *copy = mem_zalloc(sizeof *copy);
        *copy = fd;
        if (pthread_create(&thread, NULL, answer, copy) == 0)
            pthread_detach(thread);
    }
    return arg;
}

static struct snapshot *snapshot;
static struct policy_copies *copies;

static void setup(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    pthread_t thread;
    struct err err = {""};

    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(server_path, sizeof server_path, "%s/s", directory);
    memcpy(address.sun_path, server_path, strlen(server_path) + 1);
    listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listening, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listening, 128), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, serve, NULL), 0);
    pthread_detach(thread);

    char *items[3];
    struct text_place places[3];
    for (size_t i = 0; i < UNIT_COUNT(items); i++) {
        items[i] = mem_printf("socketmap:unix:%s:map%zu", server_path, i);
        places[i] = (struct text_place){"here", 1};
    }
    struct string_list maps = {.items = items, .count = UNIT_COUNT(items), .places = places};
    snapshot = load("", &err);
    ck_assert_msg(snapshot != NULL, "%s", err.text);
    copies = policy_copies_open(snapshot->config, &maps, &err);
    ck_assert_msg(copies != NULL, "%s", err.text);
    for (size_t i = 0; i < UNIT_COUNT(items); i++)
        free(items[i]);
}

static void teardown(void)
{
    policy_copies_close(copies);
    snapshot_unref(snapshot);
    shutdown(listening, SHUT_RDWR);
    unlink(server_path);
    rmdir(directory);
}

START_TEST(the_look_ups_of_a_decision_have_one_time_limit)
{
    struct table_scratch *scratch = table_scratch_new();
    struct policy_copies_decision d;
    int64_t begin_ms = clock_now_ms();

    delay_ms = 450; /* three of them take more than the limit: the address has too many keys */
    policy_copies_decide(copies, scratch, "<a@b.test>", &d);
    ck_assert_int_eq(d.failed, POLICY_LIMIT);
    ck_assert_int_lt(clock_now_ms() - begin_ms, LIMIT_MS + 250);
    policy_copies_decision_clear(&d);
    delay_ms = -1; /* the first one takes all of the time: the server is slow */
    policy_copies_decide(copies, scratch, "<a@b.test>", &d);
    ck_assert_int_eq(d.failed, POLICY_FAILED);
    policy_copies_decision_clear(&d);
    delay_ms = 0; /* the next decision has its own */
    policy_copies_decide(copies, scratch, "<a@b.test>", &d);
    ck_assert_msg(d.failed == POLICY_OK, "%s", d.failure.text);
    ck_assert(!d.has_result);
    policy_copies_decision_clear(&d);
    table_scratch_free(scratch);
}
END_TEST

/* The addresses of a header field are many decisions: all of them together take longer. */
START_TEST(each_address_of_a_header_field_has_the_time_of_a_decision)
{
    struct table_scratch *scratch = table_scratch_new();
    char *milter = mem_printf("canonical_maps = { \"socketmap:unix:%s:map\" }\n"
                              "canonical_classes = { \"header_recipient\" }",
                              server_path);
    struct buf body = {0}, out = {0};
    struct err err = {""};
    size_t replaced = 1;
    struct snapshot *s = load(milter, &err);

    ck_assert_msg(s != NULL, "%s", err.text);
    for (int i = 0; i < 60; i++)
        buf_addf(&body, "%s a%d@b.test", i == 0 ? "" : ",", i);
    delay_ms = 20;
    int64_t begin_ms = clock_now_ms();
    enum policy_failed failed =
        policy_rewrite_header(s->policy, scratch, buf_str(&body), &out, &replaced, &err);
    ck_assert_msg(failed == POLICY_OK, "%s", err.text);
    ck_assert_int_gt(clock_now_ms() - begin_ms, LIMIT_MS);
    ck_assert_uint_eq(replaced, 0);
    buf_clear(&body);
    buf_clear(&out);
    free(milter);
    table_scratch_free(scratch);
    snapshot_unref(s);
}
END_TEST

static atomic_uint without_room;

static void *decide(void *arg)
{
    struct table_scratch *scratch = table_scratch_new();
    struct policy_copies_decision d;

    policy_copies_decide_in_task(copies, scratch, "<a@b.test>", &d);
    ck_assert_int_eq(d.failed, POLICY_FAILED);
    without_room += strstr(d.failure.text, "other look-ups run") != NULL;
    policy_copies_decision_clear(&d);
    table_scratch_free(scratch);
    return arg;
}

START_TEST(a_server_that_hangs_does_not_get_all_helpers)
{
    pthread_t threads[3 * POLICY_COPIES_RUNNING_MAX];
    int64_t begin_ms = clock_now_ms();

    delay_ms = -1;
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, decide, NULL), 0);
    pause_ms(LIMIT_MS / 2);
    ck_assert_uint_eq(requests, POLICY_COPIES_RUNNING_MAX);
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_lt(clock_now_ms() - begin_ms, 2 * LIMIT_MS + 500);
    ck_assert_uint_gt(without_room, 0);
    delay_ms = 0;
    struct table_scratch *scratch = table_scratch_new();
    struct policy_copies_decision d;
    policy_copies_decide_in_task(copies, scratch, "<a@b.test>", &d);
    ck_assert_msg(d.failed == POLICY_OK, "%s", d.failure.text);
    policy_copies_decision_clear(&d);
    table_scratch_free(scratch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy_copies");
    TCase *tests = tcase_create("policy_copies"), *slow = tcase_create("slow");

    tcase_add_loop_test(tests, copies_of_a_listener, 0, UNIT_COUNT(copies_cases));
    tcase_add_checked_fixture(slow, setup, teardown);
    tcase_set_timeout(slow, 60);
    tcase_add_test(slow, the_look_ups_of_a_decision_have_one_time_limit);
    tcase_add_test(slow, each_address_of_a_header_field_has_the_time_of_a_decision);
    tcase_add_test(slow, a_server_that_hangs_does_not_get_all_helpers);
    suite_add_tcase(suite, tests);
    suite_add_tcase(suite, slow);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
