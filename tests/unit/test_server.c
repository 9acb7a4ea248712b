/* SPDX-License-Identifier: ISC */
#include "receive/server.h"
#include "fake_queue.h"
#include "base/log.h"
#include "base/mem.h"
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define START "EHLO mta\r\nMAIL FROM:<s@x>\r\nRCPT TO:<a@x.archive.copy.split.invalid>\r\nDATA\r\n"

static char tag_domain[] = "split.invalid", hostname[] = "relay.test";
static char directory[] = "/tmp/test_server.XXXXXX";
static struct config_destination destination = {.name = "archive"};
static struct endpoint listeners[2];
static struct endpoint_network network;
static struct config config;
static struct snapshot snapshot;
static struct security security; /* without TLS contexts and credentials */
static struct runtime runtime;
static struct runtime_slot slot;
static struct fake_queue queue;
static struct server *server;
static struct task_pool *tasks;
static struct err err;

/* A port that was free a moment ago. */
static uint16_t free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    close(fd);
    return ntohs(sa.sin_port);
}

static void setup(void)
{
    strcpy(directory + sizeof directory - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    listeners[0] = (struct endpoint){.kind = ENDPOINT_INET, .host = "127.0.0.1"};
    listeners[0].port = free_port();
    listeners[1] = (struct endpoint){.kind = ENDPOINT_UNIX};
    snprintf(listeners[1].path, sizeof listeners[1].path, "%s/sock", directory);
    ck_assert_int_eq(endpoint_parse_network("127.0.0.0/8", &network, &err), 0);
    config = (struct config){
        .tag_domain = tag_domain,
        .relay = {.listen = listeners,
                  .listen_count = 2,
                  .hostname = hostname,
                  .trusted_networks = &network,
                  .trusted_network_count = 1,
                  .message_size_limit_bytes = 1000000,
                  .max_connections = 3},
        .destinations = &destination,
        .destination_count = 1,
    };
    snapshot = (struct snapshot){.config = &config, .refs = 1};
    security = (struct security){.config = &config, .refs = 1};
    runtime = (struct runtime){.snapshot = &snapshot, .security = &security, .refs = 1};
    runtime_slot_init(&slot, runtime_ref(&runtime));
    fake_queue_init(&queue);
    tasks = task_pool_new(2, NULL, &err);
    ck_assert_msg(tasks != NULL, "%s", err.text);
}

static void start(void)
{
    server = server_start(&slot, &queue.queue, tasks, &err);
    ck_assert_msg(server != NULL, "%s", err.text);
}

static void teardown(void)
{
    task_pool_free(tasks);
    ck_assert_uint_eq(runtime.refs, 2); /* every session gave its reference back */
    runtime_slot_clear(&slot);
    fake_queue_clear(&queue);
    ck_assert_int_ne(access(listeners[1].path, F_OK), 0);
    ck_assert_int_eq(rmdir(directory), 0);
}

/* Connect from this address to listener `which`: 0 is inet, 1 is unix. */
static int dial_from(const char *source, int which)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(listeners[0].port)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 20};
    int fd = socket(which == 0 ? AF_INET : AF_UNIX, SOCK_STREAM, 0);

    memcpy(un.sun_path, listeners[1].path, sizeof un.sun_path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ck_assert_int_eq(inet_pton(AF_INET, source, &from.sin_addr), 1);
    if (which == 0)
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    if (which == 0)
        ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    else
        ck_assert_int_eq(connect(fd, (struct sockaddr *)&un, sizeof un), 0);
    return fd;
}

static int dial(int which)
{
    return dial_from("127.0.0.1", which);
}

