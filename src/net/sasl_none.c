/* SPDX-License-Identifier: ISC */
/* In place of sasl_gsasl.c in a build without GNU SASL. */
#include "net/sasl.h"

static const char text[] =
    "splitrelay was built without GNU SASL: no authentication with passwords";

struct sasl *sasl_new(const char *user, const char *password, struct err *err)
{
    (void)user;
    (void)password;
    err_set(err, "%s", text);
    return NULL;
}

void sasl_free(struct sasl *s)
{
    (void)s;
}

const char *sasl_password(const struct sasl *s)
{
    (void)s;
    return "";
}

struct sasl_exchange *sasl_begin(const struct sasl *s, const char *mechanism, struct err *err)
{
    (void)s;
    (void)mechanism;
    err_set(err, "%s", text);
    return NULL;
}

void sasl_end(struct sasl_exchange *x)
{
    (void)x;
}

bool sasl_begins(const char *mechanism)
{
    (void)mechanism;
    return false;
}

int sasl_step(struct sasl_exchange *x, const char *challenge, struct buf *out, struct err *err)
{
    (void)x;
    (void)challenge;
    (void)out;
    err_set(err, "%s", text);
    return -1;
}

bool sasl_is_complete(const struct sasl_exchange *x)
{
    (void)x;
    return false;
}
