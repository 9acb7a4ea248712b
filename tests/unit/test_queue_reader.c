/* SPDX-License-Identifier: ISC */
/* queue_reader: what it lists, counts and tells, beside an open queue; selections with any text. */
#include "base/ascii.h"
#include "base/utf8.h"
#include "queue/queue_id.h"
#include "queue/queue_reader.h"
#include "queue_unit.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FOUND_MAX 100

/* Texts that SQL, LIKE or a printf might take for more than text. */
static const char *const hostile[] = {
    "a%b",
    "a_b",
    "a!b",
    "a!%b",
    "axb",
    "axyb",
    "a'b",
    "a''b",
    "a\"b",
    "a\\b",
    "a' OR '1'='1",
    "a'); DROP TABLE copy; --",
    "a; DELETE FROM message",
    "a--b",
    "a$1b",
    "a?b",
    "a:b",
    "a%sb%n",
    "a\nb",
    "\xc3\xa4\xc3\x84",
    "\xff\xfe",
    "a/**/b x",
    "%",
    "_",
    "!",
};

static struct queue_reader *reader;
static struct {
    size_t count;
    char ids[FOUND_MAX][QUEUE_ID_SIZE];
    char senders[FOUND_MAX][64];
    char texts[FOUND_MAX][64]; /* of an event: the result */
    unsigned places[FOUND_MAX], attempts[FOUND_MAX];
    char problem[200];
} found;
static uint64_t progress_calls, progress_last, progress_total;

static bool add(void *ctx, const struct queue_entry *e)
{
    (void)ctx;
    ck_assert_uint_lt(found.count, FOUND_MAX);
    strcpy(found.ids[found.count], e->id);
    snprintf(found.senders[found.count], sizeof found.senders[0], "%s", e->message->sender);
    snprintf(found.problem, sizeof found.problem, "%s", e->problem);
    found.places[found.count] = e->place;
    found.attempts[found.count++] = e->attempts;
    return true;
}

static bool add_event(void *ctx, const struct queue_event *e)
{
    (void)ctx;
    if (found.count < FOUND_MAX) {
        strcpy(found.ids[found.count], e->id);
        snprintf(found.senders[found.count], sizeof found.senders[0], "%s", e->sender);
        snprintf(found.texts[found.count], sizeof found.texts[0], "%s", e->result);
    }
    found.count++;
    return true;
}

static bool note_progress(void *ctx, uint64_t looked_at, uint64_t total)
{
    progress_calls++;
    progress_last = looked_at;
    progress_total = total;
    return ctx == NULL;
}

static void list(const struct queue_selection *selection, int64_t count)
{
    struct err err = {""};

    queue_unit_flush();
    found.count = 0;
    found.problem[0] = '\0';
    int64_t n = queue_reader_list(reader, selection, add, NULL, NULL, &err);
    ck_assert_msg(n == count, "%lld copies, not %lld: %s", (long long)n, (long long)count,
                  err.text);
    ck_assert_int_eq(found.count, count);
    ck_assert_int_eq(queue_reader_count(reader, selection, NULL, NULL, &err), count);
}

static void tell(const struct queue_selection *selection, int64_t count)
{
    struct err err = {""};

    queue_unit_flush();
    found.count = 0;
    int64_t n = queue_reader_history(reader, selection, add_event, NULL, NULL, &err);
    ck_assert_msg(n == count, "%lld events, not %lld: %s", (long long)n, (long long)count,
                  err.text);
    ck_assert_int_eq(found.count, count);
}

