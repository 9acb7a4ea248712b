/* SPDX-License-Identifier: ISC */
/*
 * pool_unit: a pool whose hosts are those of a fake module, for the check programs. Each test has a
 * pool and a log of its own.
 */
#ifndef SPLIT_TESTS_POOL_UNIT_H
#define SPLIT_TESTS_POOL_UNIT_H

#include "table/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#define HOSTS 3
#define LONG_MS 60000
#define WAIT_MS 20000 /* for what does not happen in time only if there is a fault */

enum mood {
    MOOD_ANSWERS,
    MOOD_REFUSES, /* connections */
    MOOD_BREAKS,  /* each connection, at the next question */
    MOOD_HANGS,   /* until the deadline, or another mood */
    MOOD_FAILS,   /* the query */
    MOOD_LIMITS,
    MOOD_SLOW,        /* takes connections, and hangs at a question */
    MOOD_FULL,        /* answers, and refuses further connections */
    MOOD_LOST,        /* the query fails, and the connection with it */
    MOOD_LATE,        /* the module does not wait until the deadline */
    MOOD_BREAKS_ONCE, /* at the next question, and answers from then on */
    MOOD_DEAF,        /* answers, and does not react to further connections */
};

/* The settings of the fake module: its hosts, and what happened to them. */
struct fake {
    size_t count;
    struct table_host hosts[HOSTS];
    _Atomic enum mood moods[HOSTS];
    atomic_uint generation[HOSTS]; /* connections of an older one are broken */
    atomic_uint connects[HOSTS], questions[HOSTS], open, open_max;
    atomic_uint held[HOSTS]; /* the first so many questions wait until it is less */
    atomic_uint delay_ms;    /* for an answer */
};

extern struct fake fake;
extern struct pool *pool;
extern const struct table_module pool_unit_module;

/* The fixture. */
void pool_unit_setup(void);
void pool_unit_teardown(void);
void make_pool(size_t hosts, int64_t retry_ms, int64_t idle_ms);

void pause_ms(int64_t ms);
/* Wait until a count has reached this value; it must not exceed it. */
void wait_for_count(const atomic_uint *count, unsigned value);
/* How often the text is in the log. */
unsigned logged(const char *text);
void wait_for_log(const char *text); /* until it is there, once */
/* Ask, within a time. Returns what the result is, or its kind and the reason; for the caller to
 * free. */
char *ask_within(int64_t ms);
void expect(const char *expected, int64_t ms);

/* A question on a thread of its own, within a time. question_end(): the answer begins so. */
struct question {
    pthread_t thread;
    int64_t ms;
    char *answer;
};
void question_begin(struct question *q, int64_t ms);
void question_end(struct question *q, const char *expected);

/* pool_try_host() of a host for a key. */
enum table_answer try_host(size_t host, const char *key, struct err *err);

#endif
