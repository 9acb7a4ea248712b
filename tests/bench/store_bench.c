/* SPDX-License-Identifier: ISC */
/*
 * How many messages a second can be stored, and how long does each wait? Usage: store_bench
 * DIRECTORY [SECONDS [THREADS...]]. One line per number of threads and way of storing; messages of
 * 4 kB; what is stored is delivered at once, to nobody, and removed again.
 *
 *   1 copy, 2 copies  put_begin, put_data, put_commit; copies for so many destinations
 *   prepared          with put_prepare before put_commit, as a listener does it
 *   backlog           1 copy, and nobody takes it; the last one: what it leaves is removed then
 *
 * Each with messages per second, the median, 99th percentile and maximum of the time from put_begin
 * to the end of put_commit, messages per transaction, what a message costs (time of a processor,
 * bytes given to write(2)), and the sizes of the log and of the database. For another size of pages
 * build it with CPPFLAGS=-DDB_SQLITE_PAGE_BYTES=8192.
 */
#include "queue/queue_open.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define SIZE 4096
#define THREADS_MAX 256
#define SAMPLES_MAX 4000000

static const struct variant {
    const char *name;
    unsigned copies;
    bool prepares, has_takers;
} variants[] = {
    {"1 copy", 1, false, true},
    {"2 copies", 2, false, true},
    {"prepared", 1, true, true},
    {"backlog", 1, false, false},
};

static const char *const destinations[] = {"archive", "backup"};
static struct queue *q;
static const struct variant *variant;
static atomic_bool is_over;
static atomic_long stored, taken;
static unsigned samples_us[SAMPLES_MAX];

static void must(enum queue_put_status status, const struct err *err)
{
    if (status == QUEUE_PUT_OK)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(EXIT_FAILURE);
}

static void store(void)
{
    static const char content[SIZE];
    char none[] = "", sender[] = "sender@example.com", address[] = "user@example.com";
    char name[] = "client.example.com", addr[] = "192.0.2.1", protocol[] = "ESMTP";
    char message_id[] = "<20261129.4711@client.example.com>", queue_id[] = "4XyZw1234z9abc";
    struct queue_message m = {.sender = sender,
                              .client_name = name,
                              .client_addr = addr,
                              .helo = name,
                              .protocol = protocol,
                              .mta_queue_id = queue_id,
                              .message_id = message_id,
                              .arrival = clock_realtime()};
    struct queue_recipient r = {.address = address, .orcpt = none, .state = QUEUE_PENDING};
    struct queue_new_copy copies[2];
    struct queue_put *p;
    struct err err;

    for (unsigned i = 0; i < variant->copies; i++)
        copies[i] = (struct queue_new_copy){
            .destination = destinations[i], .recipients = &r, .recipient_count = 1};
    must(q->ops->put_begin(q, &m, copies, variant->copies, &p, &err), &err);
    must(q->ops->put_data(p, content, sizeof content, &err), &err);
    if (variant->prepares)
        must(q->ops->put_prepare(p, &err), &err);
    must(q->ops->put_commit(p, NULL, NULL, &err), &err);
}

static void *put_many(void *ctx)
{
    (void)ctx;
    while (!atomic_load(&is_over)) {
        int64_t begin_us = clock_now_us();
        store();
        long n = atomic_fetch_add(&stored, 1);
        if (n < SAMPLES_MAX)
            samples_us[n] = (unsigned)(clock_now_us() - begin_us);
    }
    return NULL;
}

static void *take_many(void *ctx)
{
    static const struct queue_delivery delivery = {"mx.example.com[192.0.2.2]:25", "250 2.0.0 Ok"};
    const char *destination = ctx;

    for (;;) {
        struct queue_copy *c = q->ops->next(q, destination, 100);
        if (c == NULL && atomic_load(&is_over))
            return NULL;
        if (c == NULL)
            continue;
        for (size_t i = 0; i < c->recipient_count; i++)
            c->recipients[i].state = QUEUE_SENT;
        q->ops->done(q, c, &delivery);
        taken++;
    }
}

/* So far, of this process. */
struct cost {
    double cpu_us, written;
};

static struct cost get_cost(void)
{
    struct rusage used;
    struct cost cost = {0, 0};
    char line[128];
    FILE *f = fopen("/proc/self/io", "r");

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "wchar:", 6) == 0)
            cost.written = strtod(line + 6, NULL);
    if (f != NULL)
        fclose(f);
    if (getrusage(RUSAGE_SELF, &used) == 0)
        cost.cpu_us = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
                      (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    return cost;
}

