/* SPDX-License-Identifier: ISC */
/*
 * The content comes through a transport that hands it out in pieces of a given size, or slowly from
 * a thread; it goes to a fake queue and to a primary that is connected to an SMTP server.
 */
#include "receive/content_reader.h"
#include "base/mem.h"
#include "fake_queue.h"
#include "smtp_peer.h"
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LONG_MS 8000 /* a timeout that no test waits for */
#define SHORT_MS 50  /* one that is waited for */
#define LIMIT 1000
#define TRACE "Received: here\r\n"

static char hostname[] = "relay.test", listener_name[] = "front", nothing[] = "";
static struct endpoint endpoint;
static struct config_listener listener;
static struct config config = {
    .relay = {.hostname = hostname}, .listeners = &listener, .listener_count = 1};
static struct snapshot snapshot = {.config = &config, .refs = 1};
static struct runtime runtime = {.snapshot = &snapshot, .refs = 1};

static const struct peer_script script;
static struct peer *peer;
static struct primary_pool *pool;
static struct primary *primary;
static struct fake_queue queue;
static struct queue_put *put;
static struct content *content;
static struct buf trace, block;
static struct content_found found;
static struct err detail;
static atomic_llong idle_since_ms;

static void begin_put(void)
{
    static const struct queue_message message = {.sender = nothing,
                                                 .client_name = nothing,
                                                 .client_addr = nothing,
                                                 .helo = nothing,
                                                 .protocol = nothing,
                                                 .mta_queue_id = nothing,
                                                 .message_id = nothing};

    ck_assert_int_eq(queue.queue.ops->put_begin(&queue.queue, &message, NULL, 0, &put, &detail),
                     QUEUE_PUT_OK);
}

/* Up to 354. */
static void begin_primary(void)
{
    static const char *const no_words[] = {NULL};
    struct buf reply = {0};

    ck_assert(primary_open(primary));
    primary_mail(primary, "<s@x.test>", no_words, NULL);
    primary_rcpt(primary, "<a@x.test>", no_words);
    ck_assert_int_eq(primary_answer(primary, &reply), PRIMARY_YES);
    ck_assert_int_eq(primary_answer(primary, &reply), PRIMARY_YES);
    ck_assert_int_eq(primary_data(primary, &reply), PRIMARY_YES);
    buf_clear(&reply);
}

static void setup(void)
{
    fake_queue_init(&queue);
    begin_put();
    peer = peer_start(&script);
    endpoint =
        (struct endpoint){.kind = ENDPOINT_INET, .host = "127.0.0.1", .port = peer_port(peer)};
    listener = (struct config_listener){.name = listener_name,
                                        .primary = {.name = listener_name,
                                                    .relay_to = &endpoint,
                                                    .relay_to_count = 1,
                                                    .connect_timeout_ms = LONG_MS,
                                                    .command_timeout_ms = LONG_MS}};
    pool = primary_pool_new(&detail);
    ck_assert_ptr_nonnull(pool);
    primary = primary_new(&runtime, &listener, pool);
    begin_primary();
    buf_adds(&trace, TRACE);
    content = content_new(hostname);
}

static void teardown(void)
{
    primary_abandon(primary);
    primary_free(primary);
    primary_pool_free(pool);
    peer_stop(peer);
    peer_free(peer);
    if (put != NULL)
        queue.queue.ops->put_abort(put);
    fake_queue_clear(&queue);
    content_free(content);
    buf_clear(&trace);
    buf_clear(&block);
}

/* --- the client --- */

struct wire {
    const char *in;
    size_t at, piece;
    size_t fault_at; /* the queue fails after so many bytes; 0: never */
    bool is_silent;  /* after all bytes; else the connection is closed */
};

static ssize_t wire_read(void *state, void *data, size_t len)
{
    struct wire *w = state;
    size_t n = strlen(w->in + w->at);

    ck_assert_int_ne(atomic_load(&idle_since_ms), 0);
    if (w->fault_at > 0 && w->at >= w->fault_at)
        queue.data_status = QUEUE_PUT_FULL;
    n = n < w->piece ? n : w->piece;
    n = n < len ? n : len;
    memcpy(data, w->in + w->at, n);
    w->at += n;
    errno = EAGAIN;
    return n == 0 && w->is_silent ? -1 : (ssize_t)n;
}

static ssize_t wire_write(void *state, const void *data, size_t len)
{
    (void)state;
    (void)data;
    return (ssize_t)len;
}

static short wire_wants(void *state)
{
    (void)state;
    return POLLIN;
}

