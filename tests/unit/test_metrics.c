/* SPDX-License-Identifier: ISC */
/* Counting, and the text for Prometheus: its exact form, and what Prometheus' own parser reads. */
#include "base/buf.h"
#include "base/mem.h"
#include "metrics/metrics.h"
#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS 20000

static const char *const words[] = {"yes", "no", NULL};
static const int64_t bounds[] = {10, 1500000, 0};

static struct metrics_family plain = {
    .name = "t_plain_total", .help = "Plain.", .type = METRICS_COUNTER};
static struct metrics_family labelled = {
    .name = "t_names", .help = "A \\ and\na line.", .type = METRICS_GAUGE, .label = "name"};
static struct metrics_family kinds = {.name = "t_kinds_total",
                                      .help = "Kinds.",
                                      .type = METRICS_COUNTER,
                                      .label = "name",
                                      .kind_label = "kind",
                                      .kinds = words};
static struct metrics_family seconds = {
    .name = "t_time_seconds", .help = "Time.", .type = METRICS_GAUGE, .is_micro = true};
static struct metrics_family histogram = {.name = "t_took_seconds",
                                          .help = "Took.",
                                          .type = METRICS_HISTOGRAM,
                                          .label = "name",
                                          .bounds_us = bounds};
static struct metrics_family *const families[] = {&plain,   &labelled,  &kinds,
                                                  &seconds, &histogram, NULL};

static char *render_one(struct metrics_family *f)
{
    struct metrics_family *const list[] = {f, NULL};
    struct buf out = {0};

    metrics_render(list, &out);
    return buf_take(&out);
}

static void check_text(struct metrics_family *f, const char *wanted)
{
    char *text = render_one(f);

    ck_assert_str_eq(text, wanted);
    free(text);
}

START_TEST(nothing_is_counted_before_it_is_enabled)
{
    metrics_add(&plain, "", 0, 5);
    metrics_observe(&histogram, "a", 5);
    ck_assert(!metrics_is_on());
    ck_assert_int_eq(metrics_now_us(), 0);
    ck_assert_int_eq(metrics_value(&plain, "", 0), 0);
    ck_assert_int_eq(metrics_value(&histogram, "a", 0), 0);
}
END_TEST

START_TEST(counters_are_there_with_zero)
{
    metrics_enable();
    ck_assert(metrics_now_us() > 0);
    check_text(&plain, "# HELP t_plain_total Plain.\n# TYPE t_plain_total counter\n"
                       "t_plain_total 0\n");
    metrics_add(&plain, "", 0, 3);
    metrics_add(&plain, "", 0, 4);
    check_text(&plain, "# HELP t_plain_total Plain.\n# TYPE t_plain_total counter\n"
                       "t_plain_total 7\n");
}
END_TEST

START_TEST(each_kind_has_a_line)
{
    metrics_enable();
    metrics_add(&kinds, "x", 1, 2);
    check_text(&kinds, "# HELP t_kinds_total Kinds.\n# TYPE t_kinds_total counter\n"
                       "t_kinds_total{name=\"x\",kind=\"yes\"} 0\n"
                       "t_kinds_total{name=\"x\",kind=\"no\"} 2\n");
}
END_TEST

START_TEST(text_is_escaped)
{
    metrics_enable();
    metrics_set(&labelled, "a\\b\"c\nd", 0, -1);
    check_text(&labelled, "# HELP t_names A \\\\ and\\na line.\n# TYPE t_names gauge\n"
                          "t_names{name=\"a\\\\b\\\"c\\nd\"} -1\n");
}
END_TEST

static const struct {
    int64_t micro;
    const char *text;
} numbers[] = {
    {0, "0"},
    {1, "0.000001"},
    {1500000, "1.5"},
    {10000000, "10"},
    {-1500000, "-1.5"},
    {-1, "-0.000001"},
    {123456789012345678, "123456789012.345678"},
};

START_TEST(microseconds_are_written_as_seconds)
{
    char *wanted = mem_printf("# HELP t_time_seconds Time.\n# TYPE t_time_seconds gauge\n"
                              "t_time_seconds %s\n",
                              numbers[_i].text);

    metrics_enable();
    metrics_set(&seconds, "", 0, numbers[_i].micro);
    check_text(&seconds, wanted);
    free(wanted);
}
END_TEST

