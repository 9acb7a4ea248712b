/* SPDX-License-Identifier: ISC */
/* What pool.c and pool_choice.c share. The functions of pool_choice.c are called with the lock of
 * the pool held, unless they say otherwise. */
#ifndef SPLIT_POOL_PRIVATE_H
#define SPLIT_POOL_PRIVATE_H

#include "base/buf.h"
#include "table/pool.h"

#include <pthread.h>

#define POOL_REASON_SIZE 256

struct pool_host_state {
    const struct table_host *host;
    size_t open_count;  /* connections to it that are used, made or idle */
    size_t established; /* those that were made */
    bool has_failed;
    unsigned failures;   /* with has_failed: how often it was tried since */
    int64_t retry_at_ms; /* with has_failed */
    int64_t answered_ms; /* when it answered last */
    /* A question took all of its time. Only a new connection tells whether the question or the host
     * is slow, so the idle ones are not used before that. */
    bool is_doubted;
    bool has_refused; /* a connection beside the established ones, which was logged */
    char reason[POOL_REASON_SIZE];
};

struct pool_idle {
    void *connection;
    size_t host;
    int64_t since_ms;
};

struct pool {
    char *name;
    const struct table_module *module;
    const void *settings;
    struct pool_times times;
    size_t host_count;
    pthread_mutex_t lock; /* protects the members below */
    pthread_cond_t freed; /* a connection was closed, or is idle; by CLOCK_MONOTONIC */
    struct pool_host_state *hosts;
    struct pool_idle idle[POOL_CONNECTIONS_MAX]; /* the one that was used last is at the end */
    size_t idle_count;
    size_t open_count; /* of all hosts */
    uint32_t random;   /* state of the generator, never 0 */
};

/* One question: which hosts were asked already, and what they said. */
struct pool_asking {
    struct pool *p;
    struct query_result *result;
    int64_t deadline_ms;
    int64_t fair_ms; /* a host that got less time than this has not failed */
    bool *is_tried;
    bool *is_full; /* refuses further connections; waiting for one of those that are open */
    struct buf reasons;
};

/* A host, and a connection to it. */
struct pool_chosen {
    size_t host;
    size_t left;         /* the hosts that may be asked, with this one */
    void *connection;    /* NULL: one has to be made, for which there is room */
    int64_t begin_ms;    /* of the time for making a connection */
    int64_t deadline_ms; /* the end of this time */
    bool is_fair;        /* see fair_ms */
};

enum pool_choice { CHOICE_OK, CHOICE_NO_HOST, CHOICE_NO_ROOM, CHOICE_NO_TIME };

/* Connections that were removed from the pool, to be closed without the lock. */
struct pool_closing {
    void *connections[POOL_CONNECTIONS_MAX];
    size_t count;
};

/* Close the connections, without the lock. */
void pool_close_all(struct pool *p, struct pool_closing *closing) __attribute__((nonnull));

/* A connection to the host is closed, or was not made. */
void pool_leave(struct pool *p, size_t host) __attribute__((nonnull));

/* Remove all idle connections to a host. */
void pool_close_idle_of(struct pool *p, size_t host, struct pool_closing *closing)
    __attribute__((nonnull));

/* The time for which a host that has failed is left alone, after so many further failures. */
int64_t pool_back_off_ms(const struct pool *p, unsigned failures) __attribute__((nonnull));

/* Give the chosen host its share of the time that is left, for making a connection; also without
 * the lock. */
void pool_share_time(const struct pool_asking *a, struct pool_chosen *c) __attribute__((nonnull));

/* Choose a host that the question was not put to, and a connection; wait for room. */
enum pool_choice pool_choose(struct pool_asking *a, struct pool_chosen *out,
                             struct pool_closing *closing)
    __attribute__((nonnull, warn_unused_result));

#endif