static void wire_close(void *state)
{
    (void)state;
}

static const struct stream_transport transport = {wire_read, wire_write, wire_wants, wire_close};

static enum stream_status read_from(struct stream *s, struct primary *to, uint64_t limit,
                                    unsigned timeout_ms, unsigned min_rate)
{
    const struct content_source source = {
        .stream = s,
        .timeout_ms = timeout_ms,
        .min_rate = min_rate,
        .idle_since_ms = &idle_since_ms,
    };
    const struct content_sinks sinks = {
        .queue = &queue.queue,
        .put = &put,
        .primary = to,
        .trace = &trace,
        .block = &block,
        .size_limit_bytes = limit,
    };

    found = (struct content_found){.size_bytes = 77, .put_status = QUEUE_PUT_FAULT};
    enum stream_status status = content_read(content, &source, &sinks, &found, &detail);
    ck_assert_int_eq(atomic_load(&idle_since_ms), 0);
    return status;
}

static enum stream_status read_wire(struct wire *w, struct primary *to, uint64_t limit)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct stream *s = stream_new(fds[0]);
    stream_set_transport(s, &transport, w);
    enum stream_status status = read_from(s, to, limit, w->is_silent ? SHORT_MS : LONG_MS, 0);
    stream_free(s);
    close(fds[1]);
    return status;
}

/* --- what the sinks got --- */

static void check_put(const char *expected)
{
    ck_assert_ptr_nonnull(put);
    ck_assert_int_eq(queue.queue.ops->put_commit(put, NULL, NULL, &detail), QUEUE_PUT_OK);
    put = NULL;
    ck_assert_str_eq(strstr(buf_str(&queue.text), "content:") + strlen("content:"), expected);
}

static void check_primary(const char *expected)
{
    struct buf reply = {0};

    primary_dot(primary);
    ck_assert_int_eq(primary_answer(primary, &reply), PRIMARY_YES);
    buf_clear(&reply);
    const struct buf *got = peer_content(peer);
    ck_assert_uint_eq(got->len, strlen(expected));
    ck_assert_mem_eq(buf_str(got), expected, got->len);
}

static void check_put_dropped(void)
{
    ck_assert_ptr_null(put);
    ck_assert_uint_eq(queue.aborted, 1);
    ck_assert_uint_eq(queue.committed, 0);
}

/* The primary saw no final dot. */
static void check_all_dropped(void)
{
    check_put_dropped();
    ck_assert_ptr_null(primary_features(primary));
    ck_assert_uint_eq(peer_count(peer, PEER_DOT), 0);
}

/* --- the tests --- */

static const size_t pieces[] = {1, 3, 1000};

/* Content, what it is in the queue, and what it is below the trace at the primary. The size limit
 * is just large enough. */
static const struct {
    const char *in, *put, *primary;
} full_cases[] = {
    {"Subject: x\r\n\r\n..b\r\n.\r\n", "Subject: x\r\n\r\n.b\r\n", "Subject: x\r\n\r\n.b\r\n"},
    {" no header\r\n.\r\n", " no header\r\n", "\r\n no header\r\n"},
    {".\r\n", "", ""},
};

START_TEST(fills_all)
{
    size_t i = (size_t)_i / UNIT_COUNT(pieces);
    struct wire w = {.in = full_cases[i].in, .piece = pieces[(size_t)_i % UNIT_COUNT(pieces)]};
    char *expected = mem_printf("%s%s", TRACE, full_cases[i].primary);

    ck_assert_int_eq(read_wire(&w, primary, strlen(full_cases[i].put)), STREAM_OK);
    ck_assert(content_is_complete(content));
    ck_assert_uint_eq(found.size_bytes, strlen(full_cases[i].put));
    ck_assert_int_eq(found.put_status, QUEUE_PUT_OK);
    check_put(full_cases[i].put);
    check_primary(expected);
    free(expected);
}
END_TEST

START_TEST(fills_queue_alone)
{
    struct wire w = {.in = "x\r\n.\r\n", .piece = 1};

    ck_assert_int_eq(read_wire(&w, NULL, LIMIT), STREAM_OK);
    check_put("x\r\n");
}
END_TEST

START_TEST(fills_primary_alone)
{
    struct wire w = {.in = "x\r\n.\r\n", .piece = 1};

    queue.queue.ops->put_abort(put);
    put = NULL;
    ck_assert_int_eq(read_wire(&w, primary, LIMIT), STREAM_OK);
    ck_assert_int_eq(found.put_status, QUEUE_PUT_OK);
    check_primary(TRACE "x\r\n");
}
END_TEST

