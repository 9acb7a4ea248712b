/* SPDX-License-Identifier: ISC */
#include "smtp_peer.h"
#include "base/mem.h"
#include "net/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 10000 /* of every wait; longer than all timeouts of the tests */
#define LINE_MAX_BYTES 300000
#define BODY_FAULT_BYTES 65536
#define CONNECTIONS_MAX 64

struct connection {
    struct peer *peer;
    struct stream *stream; /* NULL: closed; changed under peer->lock */
    pthread_t thread;
    bool has_mail;
    unsigned accepted; /* recipients of this transaction */
};

struct peer {
    const struct peer_script *script;
    int listen_fd;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_stopping;
    unsigned counts[PEER_STEPS];
    unsigned messages;
    struct buf commands, content;
    struct connection connections[CONNECTIONS_MAX];
    unsigned connection_count;
};

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

static void flush_to(struct connection *k, const char *text, size_t len)
{
    /* A fault here is ignored: if the client has closed the connection, the next read fails. */
    if (stream_write(k->stream, text, len) == STREAM_OK && stream_flush(k->stream) == STREAM_OK)
        return;
}

/* Wait until the client closes the connection. */
static void be_silent(struct connection *k)
{
    char sink[4096];
    size_t n;

    while (stream_read(k->stream, sink, sizeof sink, &n) == STREAM_OK)
        ;
}

static void reset(struct connection *k)
{
    struct linger abortive = {.l_onoff = 1, .l_linger = 0};

    setsockopt(stream_fd(k->stream), SOL_SOCKET, SO_LINGER, &abortive, sizeof abortive);
}

static void send_slowly(struct connection *k, const char *text)
{
    for (; *text != '\0'; text++) {
        struct pollfd p = {.fd = stream_fd(k->stream), .events = POLLRDHUP};
        flush_to(k, text, 1);
        if (poll(&p, 1, 50) > 0)
            return;
    }
}

/* Do what the fault says. True: the dialogue goes on. */
static bool misbehave(struct connection *k, const struct peer_fault *f, const char *usual)
{
    static char long_line[300000];

    switch (f->action) {
    case PEER_REPLY:
        flush_to(k, f->reply, strlen(f->reply));
        return true;
    case PEER_REPLY_BYE:
        flush_to(k, f->reply, strlen(f->reply));
        return false;
    case PEER_GARBAGE:
        flush_to(k, "\x16\x03\x01 garbage\r\n", 13);
        break;
    case PEER_LONG_LINE:
        memset(long_line, '2', sizeof long_line);
        memcpy(long_line, "250 ", 4);
        flush_to(k, long_line, sizeof long_line);
        break;
    case PEER_HALF_LINE:
        flush_to(k, "250 2.1", 7);
        break;
    case PEER_SILENCE:
        break;
    case PEER_SLOW:
        send_slowly(k, usual);
        return true;
    case PEER_RESET:
        reset(k);
        return false;
    case PEER_CLOSE:
        return false;
    }
    be_silent(k);
    return false;
}

