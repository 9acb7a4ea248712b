/* SPDX-License-Identifier: ISC */
/* Tasks: waits for descriptors, for other tasks, for threads and for deadlines; and that nothing is
 * left behind. */
#include "task/task.h"
#include "net/stream.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 20000 /* for an event that must happen */
#define SOON_MS 30    /* a deadline that is to be missed */

static struct task_pool *pool;
static atomic_uint exits;

static void count_exit(void)
{
    exits++;
}

static void start_pool(unsigned threads)
{
    struct err err = {""};

    exits = 0;
    pool = task_pool_new(threads, count_exit, &err);
    ck_assert_msg(pool != NULL, "%s", err.text);
}

static void start_task(void (*run)(void *), void *arg)
{
    ck_assert_int_eq(task_start(pool, run, arg), 0);
}

static int64_t soon(void)
{
    return task_now_ms() + SOON_MS;
}

static int64_t late(void)
{
    return task_now_ms() + WAIT_MS;
}

static void pair(int fds[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

/* --- that they run, and end --- */

static void add_one(void *arg)
{
    ck_assert(task_is_inside());
    atomic_fetch_add((atomic_uint *)arg, 1);
}

START_TEST(test_many)
{
    atomic_uint count = 0;

    start_pool((unsigned)_i);
    ck_assert(!task_is_inside());
    for (int i = 0; i < 5000; i++)
        start_task(add_one, &count);
    task_pool_free(pool); /* waits for them */
    ck_assert_uint_eq(count, 5000);
    if (_i > 0)
        ck_assert_uint_eq(exits, (unsigned)_i);
}
END_TEST

static void have_children(void *arg)
{
    if (atomic_fetch_add((atomic_uint *)arg, 1) < 1000) {
        start_task(have_children, arg);
        task_yield();
    }
}

START_TEST(test_tasks_start_tasks)
{
    atomic_uint count = 0;

    start_pool(3);
    start_task(have_children, &count);
    task_pool_free(pool);
    ck_assert_uint_eq(count, 1001);
}
END_TEST

START_TEST(test_no_pool)
{
    task_pool_free(NULL);
    task_yield(); /* of no effect in a thread */
}
END_TEST

/* --- turns --- */

struct turns {
    char order[64];
    size_t count;
};

static void take_turns(struct turns *t, char name)
{
    for (int i = 0; i < 3; i++) {
        t->order[t->count++] = name;
        task_yield();
    }
}

static void turns_a(void *arg)
{
    take_turns(arg, 'a');
}

static void turns_b(void *arg)
{
    take_turns(arg, 'b');
}

static void both_turns(void *arg)
{
    start_task(turns_a, arg);
    start_task(turns_b, arg);
}

START_TEST(test_yield)
{
    struct turns t = {.count = 0};

    start_pool(1);
    start_task(both_turns, &t);
    task_pool_free(pool);
    ck_assert_str_eq(t.order, "ababab");
}
END_TEST

/* --- descriptors --- */

struct echo {
    struct stream *stream;
    unsigned lines;
    enum stream_status end;
};

static void run_echo(void *arg)
{
    struct echo *e = arg;
    struct buf line = {0};

    do {
        stream_set_deadline(e->stream, WAIT_MS);
        e->end = stream_read_line(e->stream, &line, 1000);
        if (e->end == STREAM_OK) {
            e->lines++;
            e->end = stream_write(e->stream, line.data, line.len);
        }
        if (e->end == STREAM_OK && !stream_has_input(e->stream))
            e->end = stream_flush(e->stream);
    } while (e->end == STREAM_OK);
    buf_clear(&line);
    stream_free(e->stream);
}

#define ECHOES 50
#define LINES 200

/* A thread has a dialogue with each of many tasks at once, in pieces of any length. */
START_TEST(test_dialogues)
{
    struct echo echoes[ECHOES] = {{0}};
    int ours[ECHOES];

    start_pool((unsigned)_i);
    for (int i = 0; i < ECHOES; i++) {
        int fds[2];
        pair(fds);
        ours[i] = fds[0];
        ck_assert_int_eq(fcntl(fds[0], F_SETFL, 0), 0); /* blocking */
        echoes[i].stream = stream_new(fds[1]);
        start_task(run_echo, &echoes[i]);
    }
    for (int n = 0; n < LINES; n++) {
        char text[32], got[32];
        int len = snprintf(text, sizeof text, "line %d\n", n);
        int cut = n % len;
        for (int i = 0; i < ECHOES; i++)
            ck_assert_int_eq(write(ours[i], text, (size_t)cut), cut);
        for (int i = 0; i < ECHOES; i++)
            ck_assert_int_eq(write(ours[i], text + cut, (size_t)(len - cut)), len - cut);
        for (int i = 0; i < ECHOES; i++) {
            ck_assert_int_eq(recv(ours[i], got, (size_t)len, MSG_WAITALL), len);
            ck_assert_int_eq(memcmp(got, text, (size_t)len), 0);
        }
    }
    for (int i = 0; i < ECHOES; i++)
        close(ours[i]);
    task_pool_free(pool);
    for (int i = 0; i < ECHOES; i++) {
        ck_assert_uint_eq(echoes[i].lines, LINES);
        ck_assert_int_eq(echoes[i].end, STREAM_EOF);
    }
}
END_TEST

struct reader {
    int fd;
    int got, again;
    bool was_late;
};

static void wait_for_input(void *arg)
{
    struct reader *r = arg;
    struct task_fd f;
    int64_t end_ms = soon();

    task_fd_init(&f, r->fd);
    r->got = task_poll(&f, POLLIN, end_ms);
    r->was_late = task_now_ms() >= end_ms;
    task_fd_detach(&f);
}

START_TEST(test_deadline)
{
    struct reader in_task = {.got = -2}, in_thread = {.got = -2};
    int fds[2];

    pair(fds);
    start_pool(1);
    in_task.fd = in_thread.fd = fds[0];
    start_task(wait_for_input, &in_task);
    task_pool_free(pool);
    wait_for_input(&in_thread);
    ck_assert_int_eq(in_task.got, 0);
    ck_assert(in_task.was_late);
    ck_assert_int_eq(in_thread.got, 0);
    ck_assert(in_thread.was_late);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* Events that are reported while no task waits are returned by the next wait, once. */
static void read_after_report(void *arg)
{
    struct reader *r = arg;
    struct task_fd f;
    char byte;

    task_fd_init(&f, r->fd);
    r->got = task_poll(&f, POLLIN, late());
    while (read(r->fd, &byte, 1) == 1)
        ;
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(task_poll(&f, POLLIN, soon()), 0);
    r->again = task_poll(&f, POLLOUT, late()); /* registered for more than before */
    task_fd_detach(&f);
    task_fd_detach(&f); /* of no effect */
}

START_TEST(test_report)
{
    struct reader r = {0};
    int fds[2];

    pair(fds);
    r.fd = fds[0];
    start_pool(1);
    ck_assert_int_eq(write(fds[1], "abc", 3), 3);
    start_task(read_after_report, &r);
    task_pool_free(pool);
    ck_assert_int_eq(r.got, POLLIN);
    ck_assert_int_eq(r.again, POLLOUT);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

static void wait_for_end(void *arg)
{
    struct reader *r = arg;
    struct task_fd f;
    char byte;

    task_fd_init(&f, r->fd);
    r->got = task_poll(&f, POLLIN, late());
    ck_assert_int_eq(read(r->fd, &byte, 1), 0);
    r->again = task_poll(&f, POLLIN, late()); /* returned again, because the end lasts */
    task_fd_detach(&f);
}

START_TEST(test_end_of_input)
{
    struct reader r = {0};
    int fds[2];

    pair(fds);
    r.fd = fds[0];
    start_pool(1);
    start_task(wait_for_end, &r);
    close(fds[1]);
    task_pool_free(pool);
    ck_assert((r.got & (POLLIN | POLLHUP)) != 0);
    ck_assert((r.again & POLLHUP) != 0);
    close(fds[0]);
}
END_TEST

static void poll_closed(void *arg)
{
    struct reader *r = arg;
    struct task_fd f;

    task_fd_init(&f, r->fd);
    r->got = task_poll(&f, POLLIN, late());
    r->again = errno;
}

START_TEST(test_bad_descriptor)
{
    struct reader r = {.fd = -1};

    start_pool(1);
    start_task(poll_closed, &r);
    task_pool_free(pool);
    ck_assert_int_eq(r.got, -1);
    ck_assert_int_eq(r.again, EBADF);
}
END_TEST

/* A connection is passed from task to task, and so from thread to thread. */
struct relay_race {
    struct stream *stream;
    unsigned laps;
};

static void run_lap(void *arg)
{
    struct relay_race *race = arg;
    struct buf line = {0};

    stream_set_deadline(race->stream, WAIT_MS);
    ck_assert_int_eq(stream_read_line(race->stream, &line, 100), STREAM_OK);
    ck_assert_int_eq(stream_write(race->stream, line.data, line.len), STREAM_OK);
    ck_assert_int_eq(stream_flush(race->stream), STREAM_OK);
    buf_clear(&line);
    stream_detach(race->stream);
    if (--race->laps > 0)
        start_task(run_lap, race);
    else
        stream_free(race->stream);
}

START_TEST(test_handed_on)
{
    struct relay_race race = {.laps = 100};
    int fds[2];
    char text[8];

    pair(fds);
    ck_assert_int_eq(fcntl(fds[0], F_SETFL, 0), 0);
    race.stream = stream_new(fds[1]);
    start_pool(4);
    start_task(run_lap, &race);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(write(fds[0], "again\n", 6), 6);
        ck_assert_int_eq(recv(fds[0], text, 6, MSG_WAITALL), 6);
    }
    task_pool_free(pool);
    close(fds[0]);
}
END_TEST

static void wait_interrupted(void *arg)
{
    struct echo *e = arg;
    struct buf line = {0};

    stream_set_deadline(e->stream, WAIT_MS);
    e->end = stream_read_line(e->stream, &line, 100);
    buf_clear(&line);
}

START_TEST(test_shutdown_from_thread)
{
    struct echo e = {0};
    int fds[2];

    pair(fds);
    e.stream = stream_new(fds[1]);
    start_pool(1);
    start_task(wait_interrupted, &e);
    stream_shutdown_read(e.stream);
    task_pool_free(pool);
    ck_assert_int_eq(e.end, STREAM_EOF);
    stream_free(e.stream); /* not in the task, which may end before stream_shutdown_read() does */
    close(fds[0]);
}
END_TEST

/* --- each other --- */

/* A bounded buffer that tasks and threads write to and read from. */
struct channel {
    pthread_mutex_t lock;
    struct task_cond changed;
    unsigned full, put, taken;
};

#define ITEMS 3000
#define ROOM 3

static void channel_init(struct channel *c)
{
    memset(c, 0, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    task_cond_init(&c->changed);
}

static void channel_clear(struct channel *c)
{
    task_cond_clear(&c->changed);
    pthread_mutex_destroy(&c->lock);
}

static void put_items(void *arg)
{
    struct channel *c = arg;

    for (int i = 0; i < ITEMS; i++) {
        pthread_mutex_lock(&c->lock);
        while (c->full == ROOM)
            ck_assert(task_cond_wait(&c->changed, &c->lock, late()));
        c->full++;
        c->put++;
        pthread_mutex_unlock(&c->lock);
        task_cond_broadcast(&c->changed);
    }
}

static void take_items(void *arg)
{
    struct channel *c = arg;

    for (int i = 0; i < ITEMS; i++) {
        pthread_mutex_lock(&c->lock);
        while (c->full == 0)
            ck_assert(task_cond_wait(&c->changed, &c->lock, late()));
        c->full--;
        c->taken++;
        task_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->lock);
    }
}

static void *put_in_thread(void *arg)
{
    put_items(arg);
    return NULL;
}

static void *take_in_thread(void *arg)
{
    take_items(arg);
    return NULL;
}

START_TEST(test_cond)
{
    struct channel c;
    pthread_t putter, taker;

    channel_init(&c);
    start_pool((unsigned)_i);
    ck_assert_int_eq(pthread_create(&putter, NULL, put_in_thread, &c), 0);
    ck_assert_int_eq(pthread_create(&taker, NULL, take_in_thread, &c), 0);
    for (int i = 0; i < 4; i++) {
        start_task(put_items, &c);
        start_task(take_items, &c);
    }
    pthread_join(putter, NULL);
    pthread_join(taker, NULL);
    task_pool_free(pool);
    ck_assert_uint_eq(c.put, 5 * ITEMS);
    ck_assert_uint_eq(c.taken, 5 * ITEMS);
    ck_assert_uint_eq(c.full, 0);
    channel_clear(&c);
}
END_TEST

struct waiting {
    struct channel channel;
    atomic_uint in_time, too_late;
    unsigned waiting;
};

static void wait_once(void *arg, int64_t deadline_ms)
{
    struct waiting *w = arg;

    pthread_mutex_lock(&w->channel.lock);
    w->waiting++;
    if (task_cond_wait(&w->channel.changed, &w->channel.lock, deadline_ms))
        w->in_time++;
    else
        w->too_late++;
    pthread_mutex_unlock(&w->channel.lock);
}

static void wait_long(void *arg)
{
    wait_once(arg, late());
}

static void wait_short(void *arg)
{
    wait_once(arg, soon());
}

static void await_waiters(struct waiting *w, unsigned count)
{
    int64_t end_ms = late();
    unsigned seen = 0;

    while (seen < count && task_now_ms() < end_ms) {
        pthread_mutex_lock(&w->channel.lock);
        seen = w->waiting;
        pthread_mutex_unlock(&w->channel.lock);
    }
    ck_assert_uint_eq(seen, count);
}

/* A signal wakes one waiter, even if others before it have reached their deadlines. */
START_TEST(test_signal)
{
    struct waiting w = {0};

    channel_init(&w.channel);
    start_pool(2);
    for (int i = 0; i < 3; i++)
        start_task(wait_short, &w);
    await_waiters(&w, 3);
    start_task(wait_long, &w);
    start_task(wait_long, &w);
    await_waiters(&w, 5);
    int64_t end_ms = late();
    while (w.too_late < 3 && task_now_ms() < end_ms)
        ;
    ck_assert_uint_eq(w.too_late, 3);
    ck_assert_uint_eq(w.in_time, 0);
    task_cond_signal(&w.channel.changed);
    while (w.in_time < 1 && task_now_ms() < end_ms)
        ;
    ck_assert_uint_eq(w.in_time, 1);
    task_cond_signal(&w.channel.changed);
    task_cond_signal(&w.channel.changed); /* nothing waits for this one */
    task_pool_free(pool);
    ck_assert_uint_eq(w.in_time, 2);
    wait_short(&w); /* in this thread */
    ck_assert_uint_eq(w.too_late, 4);
    channel_clear(&w.channel);
}
END_TEST

static void set_event(void *arg)
{
    task_event_set(arg);
}

/* A task makes an event, waits for it and releases it, many times; other tasks set the events. */
static void wait_for_events(void *arg)
{
    for (int i = 0; i < 200; i++) {
        struct task_event e;
        task_event_init(&e);
        start_task(set_event, &e);
        ck_assert(task_event_wait(&e, late()));
        task_event_clear(&e);
    }
    add_one(arg);
}

START_TEST(test_event)
{
    atomic_uint count = 0;
    struct task_event e;

    start_pool(2);
    for (int i = 0; i < 10; i++)
        start_task(wait_for_events, &count);
    task_event_init(&e);
    ck_assert(!task_event_wait(&e, soon()));
    start_task(set_event, &e);
    ck_assert(task_event_wait(&e, late()));
    ck_assert(task_event_wait(&e, 0)); /* the event stays set */
    task_event_clear(&e);
    task_pool_free(pool);
    ck_assert_uint_eq(count, 10);
}
END_TEST

/* A wait for a descriptor and an event ends when either is ready; the event stays set. */
struct either {
    int fd;
    struct task_event event, begun;
    int got, again, after;
};

static void wait_for_either(void *arg)
{
    struct either *e = arg;
    struct task_fd f;
    char byte;

    task_fd_init(&f, e->fd);
    e->got = task_poll_or_event(&f, POLLIN, &e->event);
    ck_assert_int_eq(read(e->fd, &byte, 1), 1);
    task_event_set(&e->begun);
    e->again = task_poll_or_event(&f, POLLIN, &e->event);
    e->after = task_poll_or_event(&f, POLLIN, &e->event);
    task_fd_detach(&f);
}

START_TEST(test_poll_or_event)
{
    struct either e = {.got = -2, .again = -2, .after = -2};
    int fds[2];

    pair(fds);
    e.fd = fds[0];
    task_event_init(&e.event);
    task_event_init(&e.begun);
    start_pool(1);
    start_task(wait_for_either, &e);
    ck_assert_int_eq(write(fds[1], "a", 1), 1);
    ck_assert(task_event_wait(&e.begun, late()));
    task_event_set(&e.event);
    task_pool_free(pool);
    ck_assert_int_eq(e.got, POLLIN);
    ck_assert_int_eq(e.again, 0);
    ck_assert_int_eq(e.after, 0);
    task_event_clear(&e.event);
    task_event_clear(&e.begun);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* --- what blocks --- */

struct blocking {
    int fds[2];
    bool was_task;
    atomic_bool others_went_on;
};

static void block_on_pipe(void *arg)
{
    struct blocking *b = arg;
    struct pollfd p = {.fd = b->fds[0], .events = POLLIN};

    b->was_task = task_is_inside();
    b->others_went_on = poll(&p, 1, WAIT_MS) == 1;
}

static void run_blocking(void *arg)
{
    task_block(block_on_pipe, arg);
}

static void go_on(void *arg)
{
    const struct blocking *b = arg;

    ck_assert_int_eq(write(b->fds[1], "x", 1), 1);
}

START_TEST(test_block)
{
    struct blocking b[20] = {{.was_task = true}};

    start_pool(1);
    for (int i = 0; i < 20; i++) { /* all of them at a time, on one thread for tasks */
        b[i].was_task = true;
        ck_assert_int_eq(pipe(b[i].fds), 0);
        start_task(run_blocking, &b[i]);
    }
    for (int i = 20; i-- > 0;)
        start_task(go_on, &b[i]);
    task_pool_free(pool);
    ck_assert_uint_eq(exits, 21); /* of the thread, and of a helper for each */
    for (int i = 0; i < 20; i++) {
        ck_assert(b[i].others_went_on);
        ck_assert(!b[i].was_task);
        close(b[i].fds[0]);
        close(b[i].fds[1]);
    }
    struct task_event e;
    task_event_init(&e);
    task_block(set_event, &e); /* in a thread: here and now */
    ck_assert(task_event_wait(&e, 0));
    task_event_clear(&e);
}
END_TEST

/* --- a call that is not waited for --- */

static struct {
    int gate[2];
    atomic_bool has_started, has_gone_on, is_over;
} beside;

static void wait_at_gate(void *arg)
{
    char byte;

    (void)arg;
    ck_assert_int_eq(read(beside.gate[0], &byte, 1), 1);
    beside.is_over = beside.has_gone_on;
}

static void start_beside(void *arg)
{
    (void)arg;
    beside.has_started = task_block_start(wait_at_gate, NULL);
    beside.has_gone_on = true;
    ck_assert_int_eq(write(beside.gate[1], "x", 1), 1);
}

START_TEST(test_block_start)
{
    memset(&beside, 0, sizeof beside);
    ck_assert_int_eq(pipe(beside.gate), 0);
    start_pool(1);
    start_task(start_beside, NULL);
    task_pool_free(pool);
    ck_assert(beside.has_started && beside.is_over);
    ck_assert(!task_block_start(wait_at_gate, NULL)); /* in a thread */
    close(beside.gate[0]);
    close(beside.gate[1]);
}
END_TEST

/* --- more calls that block than helpers --- */

#define CROWD (TASK_HELPERS_MAX + 100)

static struct crowd {
    int gate[2]; /* a pipe from which each call reads one byte */
    atomic_uint begun, running, most, ended, next;
    unsigned order[CROWD];
} crowd;

static void pass_gate(void *arg)
{
    unsigned running = atomic_fetch_add(&crowd.running, 1) + 1, most = crowd.most;
    char byte;

    (void)arg;
    while (most < running && !atomic_compare_exchange_weak(&crowd.most, &most, running))
        ;
    atomic_fetch_add(&crowd.begun, 1);
    ck_assert_int_eq(read(crowd.gate[0], &byte, 1), 1);
    atomic_fetch_sub(&crowd.running, 1);
}

static void open_gate(unsigned count)
{
    while (count-- > 0)
        ck_assert_int_eq(write(crowd.gate[1], "x", 1), 1);
}

static void block_in_crowd(void *arg)
{
    (void)arg;
    task_block(pass_gate, NULL);
    atomic_fetch_add(&crowd.ended, 1);
}

static void wait_until(const atomic_uint *counter, unsigned count)
{
    int64_t end_ms = late();

    while (*counter < count && task_now_ms() < end_ms)
        usleep(1000);
    ck_assert_uint_ge(*counter, count);
}

static void start_crowd(unsigned count)
{
    memset(&crowd, 0, sizeof crowd);
    ck_assert_int_eq(pipe(crowd.gate), 0);
    start_pool(1);
    for (unsigned i = 0; i < count; i++)
        start_task(block_in_crowd, NULL);
    wait_until(&crowd.begun, count);
}

static void end_crowd(void)
{
    task_pool_free(pool);
    close(crowd.gate[0]);
    close(crowd.gate[1]);
}

START_TEST(test_helpers_have_a_cap)
{
    start_crowd(TASK_HELPERS_MAX);
    for (unsigned i = TASK_HELPERS_MAX; i < CROWD; i++)
        start_task(block_in_crowd, NULL);
    usleep(100 * 1000); /* a helper above the cap would begin here */
    ck_assert_uint_eq(crowd.begun, TASK_HELPERS_MAX);
    open_gate(CROWD);
    end_crowd();
    ck_assert_uint_eq(crowd.begun, CROWD);
    ck_assert_uint_eq(crowd.most, TASK_HELPERS_MAX);
}
END_TEST

/* The calls run one after the other, because there is one byte in the pipe at a time. */
static void note_order(void *arg)
{
    unsigned *place = arg;

    crowd.order[crowd.next++] = (unsigned)(place - crowd.order);
    pass_gate(NULL);
}

static void block_in_order(void *arg)
{
    task_block(note_order, arg);
}

START_TEST(test_calls_above_the_cap_wait_in_order)
{
    start_crowd(TASK_HELPERS_MAX);
    for (unsigned i = 0; i < 50; i++)
        start_task(block_in_order, &crowd.order[i]);
    for (unsigned i = 0; i < 50; i++) {
        open_gate(1);
        wait_until(&crowd.begun, TASK_HELPERS_MAX + i + 1);
        ck_assert_uint_eq(crowd.next, i + 1);
        ck_assert_uint_eq(crowd.order[i], i);
    }
    open_gate(TASK_HELPERS_MAX);
    end_crowd();
}
END_TEST

static void note_thread(void *arg)
{
    *(pthread_t *)arg = pthread_self();
}

static void block_in_turn(void *arg)
{
    pthread_t *threads = arg;

    for (unsigned i = 0; i < 20; i++)
        task_block(note_thread, &threads[i]);
}

/* The others can end. */
START_TEST(test_one_helper_takes_calls_that_come_one_after_another)
{
    pthread_t threads[20];

    start_crowd(20);
    open_gate(20);
    wait_until(&crowd.ended, 20);
    start_task(block_in_turn, threads);
    end_crowd();
    for (unsigned i = 1; i < 20; i++)
        ck_assert(pthread_equal(threads[i], threads[0]));
}
END_TEST

/* --- stacks --- */

struct mapping {
    uintptr_t begin, end;
    char rights[5];
};

static void find_guard(void *arg)
{
    struct mapping *guard = arg, m = {0}, before;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0); /* with ASan, &m may be on the heap */
    unsigned long begin, end;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");

    ck_assert_ptr_nonnull(maps);
    do {
        before = m;
        ck_assert_ptr_nonnull(fgets(line, sizeof line, maps));
        ck_assert_int_eq(sscanf(line, "%lx-%lx %4s", &begin, &end, m.rights), 3);
        m.begin = begin;
        m.end = end;
    } while (here < m.begin || here >= m.end);
    fclose(maps);
    *guard = before;
    ck_assert_uint_eq(before.end, m.begin);
}

START_TEST(test_guard)
{
    struct mapping guard = {0};

    start_pool(1);
    start_task(find_guard, &guard);
    task_pool_free(pool);
    ck_assert_str_eq(guard.rights, "---p");
    ck_assert_uint_ge(guard.end - guard.begin, 64 * 1024);
}
END_TEST

/* Read data in the page cache, data that is not in it, the end of the file, and a closed
 * descriptor. */
static void read_file(void *arg)
{
    int fd = *(int *)arg;
    char text[8] = "";

    ck_assert_int_eq(task_pread(fd, text, 3, 2), 3);
    ck_assert_str_eq(text, "cde");
    ck_assert_int_eq(fsync(fd), 0);
    ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    ck_assert_int_eq(task_pread(fd, text, sizeof text, 4), 2);
    ck_assert_int_eq(memcmp(text, "ef", 2), 0);
    ck_assert_int_eq(task_pread(fd, text, sizeof text, 6), 0);
    ck_assert_int_eq(task_pread(-1, text, sizeof text, 0), -1);
    ck_assert_int_eq(errno, EBADF);
}

START_TEST(test_pread)
{
    char name[] = "/var/tmp/split-task-XXXXXX";
    int fd = mkstemp(name);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(unlink(name), 0);
    ck_assert_int_eq(write(fd, "abcdef", 6), 6);
    start_pool(1);
    start_task(read_file, &fd);
    task_pool_free(pool);
    read_file(&fd);
    close(fd);
}
END_TEST

/* A pool leaves no descriptor open. */
START_TEST(test_leaves_nothing)
{
    int before = dup(0), after;

    close(before);
    for (int i = 0; i < 20; i++) {
        atomic_uint count = 0;
        start_pool(4);
        start_task(add_one, &count);
        task_pool_free(pool);
    }
    after = dup(0);
    close(after);
    ck_assert_int_eq(before, after);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("task");

    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_many, 0, 4);
    tcase_add_test(t, test_tasks_start_tasks);
    tcase_add_test(t, test_no_pool);
    tcase_add_test(t, test_yield);
    tcase_add_loop_test(t, test_dialogues, 1, 4);
    tcase_add_test(t, test_deadline);
    tcase_add_test(t, test_report);
    tcase_add_test(t, test_end_of_input);
    tcase_add_test(t, test_bad_descriptor);
    tcase_add_test(t, test_handed_on);
    tcase_add_test(t, test_shutdown_from_thread);
    tcase_add_loop_test(t, test_cond, 1, 4);
    tcase_add_test(t, test_signal);
    tcase_add_test(t, test_event);
    tcase_add_test(t, test_poll_or_event);
    tcase_add_test(t, test_block);
    tcase_add_test(t, test_block_start);
    tcase_add_test(t, test_helpers_have_a_cap);
    tcase_add_test(t, test_one_helper_takes_calls_that_come_one_after_another);
    tcase_add_test(t, test_calls_above_the_cap_wait_in_order);
    tcase_add_test(t, test_guard);
    tcase_add_test(t, test_pread);
    tcase_add_test(t, test_leaves_nothing);
    return unit_run("task", t);
}
