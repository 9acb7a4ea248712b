/* SPDX-License-Identifier: ISC */
#include "table/module_ldap_private.h"
#include "base/ascii.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#ifdef HAVE_SASL_SASL_H
#include <sasl/sasl.h>
#endif

/* The value of a parameter, "" if the file does not have it. */
static const char *text_of(const struct module_ldap_settings *s, const char *name)
{
    const char *value = cf_text(s->cf, name);

    return value != NULL ? value : "";
}

static int bind_simple(struct module_ldap_link *link, const struct module_ldap_settings *s,
                       int64_t deadline_ms, struct err *err)
{
    const char *password = text_of(s, "bind_pw");
    struct berval secret = {.bv_val = (char *)password, .bv_len = strlen(password)};
    int msgid;

    int rc = ldap_sasl_bind(link->ld, text_of(s, "bind_dn"), LDAP_SASL_SIMPLE, &secret, NULL, NULL,
                            &msgid);
    if (rc != LDAP_SUCCESS)
        module_ldap_fault(link, rc, "bind", err);
    else if ((rc = module_ldap_result(link, msgid, deadline_ms, err)) != LDAP_SUCCESS)
        err_wrap(err, "bind");
    return rc == LDAP_SUCCESS ? 0 : -1;
}

#ifdef HAVE_SASL_SASL_H

/* Answers the questions of a SASL mechanism (LDAP_SASL_INTERACT_PROC). */
static int interact(LDAP *ld, unsigned flags, void *settings, void *questions)
{
    const struct module_ldap_settings *s = settings;

    (void)ld;
    (void)flags;
    for (sasl_interact_t *q = questions; q->id != SASL_CB_LIST_END; q++) {
        const char *answer = q->id == SASL_CB_GETREALM   ? text_of(s, "sasl_realm")
                             : q->id == SASL_CB_AUTHNAME ? text_of(s, "bind_dn")
                             : q->id == SASL_CB_USER     ? text_of(s, "sasl_authz_id")
                             : q->id == SASL_CB_PASS     ? text_of(s, "bind_pw")
                                                         : NULL;
        q->result = answer;
        q->len = answer != NULL ? (unsigned)strlen(answer) : 0;
    }
    return LDAP_SUCCESS;
}

/* Let a call of the library that waits end at the deadline: where the table has no sasl_mechs, it
 * asks the server for its mechanisms. */
static void limit_waits(LDAP *ld, int64_t deadline_ms)
{
    int64_t left = deadline_ms - clock_now_ms();

    if (left < 1)
        left = 1;
    struct timeval t = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
    ldap_set_option(ld, LDAP_OPT_TIMEOUT, &t);
}

/* How strong the layer of SASL has to be. Cyrus SASL 2.1.28 loses 17 kB with each connection for
 * which DIGEST-MD5 makes a layer that encrypts (with RC4 or DES). A layer that protects against
 * changes (ssf 1) is made without them. */
static void choose_layer(const struct module_ldap_settings *s, char *properties, size_t size)
{
    long min = cf_number(s->cf, "sasl_minssf");
    bool has_choice = !ascii_equal(text_of(s, "sasl_mechs"), "DIGEST-MD5") || min > 1;

    snprintf(properties, size, has_choice ? "minssf=%ld" : "minssf=%ld,maxssf=1", min);
}

static int bind_sasl(struct module_ldap_link *link, const struct module_ldap_settings *s,
                     int64_t deadline_ms, struct err *err)
{
    LDAPMessage *message = NULL;
    const char *mechanism = NULL;
    char properties[48];
    int msgid, rc;

    choose_layer(s, properties, sizeof properties);
    if (ldap_set_option(link->ld, LDAP_OPT_X_SASL_SECPROPS, properties) != LDAP_OPT_SUCCESS) {
        err_set(err, "the LDAP library has no SASL");
        return -1;
    }
    limit_waits(link->ld, deadline_ms);
    do {
        rc = ldap_sasl_interactive_bind(link->ld, NULL, text_of(s, "sasl_mechs"), NULL, NULL,
                                        LDAP_SASL_QUIET, interact, (void *)s, message, &mechanism,
                                        &msgid);
        ldap_msgfree(message);
        message = NULL;
        if (rc == LDAP_SASL_BIND_IN_PROGRESS && clock_now_ms() >= deadline_ms) {
            err_set(err, "SASL bind: timed out");
            return -1;
        }
        if (rc == LDAP_SASL_BIND_IN_PROGRESS &&
            module_ldap_next(link, msgid, deadline_ms, &message, err) != MODULE_LDAP_MESSAGE) {
            err_wrap(err, "SASL bind");
            return -1;
        }
    } while (rc == LDAP_SASL_BIND_IN_PROGRESS);
    if (rc != LDAP_SUCCESS)
        module_ldap_fault(link, rc, "SASL bind", err);
    return rc == LDAP_SUCCESS ? 0 : -1;
}

#else

static int bind_sasl(struct module_ldap_link *link, const struct module_ldap_settings *s,
                     int64_t deadline_ms, struct err *err)
{
    (void)link;
    (void)s;
    (void)deadline_ms;
    err_set(err, "this module was built without SASL");
    return -1;
}

#endif

int module_ldap_bind(struct module_ldap_link *link, const struct module_ldap_settings *s,
                     int64_t deadline_ms, struct err *err)
{
    switch (s->bind) {
    case MODULE_LDAP_BIND_NONE:
        return 0;
    case MODULE_LDAP_BIND_SIMPLE:
        return bind_simple(link, s, deadline_ms, err);
    case MODULE_LDAP_BIND_SASL:
        return bind_sasl(link, s, deadline_ms, err);
    }
    return -1;
}
