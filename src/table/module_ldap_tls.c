/* SPDX-License-Identifier: ISC */
/*
 * The files and options of TLS. Each connection reads the files of its table, so that new ones are
 * used. With a client certificate, connections share what was read until a file changes, or a file
 * is added to tls_ca_cert_dir, removed or renamed: built with GnuTLS, OpenLDAP's library (2.5 and
 * 2.6) loses the memory of certificate and key, 16 kB, each time that it reads them.
 */
#include "table/module_ldap_private.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const files[] = {"tls_ca_cert_file", "tls_ca_cert_dir", "tls_cert", "tls_key"};

enum { FILE_COUNT = sizeof files / sizeof files[0] };

struct module_ldap_tls {
    pthread_mutex_t lock;
    void *context; /* of the library, which has no call to release it; NULL: none yet */
    struct stat stamps[FILE_COUNT]; /* of the files when they were read */
};

struct module_ldap_tls *module_ldap_tls_new(void)
{
    struct module_ldap_tls *tls = mem_zalloc(sizeof *tls);

    pthread_mutex_init(&tls->lock, NULL);
    return tls;
}

void module_ldap_tls_free(struct module_ldap_tls *tls)
{
    if (tls == NULL)
        return;
    pthread_mutex_destroy(&tls->lock);
    free(tls);
}

/* Set an option of TLS to the value of a parameter, if the file has one. */
static int set_tls_text(struct module_ldap_link *link, const struct module_ldap_settings *s,
                        int option, const char *name, struct err *err)
{
    const char *value = cf_text(s->cf, name);

    if (value == NULL || value[0] == '\0')
        return 0;
    if (ldap_set_option(link->ld, option, value) == LDAP_OPT_SUCCESS)
        return 0;
    err_set(err, "the LDAP library does not take %s = %.200s", name, value);
    return -1;
}

/* Make the link read the files of the table. */
static int read_files(struct module_ldap_link *link, const struct module_ldap_settings *s,
                      struct err *err)
{
    int is_server = 0;

    if (set_tls_text(link, s, LDAP_OPT_X_TLS_CACERTFILE, "tls_ca_cert_file", err) < 0 ||
        set_tls_text(link, s, LDAP_OPT_X_TLS_CACERTDIR, "tls_ca_cert_dir", err) < 0 ||
        set_tls_text(link, s, LDAP_OPT_X_TLS_CERTFILE, "tls_cert", err) < 0 ||
        set_tls_text(link, s, LDAP_OPT_X_TLS_KEYFILE, "tls_key", err) < 0 ||
        set_tls_text(link, s, LDAP_OPT_X_TLS_CIPHER_SUITE, "tls_cipher_suite", err) < 0)
        return -1;
    int rc = ldap_set_option(link->ld, LDAP_OPT_X_TLS_NEWCTX, &is_server);
    if (rc != LDAP_OPT_SUCCESS) {
        module_ldap_fault(link, LDAP_CONNECT_ERROR,
                          "TLS: the files or the cipher suite of the table cannot be used", err);
        return -1;
    }
    return 0;
}

/* Take the present stamps of the files. Returns whether they differ from those that are there. */
static bool take_stamps(struct module_ldap_tls *tls, const struct cf *cf)
{
    bool has_changed = false;

    for (size_t i = 0; i < FILE_COUNT; i++) {
        const char *path = cf_text(cf, files[i]);
        struct stat now, *was = &tls->stamps[i];
        if (path == NULL || stat(path, &now) < 0)
            memset(&now, 0, sizeof now);
        has_changed = has_changed || now.st_ino != was->st_ino || now.st_dev != was->st_dev ||
                      now.st_size != was->st_size ||
                      memcmp(&now.st_mtim, &was->st_mtim, sizeof now.st_mtim) != 0;
        *was = now;
    }
    return has_changed;
}

/* Use what another link has read, or let others use what this one reads. */
static int share_files(struct module_ldap_link *link, const struct module_ldap_settings *s,
                       struct err *err)
{
    struct module_ldap_tls *tls = s->tls;
    int rc = 0;

    pthread_mutex_lock(&tls->lock);
    if (take_stamps(tls, s->cf) || tls->context == NULL) {
        tls->context = NULL;
        rc = read_files(link, s, err);
        if (rc == 0)
            ldap_get_option(link->ld, LDAP_OPT_X_TLS_CTX, &tls->context);
    } else if (ldap_set_option(link->ld, LDAP_OPT_X_TLS_CTX, tls->context) != LDAP_OPT_SUCCESS) {
        err_set(err, "TLS: the LDAP library does not share a context");
        rc = -1;
    }
    pthread_mutex_unlock(&tls->lock);
    return rc;
}

/* Return whether the library makes a context with the cipher suite; NULL: with none. */
static bool takes_suite(const char *suite)
{
    int is_server = 0;
    LDAP *ld;

    if (ldap_initialize(&ld, "ldapi://%2F") != LDAP_SUCCESS)
        return true;
    bool is_taken = (suite == NULL ||
                     ldap_set_option(ld, LDAP_OPT_X_TLS_CIPHER_SUITE, suite) == LDAP_OPT_SUCCESS) &&
                    ldap_set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &is_server) == LDAP_OPT_SUCCESS;
    ldap_unbind_ext(ld, NULL, NULL);
    return is_taken;
}

int module_ldap_tls_check(const struct cf *cf, struct err *err)
{
    const char *suite = cf_text(cf, "tls_cipher_suite");

    if (suite == NULL || suite[0] == '\0' || takes_suite(suite) || !takes_suite(NULL))
        return 0;
    cf_fault(cf, "tls_cipher_suite", err, "the library of TLS does not know %.200s", suite);
    return -1;
}

int module_ldap_tls_prepare(struct module_ldap_link *link, const struct module_ldap_settings *s,
                            struct err *err)
{
    int require = cf_bool(s->cf, "tls_require_cert") ? LDAP_OPT_X_TLS_DEMAND : LDAP_OPT_X_TLS_NEVER;
    const char *certificate = cf_text(s->cf, "tls_cert");

    if (ldap_set_option(link->ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &require) != LDAP_OPT_SUCCESS) {
        err_set(err, "the LDAP library has no TLS");
        return -1;
    }
    if (certificate != NULL && certificate[0] != '\0')
        return share_files(link, s, err);
    return read_files(link, s, err);
}