/* A message of size bytes, with a copy for archive. Its id. */
static const char *put(const struct queue_message *message, const char *recipient, size_t size)
{
    static char id[QUEUE_ID_SIZE];
    struct queue_recipient r = queue_unit_recipient(recipient);
    struct queue_new_copy copy = {.destination = "archive", .recipients = &r, .recipient_count = 1};
    struct queue_put *p;
    struct err err = {""};
    char data[1000];

    memset(data, 'x', sizeof data);
    ck_assert_int_eq(q->ops->put_begin(q, message, &copy, 1, &p, &err), QUEUE_PUT_OK);
    for (size_t at = 0; at < size; at += sizeof data) {
        size_t len = size - at < sizeof data ? size - at : sizeof data;
        ck_assert_int_eq(q->ops->put_data(p, data, len, &err), QUEUE_PUT_OK);
    }
    ck_assert_msg(q->ops->put_commit(p, NULL, NULL, &err) == QUEUE_PUT_OK, "%s", err.text);
    strcpy(id, copy.id);
    return id;
}

static void open_reader(void)
{
    struct err err;

    queue_unit_flush();
    queue_reader_close(reader);
    reader = queue_reader_open(queue_unit_dir, queue_unit_queue, &err);
    ck_assert_msg(reader != NULL, "%s", err.text);
}

static void close_reader(void)
{
    queue_reader_close(reader);
    reader = NULL;
}

/* One message for each hostile text: in its sender, recipient, ids, and reason. */
static void put_hostile(void)
{
    char text[200];

    for (size_t i = 0; i < UNIT_COUNT(hostile); i++) {
        struct queue_message m = queue_unit_message();
        m.sender = m.mta_queue_id = m.message_id = (char *)(uintptr_t)hostile[i];
        (void)put(&m, hostile[i], 10);
        struct queue_copy *c = queue_unit_must_take("archive");
        snprintf(text, sizeof text, "450 [%s] later", hostile[i]);
        queue_unit_set_all(c, QUEUE_PENDING, text);
        q->ops->later(q, c, (time_t)(fake_now + 3600));
    }
    open_reader();
}

/* PostgreSQL has another text in place of one that is no UTF-8. */
static void check_sender(const char *expected)
{
    if (!queue_unit_is_shared() || utf8_is_valid(expected, strlen(expected)))
        ck_assert_str_eq(found.senders[0], expected);
}

/* Each text finds its own copy, and no other: nothing in it is SQL, or a pattern. */
START_TEST(a_text_is_but_a_text)
{
    put_hostile();
    for (size_t i = 0; i < UNIT_COUNT(hostile); i++) {
        char text[200], bracketed[200];
        const bool has_star = strchr(hostile[i], '*') != NULL;
        snprintf(text, sizeof text, "[%s]", hostile[i]);
        snprintf(bracketed, sizeof bracketed, "<%s>", hostile[i]);
        if (!has_star) {
            list(&(struct queue_selection){.from = hostile[i]}, 1);
            check_sender(hostile[i]);
            list(&(struct queue_selection){.to = hostile[i]}, 1);
            check_sender(hostile[i]);
        }
        list(&(struct queue_selection){.mta_id = hostile[i]}, 1);
        check_sender(hostile[i]);
        list(&(struct queue_selection){.reason = text}, 1);
        check_sender(hostile[i]);
        list(&(struct queue_selection){.message_id = bracketed}, 0);
        list(&(struct queue_selection){.destination = hostile[i]}, 0);
    }
    list(&(struct queue_selection){0}, (int64_t)UNIT_COUNT(hostile));
}
END_TEST

/* The same for the history. */
START_TEST(a_text_is_but_a_text_in_the_history)
{
    for (size_t i = 0; i < UNIT_COUNT(hostile); i++) {
        struct queue_message m = queue_unit_message();
        char text[200];
        m.sender = m.mta_queue_id = m.message_id = (char *)(uintptr_t)hostile[i];
        (void)put(&m, hostile[i], 10);
        struct queue_copy *c = queue_unit_must_take("archive");
        snprintf(text, sizeof text, "250 [%s] ok", hostile[i]);
        queue_unit_set_all(c, QUEUE_SENT, text);
        q->ops->done(q, c, &(struct queue_delivery){.relay = "r", .reply = text});
    }
    open_reader();
    for (size_t i = 0; i < UNIT_COUNT(hostile); i++) {
        char text[200];
        snprintf(text, sizeof text, "[%s]", hostile[i]);
        const struct queue_selection selections[] = {
            {.mta_id = hostile[i]}, {.reason = text}, {.from = hostile[i]}, {.to = hostile[i]}};
        for (size_t k = 0; k < (strchr(hostile[i], '*') == NULL ? 4 : 2); k++) {
            tell(&selections[k], 1);
            check_sender(hostile[i]);
        }
    }
    tell(&(struct queue_selection){0}, (int64_t)UNIT_COUNT(hostile));
}
END_TEST

