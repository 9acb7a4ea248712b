/* SPDX-License-Identifier: ISC */
/*
 * spool_driver: drives a spool from the command line, for the tests that kill it at any moment or
 * let the disk run full (it_spool_crash.py, it_spool_full.py). Each line on stdout is one write(2),
 * made at the moment that it tells of.
 *
 *   spool_driver SPOOL scenario     each way in and out of the spool once, one after the other
 *   spool_driver SPOOL tools        what administrators do with copies
 *   spool_driver SPOOL load COUNT   COUNT messages from each of four threads, two threads deliver
 *   spool_driver SPOOL fill SIZE    messages with SIZE bytes until the spool is full
 *   spool_driver SPOOL list         all copies, without a lock: "queue|hold|dead DEST ID [PROBLEM]"
 *   spool_driver SPOOL drain        take all copies: "copy DEST ID ATTEMPTS STATES intact|damaged"
 *
 *   "put DEST ID", "put-dead DEST ID": committed. "removing|burying|deferring ID": about to be
 * given back; "removed|buried|deferred ID": was given back. "full": as it says. With tools, "begin
 * ACTION ID DEST" and "end ACTION ID DEST", the latter where it is to be afterwards.
 */
#include "queue/spool.h"
#include "queue/spool_queue.h"
#include "../unit/spool_unit.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>

static const char *const destinations[] = {"archive", "backup"};
static struct queue *q;
static char last_ids[2][QUEUE_ID_SIZE]; /* of the copies put last */
static bool is_clock_stopped; /* for a scenario that makes the same system calls each time */
static time_t clock_offset;

static time_t driver_clock(void *ctx)
{
    (void)ctx;
    return (is_clock_stopped ? 1700000045 : time(NULL)) + clock_offset;
}

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    int len = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (len < 0 || (size_t)len >= sizeof line || write(1, line, (size_t)len) != len)
        exit(EXIT_FAILURE);
}

static void die(const char *what, const struct err *err)
{
    fprintf(stderr, "%s: %s\n", what, err->text);
    exit(EXIT_FAILURE);
}

/* --- content: its first byte says how all others follow --- */

static unsigned char content_byte(unsigned char seed, uint64_t at)
{
    return at == 0 ? seed : (unsigned char)(seed + at * 31 + (at >> 12));
}

static enum queue_put_status put_content(struct queue_put *p, size_t size, struct err *err)
{
    static atomic_uchar seeds;
    unsigned char seed = seeds++, chunk[10000];
    enum queue_put_status status = QUEUE_PUT_OK;

    for (size_t at = 0; at < size && status == QUEUE_PUT_OK; at += sizeof chunk) {
        size_t n = size - at < sizeof chunk ? size - at : sizeof chunk;
        for (size_t i = 0; i < n; i++)
            chunk[i] = content_byte(seed, at + i);
        status = q->ops->put_data(p, chunk, n, err);
    }
    return status;
}

static bool is_intact(const struct queue_copy *c)
{
    uint64_t size = c->message.size_bytes, at = 0;
    unsigned char chunk[4096], seed = 0;

    while (at < size) { /* what follows it in the file is another message */
        size_t want = size - at < sizeof chunk ? (size_t)(size - at) : sizeof chunk;
        ssize_t n = pread(c->content_fd, chunk, want, (off_t)(c->content_offset + at));
        if (n <= 0)
            return false;
        for (ssize_t i = 0; i < n; i++, at++) {
            seed = at == 0 ? chunk[0] : seed;
            if (chunk[i] != content_byte(seed, at))
                return false;
        }
    }
    return true;
}

/* --- putting --- */

/* copy_count copies of three recipients each. */
static enum queue_put_status put(size_t copy_count, bool is_first_dead, size_t size,
                                 struct err *err)
{
    struct queue_message m = spool_unit_message();
    struct queue_recipient r[3];
    struct queue_new_copy copies[2] = {0};
    struct queue_put *p;

    for (size_t i = 0; i < 3; i++)
        r[i] = spool_unit_recipient("somebody@example.test");
    for (size_t i = 0; i < copy_count; i++)
        copies[i] = (struct queue_new_copy){.destination = destinations[i],
                                            .recipients = r,
                                            .recipient_count = 3,
                                            .is_dead = i == 0 && is_first_dead};
    enum queue_put_status status = q->ops->put_begin(q, &m, copies, copy_count, &p, err);
    if (status != QUEUE_PUT_OK)
        return status;
    status = put_content(p, size, err);
    if (status != QUEUE_PUT_OK) {
        q->ops->put_abort(p);
        return status;
    }
    status = q->ops->put_commit(p, NULL, NULL, err);
    for (size_t i = 0; i < copy_count && is_clock_stopped; i++)
        strcpy(last_ids[i], copies[i].id);
    for (size_t i = 0; i < copy_count && status == QUEUE_PUT_OK; i++)
        say("%s %s %s\n", copies[i].is_dead ? "put-dead" : "put", copies[i].destination,
            copies[i].id);
    return status;
}

