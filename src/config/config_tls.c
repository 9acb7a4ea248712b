/* SPDX-License-Identifier: ISC */
#include "config/config_tls.h"
#include "net/oauth.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A combination that is not allowed. option: the option at fault, in config_tls_check() with the
 * prefix "primary_", which is left out for a destination. */
struct rule {
    bool is_broken;
    const char *option;
    const char *text;
};

#define PREFIX "primary_"

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* Is one of the mechanisms for what the file contains, a token or a password? */
static bool has_mechanism(const struct config_auth *a)
{
    for (size_t i = 0; i < a->mechanisms.count; i++)
        if (oauth_is_mechanism(a->mechanisms.items[i]) == is_given(a->token_file))
            return true;
    return false;
}

int config_tls_check(const char *kind, const char *name, const struct config_destination *d,
                     struct config_blame *blame, struct err *err)
{
    const struct config_tls *t = &d->tls;
    const struct config_auth *a = &d->auth;
    bool is_must = t->level == CONFIG_TLS_ENCRYPT || t->level == CONFIG_TLS_VERIFY;
    const struct rule rules[] = {
        {t->wrap && !is_must, PREFIX "tls_wrap", "needs tls = \"encrypt\" or \"verify\""},
        {is_given(t->key_file) && !is_given(t->cert_file), PREFIX "tls_key_file",
         "needs tls_cert_file"},
        {t->fingerprints.count > 0 && t->level != CONFIG_TLS_VERIFY, PREFIX "tls_fingerprint",
         "needs tls = \"verify\""},
        {is_given(a->user) && !is_given(a->password_file) && !is_given(a->token_file),
         PREFIX "auth_user", "needs auth_password_file or auth_token_file"},
        {!is_given(a->user) && is_given(a->password_file), PREFIX "auth_password_file",
         "needs auth_user"},
        {!is_given(a->user) && is_given(a->token_file), PREFIX "auth_token_file",
         "needs auth_user"},
        {is_given(a->password_file) && is_given(a->token_file), PREFIX "auth_token_file",
         "not together with auth_password_file"},
        {is_given(a->user) && !has_mechanism(a), PREFIX "auth_mechanisms",
         is_given(a->token_file) ? "with auth_token_file it needs OAUTHBEARER or XOAUTH2"
                                 : "OAUTHBEARER and XOAUTH2 need auth_token_file"},
        {is_given(a->user) && t->level == CONFIG_TLS_NONE && !a->plaintext, PREFIX "auth_user",
         "with tls = \"none\" it needs auth_plaintext = \"yes\""},
    };
    size_t skip = strcmp(kind, "listener") == 0 ? 0 : strlen(PREFIX);

    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].is_broken) {
            *blame = (struct config_blame){.option = rules[i].option + skip};
            err_set(err, "%s %s: %s: %s", kind, name, blame->option, rules[i].text);
            return -1;
        }
    return 0;
}

int config_server_tls_check(const char *kind, const struct config_server_tls *t,
                            struct config_blame *blame, struct err *err)
{
    bool has_cert = is_given(t->cert_file);
    bool has_trust = is_given(t->client_ca_file) || t->client_fingerprints.count > 0;
    const struct rule rules[] = {
        {is_given(t->key_file) && !has_cert, "tls_key_file", "needs tls_cert_file"},
        {t->level == CONFIG_TLS_ENCRYPT && !has_cert, "tls", "needs tls_cert_file"},
        {t->client != CONFIG_TLS_CLIENT_NONE && (!has_cert || t->level == CONFIG_TLS_NONE),
         "tls_client", "needs TLS: tls_cert_file, and tls not \"none\""},
        {t->client != CONFIG_TLS_CLIENT_NONE && !has_trust, "tls_client",
         "needs tls_client_ca_file or tls_client_fingerprint"},
    };

    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].is_broken) {
            *blame = (struct config_blame){.option = rules[i].option};
            err_set(err, "%s: %s: %s", kind, rules[i].option, rules[i].text);
            return -1;
        }
    return 0;
}

void config_tls_clear(struct config_tls *t)
{
    free(t->ca_file);
    free(t->cert_file);
    free(t->key_file);
    string_list_clear(&t->names);
    string_list_clear(&t->fingerprints);
}

void config_auth_clear(struct config_auth *a)
{
    free(a->user);
    free(a->password_file);
    free(a->token_file);
    string_list_clear(&a->mechanisms);
}

void config_server_tls_clear(struct config_server_tls *t)
{
    free(t->cert_file);
    free(t->key_file);
    free(t->client_ca_file);
    string_list_clear(&t->client_fingerprints);
}
