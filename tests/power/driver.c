/* SPDX-License-Identifier: ISC */
/*
 * power_driver: each way into the queue, in it, and out of it, with marks of what was promised, for
 * a program that records the disk (diskrec.h) or makes its calls fail.
 *
 *     power_driver DIRECTORY first    makes a spool and a Maildir; ends as if it was killed
 *     power_driver DIRECTORY second   goes on with them, and closes the spool
 *
 * DIRECTORY/spool is the spool, DIRECTORY/box-x.test/mail the Maildir. Faults are borne as
 * splitrelay and the MTA would: mail is sent again, a step that cannot be done is left out. Prints
 * "skipped N", the number of such steps. Exit status 1: no mail is taken any more, though the
 * faults are over.
 */
#include "base/log.h"
#include "base/mem.h"
#include "deliver/delivery.h"
#include "deliver/maildir.h"
#include "driver_copies.h"
#include "power_content.h"
#include "queue/queue_open.h"
#include "queue/queue_reader.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPIES_MAX 3
#define RECIPIENTS 3
#define TRIES_MAX 300
#define TRY_PAUSE_US 100000 /* the writer opens a connection again within a second */
#define NEXT_SOON_MS 20
#define NEXT_MS 3000
#define LARGE 264000 /* above what a row takes */
#define RECIPIENTS_ALL(letter) ((const char[]){letter, letter, letter, '\0'})

static struct queue *q;
static atomic_uint tags, skipped;
static char *directory;
static const char *prefix; /* of tags, for each run another */

/* --- putting --- */

enum way {
    WAY_PLAIN,   /* commit alone */
    WAY_PREPARE, /* a listener: prepare, the primary takes all, commit */
    WAY_REFUSED, /* the primary refuses the last recipient */
    WAY_ABORT,   /* the primary refuses all */
};

struct put {
    const char *destinations[COPIES_MAX]; /* up to a NULL */
    size_t size;
    enum way way;
    bool is_dead; /* the first copy */
    char ids[COPIES_MAX][QUEUE_ID_SIZE];
};

struct message {
    char tag[COPIES_MAX][32];
    char address[COPIES_MAX][RECIPIENTS][POWER_ADDRESS_SIZE];
    struct queue_recipient recipients[COPIES_MAX][RECIPIENTS];
    struct queue_new_copy copies[COPIES_MAX];
    size_t count;
};

static void fill_message(struct message *m, const struct put *put)
{
    static char nothing[] = "";
    unsigned tag = atomic_fetch_add(&tags, 1);

    *m = (struct message){.count = 0};
    for (size_t i = 0; i < COPIES_MAX && put->destinations[i] != NULL; i++) {
        snprintf(m->tag[i], sizeof m->tag[i], "%s%u.%zu", prefix, tag, i);
        for (size_t k = 0; k < RECIPIENTS; k++) {
            power_address(m->tag[i], k, m->address[i][k]);
            m->recipients[i][k] = (struct queue_recipient){
                .address = m->address[i][k], .orcpt = nothing, .state = QUEUE_PENDING};
        }
        m->copies[i] = (struct queue_new_copy){.destination = put->destinations[i],
                                               .recipients = m->recipients[i],
                                               .recipient_count = RECIPIENTS,
                                               .is_dead = put->is_dead && i == 0};
        if (m->copies[i].is_dead)
            for (size_t k = 0; k < RECIPIENTS; k++)
                m->recipients[i][k].state = QUEUE_DEAD;
        m->count++;
    }
}

static void promise_nothing(const struct message *m, const struct put *put)
{
    for (size_t i = 0; i < m->count; i++) {
        struct promise p = {.size = put->size, .places = "g", .recipient_count = RECIPIENTS};
        snprintf(p.id, sizeof p.id, "%s", m->copies[i].id);
        snprintf(p.tag, sizeof p.tag, "%s", m->tag[i]);
        snprintf(p.destinations, sizeof p.destinations, "%s", m->copies[i].destination);
        for (size_t k = 0; k < RECIPIENTS; k++)
            snprintf(p.states[k], sizeof p.states[k], m->copies[i].is_dead ? "d" : "q");
        copies_add(&p);
    }
}