static void must_put(size_t copy_count, bool is_first_dead, size_t size)
{
    struct err err;

    if (put(copy_count, is_first_dead, size, &err) != QUEUE_PUT_OK)
        die("put", &err);
}

/* --- taking --- */

static struct queue_copy *take(const char *destination)
{
    bool backlog;

    // cppcheck-suppress returnDanglingLifetime ; nothing of a copy points to its out-parameter
    return q->ops->next(q, destination, 0, &backlog);
}

static void set_all(struct queue_copy *c, enum queue_recipient_state state)
{
    for (size_t i = 0; i < c->recipient_count; i++)
        c->recipients[i].state = state;
}

static void remove_copy(struct queue_copy *c)
{
    char id[QUEUE_ID_SIZE];

    strcpy(id, c->id);
    set_all(c, QUEUE_SENT);
    say("removing %s\n", id);
    q->ops->done(q, c);
    say("removed %s\n", id);
}

static void bury_copy(struct queue_copy *c)
{
    char id[QUEUE_ID_SIZE];

    strcpy(id, c->id);
    c->recipients[0].state = QUEUE_SENT;
    strcpy(c->recipients[1].reason, "550 5.1.1 no");
    say("burying %s\n", id);
    q->ops->dead(q, c);
    say("buried %s\n", id);
}

static void defer_copy(struct queue_copy *c)
{
    char id[QUEUE_ID_SIZE];

    strcpy(id, c->id);
    c->recipients[0].state = QUEUE_SENT;
    strcpy(c->recipients[1].reason, "450 4.2.0 busy");
    say("deferring %s\n", id);
    q->ops->later(q, c, driver_clock(NULL) + 1000);
    say("deferred %s\n", id);
}

static void scenario(void)
{
    is_clock_stopped = true;
    must_put(2, false, 3000);
    must_put(1, false, 150000);
    must_put(2, true, 10);
    must_put(1, false, 0);
    defer_copy(take("archive"));
    remove_copy(take("archive"));
    bury_copy(take("archive"));
    remove_copy(take("backup"));
    clock_offset = 2000; /* what was deferred is due, in a new minute */
    remove_copy(take("archive"));
    must_put(2, false, 5000);
    defer_copy(take("archive"));
    struct err err;
    if (q->ops->retry(q, "archive", NULL, &err) != 1)
        die("retry", &err);
    clock_offset += 1000; /* the pass removes directories */
    defer_copy(take("archive"));
}

/* --- tools --- */

/* id NULL: all of the destination, of which said_id is one. */
static void change(enum queue_action action, const char *id, const char *said_id, const char *from,
                   const char *to)
{
    static const char *const names[] = {[QUEUE_HOLD] = "hold",
                                        [QUEUE_RELEASE] = "release",
                                        [QUEUE_DELETE] = "delete",
                                        [QUEUE_REQUEUE] = "requeue"};
    struct queue_change what = {.action = action, .id = id, .to = to};
    struct queue_changed done;
    struct err err = {""};

    if (id == NULL)
        what.destination = from;
    say("begin %s %s %s\n", names[action], said_id, from);
    if (q->ops->change(q, &what, &done, &err) < 0 || done.failed > 0 ||
        done.changed + done.ordered != 1)
        die("change", &err);
    if (done.changed > 0)
        say("end %s %s %s\n", names[action], said_id, to == NULL ? from : to);
}

