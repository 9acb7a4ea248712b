/* SPDX-License-Identifier: ISC */
/* Idle connections, and the choice of a host. */
#include "base/clock.h"
#include "table/pool_private.h"

#include <assert.h>
#include <string.h>
#include <time.h>

static uint32_t next_random(struct pool *p)
{
    p->random ^= p->random << 13; /* xorshift32 (Marsaglia 2003) */
    p->random ^= p->random >> 17;
    p->random ^= p->random << 5;
    return p->random;
}

/* --- idle connections --- */

static void *remove_idle(struct pool *p, size_t i)
{
    void *connection = p->idle[i].connection;

    p->idle_count--;
    memmove(&p->idle[i], &p->idle[i + 1], (p->idle_count - i) * sizeof p->idle[0]);
    return connection;
}

void pool_leave(struct pool *p, size_t host)
{
    p->hosts[host].open_count--;
    p->open_count--;
}

static void close_idle(struct pool *p, size_t i, struct pool_closing *closing)
{
    assert(closing->count < POOL_CONNECTIONS_MAX);
    p->hosts[p->idle[i].host].established--;
    pool_leave(p, p->idle[i].host);
    closing->connections[closing->count++] = remove_idle(p, i);
}

static void close_expired(struct pool *p, struct pool_closing *closing)
{
    int64_t now_ms = clock_now_ms();

    for (size_t i = p->idle_count; i-- > 0;)
        if (now_ms - p->idle[i].since_ms > p->times.idle_ms)
            close_idle(p, i, closing);
}

/* Close the idle connection to a host that was used longest ago. False: there is none. */
static bool close_one_of(struct pool *p, size_t host, struct pool_closing *closing)
{
    for (size_t i = 0; i < p->idle_count; i++)
        if (p->idle[i].host == host) {
            close_idle(p, i, closing);
            return true;
        }
    return false;
}

void pool_close_idle_of(struct pool *p, size_t host, struct pool_closing *closing)
{
    for (size_t i = p->idle_count; i-- > 0;)
        if (p->idle[i].host == host)
            close_idle(p, i, closing);
}

void pool_close_all(struct pool *p, struct pool_closing *closing)
{
    for (size_t i = 0; i < closing->count; i++)
        p->module->disconnect(closing->connections[i]);
    closing->count = 0;
}

/* As pool_close_all(), with the lock held, which is released meanwhile. */
static void close_now(struct pool *p, struct pool_closing *closing)
{
    pthread_mutex_unlock(&p->lock);
    pool_close_all(p, closing);
    pthread_mutex_lock(&p->lock);
}

/* --- the choice of a host --- */

/* A host that has no other to take its place is asked again sooner: 1, 2, 4 ... seconds. */
int64_t pool_back_off_ms(const struct pool *p, unsigned failures)
{
    int64_t ms = INT64_C(1000) << (failures < 20 ? failures : 20);

    return p->host_count == 1 && ms < p->times.retry_ms ? ms : p->times.retry_ms;
}

static bool may_be_asked(const struct pool_asking *a, size_t host)
{
    const struct pool_host_state *h = &a->p->hosts[host];

    return !a->is_tried[host] && (!h->has_failed || clock_now_ms() >= h->retry_at_ms);
}

/* The index of the newest idle connection to a host; p->idle_count if there is none to be used. */
static size_t idle_of(const struct pool *p, size_t host)
{
    for (size_t i = p->idle_count; i-- > 0 && !p->hosts[host].is_doubted;)
        if (p->idle[i].host == host)
            return i;
    return p->idle_count;
}

/* Connections to a host that hangs leave room for those to others. */
static bool is_at_cap(const struct pool *p, size_t host)
{
    return p->host_count > 1 && p->hosts[host].open_count >= POOL_HOST_CONNECTIONS_MAX;
}