/* A message that cannot be accepted is read to its end. */
static const struct {
    const char *in;
    uint64_t limit, size;
    bool has_bare_lf;
} refused_cases[] = {
    {"a\r\nb\nc\r\n.\r\n", LIMIT, 8, true},
    {"12345\r\n.\r\n", 6, 7, false},
};

START_TEST(refuses)
{
    size_t i = (size_t)_i / UNIT_COUNT(pieces);
    struct wire w = {.in = refused_cases[i].in, .piece = pieces[(size_t)_i % UNIT_COUNT(pieces)]};

    ck_assert_int_eq(read_wire(&w, primary, refused_cases[i].limit), STREAM_OK);
    ck_assert(content_is_complete(content));
    ck_assert_uint_eq(found.size_bytes, refused_cases[i].size);
    ck_assert_int_eq(content_has_bare_lf(content), refused_cases[i].has_bare_lf);
    ck_assert_int_eq(found.put_status, QUEUE_PUT_OK);
    check_all_dropped();
}
END_TEST

START_TEST(queue_fails)
{
    struct wire w = {.in = "line 1\r\nline 2\r\nline 3\r\n.\r\n", .piece = 4, .fault_at = 12};

    ck_assert_int_eq(read_wire(&w, primary, LIMIT), STREAM_OK);
    ck_assert_uint_eq(found.size_bytes, 24);
    ck_assert_int_eq(found.put_status, QUEUE_PUT_FULL);
    ck_assert_str_eq(detail.text, "spool is unwell");
    check_put_dropped();
    check_primary(TRACE "line 1\r\nline 2\r\nline 3\r\n");
}
END_TEST

START_TEST(client_is_lost)
{
    bool is_silent = _i == 1;
    struct wire w = {.in = "line 1\r\nline 2\r\n.", .piece = 4, .is_silent = is_silent};

    ck_assert_int_eq(read_wire(&w, primary, LIMIT), is_silent ? STREAM_TIMEOUT : STREAM_EOF);
    ck_assert(!content_is_complete(content));
    check_all_dropped();
}
END_TEST

/* --- minimum rate --- */

#define SLOW_PIECES 40
#define SLOW_GAP_MS 25
#define SLOW_TIMEOUT_MS 500 /* longer than each gap, shorter than all of them */

struct writer {
    int fd;
    const char *piece;
};

static void *write_slowly(void *arg)
{
    const struct writer *w = arg;

    for (int i = 0; i < SLOW_PIECES; i++) {
        if (send(w->fd, w->piece, strlen(w->piece), MSG_NOSIGNAL) < 0)
            return NULL;
        poll(NULL, 0, SLOW_GAP_MS);
    }
    /* The reader may have given up. */
    (void)!send(w->fd, "\r\n.\r\n", 5, MSG_NOSIGNAL);
    return NULL;
}

/* Bytes per second; the first client sends no more than 40, the others no more than 400. */
static const struct {
    const char *piece;
    unsigned min_rate;
    enum stream_status status;
} rate_cases[] = {
    {"x", 1000, STREAM_TIMEOUT},
    {"123456789 ", 100, STREAM_OK},
    {"123456789 ", 0, STREAM_OK},
};

START_TEST(min_rate)
{
    struct writer w = {.piece = rate_cases[_i].piece};
    pthread_t thread;
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    w.fd = fds[1];
    struct stream *s = stream_new(fds[0]);
    ck_assert_int_eq(pthread_create(&thread, NULL, write_slowly, &w), 0);
    ck_assert_int_eq(read_from(s, primary, LIMIT, SLOW_TIMEOUT_MS, rate_cases[_i].min_rate),
                     rate_cases[_i].status);
    stream_free(s);
    pthread_join(thread, NULL);
    close(fds[1]);
    if (rate_cases[_i].status != STREAM_OK)
        check_all_dropped();
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("content_reader");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, fills_all, 0, UNIT_COUNT(full_cases) * UNIT_COUNT(pieces));
    tcase_add_test(tests, fills_queue_alone);
    tcase_add_test(tests, fills_primary_alone);
    tcase_add_loop_test(tests, refuses, 0, UNIT_COUNT(refused_cases) * UNIT_COUNT(pieces));
    tcase_add_test(tests, queue_fails);
    tcase_add_loop_test(tests, client_is_lost, 0, 2);
    tcase_add_loop_test(tests, min_rate, 0, UNIT_COUNT(rate_cases));
    return unit_run("content_reader", tests);
}
