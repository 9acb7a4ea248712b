/* SPDX-License-Identifier: ISC */
#include "net/stream.h"
#include "base/mem.h"
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct stream *stream;
static int peer;

static void setup(void)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    stream = stream_new(fds[0]);
    peer = fds[1];
    stream_set_deadline(stream, 10000);
}

static void teardown(void)
{
    stream_free(stream);
    if (peer != -1)
        close(peer);
}

static void say(const char *data, size_t len)
{
    ck_assert_int_eq(write(peer, data, len), (ssize_t)len);
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static const struct {
    const char *input;
    size_t max;
    struct {
        enum stream_status status;
        const char *line;
    } expect[4];
} line_cases[] = {
    {"a\r\nbc\n", 100, {{STREAM_OK, "a\r\n"}, {STREAM_OK, "bc\n"}, {STREAM_EOF, ""}}},
    {"\n\nx", 100, {{STREAM_OK, "\n"}, {STREAM_OK, "\n"}, {STREAM_EOF, "x"}, {STREAM_EOF, ""}}},
    {"123456\n", 7, {{STREAM_OK, "123456\n"}, {STREAM_EOF, ""}}},
    {"1234567\n8\n",
     7,
     {{STREAM_TOO_LONG, "1234567"}, {STREAM_OK, "\n"}, {STREAM_OK, "8\n"}, {STREAM_EOF, ""}}},
    {"", 7, {{STREAM_EOF, ""}, {STREAM_EOF, ""}}},
};

/* The input in one piece, and then in all splits into two pieces. */
START_TEST(test_lines)
{
    size_t len = strlen(line_cases[_i].input);

    for (size_t split = 0; split <= len; split++) {
        struct buf line = {0};
        if (split > 0) {
            teardown();
            setup();
        }
        say(line_cases[_i].input, split);
        /* The first piece is read into the buffer before the second one is sent. */
        const char *data;
        size_t n;
        if (split > 0)
            ck_assert_int_eq(stream_peek(stream, &data, &n), STREAM_OK);
        say(line_cases[_i].input + split, len - split);
        close(peer);
        peer = -1;
        for (size_t k = 0; k < 4 && line_cases[_i].expect[k].line != NULL; k++) {
            ck_assert_int_eq(stream_read_line(stream, &line, line_cases[_i].max),
                             line_cases[_i].expect[k].status);
            ck_assert_str_eq(buf_str(&line), line_cases[_i].expect[k].line);
        }
        buf_clear(&line);
    }
}
END_TEST

START_TEST(test_nul_bytes_are_data)
{
    struct buf line = {0};

    say("a\0b\n", 4);
    ck_assert_int_eq(stream_read_line(stream, &line, 10), STREAM_OK);
    ck_assert_uint_eq(line.len, 4);
    ck_assert_mem_eq(line.data, "a\0b\n", 4);
    buf_clear(&line);
}
END_TEST

START_TEST(test_peek_and_consume)
{
    const char *data;
    size_t len;
    char rest[8];

    say("end\nnext", 8);
    ck_assert(!stream_has_input(stream));
    ck_assert_int_eq(stream_peek(stream, &data, &len), STREAM_OK);
    ck_assert_uint_eq(len, 8);
    stream_consume(stream, 4);
    ck_assert(stream_has_input(stream));
    ck_assert_int_eq(stream_peek(stream, &data, &len), STREAM_OK);
    ck_assert_uint_eq(len, 4);
    ck_assert_int_eq(stream_read(stream, rest, 2, &len), STREAM_OK);
    ck_assert_uint_eq(len, 2);
    ck_assert_mem_eq(rest, "ne", 2);
    ck_assert_int_eq(stream_read(stream, rest, sizeof rest, &len), STREAM_OK);
    ck_assert_uint_eq(len, 2);
    ck_assert_mem_eq(rest, "xt", 2);
    ck_assert(!stream_has_input(stream));
}
END_TEST

static void *drip(void *arg)
{
    (void)arg;
    for (int i = 0; i < 500; i++) {
        struct timespec tick = {0, 10000000};
        if (send(peer, "x", 1, MSG_NOSIGNAL) != 1)
            break;
        nanosleep(&tick, NULL);
    }
    return NULL;
}

START_TEST(test_slow_bytes_do_not_extend_the_deadline)
{
    struct buf line = {0};
    pthread_t thread;
    int64_t begin = now_ms();

    stream_set_deadline(stream, 200);
    ck_assert_int_eq(pthread_create(&thread, NULL, drip, NULL), 0);
    ck_assert_int_eq(stream_read_line(stream, &line, 10000), STREAM_TIMEOUT);
    ck_assert_int_ge(now_ms() - begin, 200);
    ck_assert_int_lt(now_ms() - begin, 3000);
    ck_assert_uint_gt(line.len, 0);
    stream_shutdown_read(stream); /* ends the other thread */
    pthread_join(thread, NULL);
    buf_clear(&line);
}
END_TEST

START_TEST(test_timeout_of_a_silent_peer_and_after_it)
{
    struct buf line = {0};

    stream_set_deadline(stream, 50);
    ck_assert_int_eq(stream_read_line(stream, &line, 100), STREAM_TIMEOUT);
    ck_assert_str_eq(stream_status_text(stream, STREAM_TIMEOUT), "timed out");
    stream_set_deadline(stream, 10000);
    say("still\n", 6);
    ck_assert_int_eq(stream_read_line(stream, &line, 100), STREAM_OK);
    ck_assert_str_eq(buf_str(&line), "still\n");
    buf_clear(&line);
}
END_TEST

static void *shut(void *arg)
{
    struct timespec tick = {0, 50000000};

    (void)arg;
    nanosleep(&tick, NULL); /* in most runs the owner waits by then; both orders must pass */
    stream_shutdown_read(stream);
    return NULL;
}

START_TEST(test_shutdown_wakes_a_reader)
{
    struct buf line = {0};
    pthread_t thread;
    char reply[8];
    int64_t begin = now_ms();

    say("half", 4);
    ck_assert_int_eq(pthread_create(&thread, NULL, shut, NULL), 0);
    ck_assert_int_eq(stream_read_line(stream, &line, 100), STREAM_EOF);
    ck_assert_int_lt(now_ms() - begin, 5000);
    ck_assert_str_eq(buf_str(&line), "half");
    pthread_join(thread, NULL);
    /* a last reply can still be sent */
    ck_assert_int_eq(stream_printf(stream, "%d\r\n", 421), STREAM_OK);
    ck_assert_int_eq(stream_flush(stream), STREAM_OK);
    ck_assert_int_eq(read(peer, reply, sizeof reply), 5);
    ck_assert_mem_eq(reply, "421\r\n", 5);
    buf_clear(&line);
}
END_TEST

START_TEST(test_shutdown_wakes_a_writer)
{
    static char block[1 << 20];
    bool is_half_closed = _i == 1;
    enum stream_status status = STREAM_OK;
    pthread_t thread;
    int64_t begin = now_ms();

    if (is_half_closed)
        ck_assert_int_eq(shutdown(peer, SHUT_WR), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, shut, NULL), 0);
    for (int i = 0; i < 100 && status == STREAM_OK; i++)
        status = stream_write(stream, block, sizeof block);
    ck_assert_int_eq(status, STREAM_EOF);
    ck_assert_int_lt(now_ms() - begin, 5000);
    pthread_join(thread, NULL);
}
END_TEST

