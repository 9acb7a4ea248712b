/* SPDX-License-Identifier: ISC */
#include "net/tls.h"
#include "base/mem.h"
#include "net/tls_private.h"
#include "task/task.h"
#include "unit.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGE 3000000
#define WAIT_MS 20000
#define RECORD 12000 /* bytes in one record of TLS, more than a stream reads at first */

static char path[] = "/tmp/test_tls.XXXXXX";
static struct string_list none;

/* A certificate for host.test, signed by its key, in the file `path`. Frees the key. */
static void write_certificate(EVP_PKEY *key)
{
    X509 *cert = X509_new();
    X509_EXTENSION *san =
        X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:host.test,IP:192.0.2.1");

    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_set_version(cert, 2);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"ho\nst", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_add_ext(cert, san, -1);
    ck_assert_int_gt(X509_sign(cert, key, EVP_sha256()), 0);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    ck_assert_int_eq(PEM_write_X509(f, cert), 1);
    ck_assert_int_eq(fclose(f), 0);
    X509_EXTENSION_free(san);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void setup(void)
{
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    close(fd);
    write_certificate(EVP_EC_gen("P-256"));
}

static void teardown(void)
{
    unlink(path);
}

/* A server for one connection. It sends back what it reads; "hello" for "?", and a whole RECORD for
 * "!". */
struct server {
    struct stream *stream;
    struct tls_context *context;
    enum stream_status status;
    struct tls_info info;
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct server *s = arg;
    static const char greeting[] = "hello\r\n";
    struct err err;
    char data[RECORD] = "";
    size_t n;

    s->status = tls_accept(s->stream, s->context, WAIT_MS, &s->info, &err);
    if (s->status != STREAM_OK)
        return NULL;
    stream_set_deadline(s->stream, WAIT_MS);
    while (stream_read(s->stream, data, 4096, &n) == STREAM_OK) {
        const char *answer = data[0] == '?' ? greeting : data;
        size_t len = data[0] == '?' ? 7 : data[0] == '!' ? sizeof data : n;
        if (stream_write(s->stream, answer, len) != STREAM_OK ||
            stream_flush(s->stream) != STREAM_OK)
            break;
    }
    return NULL;
}

static struct tls_context *new_server(void)
{
    struct tls_options o = {
        .cert_file = path, .key_file = "", .ca_file = "", .fingerprints = &none};
    struct err err;
    struct tls_context *c = tls_server_new(&o, &err);

    if (c == NULL)
        ck_abort_msg("%s", err.text);
    return c;
}

static struct tls_context *new_client(const char *ca_file, const struct string_list *prints)
{
    struct tls_options o = {
        .cert_file = "", .key_file = "", .ca_file = ca_file, .fingerprints = prints};
    struct err err;
    struct tls_context *c = tls_client_new(&o, &err);

    if (c == NULL)
        ck_abort_msg("%s", err.text);
    return c;
}

static struct stream *start(struct server *s, struct tls_context *context)
{
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    memset(s, 0, sizeof *s);
    s->stream = stream_new(pair[0]);
    s->context = context;
    ck_assert_int_eq(pthread_create(&s->thread, NULL, serve, s), 0);
    return stream_new(pair[1]);
}

static void stop(struct server *s, struct stream *client)
{
    stream_free(client);
    pthread_join(s->thread, NULL);
    stream_free(s->stream);
}

static struct tls_info connect_as(struct stream *stream, struct tls_context *c, const char *name,
                                  enum tls_trust wanted)
{
    struct tls_peer peer = {.name = name, .names = &none, .place = "place", .wanted = wanted};
    struct tls_info info;
    struct err err;

    if (tls_connect(stream, c, &peer, WAIT_MS, &info, &err) != STREAM_OK)
        ck_abort_msg("%s", err.text);
    stream_set_deadline(stream, WAIT_MS);
    return info;
}

START_TEST(names_and_fingerprints)
{
    static const struct {
        bool has_ca;
        const char *name;
        enum tls_trust trust;
    } cases[] = {
        {true, "host.test", TLS_VERIFIED},   {true, "HOST.test", TLS_VERIFIED},
        {true, "192.0.2.1", TLS_VERIFIED},   {true, ".test", TLS_VERIFIED},
        {true, "other.test", TLS_TRUSTED},   {true, "host.test.evil.test", TLS_TRUSTED},
        {true, "192.0.2.10", TLS_TRUSTED},   {true, "", TLS_TRUSTED},
        {false, "host.test", TLS_UNTRUSTED},
    };
    struct tls_context *server = new_server();
    struct tls_context *client = new_client(cases[_i].has_ca ? path : "", &none);
    struct server s;
    struct stream *stream = start(&s, server);

    struct tls_info info = connect_as(stream, client, cases[_i].name, TLS_ANONYMOUS);
    ck_assert_int_eq(info.trust, cases[_i].trust);
    ck_assert_int_eq(info.why[0] == '\0', info.trust == TLS_VERIFIED);
    ck_assert_str_eq(info.subject, "ho?st");
    stop(&s, stream);
    ck_assert_int_eq(s.info.trust, TLS_ANONYMOUS);
    tls_context_free(client);

    /* The same certificate is verified by its fingerprint for any name. */
    char *print = info.fingerprint;
    struct string_list prints = {.items = &print, .count = 1};
    client = new_client("", &prints);
    stream = start(&s, server);
    ck_assert_int_eq(connect_as(stream, client, cases[_i].name, TLS_ANONYMOUS).trust, TLS_VERIFIED);
    stop(&s, stream);
    tls_context_free(client);
    info.fingerprint[0] = info.fingerprint[0] == '0' ? '1' : '0';
    client = new_client("", &prints);
    stream = start(&s, server);
    ck_assert_int_eq(connect_as(stream, client, cases[_i].name, TLS_ANONYMOUS).trust,
                     TLS_UNTRUSTED);
    stop(&s, stream);
    tls_context_free(client);
    tls_context_free(server);
}
END_TEST

/* Content that is larger than all buffers, in both directions. Before it, the session tickets of
 * TLS 1.3 must not make the connection look stale. */
START_TEST(content_and_staleness)
{
    struct tls_context *server = new_server(), *client = new_client("", &none);
    struct server s;
    struct stream *stream = start(&s, server);
    struct buf line = {0};
    struct pollfd p = {.fd = stream_fd(stream), .events = POLLIN};
    char *data = mem_zalloc(LARGE);
    size_t got = 0, n = 0;

    connect_as(stream, client, "host.test", TLS_ANONYMOUS);
    ck_assert_int_eq(poll(&p, 1, WAIT_MS), 1); /* session tickets */
    ck_assert(!stream_is_stale(stream));
    ck_assert_int_eq(stream_write(stream, "?", 1), STREAM_OK);
    ck_assert_int_eq(stream_flush(stream), STREAM_OK);
    ck_assert_int_eq(stream_read_line(stream, &line, 100), STREAM_OK);
    ck_assert_str_eq(buf_str(&line), "hello\r\n");
    ck_assert(!stream_is_stale(stream));
    for (size_t at = 0; at < LARGE; at += 100000) {
        memset(data, 'a' + (int)(at / 100000 % 26), 100000);
        ck_assert_int_eq(stream_write(stream, data, 100000), STREAM_OK);
        ck_assert_int_eq(stream_flush(stream), STREAM_OK);
        for (got = 0; got < 100000; got += n) {
            ck_assert_int_eq(stream_read(stream, data, LARGE, &n), STREAM_OK);
            for (size_t i = 0; i < n; i++)
                ck_assert_int_eq(data[i], 'a' + (int)(at / 100000 % 26));
        }
    }
    stream_shutdown_read(s.stream);
    pthread_join(s.thread, NULL);
    stream_free(s.stream);
    ck_assert_int_eq(poll(&p, 1, WAIT_MS), 1);
    ck_assert(stream_is_stale(stream));
    ck_assert_int_eq(stream_read(stream, data, 1, &n), STREAM_EOF);
    stream_free(stream);
    buf_clear(&line);
    free(data);
    tls_context_free(client);
    tls_context_free(server);
}
END_TEST

/* The stream's buffer takes only a part of a record. The rest is no longer on the socket, but it
 * makes the connection stale. */
START_TEST(rest_of_a_record)
{
    struct tls_context *server = new_server(), *client = new_client("", &none);
    struct server s;
    struct stream *stream = start(&s, server);
    size_t n = 0;
    char *data = mem_zalloc(RECORD);

    connect_as(stream, client, "host.test", TLS_ANONYMOUS);
    ck_assert_int_eq(stream_write(stream, "!", 1), STREAM_OK);
    ck_assert_int_eq(stream_flush(stream), STREAM_OK);
    ck_assert_int_eq(stream_read(stream, data, RECORD, &n), STREAM_OK);
    ck_assert_uint_lt(n, RECORD);
    ck_assert(!stream_has_input(stream));
    ck_assert(stream_is_stale(stream));
    stop(&s, stream);
    free(data);
    tls_context_free(client);
    tls_context_free(server);
}
END_TEST

START_TEST(write_deadline)
{
    struct tls_context *server = new_server(), *client = new_client("", &none);
    struct server s;
    struct stream *stream = start(&s, server);
    char *data = mem_zalloc(LARGE);

    connect_as(stream, client, "host.test", TLS_ANONYMOUS);
    /* The client does not read, so both directions are full in the end, and the deadline passes. */
    stream_set_deadline(stream, 300);
    enum stream_status status = STREAM_OK;
    for (int i = 0; i < 100 && status == STREAM_OK; i++)
        status = stream_write(stream, data, LARGE);
    ck_assert_int_eq(status, STREAM_TIMEOUT);
    stop(&s, stream);
    free(data);
    tls_context_free(client);
    tls_context_free(server);
}
END_TEST

START_TEST(sessions_are_resumed)
{
    struct tls_context *server = new_server(), *client = new_client(path, &none);
    struct buf line = {0};

    for (int i = 0; i < 4; i++) {
        struct server s;
        struct stream *stream = start(&s, server);
        /* The first two have not the wanted trust, so their sessions are not kept. */
        const char *name = i < 2 ? "other.test" : "host.test";
        struct tls_info info = connect_as(stream, client, name, TLS_VERIFIED);
        ck_assert_int_eq(info.is_resumed, i == 3);
        ck_assert_int_eq(info.trust, i < 2 ? TLS_TRUSTED : TLS_VERIFIED);
        ck_assert_int_eq(stream_write(stream, "?", 1), STREAM_OK);
        ck_assert_int_eq(stream_flush(stream), STREAM_OK);
        ck_assert_int_eq(stream_read_line(stream, &line, 100), STREAM_OK);
        stop(&s, stream);
    }
    buf_clear(&line);
    tls_context_free(client);
    tls_context_free(server);
}
END_TEST

/* The peer sends nothing, sends text that is no handshake, or closes the connection. */
START_TEST(handshakes_that_fail)
{
    static const char *const wanted[] = {"timed out", "", "lost connection"};
    static const enum stream_status status[] = {STREAM_TIMEOUT, STREAM_ERROR, STREAM_EOF};
    struct tls_context *server = new_server(), *client = new_client("", &none);
    struct tls_peer peer = {.name = "host.test", .names = &none, .place = "place"};
    struct tls_info info;
    struct err err;
    int pair[2];

    for (int is_server = 0; is_server < 2; is_server++) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        struct stream *stream = stream_new(pair[0]);
        if (_i == 1)
            ck_assert_int_eq(write(pair[1], "250 This is no handshake\r\n", 26), 26);
        if (_i == 2)
            ck_assert_int_eq(shutdown(pair[1], SHUT_WR), 0);
        enum stream_status got = is_server == 1
                                     ? tls_accept(stream, server, 200, &info, &err)
                                     : tls_connect(stream, client, &peer, 200, &info, &err);
        ck_assert_int_eq(got, status[_i]);
        ck_assert(err.text[0] != '\0' && strstr(err.text, wanted[_i]) != NULL);
        stream_free(stream);
        close(pair[1]);
    }
    tls_context_free(client);
    tls_context_free(server);
}
END_TEST