/* In pieces, as from a connection. */
static enum queue_put_status put_content(struct queue_put *p, const char *tag, size_t size,
                                         struct err *err)
{
    const char *content = power_content(tag, size);
    enum queue_put_status status = QUEUE_PUT_OK;

    for (size_t at = 0; at < size && status == QUEUE_PUT_OK; at += 65536)
        status = q->ops->put_data(p, content + at, size - at < 65536 ? size - at : 65536, err);
    if (status != QUEUE_PUT_OK)
        q->ops->put_abort(p);
    return status;
}

/* One attempt. */
static enum queue_put_status put_once(struct put *put, struct err *err)
{
    struct queue_message info;
    struct message m;
    struct queue_put *p;
    static char text[] = "x", null_sender[] = "";

    info = (struct queue_message){.sender = null_sender,
                                  .client_name = text,
                                  .client_addr = text,
                                  .helo = text,
                                  .protocol = text,
                                  .mta_queue_id = text,
                                  .message_id = text};
    clock_gettime(CLOCK_REALTIME, &info.arrival);
    fill_message(&m, put);
    enum queue_put_status status = q->ops->put_begin(q, &info, m.copies, m.count, &p, err);
    if (status != QUEUE_PUT_OK)
        return status;
    promise_nothing(&m, put);
    status = put_content(p, m.tag[0], put->size, err);
    if (status != QUEUE_PUT_OK)
        return status;
    if (put->way != WAY_PLAIN)
        status = q->ops->put_prepare(p, err);
    if (status != QUEUE_PUT_OK || put->way == WAY_ABORT) {
        q->ops->put_abort(p);
        return status;
    }
    for (size_t i = 0; i < m.count; i++) {
        if (put->way == WAY_REFUSED)
            m.recipients[i][RECIPIENTS - 1].state = QUEUE_SENT;
        copies_must(m.copies[i].id, put->is_dead && i == 0 ? "gd" : "gq", NULL, NULL);
        if (put->way == WAY_REFUSED)
            copies_must(m.copies[i].id, NULL, NULL, "qqs");
        if (put->way == WAY_REFUSED)
            copies_may(m.copies[i].id, NULL, NULL, "qqx");
    }
    status = q->ops->put_commit(p, NULL, NULL, err);
    for (size_t i = 0; i < m.count && status == QUEUE_PUT_OK; i++) {
        copies_must(m.copies[i].id, put->is_dead && i == 0 ? "d" : "q", NULL, NULL);
        snprintf(put->ids[i], sizeof put->ids[i], "%s", m.copies[i].id);
    }
    return status;
}

/* As the MTA does it: again until it is taken. */
static struct put put(struct put put)
{
    struct err err;

    for (int i = 0; i < TRIES_MAX; i++) {
        if (put_once(&put, &err) == QUEUE_PUT_OK)
            return put;
        usleep(TRY_PAUSE_US);
    }
    fprintf(stderr, "power_driver: no mail is taken: %s\n", err.text);
    exit(1);
}

static void *put_group(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < 3; i++)
        put((struct put){.destinations = {"archive", "backup"}, .size = 100 + i * 4000});
    return NULL;
}

/* --- taking --- */

static bool note_due(void *ctx, const struct queue_entry *e)
{
    *(bool *)ctx = *(bool *)ctx || e->due <= time(NULL);
    return true;
}

/* Before a long wait: is a copy there at all? */
static bool has_due(const char *destination)
{
    const struct queue_selection wanted = {.destination = destination, .places = QUEUE_IN_QUEUE};
    char *spool = mem_printf("%s/spool", directory);
    struct err err;
    struct queue_reader *r = queue_reader_open(spool, "sqlite", &err);
    bool is_there = false;

    if (r != NULL && queue_reader_list(r, &wanted, note_due, NULL, &is_there, &err) < 0)
        is_there = true; /* a fault: wait */
    queue_reader_close(r);
    free(spool);
    return is_there;
}

static struct queue_copy *take(const char *destination)
{
    struct queue_copy *c = q->ops->next(q, destination, NEXT_SOON_MS);

