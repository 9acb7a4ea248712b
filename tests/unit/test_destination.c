/* SPDX-License-Identifier: ISC */
#include "deliver/destination.h"
#include "base/log.h"
#include "base/mem.h"
#include "smtp_peer.h"
#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define WAIT_S 20 /* for an event that must happen */

/* --- a queue in memory --- */

enum place { WAITING, TAKEN, DONE, LATER };

struct fake_copy {
    struct queue_copy copy;
    struct queue_recipient recipient;
    enum place place;
    unsigned taken, released;
};

struct fake_queue {
    struct queue queue;
    pthread_mutex_t lock;
    struct task_cond changed;
    bool is_eager; /* a deferred copy is due at once */
    unsigned wake_count;
    struct fake_copy *copies;
    size_t count;
};

static struct fake_copy *find_waiting(struct fake_queue *q)
{
    for (size_t i = 0; i < q->count; i++) {
        if (q->copies[i].place == WAITING)
            return &q->copies[i];
    }
    return NULL;
}

static struct queue_copy *fake_next(struct queue *base, const char *destination, unsigned wait_ms)
{
    struct fake_queue *q = (struct fake_queue *)base;
    int64_t deadline_ms = task_now_ms() + wait_ms;
    struct fake_copy *found;

    ck_assert_str_eq(destination, "archive");
    pthread_mutex_lock(&q->lock);
    unsigned wakes = q->wake_count;
    bool is_in_time = true;
    while ((found = find_waiting(q)) == NULL && is_in_time && q->wake_count == wakes)
        is_in_time = task_cond_wait(&q->changed, &q->lock, deadline_ms);
    if (found != NULL) {
        found->place = TAKEN;
        found->taken++;
    }
    pthread_mutex_unlock(&q->lock);
    return found == NULL ? NULL : &found->copy;
}

