/* SPDX-License-Identifier: ISC */
#include "mem.h"
#include "sasl.h"

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

int sasl_step(struct sasl_exchange *x, const char *challenge, struct buf *out, struct err *err)
{
    char *answer = NULL;

    buf_reset(out);
    if (x->is_complete) {
        err_set(err, "the server asks for more than the mechanism has");
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