    if (c == NULL && has_due(destination))
        c = q->ops->next(q, destination, NEXT_MS);

    if (c == NULL) {
        atomic_fetch_add(&skipped, 1);
        return NULL;
    }
    if (copies_is_known(c->id))
        return c;
    /* One of the run before. */
    struct promise p = {.size = c->message.size_bytes, .places = "q"};
    snprintf(p.id, sizeof p.id, "%s", c->id);
    snprintf(p.destinations, sizeof p.destinations, "%s", c->destination);
    snprintf(p.tag, sizeof p.tag, "%.*s", (int)strcspn(c->recipients[0].address + 1, "-"),
             c->recipients[0].address + 1);
    p.recipient_count = RECIPIENTS;
    for (size_t i = 0; i < RECIPIENTS; i++)
        snprintf(p.states[i], sizeof p.states[i], "x");
    for (size_t i = 0; i < c->recipient_count; i++) {
        size_t n = strtoul(strchr(c->recipients[i].address, '-') + 1, NULL, 10);
        snprintf(p.states[n], sizeof p.states[n], "%c", c->recipients[i].state);
    }
    copies_add(&p);
    return c;
}

/* What the recipients of a copy are to become; those that are not pending stay. */
static void set_states(struct queue_copy *c, const char *wanted, char out[RECIPIENTS + 1])
{
    struct promise p = copies_get(c->id);
    char address[POWER_ADDRESS_SIZE];

    for (size_t n = 0; n < RECIPIENTS; n++) {
        out[n] = 'x';
        power_address(p.tag, n, address);
        for (size_t i = 0; i < c->recipient_count; i++) {
            struct queue_recipient *r = &c->recipients[i];
            if (strcmp(r->address, address) != 0)
                continue;
            if (r->state == QUEUE_PENDING) {
                r->state = (enum queue_recipient_state)wanted[n];
                snprintf(r->reason, sizeof r->reason, "451 4.3.0 %c", wanted[n]);
            }
            out[n] = (char)r->state;
        }
    }
    out[RECIPIENTS] = '\0';
}

/* states: "sss": sent; with a 'd' and no 'q': dead; with a 'q': later. ordered: places of an order
 * that the copy has got meanwhile; "": none. */
static void give_back(struct queue_copy *c, const char *wanted, const char *ordered)
{
    struct queue_delivery delivery = {.relay = "mx[192.0.2.1]:25", .reply = "250 2.0.0 Ok"};
    char states[RECIPIENTS + 1], id[QUEUE_ID_SIZE];

    if (c == NULL)
        return;
    snprintf(id, sizeof id, "%s", c->id);
    set_states(c, wanted, states);
    const char *place = strchr(states, 'q') != NULL ? "q" : strchr(states, 'd') != NULL ? "d" : "g";
    if (ordered[0] != '\0' && place[0] != 'g')
        place = ordered;
    copies_may(id, place, NULL, states);
    copies_must_later(id, place, NULL, states);
    if (strchr(states, 'q') != NULL)
        q->ops->later(q, c, time(NULL) + 3600);
    else
        q->ops->done(q, c, &delivery);
}

/* --- what administrators do --- */

/* destination, states: after it. Returns how many were changed at once; -1: none or some. */
static int change(enum queue_action action, const char *id, const char *to, const char *places,
                  const char *states)
{
    struct queue_change what = {.action = action, .selection = {.id = id}, .to = to};
    struct queue_changed done = {0};
    struct err err;

    if (id[0] == '\0')
        return -1;
    copies_may(id, places, to, states);
    if (q->ops->change(q, &what, &done, &err) != 0 || done.failed > 0 ||
        done.changed + done.ordered != 1) {
        atomic_fetch_add(&skipped, 1);
        return -1;
    }
    if (done.changed == 1)
        copies_must(id, places, to, states);
    return (int)done.changed;
}