static const struct {
    const char *pattern;
    int64_t count; /* of those below */
} patterns[] = {
    {"anna@example.com", 1},
    {"ANNA@Example.COM", 1},
    {"anna@example.co", 0},
    {"@example.com", 2},
    {"@xample.com", 0},
    {"*@example.com", 2},
    {"*a@*", 2},
    {"anna*", 2},
    {"*", 5},
    {"<>", 1},
    {"a*m", 1},
    {"*example*", 3},
    {"a@b@example.com", 0},
    {"**@*.org", 1},
    {"@*.org", 1},
};

START_TEST(patterns_of_addresses)
{
    static const char *const addresses[] = {"anna@example.com", "Otto@EXAMPLE.com",
                                            "anna@sub.example.org", "", "postmaster"};
    struct queue_selection selection = {.from = patterns[_i].pattern};

    for (size_t i = 0; i < UNIT_COUNT(addresses); i++) {
        struct queue_message m = queue_unit_message();
        m.sender = (char *)(uintptr_t)addresses[i];
        (void)put(&m, i == 3 ? "root" : addresses[i], 10);
    }
    open_reader();
    list(&selection, patterns[_i].count);
    selection = (struct queue_selection){.to = patterns[_i].pattern};
    list(&selection, strcmp(selection.to, "<>") == 0 ? 0 : patterns[_i].count);
    for (size_t i = 0; i < UNIT_COUNT(addresses); i++)
        queue_unit_finish(queue_unit_must_take("archive"));
    selection.to = NULL;
    selection.from = patterns[_i].pattern;
    tell(&selection, patterns[_i].count);
}
END_TEST

