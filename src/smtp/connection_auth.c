/* SPDX-License-Identifier: ISC */
#include "smtp/connection_private.h"

#include "net/oauth.h"
#include "net/sasl.h"
#include "task/task.h"
#include "smtp/security.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define STEPS_MAX 8     /* challenges in one exchange; no mechanism has as many */
#define REPEATED_MIN 8  /* a reply with so many bytes of a secret in a row is not kept */
#define COMMAND_MAX 512 /* of a command with its CRLF: RFC 5321 4.5.3.1.4 */

/* What is said in one exchange. */
struct exchange {
    const char *mechanism;
    const char *secret; /* the password or the token */
    struct buf answer;  /* our present one, in base64 */
};

static int fail(struct connection *c, const char *dsn, const char *why)
{
    return connection_fail(c, dsn, "SASL authentication failed; %s (server %s)", why, c->link.peer);
}

/* Set the fault to the server's refusal, in Postfix's words. A 5xx is OUTCOME_RETRY, too. why: the
 * server's explanation, or "". Returns -1. */
static int refused(struct connection *c, const char *why)
{
    bool has_why = why[0] != '\0';
    struct buf text = {0};
    char dsn[16];

    smtp_reply_dsn(&c->reply, dsn);
    dsn[0] = '4';
    smtp_reply_one_line(&c->reply, &text);
    connection_fail(c, strcmp(dsn, "4.0.0") == 0 ? "4.7.8" : dsn,
                    "SASL authentication failed%s%s%s; server %s said: %s", has_why ? " (" : "",
                    why, has_why ? ")" : "", c->link.peer, buf_str(&text));
    buf_clear(&text);
    return -1;
}

/* The first mechanism of the configuration that is for our credentials, and that the server offers;
 * NULL: none. */
static const char *choose(const struct connection *c)
{
    const struct string_list *ours = &c->destination->auth.mechanisms;
    bool has_token = security_has_token(c->destination);

    for (size_t i = 0; i < ours->count; i++)
        if (oauth_is_mechanism(ours->items[i]) == has_token &&
            (c->link.features.auth &
             smtp_features_mechanism(ours->items[i], strlen(ours->items[i]))) != 0)
            return ours->items[i];
    return NULL;
}

static void wipe(struct buf *b)
{
    if (b->cap > 0)
        explicit_bzero(b->data, b->cap);
    buf_clear(b);
}

/* Does the text contain REPEATED_MIN bytes in a row of what was sent? */
static bool repeats(const char *text, const char *sent)
{
    char word[REPEATED_MIN + 1];

    for (; strlen(text) >= REPEATED_MIN; text++) {
        memcpy(word, text, REPEATED_MIN);
        word[REPEATED_MIN] = '\0';
        if (strstr(sent, word) != NULL)
            return true;
    }
    return false;
}

/* Send a line, and read the reply. */
static int send_line(struct connection *c, const struct exchange *e, const char *line)
{
    const char *answer = buf_str(&e->answer);
    enum stream_status status = stream_printf(c->link.stream, "%s\r\n", line);

    if (status != STREAM_OK)
        return connection_fail_io(c, CONNECTION_AUTH, status);
    int result = connection_ask(c, CONNECTION_AUTH);
    /* Replies are written to the log and the queue. A secret that a server repeats must not get
     * there. */
    if (c->reply.code == 334 ||
        (!repeats(buf_str(&c->reply.text), answer) && !repeats(buf_str(&c->reply.text), e->secret)))
        return result;
    buf_reset(&c->reply.text);
    buf_adds(&c->reply.text, "(left out, because it repeats what was sent)");
    return result == 0 ? 0 : connection_fail_reply(c, CONNECTION_AUTH);
}

/* Send AUTH with our first answer, if there is one, and read the reply. RFC 4954 section 4: an
 * answer that makes the command too long is sent in a line of its own, after a 334. */
static int send_auth(struct connection *c, const struct exchange *e)
{
    char command[COMMAND_MAX];
    size_t len = strlen("AUTH ") + strlen(e->mechanism) + strlen(" ") + e->answer.len;
    bool is_short = len + strlen("\r\n") <= sizeof command;

    snprintf(command, sizeof command, "AUTH %s%s%s", e->mechanism,
             is_short && e->answer.len > 0 ? " " : "", is_short ? buf_str(&e->answer) : "");
    int result = send_line(c, e, command);
    explicit_bzero(command, sizeof command);
    return result != 0 || is_short || c->reply.code != 334 ? result
                                                           : send_line(c, e, buf_str(&e->answer));
}

struct step {
    struct sasl_exchange *exchange;
    const char *challenge;
    struct buf *answer;
    struct err *err;
    int status;
};

static void do_step(void *arg)
{
    struct step *s = arg;

    s->status = sasl_step(s->exchange, s->challenge, s->answer, s->err);
}

