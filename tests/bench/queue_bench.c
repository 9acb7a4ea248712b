/* SPDX-License-Identifier: ISC */
/*
 * What do many queued copies cost? Usage: queue_bench DIRECTORY [COUNT [THREADS [QUEUE [CHURN]]]].
 * Threads put COUNT (100,000) messages of 4 kB for one destination, nobody takes; then the queue is
 * opened anew. One thread takes 2,000 of them, then all take the rest. QUEUE: "sqlite", or the URI
 * of a PostgreSQL. CHURN: before that, so many more messages come and go, while COUNT wait. Prints
 * rates, times and resident memory at each step.
 */
#include "queue/queue_open.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 256
#define TIMED 2000     /* copies that one thread takes, while the time of each is measured */
#define AHEAD_MAX 1000 /* copies, of those that come before those that go, or the other way */

static const char *where = "sqlite";
static struct queue *q;
static atomic_long left, taken;
static long take_max;

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static long resident_kb(void)
{
    char line[256];
    long kb = -1;
    FILE *f = fopen("/proc/self/status", "r");

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "VmRSS:", 6) == 0)
            kb = strtol(line + 6, NULL, 10);
    if (f != NULL)
        fclose(f);
    return kb;
}

static void open_queue(const char *directory)
{
    struct queue_options options = {.spool_directory = directory, .queue = where, .node = "bench"};
    struct err err;

    q = queue_open(&options, &err);
    if (q == NULL) {
        fprintf(stderr, "%s\n", err.text);
        exit(EXIT_FAILURE);
    }
}

static void must(enum queue_put_status status, const struct err *err)
{
    if (status == QUEUE_PUT_OK)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(EXIT_FAILURE);
}

static void put_one(void)
{
    static const char content[3400];
    char text[] = "", sender[] = "sender@example.com", address[] = "user@example.com";
    struct queue_message m = {.sender = sender,
                              .client_name = text,
                              .client_addr = text,
                              .helo = text,
                              .protocol = text,
                              .mta_queue_id = text,
                              .message_id = text};
    struct queue_recipient r = {.address = address, .orcpt = text, .state = QUEUE_PENDING};
    struct queue_new_copy copy = {.destination = "archive", .recipients = &r, .recipient_count = 1};
    struct queue_put *p;
    struct err err;

    must(q->ops->put_begin(q, &m, &copy, 1, &p, &err), &err);
    must(q->ops->put_data(p, content, sizeof content, &err), &err);
    must(q->ops->put_commit(p, NULL, NULL, &err), &err);
}

static void *put_all(void *ctx)
{
    (void)ctx;
    while (left-- > 0)
        put_one();
    return NULL;
}

static bool take_one(void)
{
    static const struct queue_delivery delivery = {.relay = "none", .reply = "250 2.0.0 Ok"};
    struct queue_copy *c = q->ops->next(q, "archive", 500);

    if (c == NULL)
        return false;
    c->recipients[0].state = QUEUE_SENT;
    q->ops->done(q, c, &delivery);
    taken++;
    return true;
}

static void *take_all(void *ctx)
{
    (void)ctx;
    while (taken < take_max && take_one())
        continue;
    return NULL;
}

/* Every second thread takes as much as the others put, and neither gets far ahead of the other, so
 * that as many copies wait all the time. That the queue has nothing for a moment, because too many
 * outcomes wait, is no reason to end. */
static void *churn(void *ctx)
{
    static atomic_uint number;
    static atomic_long put;
    bool puts = number++ % 2 == 0;

    (void)ctx;
    while (puts ? left > 0 : taken < take_max) {
        long ahead = put - taken;
        if (puts ? ahead > AHEAD_MAX : ahead < -AHEAD_MAX) {
            poll(NULL, 0, 1);
        } else if (!puts) {
            (void)take_one();
        } else if (left-- > 0) {
            put_one();
            put++;
        }
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void take_timed(void)
{
    static double ms[TIMED];
    double sum = 0;
    size_t count = 0;

    for (; count < TIMED; count++) {
        double begin = now_s();
        if (!take_one())
            break;
        sum += ms[count] = (now_s() - begin) * 1000;
    }
    qsort(ms, count, sizeof ms[0], compare);
    if (count > 0)
        printf("one thread took %zu: %.3f ms for each, 99 %% below %.3f ms, %.3f ms at most\n",
               count, sum / (double)count, ms[count * 99 / 100], ms[count - 1]);
}

static void run(long threads, void *(*what)(void *))
{
    pthread_t ids[THREADS_MAX];

    for (long i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, what, NULL) != 0)
            exit(EXIT_FAILURE);
    for (long i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
}

int main(int argc, char **argv)
{
    long count = argc > 2 ? strtol(argv[2], NULL, 10) : 100000;
    long threads = argc > 3 ? strtol(argv[3], NULL, 10) : 20;

    long more = argc > 5 ? strtol(argv[5], NULL, 10) : 0;

    if (argc < 2 || count < 1 || threads < 1 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: queue_bench DIRECTORY [COUNT [THREADS [QUEUE [CHURN]]]]\n");
        return 64;
    }
    if (argc > 4)
        where = argv[4];
    setvbuf(stdout, NULL, _IOLBF, 0);
    open_queue(argv[1]);
    printf("empty: %ld kB\n", resident_kb());
    double begin = now_s();
    left = count;
    run(threads, put_all);
    printf("%ld copies queued: %.0f/s, %ld kB\n", count, (double)count / (now_s() - begin),
           resident_kb());
    if (more > 0) {
        begin = now_s();
        left = take_max = more;
        run(threads, churn);
        printf("%ld copies came and went: %.0f/s, %ld kB\n", (long)taken,
               (double)taken / (now_s() - begin), resident_kb());
    }
    count = count + more - taken;
    q->ops->close(q);
    begin = now_s();
    open_queue(argv[1]);
    printf("opened anew: %.1f ms, %ld kB\n", (now_s() - begin) * 1000, resident_kb());
    struct queue_copy *c = q->ops->next(q, "archive", 1000);
    if (c == NULL)
        return EXIT_FAILURE;
    printf("first copy after: %.1f ms, %ld kB\n", (now_s() - begin) * 1000, resident_kb());
    q->ops->release(q, c);
    taken = 0;
    take_max = count;
    take_timed();
    long before = taken;
    begin = now_s();
    run(threads, take_all);
    printf("%ld copies taken: %.0f/s, %ld kB\n", (long)taken - before,
           (double)(taken - before) / (now_s() - begin - 0.5), resident_kb()); /* the last wait */
    q->ops->close(q);
    return taken == count ? EXIT_SUCCESS : EXIT_FAILURE;
}
