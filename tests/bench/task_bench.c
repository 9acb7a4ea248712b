/* SPDX-License-Identifier: ISC */
/*
 * task_bench: the costs of tasks (docs/tasks.md). Prints the best and the median of ROUNDS rounds
 * for a switch between stacks, for a task from its start to its end, and for a call on a helper
 * thread.
 */
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 15
#define TASKS 100   /* tasks that yield; they share each call of epoll_wait(2) */
#define YIELDS 4000 /* of each task */
#define STARTS 20000
#define CALLS 2000

static struct task_pool *pool;

static double now_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void nothing(void *arg)
{
    (void)arg;
}

static void yield_often(void *arg)
{
    (void)arg;
    for (int i = 0; i < YIELDS; i++)
        task_yield();
}

static void start(void (*run)(void *), void *arg)
{
    if (task_start(pool, run, arg) != 0)
        abort();
}

/* Each yield is a switch to the loop of the thread, and another one back. */
static void measure_switch(void *arg)
{
    double begun = now_ns(CLOCK_THREAD_CPUTIME_ID), *result = arg;

    for (int i = 1; i < TASKS; i++)
        start(yield_often, NULL);
    yield_often(NULL);
    task_yield(); /* afterwards the other tasks have ended */
    *result = (now_ns(CLOCK_THREAD_CPUTIME_ID) - begun) / (2.0 * TASKS * YIELDS);
}

static void measure_start(void *arg)
{
    double begun = now_ns(CLOCK_THREAD_CPUTIME_ID), *result = arg;

    for (int i = 0; i < STARTS; i++) {
        start(nothing, NULL);
        task_yield();
    }
    *result = (now_ns(CLOCK_THREAD_CPUTIME_ID) - begun) / STARTS;
}

static void measure_block(void *arg)
{
    double begun = now_ns(CLOCK_MONOTONIC), *result = arg;

    for (int i = 0; i < CALLS; i++)
        task_block(nothing, NULL);
    *result = (now_ns(CLOCK_MONOTONIC) - begun) / CALLS;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void show(const char *what, void (*measure)(void *))
{
    double results[ROUNDS];
    struct err err;

    for (int i = 0; i < ROUNDS; i++) {
        pool = task_pool_new(1, NULL, &err);
        if (pool == NULL)
            abort();
        start(measure, &results[i]);
        task_pool_free(pool);
    }
    qsort(results, ROUNDS, sizeof *results, by_value);
    printf("%-40s %9.1f ns  (median %.1f)\n", what, results[0], results[ROUNDS / 2]);
}

int main(void)
{
    show("a switch between stacks", measure_switch);
    show("a task, from start to end", measure_start);
    show("a call on a helper thread", measure_block);
    return 0;
}