static void say(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Read lines up to one that begins with this text. False: the connection ended before. */
static bool hear(int fd, const char *begin)
{
    char line[512];
    size_t len = 0;

    for (;;) {
        ssize_t n = read(fd, line + len, 1);
        if (n <= 0)
            return false;
        if (line[len++] != '\n') {
            ck_assert_uint_lt(len, sizeof line);
            continue;
        }
        if (strncmp(line, begin, strlen(begin)) == 0)
            return true;
        len = 0;
    }
}

static bool is_closed(int fd)
{
    char c;

    return read(fd, &c, 1) <= 0;
}

START_TEST(test_serves_on_every_socket)
{
    start();
    for (int i = 0; i < 40; i++) {
        int fd = dial(i % 2);
        ck_assert(hear(fd, "220 relay.test"));
        say(fd, START "x\r\n.\r\nQUIT\r\n");
        ck_assert(hear(fd, "250 2.0.0 Ok: queued"));
        ck_assert(hear(fd, "221"));
        ck_assert(is_closed(fd));
        close(fd);
    }
    server_stop(server, 1000);
    ck_assert_uint_eq(queue.committed, 40);
    ck_assert_ptr_nonnull(strstr(buf_str(&queue.text), "client=[127.0.0.1]"));
    ck_assert_ptr_nonnull(strstr(buf_str(&queue.text), "client=[unix]"));
}
END_TEST

START_TEST(test_limit_of_connections)
{
    int fds[3];

    start();
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(i % 2);
        say(fds[i], "EHLO mta\r\nMAIL FROM:<s@x>\r\n"); /* not idle for a while */
        ck_assert(hear(fds[i], "250 2.1.0"));
    }
    int more = dial(1);
    ck_assert(hear(more, "421 4.3.2 relay.test Too many connections"));
    ck_assert(is_closed(more));
    close(more);
    say(fds[0], "QUIT\r\n");
    ck_assert(hear(fds[0], "221"));
    ck_assert(is_closed(fds[0]));
    /* The server frees the place when the connection is closed, or a moment later. */
    bool is_served = false;
    for (int i = 0; i < 1000 && !is_served; i++) {
        int fd = dial(0);
        is_served = hear(fd, "220");
        close(fd);
    }
    ck_assert(is_served);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    server_stop(server, 1000);
}
END_TEST

/* At the limit a new client gets the place of the silent client that came first, as soon as that
 * has been idle for a second. A client within a message keeps its place. */
START_TEST(test_idle_clients_make_room)
{
    int fds[3];
    bool is_served = false;

    start();
    fds[0] = dial(0);
    say(fds[0], "EHLO mta\r\nMAIL FROM:<s@x>\r\n");
    ck_assert(hear(fds[0], "250 2.1.0"));
    for (int i = 1; i < 3; i++) {
        fds[i] = dial(0);
        ck_assert(hear(fds[i], "220"));
    }
    for (int i = 0; i < 2000 && !is_served; i++) {
        struct timespec pause = {.tv_nsec = 10000000};
        int fd = dial(0);
        is_served = hear(fd, "220");
        close(fd);
        nanosleep(&pause, NULL);
    }
    ck_assert(is_served);
    ck_assert(hear(fds[1], "421 4.3.2 relay.test Too many connections"));
    ck_assert(is_closed(fds[1]));
    say(fds[0], "RSET\r\n");
    ck_assert(hear(fds[0], "250 2.0.0"));
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    server_stop(server, 1000);
}
END_TEST

START_TEST(test_client_limit)
{
    int fds[2];

    config.relay.max_connections = 10;
    config.relay.client_connection_limit = 2;
    start();
    for (int i = 0; i < 2; i++) {
        fds[i] = dial(0);
        say(fds[i], "EHLO mta\r\nMAIL FROM:<s@x>\r\n");
        ck_assert(hear(fds[i], "250 2.1.0"));
    }
    int more = dial(0), other = dial_from("127.0.0.2", 0);
    ck_assert(hear(more, "421 4.7.0 relay.test Too many connections"));
    ck_assert(is_closed(more));
    ck_assert(hear(other, "220"));
    for (int i = 0; i < 3; i++) {
        int local = dial(1); /* a client without address */
        ck_assert(hear(local, "220"));
        close(local);
    }
    close(more);
    close(other);
    for (int i = 0; i < 2; i++)
        close(fds[i]);
    server_stop(server, 1000);
}
END_TEST