#define LARGE (3u << 20)

static void *slow_reader(void *arg)
{
    struct buf *got = arg;
    ssize_t n;

    while ((n = read(peer, buf_reserve(got, 30000), 30000)) > 0)
        got->len += (size_t)n;
    return NULL;
}

START_TEST(test_large_writes_to_a_slow_reader)
{
    static const size_t sizes[] = {1, 100, 65535, 65536, 65537, 300000};
    struct buf sent = {0}, got = {0};
    pthread_t thread;

    for (size_t i = 0; i < LARGE; i++)
        buf_addc(&sent, (char)(i * 31 >> 3));
    ck_assert_int_eq(pthread_create(&thread, NULL, slow_reader, &got), 0);
    for (size_t at = 0, k = 0; at < LARGE; k++) {
        size_t n = sizes[k % (sizeof sizes / sizeof *sizes)];
        if (n > LARGE - at)
            n = LARGE - at;
        ck_assert_int_eq(stream_write(stream, sent.data + at, n), STREAM_OK);
        at += n;
    }
    ck_assert_int_eq(stream_flush(stream), STREAM_OK);
    ck_assert_int_eq(shutdown(stream_fd(stream), SHUT_WR), 0);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(got.len, sent.len);
    ck_assert(memcmp(got.data, sent.data, sent.len) == 0);
    buf_clear(&sent);
    buf_clear(&got);
}
END_TEST

START_TEST(test_write_deadline)
{
    static char block[1 << 20];
    enum stream_status status = STREAM_OK;
    int64_t begin = now_ms();

    stream_set_deadline(stream, 100);
    for (int i = 0; i < 100 && status == STREAM_OK; i++)
        status = stream_write(stream, block, sizeof block);
    ck_assert_int_eq(status, STREAM_TIMEOUT);
    ck_assert_int_lt(now_ms() - begin, 5000);
}
END_TEST

