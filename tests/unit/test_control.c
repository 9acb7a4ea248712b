/* SPDX-License-Identifier: ISC */
#include "relay/control.h"
#include "relay/control_line.h"
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static struct {
    pthread_mutex_t lock;
    char calls[1000];
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void see(const char *what)
{
    pthread_mutex_lock(&seen.lock);
    size_t used = strlen(seen.calls);
    snprintf(seen.calls + used, sizeof seen.calls - used, "%s;", what);
    pthread_mutex_unlock(&seen.lock);
}

static atomic_uint batches; /* of the long change */
static atomic_bool was_stopped;

/* "long" runs until it is stopped, "steps" for a while. */
static int fake_change(void *ctx, const struct queue_change *c, struct queue_changed *out,
                       struct err *err)
{
    const char *destination = c->selection.destination == NULL ? "" : c->selection.destination;
    bool is_long = strcmp(destination, "long") == 0, is_steps = strcmp(destination, "steps") == 0;
    const struct control_line line = {.verb = CONTROL_CHANGE, .change = *c};
    struct buf text = {0};

    (void)ctx;
    control_line_format(&line, &text); /* what it was understood as */
    see(buf_str(&text));
    buf_clear(&text);
    *out = (struct queue_changed){5, 2, 1, false};
    for (int i = 0; (is_long || (is_steps && i < 70)) && !out->is_stopped; i++) {
        batches++;
        out->changed = (uint64_t)i;
        out->is_stopped = !c->go_on(c->ctx, out);
        poll(NULL, 0, 10);
    }
    was_stopped = out->is_stopped;
    err_set(err, "disk\nfull");
    return c->selection.id != NULL && strcmp(c->selection.id, "DEAD") == 0 ? -1 : 0;
}

static const char *refusal = "";

static enum queue_put_status fake_has_room(void *ctx, struct err *err)
{
    (void)ctx;
    err_set(err, "%s", refusal);
    return refusal[0] == '\0' ? QUEUE_PUT_OK : QUEUE_PUT_FAULT;
}

static int fake_suspend(void *ctx, const struct queue_suspension *s, struct err *err)
{
    char text[400];

    (void)ctx;
    snprintf(text, sizeof text, "suspend %s %lld %s%s", s->destination, (long long)s->until,
             s->reason, s->since < 1700000000 ? " without a time" : "");
    see(text);
    if (strcmp(s->destination, "down") != 0)
        return 0;
    err_set(err, "disk\nfull");
    return -1;
}

static int fake_resume(void *ctx, const char *destination, struct err *err)
{
    (void)ctx;
    (void)err;
    see(destination);
    return strcmp(destination, "down") == 0;
}

static void fake_health(void *ctx, const char *destination, struct destination_suspension *out)
{
    (void)ctx;
    *out = (struct destination_suspension){0};
    if (strcmp(destination, "down") == 0)
        *out = (struct destination_suspension){1700000000, 1700000060, "421 later"};
}

static char dir[32];
static struct control *control;
static const struct control_actions actions = {.has_room = fake_has_room,
                                               .change = fake_change,
                                               .suspend = fake_suspend,
                                               .resume = fake_resume,
                                               .health = fake_health};

static void start(void)
{
    struct err err = {""};

    snprintf(dir, sizeof dir, "/tmp/test_control.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    seen.calls[0] = '\0';
    control = control_start(dir, &actions, &err);
    ck_assert_msg(control != NULL, "%s", err.text);
}

static void stop(void)
{
    control_stop(control);
    /* nothing is left behind */
    ck_assert_int_eq(rmdir(dir), 0);
}

#define TEN "0123456789"
static const struct {
    const char *request, *call;
    int result;
    const char *text; /* of the reply, or in err */
} requests[] = {
    {"ping", "", 0, ""},
    {"health up", "", 0, "0 0"},
    {"health down", "", 0, "1700000000 1700000060 421 later"},
    {"health ../x", "", -1, "no name of a destination"},
    {"health", "", -1, "unknown request"},
    {"suspend archive 0", "suspend archive 0 ;", 0, ""},
    {"suspend archive 1900000000 reason=a+20move+0A", "suspend archive 1900000000 a move?;", 0, ""},
    {"suspend down 0 reason=", "suspend down 0 ;", -1, "disk?full"},
    {"suspend archive 0 reason=" TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
         TEN TEN TEN TEN TEN TEN TEN TEN,
     "suspend archive 0 " TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
         TEN TEN TEN TEN TEN "012345678;",
     0, ""},
    {"suspend ../x 0", "", -1, "request not understood"},
    {"suspend archive", "", -1, "request not understood"},
    {"suspend archive -1", "", -1, "request not understood"},
    {"suspend archive 1 why", "", -1, "request not understood"},
    {"suspend archive 1 reason=+G0", "", -1, "request not understood"},
    {"suspend", "", -1, "unknown request"},
    {"resume archive", "archive;", 0, "0"},
    {"resume down", "down;", 0, "1"},
    {"resume ../x", "", -1, "no name of a destination"},
    {"retry all", "retry all;", 0, "5 2 1 disk?full"},
    {"retry all destination=archive", "retry all destination=archive;", 0, "5 2 1 disk?full"},
    {"retry id=330b9403", "retry id=330B9403;", 0, "5 2 1 disk?full"},
    {"hold id=DEAD", "hold id=DEAD;", -1, "disk?full"},
    {"delete all in=dead", "delete all in=dead;", 0, "5 2 1 disk?full"},
    {"delete id=A in=queue,hold", "delete id=A in=queue,hold;", 0, "5 2 1 disk?full"},
    {"requeue all in=hold requeue-to=new-mail", "requeue all in=hold requeue-to=new-mail;", 0,
     "5 2 1 disk?full"},
    {"release from=a+2Bb@c to=@d reason=no+20room mta-id=4F message-id=<x@y> before=5 after=4"
     " larger=3 limit=2",
     "release from=a+2Bb@c to=@d reason=no+20room mta-id=4F message-id=<x@y> before=5 after=4"
     " larger=3 limit=2;",
     0, "5 2 1 disk?full"},
    /* What does not say which copies is not all of them. */
    {"delete", "", -1, "unknown request"},
    {"delete ", "", -1, "request not understood: "},
    {"delete in=dead", "", -1, "the request does not say which copies"},
    {"delete destination=archive", "", -1, "the request does not say which copies"},
    {"delete limit=1", "", -1, "the request does not say which copies"},
    {"delete from=", "", -1, "request not understood: from="},
    {"delete from=+00", "", -1, "request not understood: from=+00"},
    {"delete from=a+0", "", -1, "request not understood: from=a+0"},
    {"delete from=a from=b", "", -1, "request not understood: from=b"},
    {"delete larger=0", "", -1, "request not understood: larger=0"},
    {"delete larger=1000000000000000000", "", -1,
     "request not understood: larger=1000000000000000000"},
    {"delete before=-1", "", -1, "request not understood: before=-1"},
    {"delete id=../x", "", -1, "request not understood: id=../x"},
    {"delete id=", "", -1, "request not understood: id="},
    {"delete id=A id=B", "", -1, "request not understood: id=B"},
    {"delete all destination=../x", "", -1, "request not understood: destination=../x"},
    {"delete all in=tmp", "", -1, "request not understood: in=tmp"},
    {"delete all in=", "", -1, "request not understood: in="},
    {"delete all requeue-to=x", "", -1, "request not understood: requeue-to=x"},
    {"requeue all requeue-to=", "", -1, "request not understood: requeue-to="},
    {"delete all  ", "", -1, "request not understood: "},
    {"delete --all", "", -1, "request not understood: --all"},
    {"deletes all", "", -1, "unknown request"},
    {"pong", "", -1, "unknown request"},
    {"", "", -1, "unknown request"},
};

START_TEST(request_and_reply)
{
    char *text = NULL;
    struct err err = {""};

    int result = control_request(dir, requests[_i].request, 5000, NULL, NULL, &text, &err);
    ck_assert_int_eq(result, requests[_i].result);
    ck_assert_str_eq(result == 0 ? text : err.text, requests[_i].text);
    ck_assert_str_eq(seen.calls, requests[_i].call);
    free(text);
}
END_TEST

/* It runs, but takes nothing. */
START_TEST(ping_says_why_nothing_is_taken)
{
    char *text = NULL;
    struct err err = {""};

    refusal = "queue.db is\ndamaged";
    ck_assert_int_eq(control_request(dir, "ping", 5000, NULL, NULL, &text, &err), 0);
    ck_assert_str_eq(text, "queue.db is?damaged");
    free(text);
}
END_TEST

START_TEST(socket_is_for_the_owner)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof path, "%s/control", dir);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert(S_ISSOCK(st.st_mode));
    ck_assert_int_eq(st.st_mode & 07777, 0600);
}
END_TEST