/* SCRAM may iterate its hash a hundred thousand times, at the server's wish: a helper thread does
 * it, so that other tasks go on. */
static int take_step(struct sasl_exchange *x, const char *challenge, struct buf *answer,
                     struct err *err)
{
    struct step s = {.exchange = x, .challenge = challenge, .answer = answer, .err = err};

    task_block(do_step, &s);
    return s.status;
}

/* Answer the challenge in the present reply, and read the next reply. */
static int answer_challenge(struct connection *c, struct sasl_exchange *x, struct exchange *e)
{
    const char *challenge = buf_str(&c->reply.text);
    struct err err;

    if (take_step(x, challenge, &e->answer, &err) == 0)
        return send_line(c, e, buf_str(&e->answer));
    /* RFC 4954 4: "*" ends the exchange; any reply to it will do. */
    if (send_line(c, e, "*") != 0)
        return -1;
    return fail(c, "4.7.0", err.text);
}

static int exchange_steps(struct connection *c, struct sasl_exchange *x, struct exchange *e)
{
    struct err err;

    if (sasl_begins(e->mechanism) && take_step(x, "", &e->answer, &err) != 0)
        return fail(c, "4.7.0", err.text);
    int result = send_auth(c, e);
    for (int i = 0; result == 0 && c->reply.code == 334; i++) {
        if (i == STEPS_MAX)
            return fail(c, "4.7.0", "too many challenges");
        result = answer_challenge(c, x, e);
    }
    if (result != 0)
        return -1;
    if (c->reply.code / 100 != 2)
        return refused(c, "");
    return sasl_is_complete(x) ? 0 : fail(c, "4.7.0", "the server ended the exchange too early");
}

static int exchange_password(struct connection *c, struct exchange *e)
{
    const struct sasl *credentials = c->security == NULL ? NULL : c->security->sasl;
    struct err err;

    if (credentials == NULL)
        return fail(c, "4.7.0", "credentials are not set up");
    struct sasl_exchange *x = sasl_begin(credentials, e->mechanism, &err);
    if (x == NULL)
        return fail(c, "4.7.0", err.text);
    e->secret = sasl_password(credentials);
    int result = exchange_steps(c, x, e);
    sasl_end(x);
    return result;
}

struct token_job {
    const char *path;
    struct buf token;
    struct err err;
    int status;
};

static void read_token(void *arg)
{
    struct token_job *job = arg;

    job->status = oauth_read_token(job->path, &job->token, &job->err);
}

/* The port to which the connection was made; 0: a unix socket. */
static unsigned port_of(const struct connection *c)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_storage size;
    } sa = {.any.sa_family = AF_UNSPEC};
    socklen_t len = sizeof sa;

    if (getpeername(stream_fd(c->link.stream), &sa.any, &len) != 0)
        return 0;
    return sa.any.sa_family == AF_INET    ? ntohs(sa.v4.sin_port)
           : sa.any.sa_family == AF_INET6 ? ntohs(sa.v6.sin6_port)
                                          : 0;
}

static int exchange_token(struct connection *c, struct exchange *e)
{
    struct oauth_client client = {c->destination->auth.user, c->tls.host, port_of(c)};
    char why[OAUTH_EXPLANATION_SIZE] = "";

    oauth_respond(e->mechanism, &client, e->secret, &e->answer);
    int result = send_auth(c, e);
    if (result == 0 && c->reply.code == 334) {
        oauth_explain(buf_str(&c->reply.text), why);
        if (repeats(why, e->secret))
            why[0] = '\0';
        result = send_line(c, e, oauth_answer(e->mechanism));
        if (result == 0 && c->reply.code == 334)
            return fail(c, "4.7.0", "too many challenges");
    }
    if (result != 0)
        return -1;
    return c->reply.code / 100 == 2 ? 0 : refused(c, why);
}

/* Another program renews the token whenever it likes, so each connection reads it. */
static int read_and_exchange_token(struct connection *c, struct exchange *e)
{
    struct token_job job = {.path = c->destination->auth.token_file};

    task_block(read_token, &job);
    e->secret = buf_str(&job.token);
    int result = job.status == 0 ? exchange_token(c, e) : fail(c, "4.7.0", job.err.text);
    wipe(&job.token);
    return result;
}

int connection_authenticate(struct connection *c)
{
    const struct config_destination *d = c->destination;
    struct exchange e = {.secret = ""};

    if (!security_authenticates(d))
        return 0;
    if (security_hides_password(d) && !c->tls.is_on)
        return fail(c, "4.7.0", "the connection is not encrypted");
    e.mechanism = choose(c);
    if (e.mechanism == NULL)
        return fail(c, "4.7.0", "none of our mechanisms is offered");
    int result = security_has_token(d) ? read_and_exchange_token(c, &e) : exchange_password(c, &e);
    wipe(&e.answer);
    return result;
}