static int compare(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

    return x < y ? -1 : x > y;
}

static void print(double seconds, const struct queue_figures *before,
                  const struct cost *cost_before)
{
    struct cost cost = get_cost();
    struct queue_figures after;
    size_t n = (size_t)atomic_load(&stored);

    queue_get_figures(q, &after);
    size_t count = n < SAMPLES_MAX ? n : SAMPLES_MAX;
    qsort(samples_us, count, sizeof *samples_us, compare);
    if (count == 0)
        return;
    size_t middle = count / 2, high = count - 1 - count / 100;
    printf("  %-8s %6.0f/s  %6.2f %6.2f %7.2f ms  %5.1f a transaction  %4.0f us  %5.1f kB"
           "  log %.1f MB  database %.0f MB\n",
           variant->name, (double)n / seconds, (double)samples_us[middle] / 1e3,
           (double)samples_us[high] / 1e3, samples_us[count - 1] / 1e3,
           (double)n / (double)(after.commits - before->commits),
           (cost.cpu_us - cost_before->cpu_us) / (double)n,
           (cost.written - cost_before->written) / 1e3 / (double)n, (double)after.log_bytes / 1e6,
           (double)after.database_bytes / 1e6);
    fflush(stdout);
}

static void start(pthread_t *id, void *(*run)(void *), const void *ctx)
{
    if (pthread_create(id, NULL, run, (void *)ctx) != 0)
        exit(EXIT_FAILURE);
}

static void measure(long threads, double seconds)
{
    pthread_t ids[THREADS_MAX], takers[2];
    struct timespec pause = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    struct queue_figures before;
    struct cost cost = get_cost();

    is_over = false;
    stored = taken = 0;
    queue_get_figures(q, &before);
    for (unsigned i = 0; i < variant->copies && variant->has_takers; i++)
        start(&takers[i], take_many, destinations[i]);
    int64_t begin_us = clock_now_us();
    for (long i = 0; i < threads; i++)
        start(&ids[i], put_many, NULL);
    nanosleep(&pause, NULL);
    atomic_store(&is_over, true);
    for (long i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    double took = (double)(clock_now_us() - begin_us) / 1e6;
    for (unsigned i = 0; i < variant->copies && variant->has_takers; i++)
        pthread_join(takers[i], NULL);
    print(took, &before, &cost);
}

/* What "backlog" has left, so that the next ones begin with an empty queue. */
static void drain(void)
{
    pthread_t taker;
    int64_t begin_us = clock_now_us();
    struct cost before = get_cost();

    taken = 0;
    start(&taker, take_many, destinations[0]);
    pthread_join(taker, NULL);
    double seconds = (double)(clock_now_us() - begin_us) / 1e6;
    double n = (double)atomic_load(&taken);
    struct cost cost = get_cost();
    if (n > 0)
        printf("  %-8s %6.0f/s  %48.0f us  %5.1f kB\n", "drained", n / seconds,
               (cost.cpu_us - before.cpu_us) / n, (cost.written - before.written) / 1e3 / n);
}

int main(int argc, char **argv)
{
    static const long standard[] = {1, 4, 20, 64};
    struct queue_options options = {.queue = "sqlite", .history_s = 7L * 24 * 3600};
    struct err err;

    if (argc < 2) {
        fprintf(stderr, "usage: store_bench DIRECTORY [SECONDS [THREADS...]]\n");
        return 64;
    }
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 3;
    options.spool_directory = argv[1];
    q = queue_open(&options, &err);
    if (q == NULL) {
        fprintf(stderr, "%s\n", err.text);
        return EXIT_FAILURE;
    }
    int count = argc > 3 ? argc - 3 : (int)(sizeof standard / sizeof standard[0]);
    for (int i = 0; i < count; i++) {
        long threads = argc > 3 ? strtol(argv[3 + i], NULL, 10) : standard[i];
        if (threads < 1 || threads > THREADS_MAX)
            return 64;
        printf("%ld threads:\n", threads);
        for (size_t k = 0; k < sizeof variants / sizeof *variants; k++) {
            variant = &variants[k];
            measure(threads, seconds);
        }
        drain();
    }
    q->ops->close(q);
    return EXIT_SUCCESS;
}
