/* SPDX-License-Identifier: ISC */
#include "smtp/connection_private.h"

#include "net/sasl.h"
#include "task/task.h"
#include "smtp/security.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define STEPS_MAX 8    /* no mechanism has as many */
#define REPEATED_MIN 8 /* bytes of an answer, in base64, that a reply may not have */

static const struct {
    const char *name;
    enum client_auth bit;
} mechanisms[] = {
    {"PLAIN", CLIENT_AUTH_PLAIN},
    {"LOGIN", CLIENT_AUTH_LOGIN},
    {"SCRAM-SHA-256", CLIENT_AUTH_SCRAM_SHA_256},
};

static unsigned bit_of(const char *word, size_t len)
{
    for (size_t i = 0; i < sizeof mechanisms / sizeof mechanisms[0]; i++)
        if (strlen(mechanisms[i].name) == len && strncasecmp(mechanisms[i].name, word, len) == 0)
            return mechanisms[i].bit;
    return CLIENT_AUTH_NONE;
}

/* "AUTH" 1*(SP mechanism); before RFC 4954 there was "AUTH=", and some servers say both. */
unsigned client_auth_parse(const char *line, size_t len)
{
    unsigned found = CLIENT_AUTH_NONE;
    size_t at = 0;

    while (at < len) {
        size_t word = strcspn(line + at, " =\n");
        if (word > len - at)
            word = len - at;
        found |= bit_of(line + at, word);
        at += word + 1;
    }
    return found;
}

static int fail(struct client *c, const char *dsn, const char *why)
{
    client_outcome(&c->fault, OUTCOME_RETRY, dsn, "SASL authentication failed; %s (server %s)", why,
                   c->peer);
    client_close(c);
    return -1;
}

/* The server says no: as Postfix words it, and never for good. */
static int refused(struct client *c)
{
    struct buf text = {0};
    char dsn[16];

    smtp_reply_dsn(&c->reply, dsn);
    dsn[0] = '4';
    smtp_reply_one_line(&c->reply, &text);
    client_outcome(&c->fault, OUTCOME_RETRY, strcmp(dsn, "4.0.0") == 0 ? "4.7.8" : dsn,
                   "SASL authentication failed; server %s said: %s", c->peer, buf_str(&text));
    buf_clear(&text);
    client_close(c);
    return -1;
}

/* The first of ours that the server has; NULL: none. */
static const char *choose(const struct client *c)
{
    const struct string_list *ours = &c->destination->auth.mechanisms;

    for (size_t i = 0; i < ours->count; i++)
        if ((c->features.auth & bit_of(ours->items[i], strlen(ours->items[i]))) != 0)
            return ours->items[i];
    return NULL;
}

/* Does the text hold a part of what we said? */
static bool repeats(const char *text, const char *said)
{
    char word[REPEATED_MIN + 1];

    for (; strlen(text) >= REPEATED_MIN; text++) {
        memcpy(word, text, REPEATED_MIN);
        word[REPEATED_MIN] = '\0';
        if (strstr(said, word) != NULL)
            return true;
    }
    return false;
}

static int say(struct client *c, const char *verb, const char *mechanism, const char *answer)
{
    bool has_space = mechanism[0] != '\0' && answer[0] != '\0';
    enum stream_status status =
        stream_printf(c->stream, "%s%s%s%s\r\n", verb, mechanism, has_space ? " " : "", answer);

    if (status != STREAM_OK)
        return client_fail_io(c, CLIENT_AUTH, status);
    int result = client_ask(c, CLIENT_AUTH);
    /* What a server says goes into the log and the queue: not our password, if it repeats that. */
    if (c->reply.code == 334 || !repeats(buf_str(&c->reply.text), answer))
        return result;
    buf_reset(&c->reply.text);
    buf_adds(&c->reply.text, "(left out, for it repeats what it was told)");
    return result == 0 ? 0 : client_fail_reply(c, CLIENT_AUTH);
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

/* The server may want a hash made a hundred thousand times: others are not to wait for that. */
static int take_step(struct sasl_exchange *x, const char *challenge, struct buf *answer,
                     struct err *err)
{
    struct step s = {.exchange = x, .challenge = challenge, .answer = answer, .err = err};

    task_block(do_step, &s);
    return s.status;
}

/* One answer for one challenge. */
static int answer_challenge(struct client *c, struct sasl_exchange *x, struct buf *answer)
{
    const char *challenge = buf_str(&c->reply.text);
    struct err err;

    if (take_step(x, challenge, answer, &err) == 0)
        return say(c, "", "", buf_str(answer));
    /* RFC 4954 4: "*" ends the exchange; what is said to that does not matter. */
    if (say(c, "*", "", "") != 0)
        return -1;
    return fail(c, "4.7.0", err.text);
}

static int converse(struct client *c, struct sasl_exchange *x, const char *mechanism,
                    struct buf *answer)
{
    struct err err;

    if (sasl_begins(mechanism) && take_step(x, "", answer, &err) != 0)
        return fail(c, "4.7.0", err.text);
    int result = say(c, "AUTH ", mechanism, buf_str(answer));
    for (int i = 0; result == 0 && c->reply.code == 334; i++) {
        if (i == STEPS_MAX)
            return fail(c, "4.7.0", "there is no end to it");
        result = answer_challenge(c, x, answer);
    }
    if (result != 0)
        return -1;
    if (c->reply.code / 100 != 2)
        return refused(c);
    return sasl_is_complete(x) ? 0 : fail(c, "4.7.0", "the server ended it before its time");
}

int client_authenticate(struct client *c)
{
    const struct config_destination *d = c->destination;
    const struct sasl *credentials = security_sasl(d);
    struct buf answer = {0};
    struct err err;

    if (!security_authenticates(d))
        return 0;
    if (credentials == NULL)
        return fail(c, "4.7.0", "it was not set up");
    if (security_hides_password(d) && !c->tls.is_on)
        return fail(c, "4.7.0", "the connection is not encrypted");
    const char *mechanism = choose(c);
    if (mechanism == NULL)
        return fail(c, "4.7.0", "none of our mechanisms is offered");
    struct sasl_exchange *x = sasl_begin(credentials, mechanism, &err);
    if (x == NULL)
        return fail(c, "4.7.0", err.text);
    int result = converse(c, x, mechanism, &answer);
    if (answer.cap > 0)
        explicit_bzero(answer.data, answer.cap);
    buf_clear(&answer);
    sasl_end(x);
    return result;
}