static void give_back(struct queue *base, struct queue_copy *c, enum place place)
{
    struct fake_queue *q = (struct fake_queue *)base;
    struct fake_copy *f = (struct fake_copy *)c; /* copy is its first member */

    pthread_mutex_lock(&q->lock);
    ck_assert_int_eq(f->place, TAKEN);
    f->place = place;
    if (place == WAITING)
        f->released++;
    task_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

static void fake_done(struct queue *q, struct queue_copy *c, const struct queue_delivery *delivery)
{
    ck_assert_ptr_nonnull(delivery);
    give_back(q, c, DONE);
}

static void fake_later(struct queue *q, struct queue_copy *c, time_t when)
{
    ck_assert_int_gt(when, time(NULL) - WAIT_S);
    give_back(q, c, ((struct fake_queue *)q)->is_eager ? WAITING : LATER);
}

static void fake_release(struct queue *q, struct queue_copy *c)
{
    give_back(q, c, WAITING);
}

static void fake_wake(struct queue *base, const char *destination)
{
    struct fake_queue *q = (struct fake_queue *)base;

    ck_assert_str_eq(destination, "archive");
    pthread_mutex_lock(&q->lock);
    q->wake_count++;
    task_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

static const struct queue_ops fake_ops = {.next = fake_next,
                                          .done = fake_done,
                                          .later = fake_later,
                                          .release = fake_release,
                                          .wake = fake_wake};

/* --- set-up --- */

struct setup {
    struct fake_queue queue;
    struct task_pool *tasks;
    struct runtime *runtime;
    struct destination *destination;
    int content_fd;
};

static struct runtime *runtime_of(uint16_t port, unsigned concurrency)
{
    struct runtime *r = mem_zalloc(sizeof *r);
    struct snapshot *s = mem_zalloc(sizeof *s);
    struct config *c = mem_zalloc(sizeof *c);
    struct config_destination *d = mem_zalloc(sizeof *d);

    *r = (struct runtime){.snapshot = s, .refs = 1};
    s->config = c;
    s->refs = 1;
    s->config_refs = mem_zalloc(sizeof *s->config_refs);
    *s->config_refs = 1;
    c->relay.hostname = mem_strdup("relay.test");
    c->destinations = d;
    c->destination_count = 1;
    *d = (struct config_destination){.name = mem_strdup("archive"),
                                     .relay_to = mem_zalloc(sizeof *d->relay_to),
                                     .relay_to_count = 1,
                                     .concurrency = concurrency,
                                     .retry_min_s = 1,
                                     .retry_max_s = 4,
                                     .max_age_s = 1000,
                                     .connect_timeout_ms = 10000,
                                     .command_timeout_ms = 10000};
    d->relay_to[0] = (struct endpoint){.kind = ENDPOINT_INET, .host = "127.0.0.1", .port = port};
    return r;
}

static void setup_init(struct setup *s, size_t copies)
{
    static char empty[] = "", address[] = "a@x.test", destination[] = "archive";
    static const char content[] = "Subject: x\r\n\r\nbody\r\n";
    struct err err;

    memset(s, 0, sizeof *s);
    s->content_fd = memfd_create("copy", MFD_CLOEXEC);
    ck_assert_int_eq(write(s->content_fd, content, sizeof content - 1), sizeof content - 1);
    s->queue.queue.ops = &fake_ops;
    pthread_mutex_init(&s->queue.lock, NULL);
    task_cond_init(&s->queue.changed);
    s->tasks = task_pool_new(2, NULL, &err);
    ck_assert_msg(s->tasks != NULL, "%s", err.text);
    s->queue.copies = mem_zalloc(copies * sizeof *s->queue.copies);
    s->queue.count = copies;
    for (size_t i = 0; i < copies; i++) {
        struct fake_copy *f = &s->queue.copies[i];
        f->recipient =
            (struct queue_recipient){.address = address, .orcpt = empty, .state = QUEUE_PENDING};
        f->copy = (struct queue_copy){.destination = destination,
                                      .recipients = &f->recipient,
                                      .recipient_count = 1,
                                      .content_fd = s->content_fd};
        f->copy.message = (struct queue_message){.sender = empty,
                                                 .client_name = empty,
                                                 .client_addr = empty,
                                                 .helo = empty,
                                                 .protocol = empty,
                                                 .mta_queue_id = empty,
                                                 .message_id = empty,
                                                 .size_bytes = sizeof content - 1};
        clock_gettime(CLOCK_REALTIME, &f->copy.message.arrival);
        snprintf(f->copy.id, sizeof f->copy.id, "ID%zu", i);
    }
}

static void begin(struct setup *s)
{
    struct err err;

    s->destination = destination_start(&s->queue.queue, s->tasks, s->runtime,
                                       &s->runtime->snapshot->config->destinations[0], &err);
    ck_assert_msg(s->destination != NULL, "%s", err.text);
}

static void start(struct setup *s, uint16_t port, unsigned concurrency)
{
    s->runtime = runtime_of(port, concurrency);
    begin(s);
}

/* With a suspension that lasts longer than any test. */
static void start_patient(struct setup *s, uint16_t port, unsigned concurrency)
{
    s->runtime = runtime_of(port, concurrency);
    s->runtime->snapshot->config->destinations[0].retry_min_s = 3600;
    s->runtime->snapshot->config->destinations[0].retry_max_s = 3600;
    begin(s);
}

static void stop(struct setup *s, unsigned grace_ms)
{
    destination_stop(s->destination);
    destination_join(s->destination, grace_ms);
    for (size_t i = 0; i < s->queue.count; i++)
        ck_assert_int_ne(s->queue.copies[i].place, TAKEN);
}

static void setup_clear(struct setup *s)
{
    task_pool_free(s->tasks);
    runtime_unref(s->runtime);
    pthread_mutex_destroy(&s->queue.lock);
    task_cond_clear(&s->queue.changed);
    free(s->queue.copies);
    close(s->content_fd);
}

/* Called with the lock. */
static size_t count_locked(const struct setup *s, enum place place)
{
    size_t n = 0;

    for (size_t i = 0; i < s->queue.count; i++)
        n += s->queue.copies[i].place == place;
    return n;
}

static size_t count_place(struct setup *s, enum place place)
{
    pthread_mutex_lock(&s->queue.lock);
    size_t n = count_locked(s, place);
    pthread_mutex_unlock(&s->queue.lock);
    return n;
}

/* Wait until n copies are at that place. False: that did not happen within WAIT_S. */
static bool wait_place(struct setup *s, enum place place, size_t n)
{
    int64_t deadline_ms = task_now_ms() + WAIT_S * 1000;
    bool is_in_time = true;

    pthread_mutex_lock(&s->queue.lock);
    while (count_locked(s, place) != n && is_in_time)
        is_in_time = task_cond_wait(&s->queue.changed, &s->queue.lock, deadline_ms);
    bool reached = count_locked(s, place) == n;
    pthread_mutex_unlock(&s->queue.lock);
    return reached;
}

static unsigned released(struct setup *s)
{
    unsigned n = 0;

    pthread_mutex_lock(&s->queue.lock);
    for (size_t i = 0; i < s->queue.count; i++)
        n += s->queue.copies[i].released;
    pthread_mutex_unlock(&s->queue.lock);
    return n;
}

/* Wait until copies were released n times. */
static bool wait_released(struct setup *s, unsigned n)
{
    struct timespec tick = {0, 1000000};

    for (int i = 0; i < WAIT_S * 1000 && released(s) < n; i++)
        nanosleep(&tick, NULL);
    return released(s) >= n;
}

static uint16_t closed_port(void)
{
    struct peer_script script = {0};
    struct peer *p = peer_start(&script);
    uint16_t port = peer_port(p);

    peer_stop(p);
    peer_free(p);
    return port;
}

/* --- tests --- */

START_TEST(all_are_delivered_within_the_concurrency)
{
    unsigned concurrency = _i == 0 ? 1 : 4;
    struct peer_script script = {0};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, 500);
    start(&s, peer_port(p), concurrency);
    ck_assert(wait_place(&s, DONE, 500));
    stop(&s, 5000);
    peer_stop(p);
    ck_assert_uint_eq(peer_messages(p), 500);
    ck_assert_uint_le(peer_connections(p), concurrency);
    ck_assert_uint_eq(peer_count(p, PEER_QUIT), peer_connections(p));
    for (size_t i = 0; i < 500; i++) {
        ck_assert_uint_eq(s.queue.copies[i].taken, 1);
        ck_assert_int_eq(s.queue.copies[i].recipient.state, QUEUE_SENT);
    }
    setup_clear(&s);
    peer_free(p);
}
END_TEST

START_TEST(refused_copies_are_done_with)
{
    struct peer_fault fault = {PEER_RCPT, PEER_ALWAYS, PEER_REPLY, "550 5.1.1 no\r\n"};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, 10);
    start(&s, peer_port(p), 2);
    ck_assert(wait_place(&s, DONE, 10));
    stop(&s, 5000);
    for (size_t i = 0; i < 10; i++)
        ck_assert_int_eq(s.queue.copies[i].recipient.state, QUEUE_DEAD);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

/* While a destination is down, no attempt is counted, and few connections are tried. When it is up
 * again, all copies are delivered. */
START_TEST(down_and_up_again)
{
    struct setup s;
    uint16_t port = closed_port();

    setup_init(&s, 50);
    start(&s, port, 8);
    ck_assert(wait_released(&s, 2)); /* suspended, and probed once */
    ck_assert_uint_eq(count_place(&s, LATER), 0);
    ck_assert_uint_le(released(&s), 3 * 2 * 8);
    struct peer_script script = {.port = port};
    struct peer *p = peer_start(&script);
    if (_i == 0)
        destination_resume(s.destination);
    ck_assert(wait_place(&s, DONE, 50));
    stop(&s, 5000);
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_messages(p), 50);
    peer_free(p);
}
END_TEST