START_TEST(test_write_to_a_closed_peer)
{
    close(peer);
    peer = -1;
    ck_assert_int_eq(stream_printf(stream, "x"), STREAM_OK);
    ck_assert_int_eq(stream_flush(stream), STREAM_EOF);
    ck_assert_int_eq(stream_errno(stream), EPIPE);
    ck_assert_str_eq(stream_status_text(stream, STREAM_EOF), "lost connection");
}
END_TEST

START_TEST(test_printf_of_any_length)
{
    char *text = mem_zalloc(2001);
    char got[2002];

    memset(text, 'y', 2000);
    ck_assert_int_eq(stream_printf(stream, "%s\n", text), STREAM_OK);
    ck_assert_int_eq(stream_flush(stream), STREAM_OK);
    ck_assert_int_eq(read(peer, got, sizeof got), 2001);
    ck_assert(memcmp(got, text, 2000) == 0 && got[2000] == '\n');
    free(text);
}
END_TEST

START_TEST(test_stale)
{
    ck_assert(!stream_is_stale(stream));
    if (_i == 0) {
        say("421 bye\r\n", 9);
    } else {
        close(peer);
        peer = -1;
    }
    ck_assert(stream_is_stale(stream));
}
END_TEST

struct upper {
    int fd;
    int closed;
    short wants;
    int held_up; /* the number of writes that have to wait for input first */
};

static ssize_t upper_read(void *state, void *data, size_t len)
{
    struct upper *u = state;
    ssize_t n = recv(u->fd, data, len, MSG_DONTWAIT);

    if (n == 1 && *(char *)data == '!') { /* data for the transport alone */
        errno = EAGAIN;
        return -1;
    }
    for (ssize_t i = 0; i < n; i++)
        ((char *)data)[i] ^= 0x20;
    return n;
}

static ssize_t upper_write(void *state, const void *data, size_t len)
{
    struct upper *u = state;
    (void)len;
    char c = (char)(*(const char *)data ^ 0x20); /* one byte at a time: partial writes */
    u->wants = POLLIN;
    if (u->held_up-- > 0) {
        errno = EAGAIN;
        return -1;
    }
    return send(u->fd, &c, 1, MSG_DONTWAIT);
}

static short upper_wants(void *state)
{
    return ((struct upper *)state)->wants;
}

static void upper_close(void *state)
{
    ((struct upper *)state)->closed++;
}

START_TEST(test_transport)
{
    static const struct stream_transport upper = {upper_read, upper_write, upper_wants,
                                                  upper_close};
    struct upper state = {stream_fd(stream), 0, POLLIN, 1};
    struct buf line = {0};
    const char *data;
    size_t len;
    char got[4];

    say("early\n", 6);
    ck_assert_int_eq(stream_peek(stream, &data, &len), STREAM_OK);
    stream_set_transport(stream, &upper, &state);
    ck_assert(!stream_has_input(stream));
    say("ABC\x2a", 4);
    ck_assert_int_eq(stream_read_line(stream, &line, 100), STREAM_OK);
    ck_assert_str_eq(buf_str(&line), "abc\n");
    ck_assert_int_eq(stream_write(stream, "xyz", 3), STREAM_OK);
    stream_set_deadline(stream, 50);
    ck_assert_int_eq(stream_flush(stream), STREAM_TIMEOUT); /* it waits for POLLIN, as it wants */
    stream_set_deadline(stream, 5000);
    ck_assert_int_eq(stream_write(stream, "xyz", 3), STREAM_OK);
    ck_assert_int_eq(stream_flush(stream), STREAM_OK);
    ck_assert_int_eq(recv(peer, got, 3, MSG_WAITALL), 3);
    ck_assert_mem_eq(got, "XYZ", 3);
    ck_assert(!stream_is_stale(stream));
    say("!", 1);
    ck_assert(!stream_is_stale(stream));
    say("A", 1);
    ck_assert(stream_is_stale(stream));
    buf_clear(&line);
    stream_free(stream);
    ck_assert_int_eq(state.closed, 1);
    stream = NULL;
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("stream");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_lines, 0, UNIT_COUNT(line_cases));
    tcase_add_test(tc, test_nul_bytes_are_data);
    tcase_add_test(tc, test_peek_and_consume);
    tcase_add_test(tc, test_slow_bytes_do_not_extend_the_deadline);
    tcase_add_test(tc, test_timeout_of_a_silent_peer_and_after_it);
    tcase_add_test(tc, test_shutdown_wakes_a_reader);
    tcase_add_loop_test(tc, test_shutdown_wakes_a_writer, 0, 2);
    tcase_add_test(tc, test_large_writes_to_a_slow_reader);
    tcase_add_test(tc, test_write_deadline);
    tcase_add_test(tc, test_write_to_a_closed_peer);
    tcase_add_test(tc, test_printf_of_any_length);
    tcase_add_loop_test(tc, test_stale, 0, 2);
    tcase_add_test(tc, test_transport);
    return unit_run("stream", tc);
}
