/* SPDX-License-Identifier: ISC */
/*
 * What do many queued copies cost? Usage: queue_bench DIRECTORY [COUNT [THREADS]]. Threads put
 * COUNT (100,000) messages of 4 kB for one destination, nobody takes; then the queue is opened
 * anew, and threads take them all. Prints rates and resident memory at each step.
 */
#include "queue/queue_open.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 256

static struct queue *q;
static atomic_long left, taken;

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
    struct queue_options options = {.spool_directory = directory, .queue = "sqlite"};
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

static void *put_all(void *ctx)
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
    struct err err;

    (void)ctx;
    while (left-- > 0) {
        struct queue_new_copy copy = {
            .destination = "archive", .recipients = &r, .recipient_count = 1};
        struct queue_put *p;
        must(q->ops->put_begin(q, &m, &copy, 1, &p, &err), &err);
        must(q->ops->put_data(p, content, sizeof content, &err), &err);
        must(q->ops->put_commit(p, NULL, NULL, &err), &err);
    }
    return NULL;
}

static void *take_all(void *ctx)
{
    static const struct queue_delivery delivery = {.relay = "none", .reply = "250 2.0.0 Ok"};
    struct queue_copy *c;

    (void)ctx;
    while ((c = q->ops->next(q, "archive", 500)) != NULL) {
        c->recipients[0].state = QUEUE_SENT;
        q->ops->done(q, c, &delivery);
        taken++;
    }
    return NULL;
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

    if (argc < 2 || count < 1 || threads < 1 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: queue_bench DIRECTORY [COUNT [THREADS]]\n");
        return 64;
    }
    open_queue(argv[1]);
    printf("empty: %ld kB\n", resident_kb());
    double begin = now_s();
    left = count;
    run(threads, put_all);
    printf("%ld copies queued: %.0f/s, %ld kB\n", count, (double)count / (now_s() - begin),
           resident_kb());
    q->ops->close(q);
    begin = now_s();
    open_queue(argv[1]);
    printf("opened anew: %.1f ms, %ld kB\n", (now_s() - begin) * 1000, resident_kb());
    struct queue_copy *c = q->ops->next(q, "archive", 1000);
    if (c == NULL)
        return EXIT_FAILURE;
    printf("first copy after: %.1f ms, %ld kB\n", (now_s() - begin) * 1000, resident_kb());
    q->ops->release(q, c);
    begin = now_s();
    run(threads, take_all);
    double seconds = now_s() - begin - 0.5; /* the last wait */
    printf("%ld copies taken: %.0f/s, %ld kB\n", (long)taken, (double)taken / seconds,
           resident_kb());
    q->ops->close(q);
    return taken == count ? EXIT_SUCCESS : EXIT_FAILURE;
}
