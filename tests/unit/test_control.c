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

static long fake_retry(void *ctx, const char *destination, const char *id, struct err *err)
{
    pthread_mutex_lock(&seen.lock);
    size_t used = strlen(seen.calls);
    snprintf(seen.calls + used, sizeof seen.calls - used, "%s/%s;",
             destination == NULL ? "-" : destination, id == NULL ? "-" : id);
    pthread_mutex_unlock(&seen.lock);
    if (id != NULL && strcmp(id, "missing") == 0) {
        err_set(err, "missing:\nno such copy");
        return -1;
    }
    return *(const long *)ctx;
}

static atomic_uint batches; /* of the long change */
static atomic_bool was_stopped;

/* "long" runs until it is stopped, "steps" for a while. */
static int fake_change(void *ctx, const struct queue_change *c, struct queue_changed *out,
                       struct err *err)
{
    bool is_long = c->destination != NULL && strcmp(c->destination, "long") == 0;
    bool is_steps = c->destination != NULL && strcmp(c->destination, "steps") == 0;

    (void)ctx;
    pthread_mutex_lock(&seen.lock);
    size_t used = strlen(seen.calls);
    snprintf(seen.calls + used, sizeof seen.calls - used, "%d:%u:%s/%s>%s;", (int)c->action,
             c->places, c->destination == NULL ? "-" : c->destination, c->id == NULL ? "-" : c->id,
             c->to == NULL ? "-" : c->to);
    pthread_mutex_unlock(&seen.lock);
    *out = (struct queue_changed){5, 2, 1, false};
    for (int i = 0; (is_long || (is_steps && i < 70)) && !out->is_stopped; i++) {
        batches++;
        out->changed = (uint64_t)i;
        out->is_stopped = !c->go_on(c->ctx, out);
        poll(NULL, 0, 10);
    }
    was_stopped = out->is_stopped;
    err_set(err, "disk\nfull");
    return c->id != NULL && strcmp(c->id, "missing") == 0 ? -1 : 0;
}

static int fake_health(void *ctx, const char *destination, struct destination_suspension *out,
                       struct err *err)
{
    (void)ctx;
    *out = (struct destination_suspension){0};
    if (strcmp(destination, "down") == 0)
        *out = (struct destination_suspension){1700000000, 1700000060, "421 later"};
    if (strcmp(destination, "unknown") != 0)
        return 0;
    err_set(err, "destination unknown is not configured");
    return -1;
}

static char dir[32];
static struct control *control;
static long moved = 17;