static void administrate(void)
{
    struct put a = put((struct put){.destinations = {"archive", "backup"}, .size = 3000});
    struct put b = put((struct put){.destinations = {"archive"}, .size = LARGE});
    struct put dead =
        put((struct put){.destinations = {"archive", "backup"}, .size = 10, .is_dead = true});
    const char *pending = RECIPIENTS_ALL('q');

    change(QUEUE_HOLD, a.ids[0], NULL, "h", NULL);
    change(QUEUE_RELEASE, a.ids[0], NULL, "q", NULL);
    change(QUEUE_DELETE, a.ids[1], NULL, "g", NULL);
    change(QUEUE_HOLD, a.ids[0], NULL, "h", NULL);
    change(QUEUE_REQUEUE, dead.ids[0], NULL, "q", pending);
    change(QUEUE_REQUEUE, dead.ids[1], "archive", "q", pending);
    change(QUEUE_REQUEUE, b.ids[0], "backup", "q", pending);
    change(QUEUE_HOLD, b.ids[0], NULL, "h", NULL);
    change(QUEUE_DELETE, b.ids[0], NULL, "g", NULL);
    dead = put((struct put){.destinations = {"archive"}, .size = LARGE, .is_dead = true});
    change(QUEUE_DELETE, dead.ids[0], NULL, "g", NULL);
    (void)put((struct put){.destinations = {"archive"}, .size = LARGE, .is_dead = true});
}

/* Orders on copies that a worker has: on disk at once, and carried out when the queue is opened. */
static void order(enum queue_action action, const char *wanted, const char *to)
{
    const char *place = action == QUEUE_DELETE ? "g" : action == QUEUE_REQUEUE ? "q" : "h";
    const char *in_doubt = action == QUEUE_DELETE ? "gq" : action == QUEUE_REQUEUE ? "q" : "hq";
    char id[QUEUE_ID_SIZE];

    (void)put((struct put){.destinations = {"ordered"}, .size = 500});
    struct queue_copy *c = take("ordered");
    if (c == NULL)
        return;
    snprintf(id, sizeof id, "%s", c->id);
    int rc = change(action, id, to, place, NULL);
    if (rc == 0)
        copies_must(id, place, to, NULL);
    else
        copies_may(id, in_doubt, to, NULL);
    give_back(c, wanted, rc == 0 ? place : in_doubt);
}

/* --- the Maildir --- */

static struct config_destination maildir_config(struct endpoint *endpoint)
{
    static char nothing[] = "";

    *endpoint = (struct endpoint){.kind = ENDPOINT_MAILDIR};
    snprintf(endpoint->path, sizeof endpoint->path, "%s/box-%%d/mail", directory);
    return (struct config_destination){.relay_to = endpoint,
                                       .relay_to_count = 1,
                                       .retry_min_s = 1,
                                       .retry_max_s = 1,
                                       .max_age_s = 86400,
                                       .journal_from = nothing,
                                       .recipient_address = nothing,
                                       .sender_address = nothing};
}

static void deliver_one(struct queue_copy *c, struct transport *t,
                        const struct config_destination *d)
{
    struct outcome outcomes[RECIPIENTS] = {0};
    struct outcome_report report = {.outcomes = outcomes};
    struct timespec now;

    t->ops->deliver(t, c, &report);
    for (size_t i = 0; i < c->recipient_count; i++)
        if (outcomes[i].result == OUTCOME_OK && i == 0) {
            copies_may(c->id, "m", NULL, "sss");
            copies_must_later(c->id, "m", NULL, NULL);
        }
    clock_gettime(CLOCK_REALTIME, &now);
    delivery_finish(q, c, d, &report, &now, 0);
}

/* Two of them at once, of which one makes the directories. */
static void *deliver_to_maildir(void *arg)
{
    const size_t *count = arg;
    struct endpoint endpoint;
    struct config_destination d = maildir_config(&endpoint);
    struct transport *t = maildir_new(&d, "relay.test");
    struct queue_copy *c;

    for (size_t i = 0; i < *count; i++)
        if ((c = take("maildir")) != NULL)
            deliver_one(c, t, &d);
    t->ops->free(t);
    return NULL;
}

/* --- runs --- */