/* Count the step. Returns the fault that is due at it, or NULL. */
static const struct peer_fault *next_fault(struct peer *p, enum peer_step step)
{
    const struct peer_fault *found = NULL;

    pthread_mutex_lock(&p->lock);
    unsigned nth = p->counts[step]++;
    for (size_t i = 0; i < p->script->fault_count && found == NULL; i++) {
        const struct peer_fault *f = &p->script->faults[i];
        if (f->step == step && (f->nth == nth || f->nth == PEER_ALWAYS))
            found = f;
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return found;
}

/* Reply to a command. *accepted_out: the reply is 2xx or 3xx. False: the dialogue is over. */
static bool answer(struct connection *k, enum peer_step step, const char *usual, bool *accepted_out)
{
    const struct peer_fault *f = next_fault(k->peer, step);

    *accepted_out = f == NULL || f->action == PEER_SLOW ||
                    (f->action == PEER_REPLY && (f->reply[0] == '2' || f->reply[0] == '3'));
    if (f != NULL)
        return misbehave(k, f, usual);
    flush_to(k, usual, strlen(usual));
    return true;
}

static bool say(struct connection *k, enum peer_step step, const char *usual)
{
    bool accepted;

    return answer(k, step, usual, &accepted);
}

/* Read the content up to the final dot. False: the dialogue is over. */
static bool read_content(struct connection *k, struct buf *content)
{
    struct buf line = {0};
    bool at_line_start = true;
    bool told = false;
    bool result = false;

    for (;;) {
        if (stream_read_line(k->stream, &line, LINE_MAX_BYTES) != STREAM_OK)
            break;
        bool is_end = at_line_start && line.len == 3 && memcmp(line.data, ".\r\n", 3) == 0;
        if (!told && (is_end || content->len >= BODY_FAULT_BYTES)) {
            const struct peer_fault *f = next_fault(k->peer, PEER_BODY);
            told = true;
            if (f != NULL && !misbehave(k, f, ""))
                break;
        }
        result = is_end;
        if (is_end)
            break;
        size_t dot = at_line_start && line.data[0] == '.' ? 1 : 0;
        buf_add(content, line.data + dot, line.len - dot);
        at_line_start = line.len >= 2 && line.data[line.len - 2] == '\r';
    }
    buf_clear(&line);
    return result;
}

static bool take_message(struct connection *k)
{
    struct peer *p = k->peer;
    struct buf content = {0};
    bool was_taken = false;

    bool goes_on = read_content(k, &content);
    if (goes_on) {
        pthread_mutex_lock(&p->lock);
        buf_reset(&p->content);
        buf_add(&p->content, content.data, content.len);
        pthread_mutex_unlock(&p->lock);
    }
    buf_clear(&content);
    unsigned replies = p->script->is_lmtp ? k->accepted : 1;
    for (unsigned i = 0; i < replies && goes_on; i++) {
        bool accepted;
        goes_on = answer(k, PEER_DOT,
                         k->accepted == 0 ? "554 5.5.1 no recipients\r\n" : "250 2.0.0 taken\r\n",
                         &accepted);
        was_taken = was_taken || (accepted && k->accepted > 0);
    }
    pthread_mutex_lock(&p->lock);
    p->messages += was_taken;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    k->has_mail = false;
    k->accepted = 0;
    return goes_on;
}

static void format_hello(const struct peer_script *s, struct buf *out)
{
    const char *at = s->extensions == NULL ? "PIPELINING\r\n" : s->extensions;

    buf_adds(out, "250-peer.example\r\n");
    while (*at != '\0') {
        size_t len = strcspn(at, "\n") + 1;
        buf_adds(out, "250-");
        buf_add(out, at, len);
        at += len;
    }
    buf_adds(out, "250 HELP\r\n");
}

static bool begins(const char *line, const char *verb)
{
    return strncasecmp(line, verb, strlen(verb)) == 0;
}

/* Execute one command. False: the dialogue is over. */
static bool obey(struct connection *k, const char *line)
{
    const struct peer_script *s = k->peer->script;
    bool accepted;
    bool goes_on;

    if (begins(line, s->is_lmtp ? "LHLO " : "EHLO ")) {
        struct buf hello = {0};
        format_hello(s, &hello);
        goes_on = say(k, PEER_HELLO, buf_str(&hello));
        buf_clear(&hello);
        return goes_on;
    }
    if (begins(line, "HELO ") && !s->is_lmtp)
        return say(k, PEER_HELO, "250 peer.example\r\n");
    if (begins(line, "RSET")) {
        k->has_mail = false;
        k->accepted = 0;
        return say(k, PEER_RSET, "250 2.0.0 Ok\r\n");
    }
    if (begins(line, "MAIL FROM:<") && !k->has_mail) {
        goes_on = answer(k, PEER_MAIL, "250 2.1.0 Ok\r\n", &k->has_mail);
        return goes_on;
    }
    if (begins(line, "RCPT TO:<") && k->has_mail) {
        goes_on = answer(k, PEER_RCPT, "250 2.1.5 Ok\r\n", &accepted);
        k->accepted += accepted;
        return goes_on;
    }
    /* An SMTP server may reply 354 without recipients (RFC 2920 3.1), an LMTP server must not (RFC
     * 2033). */
    if (begins(line, "DATA") && k->has_mail && (k->accepted > 0 || !s->is_lmtp)) {
        goes_on = answer(k, PEER_DATA, "354 go\r\n", &accepted);
        return goes_on && (!accepted || take_message(k));
    }
    if (begins(line, "QUIT")) {
        say(k, PEER_QUIT, "221 2.0.0 Bye\r\n");
        return false;
    }
    flush_to(k, "503 5.5.1 what?\r\n", 17);
    return true;
}

static void *serve(void *arg)
{
    struct connection *k = arg;
    struct peer *p = k->peer;
    struct buf line = {0};

    stream_set_deadline(k->stream, WAIT_MS);
    bool goes_on = say(k, PEER_GREETING, "220 peer.example ESMTP\r\n");
    while (goes_on) {
        stream_set_deadline(k->stream, WAIT_MS);
        if (stream_read_line(k->stream, &line, 4096) != STREAM_OK || line.len < 2)
            break;
        buf_truncate(&line, line.len - 2);
        pthread_mutex_lock(&p->lock);
        buf_addf(&p->commands, "%s\n", buf_str(&line));
        pthread_mutex_unlock(&p->lock);
        goes_on = obey(k, buf_str(&line));
    }
    buf_clear(&line);
    pthread_mutex_lock(&p->lock);
    struct stream *s = k->stream;
    k->stream = NULL;
    pthread_mutex_unlock(&p->lock);
    stream_free(s);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct peer *p = arg;

    for (;;) {
        int fd = accept(p->listen_fd, NULL, NULL);
        if (fd == -1)
            return NULL;
        pthread_mutex_lock(&p->lock);
        must(p->connection_count < CONNECTIONS_MAX, "too many connections");
        struct connection *k = &p->connections[p->connection_count++];
        k->peer = p;
        k->stream = stream_new(fd);
        must(pthread_create(&k->thread, NULL, serve, k) == 0, "pthread_create");
        if (p->is_stopping)
            stream_shutdown_read(k->stream);
        pthread_mutex_unlock(&p->lock);
    }
}

static void listen_inet(struct peer *p)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(p->script->port)};
    socklen_t size = sizeof sa;
    int on = 1;

    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    p->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(p->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    must(bind(p->listen_fd, (struct sockaddr *)&sa, size) == 0, "bind");
    must(getsockname(p->listen_fd, (struct sockaddr *)&sa, &size) == 0, "getsockname");
    p->port = ntohs(sa.sin_port);
}

