/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "net/sasl.h"
#include "base/ascii.h"

#include <gsasl.h>
#include <stdlib.h>
#include <string.h>

struct sasl {
    Gsasl *library;
    char *user, *password;
};

struct sasl_exchange {
    Gsasl_session *session;
    bool is_complete;
};

struct sasl *sasl_new(const char *user, const char *password, struct err *err)
{
    struct sasl *s = mem_zalloc(sizeof *s);

    s->user = mem_strdup(user);
    s->password = mem_strdup(password);
    int status = gsasl_init(&s->library);
    if (status == GSASL_OK)
        return s;
    err_set(err, "GNU SASL: %s", gsasl_strerror(status));
    s->library = NULL;
    sasl_free(s);
    return NULL;
}

void sasl_free(struct sasl *s)
{
    if (s == NULL)
        return;
    if (s->library != NULL)
        gsasl_done(s->library);
    explicit_bzero(s->password, strlen(s->password));
    free(s->password);
    free(s->user);
    free(s);
}

const char *sasl_password(const struct sasl *s)
{
    return s->password;
}

struct sasl_exchange *sasl_begin(const struct sasl *s, const char *mechanism, struct err *err)
{
    Gsasl_session *session;

    int status = gsasl_client_start(s->library, mechanism, &session);
    if (status != GSASL_OK) {
        err_set(err, "%s: %s", mechanism, gsasl_strerror(status));
        return NULL;
    }
    gsasl_property_set(session, GSASL_AUTHID, s->user);
    gsasl_property_set(session, GSASL_PASSWORD, s->password);
    struct sasl_exchange *x = mem_zalloc(sizeof *x);
    x->session = session;
    return x;
}

void sasl_end(struct sasl_exchange *x)
{
    if (x == NULL)
        return;
    gsasl_finish(x->session);
    free(x);
}

bool sasl_begins(const char *mechanism)
{
    return strcmp(mechanism, "LOGIN") != 0;
}

/*
 * Is the iteration count in the challenge at most SASL_ITERATIONS_MAX? With a larger count a server
 * could make the client compute for hours, without a way to interrupt it.
 *
 *     server-first-message = nonce "," salt "," "i=" 1*DIGIT ...        (RFC 5802 section 7)
 */
static bool is_bearable(const char *challenge)
{
    char *text = NULL;
    size_t len = 0;
    bool is_good = true;

    if (gsasl_base64_from(challenge, strlen(challenge), &text, &len) != GSASL_OK)
        return true; /* gsasl_step64() reports that it is no base64 */
    for (size_t i = 0; i + 3 < len && is_good; i++)
        if (memcmp(text + i, ",i=", 3) == 0) {
            size_t digits = 0, from = i + 3;
            unsigned long n = 0;
            while (from + digits < len && digits < 9 && ascii_is_digit(text[from + digits]))
                n = n * 10 + (unsigned long)(text[from + digits++] - '0');
            is_good = digits < 9 && n <= SASL_ITERATIONS_MAX;
        }
    gsasl_free(text);
    return is_good;
}

int sasl_step(struct sasl_exchange *x, const char *challenge, struct buf *out, struct err *err)
{
    char *answer = NULL;

    buf_reset(out);
    if (x->is_complete) {
        err_set(err, "the server sends more challenges than the mechanism has");
        return -1;
    }
    if (!is_bearable(challenge)) {
        err_set(err, "the server asks for more than %d iterations", SASL_ITERATIONS_MAX);
        return -1;
    }
    int status = gsasl_step64(x->session, challenge, &answer);
    if (status != GSASL_OK && status != GSASL_NEEDS_MORE) {
        err_set(err, "%s", gsasl_strerror(status));
        return -1;
    }
    x->is_complete = status == GSASL_OK;
    if (answer != NULL) {
        buf_adds(out, answer);
        explicit_bzero(answer, strlen(answer));
        gsasl_free(answer);
    }
    return 0;
}

bool sasl_is_complete(const struct sasl_exchange *x)
{
    return x->is_complete;
}
