/* SPDX-License-Identifier: ISC */
/* Tables that change: when they are read, and how faults are handled. The test sets the time. */
#include "policy/watch.h"
#include "base/log.h"
#include "base/mem.h"
#include "table/table.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COOL_MS 200      /* an older file is not read twice: see table_is_current() */
#define COOL_TRIES 10000 /* each of a millisecond */

static char directory[64];
static struct watch *watch;
static struct snapshot *current;
static int64_t clock_ms;

static char *path_of(const char *name)
{
    return mem_printf("%s/%s", directory, name);
}

static void put(const char *name, const char *text)
{
    char *path = path_of(name), *next = path_of("next");
    FILE *f = fopen(next, "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(rename(next, path), 0);
    free(path);
    free(next);
}

static void take_away(const char *name)
{
    char *path = path_of(name);

    ck_assert_int_eq(unlink(path), 0);
    free(path);
}

/* Wait until the file is so old that a later write changes its time. */
static void cool(const char *name)
{
    static const struct timespec pause = {.tv_nsec = 1000000};
    char *path = path_of(name);
    struct timespec now;
    struct stat st;
    int64_t age_ms = 0;

    ck_assert_int_eq(stat(path, &st), 0);
    for (int i = 0; i < COOL_TRIES && age_ms < COOL_MS; i++) {
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_REALTIME, &now);
        age_ms = (int64_t)(now.tv_sec - st.st_ctim.tv_sec) * 1000 +
                 (now.tv_nsec - st.st_ctim.tv_nsec) / 1000000;
    }
    ck_assert_int_ge(age_ms, COOL_MS);
    free(path);
}

/* One call of watch_poll(), `ms` later. True: a new snapshot was returned, which is current now. */
static bool poll_after(int64_t ms)
{
    clock_ms += ms;
    struct snapshot *next = watch_poll(watch, current, clock_ms);
    if (next == NULL)
        return false;
    snapshot_unref(current);
    current = next;
    return true;
}

static void expect_tried(unsigned ok, unsigned failed)
{
    unsigned got_ok, got_failed;

    watch_tried(watch, &got_ok, &got_failed);
    ck_assert_uint_eq(got_ok, ok);
    ck_assert_uint_eq(got_failed, failed);
}

/* The tables of the milter (policy 0), or of a listener; NULL behind the last one. */
static const struct table *table_of(size_t policy, size_t i)
{
    if (current->policy != NULL)
        return policy == 0 ? policy_table(current->policy, i) : NULL;
    return policy < current->config->listener_count
               ? policy_copies_table(current->listener_copies[policy], i)
               : NULL;
}

/* Check the value that the index-th policy finds for this key in its table of that name. */
static void expect(size_t index, const char *file, const char *key, const char *value)
{
    struct table_scratch *scratch = table_scratch_new();
    struct table_match m;
    struct err err;
    const struct table *t;
    bool is_found = false;

    table_match_init(&m);
    for (size_t i = 0; (t = table_of(index, i)) != NULL && !is_found; i++)
        is_found = table_path(t) != NULL && strstr(table_path(t), file) != NULL &&
                   table_find(t, scratch, key, &m, &err) == TABLE_FOUND;
    ck_assert_msg(is_found, "%s not found in %s", key, file);
    ck_assert_str_eq(buf_str(&m.value), value);
    table_match_clear(&m);
    table_scratch_free(scratch);
}

static void load(enum snapshot_parts parts)
{
    char *path = path_of("conf");
    struct err err = {""};

    current = snapshot_load(path, "", parts, &err);
    ck_assert_msg(current != NULL, "%s", err.text);
    watch = watch_new();
    free(path);
}