/* In the history they are one text. */
START_TEST(each_recipient_of_the_history)
{
    struct queue_message m = queue_unit_message();
    struct queue_recipient r[] = {queue_unit_recipient("a@x.test"),
                                  queue_unit_recipient("Bb@y.test")};
    struct queue_new_copy copy = {.destination = "archive", .recipients = r, .recipient_count = 2};
    struct queue_put *p;
    struct err err = {""};

    ck_assert_int_eq(q->ops->put_begin(q, &m, &copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_data(p, "x", 1, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_commit(p, NULL, NULL, &err), QUEUE_PUT_OK);
    queue_unit_finish(queue_unit_must_take("archive"));
    open_reader();
    tell(&(struct queue_selection){.to = "a@x.test"}, 1);
    tell(&(struct queue_selection){.to = "bb@y.test"}, 1);
    tell(&(struct queue_selection){.to = "b@y.test"}, 0);
    tell(&(struct queue_selection){.to = "@x.test"}, 1);
    tell(&(struct queue_selection){.to = "@y.test"}, 1);
    tell(&(struct queue_selection){.to = "@test"}, 0);
    tell(&(struct queue_selection){.to = "a@x.test, Bb@y.test", .id = copy.id}, 1);
    tell(&(struct queue_selection){.id = copy.id}, 1);
    tell(&(struct queue_selection){.id = "330B9403"}, 0);
    tell(&(struct queue_selection){.destination = "newmail"}, 0);
}
END_TEST

/* All conditions hold at once, with an id, too. */
START_TEST(conditions_hold_together)
{
    struct queue_message m = queue_unit_message();
    char old[QUEUE_ID_SIZE], young[QUEUE_ID_SIZE], text[100];
    int64_t number;

    m.message_id = (char *)"<x@y>";
    m.arrival.tv_sec = 1000;
    strcpy(old, put(&m, "a@b.test", 10));
    m.arrival.tv_sec = 2000;
    strcpy(young, put(&m, "a@b.test", 100));
    ck_assert(queue_id_parse(young, &number));
    snprintf(text, sizeof text, "UPDATE copy SET state = 'held' WHERE id = %lld",
             (long long)number);
    queue_unit_execute(text);
    open_reader();
    list(&(struct queue_selection){.message_id = "x@y"}, 2);
    ck_assert_str_eq(found.ids[0], old);
    list(&(struct queue_selection){.message_id = "<x@y>", .limit = 1}, 1);
    ck_assert_str_eq(found.ids[0], old);
    list(&(struct queue_selection){.arrived_before = 2000}, 1);
    list(&(struct queue_selection){.arrived_after = 2000}, 1);
    ck_assert_str_eq(found.ids[0], young);
    list(&(struct queue_selection){.arrived_after = 1001, .arrived_before = 2000}, 0);
    list(&(struct queue_selection){.larger_bytes = 10}, 1);
    list(&(struct queue_selection){.larger_bytes = 9}, 2);
    list(&(struct queue_selection){.larger_bytes = UINT64_MAX}, 0);
    list(&(struct queue_selection){.places = QUEUE_IN_HOLD}, 1);
    ck_assert_uint_eq(found.places[0], QUEUE_IN_HOLD);
    list(&(struct queue_selection){.places = QUEUE_IN_QUEUE | QUEUE_IN_DEAD}, 1);
    list(&(struct queue_selection){.places = QUEUE_IN_DEAD}, 0);
    list(&(struct queue_selection){.id = young}, 1);
    list(&(struct queue_selection){.id = young, .places = QUEUE_IN_QUEUE}, 0);
    list(&(struct queue_selection){.id = young, .to = "@b.test"}, 1);
    list(&(struct queue_selection){.id = young, .to = "@c.test"}, 0);
    list(&(struct queue_selection){.other_than = "archive"}, 0);
    list(&(struct queue_selection){.other_than = "newmail"}, 2);
    list(&(struct queue_selection){.due_after = 1}, 2);
    list(&(struct queue_selection){.due_after = 2000000000}, 0);
}
END_TEST

START_TEST(ids_that_are_none)
{
    struct queue_selection selection = {.id = "x'; --"};
    struct err err = {""};

    open_reader();
    ck_assert_int_eq(queue_reader_list(reader, &selection, add, NULL, NULL, &err), -1);
    ck_assert_str_eq(err.text, "'x'; --' is not the id of a copy");
    ck_assert_int_eq(queue_reader_count(reader, &selection, NULL, NULL, &err), -1);
    ck_assert_int_eq(queue_reader_history(reader, &selection, add_event, NULL, NULL, &err), -1);
}
END_TEST

/* A recipient that has the copy is none to select it by. */
START_TEST(recipients_that_have_it)
{
    struct queue_message m = queue_unit_message();

    (void)put(&m, "a@b.test", 10);
    open_reader();
    list(&(struct queue_selection){.to = "a@b.test"}, 1);
    queue_unit_execute("UPDATE recipient SET state = 'sent'");
    open_reader();
    list(&(struct queue_selection){.to = "a@b.test"}, 0);
}
END_TEST

/* Many rows are read in steps. */
#define MANY 12001
static void add_many(const char *table)
{
    char text[1000];

    snprintf(text, sizeof text,
             "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %d) %s",
             MANY, table);
    queue_unit_execute(text);
}

static bool add_few(void *ctx, const struct queue_entry *e)
{
    (void)ctx;
    (void)e;
    return ++found.count < 7;
}

static bool count_all(void *ctx, const struct queue_entry *e)
{
    (void)ctx;
    (void)e;
    found.count++;
    return true;
}

START_TEST(many_copies)
{
    struct queue_depths depths;
    struct err err = {""};

    add_many("INSERT INTO message SELECT i * 512 + 512, 1000 + i, 5, 's@x', '', '', '', '', '', '',"
             " '', 'body', 'stored' FROM n");
    add_many("INSERT INTO copy (id, message, destination, state, due, attempts) SELECT"
             " i * 512 + 513, i * 512 + 512, 'archive', 'queued', i, i % 2 FROM n");
    open_reader();
    found.count = 0;
    ck_assert_int_eq(queue_reader_list(reader, &(struct queue_selection){0}, count_all,
                                       note_progress, NULL, &err),
                     MANY);
    ck_assert_uint_eq(found.count, MANY);
    ck_assert_uint_eq(progress_calls, 3);
    ck_assert_uint_eq(progress_last, MANY);
    ck_assert_uint_eq(progress_total, MANY);
    found.count = 0;
    ck_assert_int_eq(
        queue_reader_list(reader, &(struct queue_selection){0}, add_few, NULL, NULL, &err), 7);
    const struct queue_selection some = {.limit = 5007}, last = {.arrived_after = 1000 + MANY - 2};
    found.count = 0;
    ck_assert_int_eq(queue_reader_list(reader, &some, count_all, NULL, NULL, &err), 5007);
    ck_assert_int_eq(queue_reader_count(reader, &some, NULL, NULL, &err), 5007);
    ck_assert_int_eq(queue_reader_count(reader, &last, NULL, NULL, &err), 2);
    /* progress stops it */
    found.count = 0;
    ck_assert_int_eq(queue_reader_list(reader, &(struct queue_selection){0}, count_all,
                                       note_progress, &found, &err),
                     5000);
    ck_assert_int_eq(queue_reader_depths(reader, 6000, NULL, NULL, &depths, &err), 0);
    ck_assert_uint_eq(depths.count, 1);
    ck_assert_uint_eq(depths.items[0].due.copies, 6001);
    ck_assert_uint_eq(depths.items[0].deferred.copies, 6000);
    ck_assert_uint_eq(depths.items[0].due.bytes, 5 * 6001);
    ck_assert_int_eq(depths.items[0].due.oldest, 1000);
    ck_assert_int_eq(depths.items[0].tried, (MANY - 2) * 512 + 513); /* the last is an even one */
    free(depths.items);
}
END_TEST

START_TEST(a_long_history)
{
    struct err err = {""};

    add_many("INSERT INTO history (copy, destination, time, sender, recipients, message_id,"
             " mta_queue_id, size, result, relay, reply, attempts) SELECT i + 1, 'archive',"
             " 1699990000 + i, 's', 'r', '', '', 1, 'sent', '', '', 0 FROM n");
    open_reader();
    progress_calls = 0;
    found.count = 0;
    ck_assert_int_eq(queue_reader_history(reader, &(struct queue_selection){0}, add_event,
                                          note_progress, NULL, &err),
                     MANY);
    ck_assert_uint_eq(found.count, MANY);
    ck_assert_str_eq(found.ids[0], "2EE1"); /* the newest first */
    ck_assert_str_eq(found.ids[1], "2EE0");
    ck_assert_uint_eq(progress_calls, 3);
    ck_assert_uint_eq(progress_last, MANY);
    found.count = 0;
    ck_assert_int_eq(queue_reader_history(reader, &(struct queue_selection){.limit = 5001},
                                          add_event, NULL, NULL, &err),
                     5001);
    tell(&(struct queue_selection){.arrived_before = 1699990003}, 3);
    queue_unit_execute("DELETE FROM history WHERE number <= 11000");
    open_reader();
    found.count = 0;
    ck_assert_int_eq(
        queue_reader_history(reader, &(struct queue_selection){0}, add_event, NULL, NULL, &err),
        1001);
}
END_TEST

START_TEST(results_of_the_history)
{
    struct queue_message m = queue_unit_message();
    struct queue_changed changed;
    struct err err;

    (void)put(&m, "a@b.test", 10);
    queue_unit_finish(queue_unit_must_take("archive"));
    const char *id = put(&m, "a@b.test", 10);
    const struct queue_change change = {.action = QUEUE_DELETE, .selection = {.id = id}};
    ck_assert_int_eq(q->ops->change(q, &change, &changed, &err), 0);
    open_reader();
    tell(&(struct queue_selection){0}, 2);
    ck_assert_str_eq(found.texts[0], "deleted");
    ck_assert_str_eq(found.texts[1], "sent");
}
END_TEST

static void read_content(const char *id, size_t size, size_t piece)
{
    char data[5000];
    struct err err = {""};
    uint64_t at = 0;
    ssize_t n;

    while ((n = queue_reader_content(reader, id, at, data, piece, &err)) > 0) {
        if (!queue_unit_is_shared()) /* there it ends with a part */
            ck_assert_int_eq(n, at + piece <= size ? piece : size - at);
        for (ssize_t i = 0; i < n; i++)
            ck_assert_int_eq(data[i], 'x');
        at += (uint64_t)n;
    }
    ck_assert_msg(n == 0, "%s", err.text);
    ck_assert_uint_eq(at, size);
}

START_TEST(contents)
{
    static const size_t sizes[] = {0, 1, 4096, 262144, 262145, 400001};
    struct queue_message m = queue_unit_message();
    char ids[UNIT_COUNT(sizes)][QUEUE_ID_SIZE], name[QUEUE_ID_SIZE], path[200], data[10];
    struct err err = {""};
    int64_t id = 0;

    for (size_t i = 0; i < UNIT_COUNT(sizes); i++)
        strcpy(ids[i], put(&m, "a@b.test", sizes[i]));
    open_reader();
    for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
        read_content(ids[i], sizes[i], 4096);
        read_content(ids[i], sizes[i], 4999);
    }
    list(&(struct queue_selection){.id = ids[5]}, 1);
    ck_assert_str_eq(found.problem, "");
    if (queue_unit_is_shared())
        return;
    ck_assert(queue_id_parse(ids[5], &id));
    queue_id_format(queue_id_message(id), name);
    snprintf(path, sizeof path, "%s/large/%s", queue_unit_dir, name);
    ck_assert_int_eq(truncate(path, 400000), 0);
    list(&(struct queue_selection){.id = ids[5]}, 1);
    ck_assert_str_ne(found.problem, "");
    ck_assert_int_eq(queue_reader_content(reader, ids[5], 0, data, 1, &err), -1);
    ck_assert_int_eq(unlink(path), 0);
    list(&(struct queue_selection){.id = ids[5]}, 1);
    ck_assert_str_ne(found.problem, "");
    ck_assert_int_eq(queue_reader_content(reader, "330B9403", 0, data, 1, &err), -1);
    ck_assert_str_eq(err.text, "the copy 330B9403 is gone");
    ck_assert_int_eq(queue_reader_content(reader, "../x", 0, data, 1, &err), -1);
}
END_TEST

START_TEST(suspensions)
{
    const struct queue_suspension s = {
        .destination = "newmail", .since = 5, .until = 0, .reason = "a 'move'"};
    struct queue_suspension *all;
    struct err err = {""};
    size_t count;

    ck_assert_msg(q->ops->suspend(q, &s, &err) == 0, "%s", err.text);
    open_reader();
    ck_assert_int_eq(queue_reader_suspensions(reader, &all, &count, &err), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_str_eq(all[0].destination, "newmail");
    ck_assert_str_eq(all[0].reason, "a 'move'");
    ck_assert_int_eq(all[0].since, 5);
    ck_assert_int_eq(all[0].until, 0);
    free(all);
}
END_TEST

START_TEST(last_reasons)
{
    struct queue_message m = queue_unit_message();
    struct queue_depths depths;
    char reason[QUEUE_REASON_SIZE];
    struct err err = {""};

    (void)put(&m, "a@b.test", 10);
    struct queue_copy *c = queue_unit_must_take("archive");
    queue_unit_set_all(c, QUEUE_PENDING, "450 later");
    q->ops->later(q, c, (time_t)(fake_now + 3600));
    (void)put(&m, "a@b.test", 10); /* not tried yet */
    open_reader();
    ck_assert_int_eq(queue_reader_depths(reader, fake_now, NULL, NULL, &depths, &err), 0);
    ck_assert_int_eq(queue_reader_last_reason(reader, depths.items[0].tried, reason, &err), 0);
    ck_assert_str_eq(reason, "450 later");
    ck_assert_int_eq(queue_reader_last_reason(reader, 0, reason, &err), 0);
    ck_assert_str_eq(reason, "");
    free(depths.items);
}
END_TEST

/* A spool that was never used is an empty queue. */
START_TEST(no_database)
{
    char directory[] = "/tmp/split-reader-XXXXXX", data[10];
    struct queue_suspension *all;
    struct queue_depths depths;
    char reason[QUEUE_REASON_SIZE];
    struct err err = {""};
    uint64_t bytes;
    size_t count;

    ck_assert_ptr_nonnull(mkdtemp(directory));
    struct queue_reader *empty = queue_reader_open(directory, "sqlite", &err);
    ck_assert_msg(empty != NULL, "%s", err.text);
    const struct queue_selection all_of_them = {0};
    ck_assert_int_eq(queue_reader_list(empty, &all_of_them, add, NULL, NULL, &err), 0);
    ck_assert_int_eq(queue_reader_count(empty, &all_of_them, NULL, NULL, &err), 0);
    ck_assert_int_eq(queue_reader_history(empty, &all_of_them, add_event, NULL, NULL, &err), 0);
    ck_assert_int_eq(queue_reader_depths(empty, 0, NULL, NULL, &depths, &err), 0);
    ck_assert_uint_eq(depths.count, 0);
    ck_assert_int_eq(queue_reader_suspensions(empty, &all, &count, &err), 0);
    ck_assert_uint_eq(count, 0);
    ck_assert_int_eq(queue_reader_last_reason(empty, 1, reason, &err), 0);
    ck_assert_int_eq(queue_reader_free_bytes(empty, &bytes, &err), 0);
    ck_assert_int_eq(queue_reader_content(empty, "A", 0, data, 1, &err), -1);
    queue_reader_close(empty);
    ck_assert_int_eq(rmdir(directory), 0); /* and nothing was made */
    ck_assert_ptr_null(queue_reader_open("/nonexistent", "sqlite", &err));
}
END_TEST

static TCase *make(void)
{
    TCase *tests = queue_unit_case("queue_reader");

    tcase_add_unchecked_fixture(tests, NULL, close_reader);
    tcase_add_test(tests, a_text_is_but_a_text);
    tcase_add_test(tests, a_text_is_but_a_text_in_the_history);
    tcase_add_loop_test(tests, patterns_of_addresses, 0, UNIT_COUNT(patterns));
    tcase_add_test(tests, each_recipient_of_the_history);
    tcase_add_test(tests, conditions_hold_together);
    tcase_add_test(tests, ids_that_are_none);
    tcase_add_test(tests, recipients_that_have_it);
    tcase_add_test(tests, many_copies);
    tcase_add_test(tests, a_long_history);
    tcase_add_test(tests, results_of_the_history);
    tcase_add_test(tests, contents);
    tcase_add_test(tests, suspensions);
    tcase_add_test(tests, last_reasons);
    if (!queue_unit_is_shared())
        tcase_add_test(tests, no_database);
    return tests;
}

int main(void)
{
    return queue_unit_run("queue_reader", make);
}