START_TEST(a_histogram_adds_up)
{
    static const int64_t values[] = {-3, 10, 11, 1500000, 1500001};

    metrics_enable();
    for (size_t i = 0; i < UNIT_COUNT(values); i++)
        metrics_observe(&histogram, "a", values[i]);
    ck_assert_int_eq(metrics_value(&histogram, "a", 0), 5);
    check_text(&histogram, "# HELP t_took_seconds Took.\n# TYPE t_took_seconds histogram\n"
                           "t_took_seconds_bucket{name=\"a\",le=\"0.00001\"} 2\n"
                           "t_took_seconds_bucket{name=\"a\",le=\"1.5\"} 4\n"
                           "t_took_seconds_bucket{name=\"a\",le=\"+Inf\"} 5\n"
                           "t_took_seconds_sum{name=\"a\"} 3.000022\n"
                           "t_took_seconds_count{name=\"a\"} 5\n");
}
END_TEST

START_TEST(a_histogram_that_was_counted_elsewhere)
{
    metrics_enable();
    metrics_set_histogram(&histogram, "a", (const uint64_t[]){7, 0, 1}, 1000000);
    metrics_set_histogram(&histogram, "a", (const uint64_t[]){8, 2, 1}, 3000000);
    check_text(&histogram, "# HELP t_took_seconds Took.\n# TYPE t_took_seconds histogram\n"
                           "t_took_seconds_bucket{name=\"a\",le=\"0.00001\"} 8\n"
                           "t_took_seconds_bucket{name=\"a\",le=\"1.5\"} 10\n"
                           "t_took_seconds_bucket{name=\"a\",le=\"+Inf\"} 11\n"
                           "t_took_seconds_sum{name=\"a\"} 3\n"
                           "t_took_seconds_count{name=\"a\"} 11\n");
}
END_TEST

START_TEST(hidden_gauges_are_left_out_until_set)
{
    metrics_enable();
    metrics_set(&labelled, "a", 0, 1);
    metrics_set(&labelled, "b", 0, 2);
    metrics_hide(&labelled);
    metrics_set(&labelled, "b", 0, 3);
    char *text = render_one(&labelled);
    ck_assert_ptr_null(strstr(text, "name=\"a\""));
    ck_assert_ptr_nonnull(strstr(text, "t_names{name=\"b\"} 3\n"));
    free(text);
}
END_TEST

START_TEST(many_names_are_kept_apart)
{
    char name[16];

    metrics_enable();
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        metrics_add(&kinds, name, 0, i);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        ck_assert_int_eq(metrics_value(&kinds, name, 0), i);
    }
}
END_TEST

static void *count(void *arg)
{
    char name[16];

    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(name, sizeof name, "n%d", i % 50);
        metrics_add(&kinds, name, 0, 1);
        metrics_observe(&histogram, name, i);
        metrics_add(&plain, "", 0, 1);
    }
    return NULL;
}

START_TEST(threads_lose_nothing_while_somebody_reads)
{
    pthread_t threads[THREADS];
    int64_t sum = 0, observed = 0;
    char name[16];

    metrics_enable();
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < 20; i++)
        free(render_one(&histogram));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "n%d", i);
        sum += metrics_value(&kinds, name, 0);
        observed += metrics_value(&histogram, name, 0);
    }
    ck_assert_int_eq(sum, THREADS * ROUNDS);
    ck_assert_int_eq(observed, THREADS * ROUNDS);
    ck_assert_int_eq(metrics_value(&plain, "", 0), THREADS * ROUNDS);
}
END_TEST

START_TEST(the_process_is_described)
{
    static const char *const names[] = {"process_cpu_seconds_total", "process_open_fds",
                                        "process_max_fds", "process_resident_memory_bytes",
                                        "process_start_time_seconds"};
    struct buf out = {0};

    metrics_enable();
    metrics_render_process(&out);
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        char *line = mem_printf("\n%s ", names[i]);
        const char *at = strstr(buf_str(&out), line);
        ck_assert_msg(at != NULL && strtod(at + strlen(line), NULL) > 0, "%s", names[i]);
        free(line);
    }
    buf_clear(&out);
}
END_TEST