static void listen_unix(struct peer *p)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", p->script->unix_path);
    p->listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    must(bind(p->listen_fd, (struct sockaddr *)&sa, sizeof sa) == 0, "bind");
}

struct peer *peer_start(const struct peer_script *script)
{
    struct peer *p = mem_zalloc(sizeof *p);

    p->script = script;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    if (script->unix_path != NULL)
        listen_unix(p);
    else
        listen_inet(p);
    must(listen(p->listen_fd, 64) == 0, "listen");
    must(pthread_create(&p->thread, NULL, accept_all, p) == 0, "pthread_create");
    return p;
}

uint16_t peer_port(const struct peer *p)
{
    return p->port;
}

void peer_stop(struct peer *p)
{
    pthread_mutex_lock(&p->lock);
    p->is_stopping = true;
    for (unsigned i = 0; i < p->connection_count; i++) {
        if (p->connections[i].stream != NULL)
            stream_shutdown_read(p->connections[i].stream);
    }
    pthread_mutex_unlock(&p->lock);
    shutdown(p->listen_fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    for (unsigned i = 0; i < p->connection_count; i++)
        pthread_join(p->connections[i].thread, NULL);
    close(p->listen_fd);
}

void peer_free(struct peer *p)
{
    buf_clear(&p->commands);
    buf_clear(&p->content);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    free(p);
}

const char *peer_commands(struct peer *p)
{
    return buf_str(&p->commands);
}

const struct buf *peer_content(struct peer *p)
{
    return &p->content;
}

static unsigned locked(struct peer *p, const unsigned *value)
{
    pthread_mutex_lock(&p->lock);
    unsigned copy = *value;
    pthread_mutex_unlock(&p->lock);
    return copy;
}

unsigned peer_connections(struct peer *p)
{
    return locked(p, &p->connection_count);
}

unsigned peer_messages(struct peer *p)
{
    return locked(p, &p->messages);
}

unsigned peer_count(struct peer *p, enum peer_step step)
{
    return locked(p, &p->counts[step]);
}

bool peer_wait(struct peer *p, enum peer_step step, unsigned n)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    pthread_mutex_lock(&p->lock);
    int error = 0;
    while (p->counts[step] < n && error == 0)
        error = pthread_cond_timedwait(&p->changed, &p->lock, &until);
    bool reached = p->counts[step] >= n;
    pthread_mutex_unlock(&p->lock);
    return reached;
}