START_TEST(resume_ends_a_suspension_at_once)
{
    struct setup s;
    uint16_t port = closed_port();

    setup_init(&s, 1);
    start_patient(&s, port, 1);
    ck_assert(wait_released(&s, 1));
    struct peer_script script = {.port = port};
    struct peer *p = peer_start(&script);
    destination_resume(s.destination);
    ck_assert(wait_place(&s, DONE, 1));
    stop(&s, 5000);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

/* The log lines of run(), in a static buffer. */
static const char *logged(void (*run)(void))
{
    static char text[65536];
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ne(dup2(fileno(file), STDERR_FILENO), -1);
    run();
    ck_assert_int_ne(dup2(saved, STDERR_FILENO), -1);
    close(saved);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void deliver_to_limited_server(void)
{
    const struct peer_fault faults[] = {
        {PEER_GREETING, 1, PEER_REPLY_BYE, "421 4.7.0 too many connections\r\n"},
        {PEER_GREETING, 2, PEER_REPLY_BYE, "421 4.7.0 too many connections\r\n"},
        {PEER_GREETING, 3, PEER_REPLY_BYE, "421 4.7.0 too many connections\r\n"},
        {PEER_DOT, 0, PEER_SLOW, NULL}, /* the first delivery lasts while others are refused */
    };
    struct peer_script script = {.faults = faults, .fault_count = 4};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, 100);
    start_patient(&s, peer_port(p), 4);
    ck_assert(wait_place(&s, DONE, 100));
    stop(&s, 5000);
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_messages(p), 100);
    peer_free(p);
}