START_TEST(files_that_cannot_be_used)
{
    static const struct {
        const char *cert, *key, *ca;
    } cases[] = {{"/nonexistent", "", ""}, {"/dev/null", "", ""}, {"", "", "/dev/null"}};
    struct tls_options o = {.cert_file = cases[_i].cert,
                            .key_file = cases[_i].key,
                            .ca_file = cases[_i].ca,
                            .fingerprints = &none};
    const char *file = o.cert_file[0] != '\0' ? o.cert_file : o.ca_file;
    struct err err;

    ck_assert_ptr_null(tls_client_new(&o, &err));
    ck_assert(strncmp(err.text, file, strlen(file)) == 0);
    if (_i == 0)
        ck_assert_str_eq(err.text, "/nonexistent: No such file or directory");
    ck_assert_ptr_null(tls_server_new(&o, &err));
}
END_TEST

/* --- the handshake in tasks --- */

static atomic_uint steps_in_task, steps_elsewhere;

static void note_step(const SSL *ssl, int where, int value)
{
    (void)ssl;
    (void)value;
    if ((where & SSL_CB_LOOP) != 0)
        atomic_fetch_add(task_is_inside() ? &steps_in_task : &steps_elsewhere, 1);
}

static void serve_in_task(void *arg)
{
    serve(arg);
}

