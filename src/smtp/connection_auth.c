/* SPDX-License-Identifier: ISC */
#include "smtp/connection_private.h"

#include "net/sasl.h"
#include "task/task.h"
#include "smtp/security.h"

#include <string.h>

#define STEPS_MAX 8    /* challenges in one exchange; no mechanism has as many */
#define REPEATED_MIN 8 /* a reply with so many bytes of our answer in a row is not kept */

static int fail(struct connection *c, const char *dsn, const char *why)
{
    return connection_fail(c, dsn, "SASL authentication failed; %s (server %s)", why, c->link.peer);
}

/* Set the fault to the server's refusal, in Postfix's words. A 5xx is OUTCOME_RETRY, too. Returns
 * -1. */
static int refused(struct connection *c)
{
    struct buf text = {0};
    char dsn[16];

    smtp_reply_dsn(&c->reply, dsn);
    dsn[0] = '4';
    smtp_reply_one_line(&c->reply, &text);
    connection_fail(c, strcmp(dsn, "4.0.0") == 0 ? "4.7.8" : dsn,
                    "SASL authentication failed; server %s said: %s", c->link.peer, buf_str(&text));
    buf_clear(&text);
    return -1;
}

/* The first mechanism of the configuration that the server offers; NULL: none. */
static const char *choose(const struct connection *c)
{
    const struct string_list *ours = &c->destination->auth.mechanisms;

    for (size_t i = 0; i < ours->count; i++)
        if ((c->link.features.auth &
             smtp_features_mechanism(ours->items[i], strlen(ours->items[i]))) != 0)
            return ours->items[i];
    return NULL;
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

static int send_line(struct connection *c, const char *verb, const char *mechanism,
                     const char *answer)
{
    bool has_space = mechanism[0] != '\0' && answer[0] != '\0';
    enum stream_status status = stream_printf(c->link.stream, "%s%s%s%s\r\n", verb, mechanism,
                                              has_space ? " " : "", answer);

    if (status != STREAM_OK)
        return connection_fail_io(c, CONNECTION_AUTH, status);
    int result = connection_ask(c, CONNECTION_AUTH);
    /* Replies are written to the log and the queue. A password that a server repeats must not get
     * there. */
    if (c->reply.code == 334 || !repeats(buf_str(&c->reply.text), answer))
        return result;
    buf_reset(&c->reply.text);
    buf_adds(&c->reply.text, "(left out, because it repeats what was sent)");
    return result == 0 ? 0 : connection_fail_reply(c, CONNECTION_AUTH);
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
static int answer_challenge(struct connection *c, struct sasl_exchange *x, struct buf *answer)
{
    const char *challenge = buf_str(&c->reply.text);
    struct err err;

    if (take_step(x, challenge, answer, &err) == 0)
        return send_line(c, "", "", buf_str(answer));
    /* RFC 4954 4: "*" ends the exchange; any reply to it will do. */
    if (send_line(c, "*", "", "") != 0)
        return -1;
    return fail(c, "4.7.0", err.text);
}

static int exchange(struct connection *c, struct sasl_exchange *x, const char *mechanism,
                    struct buf *answer)
{
    struct err err;

    if (sasl_begins(mechanism) && take_step(x, "", answer, &err) != 0)
        return fail(c, "4.7.0", err.text);
    int result = send_line(c, "AUTH ", mechanism, buf_str(answer));
    for (int i = 0; result == 0 && c->reply.code == 334; i++) {
        if (i == STEPS_MAX)
            return fail(c, "4.7.0", "too many challenges");
        result = answer_challenge(c, x, answer);
    }
    if (result != 0)
        return -1;
    if (c->reply.code / 100 != 2)
        return refused(c);
    return sasl_is_complete(x) ? 0 : fail(c, "4.7.0", "the server ended the exchange too early");
}

int connection_authenticate(struct connection *c)
{
    const struct config_destination *d = c->destination;
    const struct sasl *credentials = c->security == NULL ? NULL : c->security->sasl;
    struct buf answer = {0};
    struct err err;

    if (!security_authenticates(d))
        return 0;
    if (credentials == NULL)
        return fail(c, "4.7.0", "credentials are not set up");
    if (security_hides_password(d) && !c->tls.is_on)
        return fail(c, "4.7.0", "the connection is not encrypted");
    const char *mechanism = choose(c);
    if (mechanism == NULL)
        return fail(c, "4.7.0", "none of our mechanisms is offered");
    struct sasl_exchange *x = sasl_begin(credentials, mechanism, &err);
    if (x == NULL)
        return fail(c, "4.7.0", err.text);
    int result = exchange(c, x, mechanism, &answer);
    if (answer.cap > 0)
        explicit_bzero(answer.data, answer.cap);
    buf_clear(&answer);
    sasl_end(x);
    return result;
}