/* A destination whose server takes only one connection is not suspended. */
START_TEST(limit_of_connections)
{
    const char *text = logged(deliver_to_limited_server);

    ck_assert_ptr_nonnull(strstr(text, "421 4.7.0 too many connections"));
    ck_assert_ptr_null(strstr(text, "suspended"));
}
END_TEST

/* A copy at which the server closes the connection is deferred; the others are delivered. */
START_TEST(copy_that_breaks_the_connection_waits)
{
    const struct peer_fault faults[] = {{PEER_DOT, 0, PEER_CLOSE, NULL},
                                        {PEER_DOT, 5, PEER_RESET, NULL}};
    struct peer_script script = {.faults = faults, .fault_count = 2};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, 20);
    start(&s, peer_port(p), 1);
    ck_assert(wait_place(&s, DONE, 18));
    ck_assert_uint_eq(count_place(&s, LATER), 2);
    ck_assert_uint_eq(released(&s), 0);
    stop(&s, 5000);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

/* One copy that always breaks its connection does not suspend the destination. */
START_TEST(copy_that_always_breaks_the_connection_suspends_nothing)
{
    struct peer_fault fault = {PEER_DOT, PEER_ALWAYS, PEER_REPLY_BYE, "421 4.3.0 what is this\r\n"};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, 1);
    s.queue.is_eager = true;
    start_patient(&s, peer_port(p), 1);
    ck_assert(peer_wait(p, PEER_DOT, 10)); /* three faults in a row of three copies would suspend */
    stop(&s, 5000);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

/* The first copies break their connections, and the destination is suspended. The probe uses a copy
 * that broke no connection. */
START_TEST(probe_prefers_a_copy_that_broke_nothing)
{
    static char good[] = "good@x.test";
    const struct peer_fault faults[] = {{PEER_DOT, 0, PEER_CLOSE, NULL},
                                        {PEER_DOT, 1, PEER_CLOSE, NULL},
                                        {PEER_DOT, 2, PEER_CLOSE, NULL}};
    struct peer_script script = {.faults = faults, .fault_count = 3};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, 4);
    s.queue.copies[3].recipient.address = good;
    start(&s, peer_port(p), 1);
    ck_assert(wait_place(&s, LATER, 3));
    pthread_mutex_lock(&s.queue.lock);
    for (size_t i = 0; i < 3; i++) /* due before the probe */
        s.queue.copies[i].place = WAITING;
    pthread_mutex_unlock(&s.queue.lock);
    ck_assert(wait_place(&s, DONE, 4));
    stop(&s, 5000);
    setup_clear(&s);
    peer_stop(p);
    const char *said = peer_commands(p);
    for (int i = 0; i < 4; i++)
        said = strstr(said, "\nRCPT TO:<") + 1;
    ck_assert_int_eq(strncmp(said, "RCPT TO:<good@x.test>", 21), 0);
    peer_free(p);
}
END_TEST

/* A worker that waits for copies when the destination is suspended does not try the copy that
 * another worker releases. */
START_TEST(first_failure_is_tried_once)
{
    const struct peer_fault faults[] = {{PEER_GREETING, 0, PEER_SLOW, NULL},
                                        {PEER_HELLO, PEER_ALWAYS, PEER_REPLY_BYE, "421 busy\r\n"}};
    struct peer_script script = {.faults = faults, .fault_count = 2};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, 1);
    start_patient(&s, peer_port(p), 4);
    ck_assert(wait_released(&s, 1));
    stop(&s, 5000);
    ck_assert_uint_eq(peer_connections(p), 1);
    ck_assert_uint_eq(count_place(&s, WAITING), 1);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they need more memory */