/* A server in a task signs with an RSA key on a helper thread, and with an EC key in place. */
START_TEST(slow_keys_stop_no_task)
{
    bool is_rsa = _i == 1;

    if (is_rsa)
        write_certificate(EVP_RSA_gen(2048));
    struct tls_context *server = new_server(), *client = new_client("", &none);
    struct server s = {.context = server};
    struct err err;
    int pair[2];
    struct task_pool *pool = task_pool_new(1, tls_thread_end, &err);

    ck_assert_ptr_nonnull(pool);
    steps_in_task = steps_elsewhere = 0;
    SSL_CTX_set_info_callback(server->ctx, note_step);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    s.stream = stream_new(pair[0]);
    struct stream *stream = stream_new(pair[1]);
    ck_assert_int_eq(task_start(pool, serve_in_task, &s), 0);
    struct tls_info info = connect_as(stream, client, "host.test", TLS_ANONYMOUS);
    ck_assert_str_eq(info.subject, "ho?st");
    stream_free(stream);
    task_pool_free(pool);
    stream_free(s.stream);
    ck_assert_int_eq(s.status, STREAM_OK);
    ck_assert_uint_gt(is_rsa ? steps_elsewhere : steps_in_task, 0);
    ck_assert_uint_eq(is_rsa ? steps_in_task : steps_elsewhere, 0);
    tls_context_free(client);
    tls_context_free(server);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("tls");

    signal(SIGPIPE, SIG_IGN);

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, names_and_fingerprints, 0, 9);
    tcase_add_test(t, content_and_staleness);
    tcase_add_test(t, rest_of_a_record);
    tcase_add_test(t, write_deadline);
    tcase_add_test(t, sessions_are_resumed);
    tcase_add_loop_test(t, handshakes_that_fail, 0, 3);
    tcase_add_loop_test(t, files_that_cannot_be_used, 0, 3);
    tcase_add_loop_test(t, slow_keys_stop_no_task, 0, 2);
    return unit_run("tls", t);
}