static int connect_raw(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(sa.sun_path, sizeof sa.sun_path, "%s/control", dir);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

/* After a request that is too long, binary or incomplete the next one is served. */
static const struct {
    const char *data;
    size_t len, repeat;
} rubbish[] = {{"retry \0x\n", 9, 1}, {"aaaaaaaaaa", 10, 200}, {"retry --a", 9, 1}, {"", 0, 1}};

START_TEST(rubbish_is_dropped)
{
    char *text = NULL;
    struct err err;
    int fd = connect_raw();

    for (size_t i = 0; i < rubbish[_i].repeat; i++) {
        ssize_t sent = send(fd, rubbish[_i].data, rubbish[_i].len, MSG_NOSIGNAL);
        /* The server may have cut the connection after a request that is too long. */
        if (sent < 0 && i > 0 && (errno == EPIPE || errno == ECONNRESET))
            break;
        ck_assert_int_eq(sent, (ssize_t)rubbish[_i].len);
    }
    close(fd);
    ck_assert_int_eq(control_request(dir, "ping", 9000, NULL, NULL, &text, &err), 0);
    free(text);
    ck_assert_str_eq(seen.calls, "");
}
END_TEST

static bool on_progress(void *ctx, uint64_t changed)
{
    *(uint64_t *)ctx = changed + 1;
    return true;
}

static bool stop_it(void *ctx, uint64_t changed)
{
    *(uint64_t *)ctx = changed + 1;
    return false;
}

START_TEST(progress_is_told)
{
    uint64_t progress = 0;
    char *text = NULL;
    struct err err = {""};

    ck_assert_int_eq(control_request(dir, "hold all destination=steps", 5000, on_progress,
                                     &progress, &text, &err),
                     0);
    ck_assert_uint_gt(progress, 0);
    ck_assert_str_eq(text, "69 2 1 disk?full");
    free(text);
}
END_TEST

START_TEST(progress_can_stop_it)
{
    uint64_t progress = 0;
    char *text = NULL;
    struct err err = {""};

    was_stopped = false;
    ck_assert_int_eq(
        control_request(dir, "hold all destination=long", 5000, stop_it, &progress, &text, &err),
        -1);
    ck_assert_str_eq(err.text, "stopped");
    ck_assert_uint_gt(progress, 0);
    for (int i = 0; i < 1000 && !was_stopped; i++)
        poll(NULL, 0, 10);
    ck_assert(was_stopped);
}
END_TEST

/* Other requests are served during a long operation, which stops when its client disconnects. */
START_TEST(a_long_operation_stops_when_its_client_goes)
{
    char *text = NULL;
    struct err err = {""};
    int fd = connect_raw();

    batches = 0;
    was_stopped = false;
    ck_assert_int_eq(send(fd, "hold all destination=long\n", 26, MSG_NOSIGNAL), 26);
    for (int i = 0; i < 1000 && batches == 0; i++)
        poll(NULL, 0, 10);
    ck_assert_uint_gt(batches, 0);
    ck_assert_int_eq(control_request(dir, "ping", 5000, NULL, NULL, &text, &err), 0);
    free(text);
    ck_assert(!was_stopped);
    close(fd);
    for (int i = 0; i < 1000 && !was_stopped; i++)
        poll(NULL, 0, 10);
    ck_assert(was_stopped);
}
END_TEST

/* The fixture stops the server while one client has a long operation, and others are silent. */
START_TEST(stopping_waits_for_nobody)
{
    int fds[CONTROL_CLIENTS_MAX + 1];

    batches = 0;
    for (size_t i = 0; i < UNIT_COUNT(fds); i++)
        fds[i] = connect_raw();
    ck_assert_int_eq(send(fds[0], "hold all destination=long\n", 26, MSG_NOSIGNAL), 26);
    for (int i = 0; i < 1000 && batches == 0; i++)
        poll(NULL, 0, 10);
    time_t begin = time(NULL);
    stop();
    ck_assert_int_lt(time(NULL) - begin, 4);
    for (size_t i = 0; i < UNIT_COUNT(fds); i++)
        close(fds[i]);
    start(); /* for the fixture */
}
END_TEST

static const struct {
    const char *text;
    int result;
    uint64_t changed, ordered, failed;
    const char *reason;
} replies[] = {
    {"1 2 3", 0, 1, 2, 3, ""},   {"1 2 3 no\033 space", 0, 1, 2, 3, "no? space"},
    {"", -1, 0, 0, 0, ""},       {"1 2", -1, 0, 0, 0, ""},
    {"1 2 x", -1, 0, 0, 0, ""},  {"1 2 3x", -1, 0, 0, 0, ""},
    {"1 -2 3", -1, 0, 0, 0, ""},
};

START_TEST(replies_are_read)
{
    struct queue_changed changed;
    struct err reason = {""};

    ck_assert_int_eq(control_line_parse_changed(replies[_i].text, &changed, &reason),
                     replies[_i].result);
    if (replies[_i].result < 0)
        return;
    ck_assert_uint_eq(changed.changed, replies[_i].changed);
    ck_assert_uint_eq(changed.ordered, replies[_i].ordered);
    ck_assert_uint_eq(changed.failed, replies[_i].failed);
    ck_assert_str_eq(reason.text, replies[_i].reason);
}
END_TEST

static const char *const lines[] = {"ping",
                                    "retry id=A1",
                                    "hold all",
                                    "delete all destination=archive in=dead",
                                    "requeue id=A1 in=hold requeue-to=new",
                                    "hold from=*+2B@x+20 to=+3D reason=%_! limit=7",
                                    "suspend archive 5 reason=",
                                    "suspend archive 0 reason=+20x",
                                    "resume archive",
                                    "health archive"};

START_TEST(a_line_reads_as_it_was_written)
{
    struct control_line line;
    struct buf text = {0};
    struct err err;

    ck_assert_int_eq(control_line_parse(lines[_i], &line, &err), 0);
    control_line_format(&line, &text);
    ck_assert_str_eq(buf_str(&text), lines[_i]);
    buf_clear(&text);
    control_line_clear(&line);
}
END_TEST

START_TEST(socket_that_was_left_behind_is_replaced)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char *text = NULL;
    struct err err = {""};

    snprintf(dir, sizeof dir, "/tmp/test_control.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s/control", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    close(fd);
    ck_assert_int_eq(control_request(dir, "ping", 1000, NULL, NULL, &text, &err), -1);
    ck_assert_int_eq(strncmp(err.text, "splitrelay is not running", 25), 0);
    control = control_start(dir, &actions, &err);
    ck_assert_msg(control != NULL, "%s", err.text);
    ck_assert_int_eq(control_request(dir, "ping", 5000, NULL, NULL, &text, &err), 0);
    free(text);
    stop();
}
END_TEST

START_TEST(no_process_listens)
{
    char *text = NULL;
    struct err err = {""};

    ck_assert_int_eq(control_request("/nonexistent", "ping", 1000, NULL, NULL, &text, &err), -1);
    ck_assert_str_eq(err.text,
                     "splitrelay is not running: no process listens at /nonexistent/control");
}
END_TEST

START_TEST(faults_of_start_are_told)
{
    struct err err = {""};
    char long_dir[200];

    ck_assert_ptr_null(control_start("/nonexistent", &actions, &err));
    ck_assert_int_eq(strncmp(err.text, "/nonexistent/control: ", 22), 0);
    memset(long_dir, 'x', sizeof long_dir - 1);
    long_dir[sizeof long_dir - 1] = '\0';
    ck_assert_ptr_null(control_start(long_dir, &actions, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "path too long"));
}
END_TEST

/* A relay that accepts the request and never replies. */
START_TEST(silence_times_out)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char *text = NULL;
    struct err err = {""};

    snprintf(dir, sizeof dir, "/tmp/test_control.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s/control", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(control_request(dir, "ping", 100, NULL, NULL, &text, &err), -1);
    ck_assert_str_eq(err.text, "no reply from splitrelay: timed out");
    close(fd);
    unlink(sa.sun_path);
    rmdir(dir);
}
END_TEST

int main(void)
{
    TCase *running = tcase_create("running");
    TCase *alone = tcase_create("alone");

    tcase_add_checked_fixture(running, start, stop);
    tcase_set_timeout(running, 30);
    tcase_add_loop_test(running, request_and_reply, 0, UNIT_COUNT(requests));
    tcase_add_test(running, ping_says_why_nothing_is_taken);
    tcase_add_test(running, socket_is_for_the_owner);
    tcase_add_loop_test(running, rubbish_is_dropped, 0, UNIT_COUNT(rubbish));
    tcase_add_test(running, progress_is_told);
    tcase_add_test(running, progress_can_stop_it);
    tcase_add_test(running, a_long_operation_stops_when_its_client_goes);
    tcase_add_test(running, stopping_waits_for_nobody);
    tcase_add_loop_test(alone, replies_are_read, 0, UNIT_COUNT(replies));
    tcase_add_loop_test(alone, a_line_reads_as_it_was_written, 0, UNIT_COUNT(lines));
    tcase_add_test(alone, socket_that_was_left_behind_is_replaced);
    tcase_add_test(alone, no_process_listens);
    tcase_add_test(alone, faults_of_start_are_told);
    tcase_add_test(alone, silence_times_out);
    int failed = unit_run("control", running);
    return unit_run("control, alone", alone) == EXIT_SUCCESS ? failed : EXIT_FAILURE;
}