/* Without memory for a worker the destination does not start, and there is an error. */
START_TEST(no_memory_for_a_worker)
{
    struct rlimit none = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
    struct rlimit before;
    struct setup s;
    struct err err = {""};

    setup_init(&s, 1);
    s.runtime = runtime_of(1, 1);
    free(mem_zalloc(100000)); /* small allocations succeed */
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &none), 0);
    s.destination = destination_start(&s.queue.queue, s.tasks, s.runtime,
                                      &s.runtime->snapshot->config->destinations[0], &err);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    ck_assert_ptr_null(s.destination);
    ck_assert_str_eq(err.text,
                     "destination archive: cannot start a worker: Cannot allocate memory");
    setup_clear(&s);
}
END_TEST
#endif

/* When the connections of several copies break, the destination is suspended. */
START_TEST(connections_that_always_break_suspend)
{
    struct peer_fault fault = {PEER_DOT, PEER_ALWAYS, PEER_CLOSE, NULL};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, 40);
    start_patient(&s, peer_port(p), 1);
    ck_assert(wait_place(&s, LATER, 3));
    stop(&s, 5000);
    ck_assert_uint_eq(count_place(&s, LATER), 3);
    ck_assert_uint_eq(count_place(&s, WAITING), 37);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

START_TEST(old_copies_do_not_wait_for_a_probe_each)
{
    struct setup s;

    setup_init(&s, 5);
    for (size_t i = 0; i < 4; i++)
        s.queue.copies[i].copy.message.arrival.tv_sec -= 1001;
    start_patient(&s, closed_port(), 1);
    ck_assert(wait_place(&s, DONE, 4));
    stop(&s, 5000);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(s.queue.copies[i].recipient.state, QUEUE_DEAD);
        ck_assert_int_eq(
            strncmp(s.queue.copies[i].recipient.reason, "too old; last: connect to ", 26), 0);
    }
    ck_assert_int_eq(s.queue.copies[4].recipient.state, QUEUE_PENDING);
    setup_clear(&s);
}
END_TEST

/* An attempt of several transactions ends with a host fault, after a recipient was accepted, and
 * (_i 1) a template made no address of another one. These outcomes are of the recipients alone:
 * copies that are too old by now are not sent, and get the reason of the fault. */
START_TEST(old_copies_get_the_outcome_of_the_fault)
{
    static char empty[] = "", none[] = "nobody", first[] = "a@x.test", second[] = "b@x.test";
    const struct peer_fault fault = {PEER_GREETING, 1, PEER_REPLY_BYE, "421 4.3.2 going down\r\n"};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct queue_recipient all[] = {{.address = none, .orcpt = empty, .state = QUEUE_PENDING},
                                    {.address = first, .orcpt = empty, .state = QUEUE_PENDING},
                                    {.address = second, .orcpt = empty, .state = QUEUE_PENDING}};
    struct setup s;

    setup_init(&s, 5);
    for (size_t i = 1; i < 4; i++)
        s.queue.copies[i].copy.message.arrival.tv_sec -= 1001;
    s.queue.copies[0].copy.recipients = _i == 0 ? all + 1 : all;
    s.queue.copies[0].copy.recipient_count = _i == 0 ? 2 : 3;
    s.runtime = runtime_of(peer_port(p), 1);
    struct config_destination *d = &s.runtime->snapshot->config->destinations[0];
    d->retry_min_s = d->retry_max_s = 3600;
    d->recipient_limit = d->max_messages_per_connection = 1;
    d->recipient = CONFIG_ADDRESS_TEMPLATE;
    d->recipient_address = mem_strdup("%u-%d@archive.test");
    begin(&s);
    ck_assert(wait_place(&s, DONE, 3));
    stop(&s, 5000);
    ck_assert_int_eq(all[0].state, _i == 0 ? QUEUE_PENDING : QUEUE_DEAD);
    ck_assert_int_eq(all[1].state, QUEUE_SENT);
    ck_assert_int_eq(all[2].state, QUEUE_PENDING);
    for (size_t i = 1; i < 4; i++) {
        const struct queue_recipient *r = &s.queue.copies[i].recipient;
        ck_assert_int_eq(r->state, QUEUE_DEAD);
        ck_assert_int_eq(strncmp(r->reason, "too old; last: host 127.0.0.1", 29), 0);
    }
    ck_assert_int_eq(s.queue.copies[4].recipient.state, QUEUE_PENDING);
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_messages(p), 1);
    peer_free(p);
}
END_TEST