static void open_queue(void)
{
    char *spool = mem_printf("%s/spool", directory);
    struct queue_options options = {.spool_directory = spool, .queue = "sqlite", .history_s = 3600};
    struct err err = {""};

    for (int i = 0; i < TRIES_MAX && q == NULL; i++) {
        q = queue_open(&options, &err);
        if (q == NULL)
            usleep(TRY_PAUSE_US);
    }
    if (q == NULL) {
        fprintf(stderr, "power_driver: it cannot be opened: %s\n", err.text);
        exit(1);
    }
    free(spool);
}

static void close_queue(void)
{
    struct queue_figures figures;

    queue_get_figures(q, &figures);
    q->ops->close(q);
    if (figures.unwritten == 0)
        copies_closed();
    else
        atomic_fetch_add(&skipped, 1);
}

static void in_threads(size_t count, void *(*run)(void *), void *arg)
{
    pthread_t threads[8];

    for (size_t i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, run, arg) != 0)
            abort();
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void listen_and_refuse(void)
{
    static const enum way ways[] = {WAY_PREPARE, WAY_REFUSED, WAY_ABORT};

    for (size_t i = 0; i < 3; i++) {
        (void)put(
            (struct put){.destinations = {"archive", "backup"}, .size = 2500, .way = ways[i]});
        (void)put(
            (struct put){.destinations = {"archive", "backup"}, .size = LARGE, .way = ways[i]});
    }
}

static void first_run(void)
{
    size_t two = 2;

    (void)put((struct put){.destinations = {"archive"}, .size = 3000});
    (void)put((struct put){.destinations = {"archive", "backup", "maildir"}, .size = 3000});
    (void)put((struct put){.destinations = {"archive", "backup", "maildir"}, .size = LARGE});
    (void)put((struct put){.destinations = {"maildir"}, .size = 20000});
    (void)put((struct put){.destinations = {"maildir"}, .size = 1});
    give_back(take("archive"), "sss", "");
    in_threads(4, put_group, NULL);
    in_threads(2, deliver_to_maildir, &two);
    listen_and_refuse();
    give_back(take("archive"), "sqq", "");
    give_back(take("archive"), "sds", "");
    give_back(take("backup"), "sss", "");
    give_back(take("archive"), "sss", "");
    administrate();
    order(QUEUE_HOLD, "sqq", NULL);
    order(QUEUE_HOLD, "sss", NULL);
    order(QUEUE_DELETE, "sqq", NULL);
    order(QUEUE_REQUEUE, "sqq", "backup");
    (void)put((struct put){.destinations = {"maildir", "backup"}, .size = 100});
    for (size_t i = 0; i < 8; i++)
        give_back(take(i % 2 == 0 ? "archive" : "backup"), i == 3 ? "ddd" : "sss", "");
    (void)put((struct put){.destinations = {"archive"}, .size = LARGE});
}

static void second_run(void)
{
    size_t one = 1;

    for (size_t i = 0; i < 6; i++)
        give_back(take(i % 2 == 0 ? "backup" : "archive"), i == 2 ? "qqq" : "sss", "");
    (void)put((struct put){.destinations = {"archive", "backup"}, .size = LARGE});
    in_threads(1, deliver_to_maildir, &one);
    (void)put((struct put){.destinations = {"maildir"}, .size = 5000});
    in_threads(1, deliver_to_maildir, &one);
    administrate();
    close_queue();
    q = NULL;
    open_queue();
    (void)put((struct put){.destinations = {"archive"}, .size = 70});
    give_back(take("archive"), "sss", "");
    (void)put((struct put){.destinations = {"archive"}, .size = 70});
    close_queue();
}

int main(int argc, char **argv)
{
    struct err err;

    if (argc != 3 || log_open("power_driver", "stderr", "mail", "error", &err) != 0)
        return 64;
    directory = argv[1];
    prefix = argv[2][0] == 'f' ? "a" : "b";
    open_queue();
    if (strcmp(argv[2], "first") == 0)
        first_run();
    else
        second_run();
    printf("skipped %u\n", atomic_load(&skipped));
    fflush(stdout);
    copies_note("end of the run");
    quick_exit(0); /* nothing is tidied up */
}