static void start(void)
{
    struct control_actions actions = {fake_retry, fake_change, fake_health, &moved};
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

static const struct {
    const char *request, *call;
    int result;
    const char *text; /* of the reply, or in err */
} requests[] = {
    {"ping", "", 0, ""},
    {"health up", "", 0, "0 0"},
    {"health down", "", 0, "1700000000 1700000060 421 later"},
    {"health unknown", "", -1, "destination unknown is not configured"},
    {"health ../x", "", -1, "unknown request"},
    {"health", "", -1, "unknown request"},
    {"retry --all", "-/-;", 0, "17"},
    {"retry --all archive", "archive/-;", 0, "17"},
    {"retry 0aZ9", "-/0aZ9;", 0, "17"},
    {"retry missing", "-/missing;", -1, "missing:?no such copy"},
    {"retry", "", -1, "unknown request"},
    {"retry ", "", -1, "no id of a copy"},
    {"retry ../x", "", -1, "no id of a copy"},
    {"retry 0123456789012345678901234", "", -1, "no id of a copy"},
    {"retry --all ../x", "", -1, "no name of a destination"},
    {"retry --all ", "", -1, "no name of a destination"},
    {"retry --all a b", "", -1, "no name of a destination"},
    {"retry --allx", "", -1, "no id of a copy"},
    {"hold 0aZ9", "0:0:-/0aZ9>-;", 0, "5 2 1 disk?full"},
    {"release --all", "1:0:-/->-;", 0, "5 2 1 disk?full"},
    {"delete --in=dead --all archive", "2:4:archive/->-;", 0, "5 2 1 disk?full"},
    {"delete --in=queue A", "2:1:-/A>-;", 0, "5 2 1 disk?full"},
    {"requeue --to=new-mail --in=hold --all", "3:2:-/->new-mail;", 0, "5 2 1 disk?full"},
    {"requeue missing", "3:0:-/missing>-;", -1, "disk?full"},
    {"hold", "", -1, "unknown request"},
    {"hold ", "", -1, "no id of a copy"},
    {"hold a b", "", -1, "no id of a copy"},
    {"hold ../a", "", -1, "no id of a copy"},
    {"holds a", "", -1, "unknown request"},
    {"hold --to=x a", "", -1, "unknown option"},
    {"requeue --to=x --to=y a", "", -1, "unknown option"},
    {"requeue --to=../x a", "", -1, "unknown option"},
    {"requeue --to= a", "", -1, "unknown option"},
    {"delete --in=tmp a", "", -1, "unknown option"},
    {"delete --in=dead", "", -1, "no id of a copy"},
    {"delete --all ../x", "", -1, "no name of a destination"},
    {"delete --in=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa a",
     "", -1, "unknown option"},
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

static void on_progress(void *ctx, uint64_t changed)
{
    *(uint64_t *)ctx = changed + 1;
}

START_TEST(progress_is_told)
{
    uint64_t progress = 0;
    char *text = NULL;
    struct err err = {""};

    ck_assert_int_eq(
        control_request(dir, "hold --all steps", 5000, on_progress, &progress, &text, &err), 0);
    ck_assert_uint_gt(progress, 0);
    ck_assert_str_eq(text, "69 2 1 disk?full");
    free(text);
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
    ck_assert_int_eq(send(fd, "hold --all long\n", 16, MSG_NOSIGNAL), 16);
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
    ck_assert_int_eq(send(fds[0], "hold --all long\n", 16, MSG_NOSIGNAL), 16);
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
                                    "retry A1",
                                    "hold --all",
                                    "delete --in=dead --all archive",
                                    "requeue --in=hold --to=new A1",
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
}
END_TEST

START_TEST(socket_that_was_left_behind_is_replaced)
{
    struct control_actions actions = {fake_retry, fake_change, fake_health, &moved};
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

START_TEST(nobody_is_there)
{
    char *text = NULL;
    struct err err = {""};

    ck_assert_int_eq(control_request("/nonexistent", "ping", 1000, NULL, NULL, &text, &err), -1);
    ck_assert_str_eq(err.text, "splitrelay is not running: nobody listens at /nonexistent/control");
}
END_TEST

START_TEST(faults_of_start_are_told)
{
    struct control_actions actions = {fake_retry, fake_change, fake_health, &moved};
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
    tcase_add_test(running, socket_is_for_the_owner);
    tcase_add_loop_test(running, rubbish_is_dropped, 0, UNIT_COUNT(rubbish));
    tcase_add_test(running, progress_is_told);
    tcase_add_test(running, a_long_operation_stops_when_its_client_goes);
    tcase_add_test(running, stopping_waits_for_nobody);
    tcase_add_loop_test(alone, replies_are_read, 0, UNIT_COUNT(replies));
    tcase_add_loop_test(alone, a_line_reads_as_it_was_written, 0, UNIT_COUNT(lines));
    tcase_add_test(alone, socket_that_was_left_behind_is_replaced);
    tcase_add_test(alone, nobody_is_there);
    tcase_add_test(alone, faults_of_start_are_told);
    tcase_add_test(alone, silence_times_out);
    int failed = unit_run("control", running);
    return unit_run("control, alone", alone) == EXIT_SUCCESS ? failed : EXIT_FAILURE;
}