/* How early a host is asked; the smallest number first. */
static unsigned rank(const struct pool_asking *a, size_t host)
{
    const struct pool *p = a->p;
    const struct table_host *h = p->hosts[host].host;
    bool has_no_room = a->is_full[host] || is_at_cap(p, host);
    unsigned state = idle_of(p, host) < p->idle_count ? 0 : has_no_room ? 2 : 1;

    return 3 * state + (h->is_local ? 0 : h->is_last ? 2 : 1);
}

/* Choose one of the hosts that may be asked, with equal probability among those of the best rank,
 * or the first of them. *left_out: how many may be asked. */
static size_t choose_host(struct pool_asking *a, size_t *left_out)
{
    struct pool *p = a->p;
    size_t best = p->host_count;
    unsigned best_rank = 0, equals = 0;

    *left_out = 0;
    for (size_t i = 0; i < p->host_count; i++) {
        if (!may_be_asked(a, i))
            continue;
        ++*left_out;
        unsigned r = rank(a, i);
        if (best == p->host_count || r < best_rank) {
            best = i;
            best_rank = r;
            equals = 1;
        } else if (r == best_rank && !p->module->has_host_order && next_random(p) % ++equals == 0) {
            best = i;
        }
    }
    return best;
}

static struct timespec time_of(int64_t ms)
{
    return (struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (ms % 1000) * 1000000};
}

/* Wait until a connection is idle or closed. False: the deadline is over. */
static bool wait_for_room(const struct pool_asking *a)
{
    struct timespec until = time_of(a->deadline_ms);

    return clock_now_ms() < a->deadline_ms &&
           pthread_cond_timedwait(&a->p->freed, &a->p->lock, &until) == 0;
}

/* Take an idle connection to the chosen host, or make room for a new one. False: there is neither
 * now. */
static bool take_connection(struct pool_asking *a, struct pool_chosen *out,
                            struct pool_closing *closing)
{
    struct pool *p = a->p;
    size_t i = idle_of(p, out->host);

    out->connection = i < p->idle_count ? remove_idle(p, i) : NULL;
    if (out->connection != NULL)
        return true;
    if (a->is_full[out->host])
        return false;
    if (is_at_cap(p, out->host) && !close_one_of(p, out->host, closing))
        return false;
    if (p->open_count == POOL_CONNECTIONS_MAX && p->idle_count > 0)
        close_idle(p, 0, closing);
    if (p->open_count == POOL_CONNECTIONS_MAX)
        return false;
    p->hosts[out->host].open_count++;
    p->open_count++;
    return true;
}

void pool_share_time(const struct pool_asking *a, struct pool_chosen *c)
{
    c->begin_ms = clock_now_ms();
    int64_t share_ms = (a->deadline_ms - c->begin_ms) / (int64_t)c->left;
    c->deadline_ms = c->begin_ms + share_ms;
    c->is_fair = share_ms >= a->fair_ms;
}

enum pool_choice pool_choose(struct pool_asking *a, struct pool_chosen *out,
                             struct pool_closing *closing)
{
    struct pool *p = a->p;

    for (;;) {
        close_expired(p, closing);
        out->host = choose_host(a, &out->left);
        if (out->left == 0)
            return CHOICE_NO_HOST;
        if (clock_now_ms() >= a->deadline_ms)
            return CHOICE_NO_TIME;
        if (take_connection(a, out, closing))
            break;
        if (a->is_full[out->host] && p->hosts[out->host].established == 0)
            a->is_full[out->host] = false; /* those that were waited for are closed */
        else if (closing->count > 0)
            close_now(p, closing);
        else if (!wait_for_room(a))
            return CHOICE_NO_ROOM;
    }
    struct pool_host_state *h = &p->hosts[out->host];
    pool_share_time(a, out);
    a->is_tried[out->host] = true;
    /* One look-up finds out whether a host is back; the others do not wait for it. */
    if (h->has_failed)
        h->retry_at_ms = out->begin_ms + pool_back_off_ms(p, ++h->failures);
    return CHOICE_OK;
}