/* After the time limit of a stop, copies in delivery are given back unchanged; the others are not
 * touched. */
START_TEST(stop_cuts_what_hangs)
{
    struct peer_fault fault = {PEER_DOT, PEER_ALWAYS, PEER_SILENCE, NULL};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;
    struct timespec begin, end;

    setup_init(&s, 10);
    start(&s, peer_port(p), 3);
    ck_assert(peer_wait(p, PEER_DOT, 3));
    clock_gettime(CLOCK_MONOTONIC, &begin);
    stop(&s, 100);
    clock_gettime(CLOCK_MONOTONIC, &end);
    ck_assert_int_lt(end.tv_sec - begin.tv_sec, 5);
    ck_assert_uint_eq(count_place(&s, WAITING), 10);
    ck_assert_uint_eq(released(&s), 3);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

START_TEST(stop_waits_for_what_is_in_flight)
{
    struct peer_fault fault = {PEER_DOT, 0, PEER_SLOW, NULL};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, 10);
    start(&s, peer_port(p), 1);
    ck_assert(peer_wait(p, PEER_DOT, 1));
    stop(&s, 9000);
    ck_assert_uint_eq(count_place(&s, DONE), 1);
    ck_assert_uint_eq(count_place(&s, WAITING), 9);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

START_TEST(stop_of_idle_and_of_suspended)
{
    struct setup s;
    struct timespec begin, end;

    setup_init(&s, _i == 0 ? 0 : 1);
    start(&s, closed_port(), 4);
    if (_i == 1)
        ck_assert(wait_released(&s, 1));
    clock_gettime(CLOCK_MONOTONIC, &begin);
    stop(&s, 60000);
    clock_gettime(CLOCK_MONOTONIC, &end);
    ck_assert_int_lt(end.tv_sec - begin.tv_sec, 4);
    setup_clear(&s);
}
END_TEST

START_TEST(idle_connections_are_closed)
{
    struct peer_script script = {0};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, 100);
    start(&s, peer_port(p), 4);
    ck_assert(wait_place(&s, DONE, 100));
    ck_assert(peer_wait(p, PEER_QUIT, peer_connections(p)));
    stop(&s, 1000);
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_count(p, PEER_QUIT), peer_connections(p));
    peer_free(p);
}
END_TEST

START_TEST(new_configuration_is_used)
{
    struct peer_script script = {0};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, 20);
    start(&s, closed_port(), 2);
    ck_assert(wait_released(&s, 1));
    struct runtime *next = runtime_of(peer_port(p), 2);
    destination_reconfigure(s.destination, next, &next->snapshot->config->destinations[0]);
    ck_assert(wait_place(&s, DONE, 20));
    ck_assert_str_eq(destination_name(s.destination), "archive");
    stop(&s, 5000);
    runtime_unref(next);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("destination");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, all_are_delivered_within_the_concurrency, 0, 2);
    tcase_add_test(t, refused_copies_are_done_with);
    tcase_add_loop_test(t, down_and_up_again, 0, 2);
    tcase_add_test(t, resume_ends_a_suspension_at_once);
    tcase_add_test(t, limit_of_connections);
    tcase_add_test(t, copy_that_breaks_the_connection_waits);
    tcase_add_test(t, copy_that_always_breaks_the_connection_suspends_nothing);
    tcase_add_test(t, probe_prefers_a_copy_that_broke_nothing);
    tcase_add_test(t, first_failure_is_tried_once);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    tcase_add_test(t, no_memory_for_a_worker);
#endif
    tcase_add_test(t, connections_that_always_break_suspend);
    tcase_add_test(t, old_copies_do_not_wait_for_a_probe_each);
    tcase_add_loop_test(t, old_copies_get_the_outcome_of_the_fault, 0, 2);
    tcase_add_test(t, stop_cuts_what_hangs);
    tcase_add_test(t, stop_waits_for_what_is_in_flight);
    tcase_add_loop_test(t, stop_of_idle_and_of_suspended, 0, 2);
    tcase_add_test(t, idle_connections_are_closed);
    tcase_add_test(t, new_configuration_is_used);
    return unit_run("destination", t);
}