static void setup(void)
{
    struct err err;

    ck_assert_int_eq(log_open("test_watch", "stderr", "mail", "error", &err), 0);
    strcpy(directory, "/tmp/test_watch.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    char *text = mem_printf("milter { filter_maps = { \"texthash:%s/filter\", \"static:one\" }\n"
                            "         copy_maps = { \"texthash:%s/copy\" } }\n"
                            "filter one { nexthop = \"smtp:[127.0.0.1]:1\" }\n"
                            "filter two { nexthop = \"smtp:[127.0.0.1]:2\" }\n"
                            "destination archive { relay_to = { \"[127.0.0.1]:3\" } }\n"
                            "destination backup { relay_to = { \"[127.0.0.1]:4\" } }\n"
                            "listener first { listen = { \"inet:5@127.0.0.1\" }\n"
                            "    primary = { \"[127.0.0.1]:6\" }\n"
                            "    copy_maps = { \"texthash:%s/copy\" } }\n"
                            "listener second { listen = { \"inet:7@127.0.0.1\" }\n"
                            "    primary = { \"[127.0.0.1]:6\" }\n"
                            "    copy_maps = { \"texthash:%s/copy\", \"texthash:%s/filter2\" } }\n",
                            directory, directory, directory, directory, directory);
    put("conf", text);
    free(text);
    put("filter", "a@x one\n");
    put("filter2", "b@x archive\n");
    put("copy", "a@x archive\n");
    cool("copy");
    clock_ms = 1000000;
}

static void teardown(void)
{
    static const char *const names[] = {"conf", "filter", "filter2", "copy"};

    watch_free(watch);
    snapshot_unref(current);
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        char *path = path_of(names[i]);
        unlink(path);
        free(path);
    }
    ck_assert_int_eq(rmdir(directory), 0);
}

START_TEST(nothing_new_is_nothing)
{
    load(SNAPSHOT_WITH_TABLES);
    for (int i = 0; i < 20; i++)
        ck_assert(!poll_after(WATCH_INTERVAL_MS));
    expect_tried(0, 0);
}
END_TEST

START_TEST(a_change_is_read_when_it_was_left_alone)
{
    load(SNAPSHOT_WITH_TABLES);
    put("filter", "a@x two\n");
    cool("filter");
    ck_assert(!poll_after(0));
    ck_assert(!poll_after(WATCH_QUIET_MS - 1));
    expect(0, "filter", "a@x", "one");
    ck_assert(poll_after(1));
    expect_tried(1, 0);
    expect(0, "filter", "a@x", "two");
    ck_assert(!poll_after(WATCH_QUIET_MS * 2));
    expect_tried(0, 0);
}
END_TEST

START_TEST(another_change_begins_the_wait_anew)
{
    load(SNAPSHOT_WITH_TABLES);
    put("filter", "a@x two\n");
    ck_assert(!poll_after(0));
    put("filter", "a@x one\nb@x two\n");
    cool("filter");
    ck_assert(!poll_after(WATCH_QUIET_MS - 1));
    ck_assert(!poll_after(WATCH_QUIET_MS - 1));
    ck_assert(poll_after(1));
    expect(0, "filter", "b@x", "two");
}
END_TEST

START_TEST(a_fault_keeps_the_old_and_is_tried_once)
{
    load(SNAPSHOT_WITH_TABLES);
    put("filter", "a@x nonsense\n");
    put("copy", "a@x backup\n");
    cool("copy");
    ck_assert(!poll_after(0));
    ck_assert(poll_after(WATCH_QUIET_MS)); /* the other file is not held back */
    expect_tried(1, 1);
    expect(0, "filter", "a@x", "one");
    expect(0, "copy", "a@x", "backup");
    ck_assert(!poll_after(WATCH_QUIET_MS));
    expect_tried(0, 0);
    put("filter", "a@x two\n");
    cool("filter");
    ck_assert(!poll_after(0));
    ck_assert(poll_after(WATCH_QUIET_MS));
    expect(0, "filter", "a@x", "two");
}
END_TEST

START_TEST(a_missing_file_keeps_the_old)
{
    load(SNAPSHOT_WITH_TABLES);
    take_away("filter");
    ck_assert(!poll_after(0));
    ck_assert(!poll_after(WATCH_QUIET_MS));
    expect_tried(0, 1);
    ck_assert(!poll_after(WATCH_QUIET_MS));
    expect_tried(0, 0);
    expect(0, "filter", "a@x", "one");
    put("filter", "a@x two\n");
    cool("filter");
    ck_assert(!poll_after(0));
    ck_assert(poll_after(WATCH_QUIET_MS));
    expect(0, "filter", "a@x", "two");
}
END_TEST

START_TEST(tables_of_all_listeners)
{
    load(SNAPSHOT_WITH_LISTENER_TABLES);
    const struct config *config = current->config;
    size_t count = 0;
    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; table_of(l, i) != NULL; i++)
            ck_assert_ptr_eq(snapshot_table(current, count++), table_of(l, i));
    ck_assert_uint_eq(count, 3);
    ck_assert_ptr_null(snapshot_table(current, count));
    put("copy", "a@x backup\n");
    cool("copy");
    ck_assert(!poll_after(0));
    ck_assert(poll_after(WATCH_QUIET_MS));
    expect_tried(1, 0);
    expect(0, "copy", "a@x", "backup");
    expect(1, "copy", "a@x", "backup");
    expect(1, "filter2", "b@x", "archive");
    ck_assert_ptr_eq(current->config, config);
    put("filter2", "b@x nowhere\n"); /* if one of two policies cannot be replaced, none is */
    ck_assert(!poll_after(0));
    ck_assert(!poll_after(WATCH_QUIET_MS));
    expect(1, "filter2", "b@x", "archive");
}
END_TEST

START_TEST(a_snapshot_without_tables)
{
    load(SNAPSHOT_CONFIG_ONLY);
    ck_assert_ptr_null(snapshot_table(current, 0));
    ck_assert(!poll_after(WATCH_QUIET_MS));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("watch");

    tcase_set_timeout(tests, 30);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, nothing_new_is_nothing);
    tcase_add_test(tests, a_change_is_read_when_it_was_left_alone);
    tcase_add_test(tests, another_change_begins_the_wait_anew);
    tcase_add_test(tests, a_fault_keeps_the_old_and_is_tried_once);
    tcase_add_test(tests, a_missing_file_keeps_the_old);
    tcase_add_test(tests, tables_of_all_listeners);
    tcase_add_test(tests, a_snapshot_without_tables);
    return unit_run("watch", tests);
}