/* The parser of Prometheus' client for Python; exits with 77 if it is not installed. */
static const char parse[] =
    "import sys\n"
    "sys.path.append('/usr/lib/python3/dist-packages')\n" /* for a Python that is not Debian's */
    "try:\n"
    "    from prometheus_client.parser import text_string_to_metric_families as parse\n"
    "except ImportError:\n"
    "    sys.exit(77)\n"
    "seen = {(s.name, tuple(sorted(s.labels.items()))): s.value\n"
    "        for f in parse(sys.stdin.read()) for s in f.samples}\n"
    "def check(value, sample, **labels):\n"
    "    got = seen[sample, tuple(sorted(labels.items()))]\n"
    "    assert got == value, (sample, labels, got)\n"
    "check(2, 't_plain_total')\n"
    "check(-7, 't_names', name='a\\\\b\"c\\nd')\n"
    "check(8, 't_names', name='}, {\\u00fc=\"')\n"
    "check(1, 't_kinds_total', name='x', kind='no')\n"
    "check(0, 't_kinds_total', name='x', kind='yes')\n"
    "check(1.25, 't_time_seconds')\n"
    "check(1, 't_took_seconds_bucket', name='a', le='0.00001')\n"
    "check(2, 't_took_seconds_bucket', name='a', le='1.5')\n"
    "check(3, 't_took_seconds_bucket', name='a', le='+Inf')\n"
    "check(3, 't_took_seconds_count', name='a')\n"
    "check(3.000005, 't_took_seconds_sum', name='a')\n"
    "assert len(seen) == 11, seen\n";

START_TEST(an_independent_parser_reads_it)
{
    struct buf out = {0};
    char script[] = "/tmp/test_metrics.XXXXXX";
    int fd = mkstemp(script);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, parse, strlen(parse)), (ssize_t)strlen(parse));
    close(fd);
    metrics_enable();
    metrics_add(&plain, "", 0, 2);
    metrics_set(&labelled, "a\\b\"c\nd", 0, -7);
    metrics_set(&labelled, "}, {\xc3\xbc=\"", 0, 8);
    metrics_add(&kinds, "x", 1, 1);
    metrics_set(&seconds, "", 0, 1250000);
    metrics_observe(&histogram, "a", 5);
    metrics_observe(&histogram, "a", 1000000);
    metrics_observe(&histogram, "a", 2000000);
    metrics_render(families, &out);

    char *command = mem_printf("python3 %s", script);
    signal(SIGPIPE, SIG_IGN); /* without python3 no process reads from the pipe */
    FILE *p = popen(command, "w");
    ck_assert_ptr_nonnull(p);
    size_t out_len = out.len, written = fwrite(out.data, 1, out.len, p);
    int status = pclose(p);
    unlink(script);
    free(command);
    buf_clear(&out);
    ck_assert(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127)
        printf("SKIP an_independent_parser_reads_it: python3-prometheus-client is not installed\n");
    else
        ck_assert_msg(WEXITSTATUS(status) == 0 && written == out_len, "status %d", status);
}
END_TEST

/* Each test is a process of its own, so counts of one test are not seen by the next. */
int main(void)
{
    TCase *t = tcase_create("metrics");

    tcase_add_test(t, nothing_is_counted_before_it_is_enabled);
    tcase_add_test(t, counters_are_there_with_zero);
    tcase_add_test(t, each_kind_has_a_line);
    tcase_add_test(t, text_is_escaped);
    tcase_add_loop_test(t, microseconds_are_written_as_seconds, 0, (int)UNIT_COUNT(numbers));
    tcase_add_test(t, a_histogram_adds_up);
    tcase_add_test(t, a_histogram_that_was_counted_elsewhere);
    tcase_add_test(t, hidden_gauges_are_left_out_until_set);
    tcase_add_test(t, many_names_are_kept_apart);
    tcase_add_test(t, threads_lose_nothing_while_somebody_reads);
    tcase_add_test(t, the_process_is_described);
    tcase_add_test(t, an_independent_parser_reads_it);
    return unit_run("metrics", t);
}