static void tools(void)
{
    char a[QUEUE_ID_SIZE], b[QUEUE_ID_SIZE];

    is_clock_stopped = true;
    must_put(1, false, 50);
    struct queue_copy *c = take("archive");
    strcpy(a, c->id);
    change(QUEUE_HOLD, a, a, "archive", NULL);
    strcpy(c->recipients[1].reason, "450 4.2.0 busy");
    q->ops->later(q, c, driver_clock(NULL) + 1000); /* now it is carried out */
    say("end hold %s archive\n", a);
    must_put(2, false, 3000);
    strcpy(a, last_ids[0]);
    strcpy(b, last_ids[1]);
    change(QUEUE_HOLD, a, a, "archive", NULL);
    change(QUEUE_RELEASE, a, a, "archive", NULL);
    change(QUEUE_HOLD, NULL, a, "archive", NULL);
    change(QUEUE_DELETE, b, b, "backup", NULL);
    must_put(2, true, 10);
    strcpy(a, last_ids[0]);
    strcpy(b, last_ids[1]);
    change(QUEUE_REQUEUE, a, a, "archive", NULL);
    change(QUEUE_REQUEUE, b, b, "backup", "archive");
    must_put(1, false, 150000);
    strcpy(a, last_ids[0]);
    change(QUEUE_REQUEUE, a, a, "archive", "backup");
    change(QUEUE_HOLD, a, a, "backup", NULL);
    change(QUEUE_REQUEUE, a, a, "backup", "archive");
    must_put(1, true, 500);
    change(QUEUE_DELETE, last_ids[0], last_ids[0], "archive", NULL);
}

/* --- load --- */

static long load_count;
static atomic_int putters;

static void *load_put(void *ctx)
{
    (void)ctx;
    for (long i = 0; i < load_count; i++)
        must_put(2, false, i % 8 == 7 ? 100000 : 3000);
    putters--;
    return NULL;
}

static void *load_take(void *ctx)
{
    struct queue_copy *c;
    bool backlog;

    while ((c = q->ops->next(q, ctx, 100, &backlog)) != NULL || putters > 0) {
        if (c == NULL)
            continue;
        switch (c->id[8] % 4) {
        case 0:
            defer_copy(c);
            break;
        case 1:
            bury_copy(c);
            break;
        default:
            remove_copy(c);
            break;
        }
    }
    return NULL;
}

static void load(long count)
{
    pthread_t threads[6];

    load_count = count;
    putters = 4;
    for (int i = 0; i < 6; i++)
        if (pthread_create(&threads[i], NULL, i < 4 ? load_put : load_take,
                           (void *)destinations[i % 2]) != 0)
            exit(EXIT_FAILURE);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
}

static void fill(size_t size)
{
    enum queue_put_status status;
    struct err err = {""};

    while ((status = put(2, false, size, &err)) == QUEUE_PUT_OK)
        continue;
    if (status != QUEUE_PUT_FULL)
        die("fill", &err);
    say("full\n");
}

/* --- looking --- */

static int list(const char *spool)
{
    struct err err;
    struct spool_entry e;
    struct spool_walk *w = spool_walk_open(spool, NULL, &err);
    int rc = 0;

    if (w == NULL)
        die("list", &err);
    while ((rc = spool_walk_next(w, &e, &err)) == 1)
        say("%s %s %s %s\n", spool_base_name(e.base), e.destination, e.id, e.problem);
    if (rc < 0)
        die("list", &err);
    spool_walk_close(w);
    return EXIT_SUCCESS;
}

static void drain(void)
{
    struct queue_copy *c;

    clock_offset = 1000000;
    for (size_t i = 0; i < 2; i++)
        while ((c = take(destinations[i])) != NULL) {
            char states[16] = "";
            for (size_t r = 0; r < c->recipient_count && r < sizeof states - 1; r++)
                states[r] = (char)c->recipients[r].state;
            say("copy %s %s %u %s %s\n", c->destination, c->id, c->attempts, states,
                is_intact(c) ? "intact" : "damaged");
            set_all(c, QUEUE_SENT);
            q->ops->done(q, c);
        }
}

int main(int argc, char **argv)
{
    struct spool_queue_options options = {.window = 16, .clock = driver_clock};
    struct err err;

    if (argc < 3)
        return 64;
    if (strcmp(argv[2], "list") == 0)
        return list(argv[1]);
    options.directory = argv[1];
    q = spool_queue_open(&options, &err);
    if (q == NULL)
        die("open", &err);
    if (strcmp(argv[2], "scenario") == 0)
        scenario();
    else if (strcmp(argv[2], "tools") == 0)
        tools();
    else if (strcmp(argv[2], "load") == 0 && argc > 3)
        load(strtol(argv[3], NULL, 10));
    else if (strcmp(argv[2], "fill") == 0 && argc > 3)
        fill((size_t)strtol(argv[3], NULL, 10));
    else if (strcmp(argv[2], "drain") == 0)
        drain();
    else
        return 64;
    q->ops->close(q);
    return EXIT_SUCCESS;
}