/* Clients that may come with a certificate do not take the places of trusted networks. */
START_TEST(test_reserve)
{
    int strangers[4], fds[2];

    ck_assert_int_eq(endpoint_parse_network("127.0.0.2/32", &network, &err), 0);
    config.relay.max_connections = 4;
    config.relay.connection_reserve = 50; /* at most the half */
    config.relay.tls.client = CONFIG_TLS_CLIENT_ASK;
    security.relay = (struct tls_context *)&config; /* not NULL; it is not used */
    start();
    for (int i = 0; i < 4; i++) {
        strangers[i] = dial(0);
        bool is_served = hear(strangers[i], "220");
        ck_assert(i >= 2 || is_served);
    }
    for (int i = 0; i < 2; i++) {
        fds[i] = dial_from("127.0.0.2", 0);
        ck_assert(hear(fds[i], "220"));
    }
    for (int i = 0; i < 4; i++)
        close(strangers[i]);
    for (int i = 0; i < 2; i++)
        close(fds[i]);
    server_stop(server, 1000);
    security.relay = NULL;
}
END_TEST

START_TEST(test_untrusted_network)
{
    ck_assert_int_eq(endpoint_parse_network("192.0.2.0/24", &network, &err), 0);
    start();
    int fd = dial(0);
    ck_assert(hear(fd, "554 5.7.1"));
    ck_assert(is_closed(fd));
    close(fd);
    fd = dial(1);
    ck_assert(hear(fd, "220"));
    close(fd);
    server_stop(server, 1000);
}
END_TEST

static void *stop(void *arg)
{
    server_stop(server, *(unsigned *)arg);
    return NULL;
}

/* A stop ends idle sessions at once. A session within a message may finish the message. */
START_TEST(test_graceful_stop)
{
    unsigned grace_ms = 20000;
    pthread_t thread;

    start();
    int idle = dial(0), busy = dial(1);
    ck_assert(hear(idle, "220"));
    say(busy, START "x\r\n");
    ck_assert(hear(busy, "354"));
    ck_assert_int_eq(pthread_create(&thread, NULL, stop, &grace_ms), 0);
    ck_assert(hear(idle, "421 4.3.2"));
    ck_assert(is_closed(idle));
    say(busy, ".\r\n");
    ck_assert(hear(busy, "250 2.0.0 Ok: queued"));
    ck_assert(hear(busy, "421 4.3.2"));
    pthread_join(thread, NULL);
    ck_assert_uint_eq(queue.committed, 1);
    close(idle);
    close(busy);
}
END_TEST

START_TEST(test_stop_cuts_what_does_not_end)
{
    start();
    int fd = dial(0);
    say(fd, START "x\r\n");
    ck_assert(hear(fd, "354"));
    server_stop(server, 100);
    ck_assert(is_closed(fd));
    ck_assert_uint_eq(queue.committed, 0);
    ck_assert_uint_eq(queue.aborted, 1);
    close(fd);
}
END_TEST

START_TEST(test_address_in_use)
{
    struct err why = {0};

    start();
    /* The second server fails at its inet socket. The first server and its unix socket stay. */
    struct server *second = server_start(&slot, &queue.queue, tasks, &why);
    ck_assert_ptr_null(second);
    ck_assert_ptr_nonnull(strstr(why.text, "Address already in use"));
    int fd = dial(1);
    ck_assert(hear(fd, "220"));
    close(fd);
    server_stop(server, 1000);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("server");

    if (log_open("test_server", "stderr", "mail", "error", &err) != 0)
        return EXIT_FAILURE;
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_serves_on_every_socket);
    tcase_add_test(tc, test_limit_of_connections);
    tcase_add_test(tc, test_idle_clients_make_room);
    tcase_add_test(tc, test_client_limit);
    tcase_add_test(tc, test_reserve);
    tcase_add_test(tc, test_untrusted_network);
    tcase_add_test(tc, test_graceful_stop);
    tcase_add_test(tc, test_stop_cuts_what_does_not_end);
    tcase_add_test(tc, test_address_in_use);
    return unit_run("server", tc);
}
