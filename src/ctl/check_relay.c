/* SPDX-License-Identifier: ISC */
#include "base/buf.h"
#include "base/mem.h"
#include "metrics/http_access.h"
#include "mail/template.h"
#include "net/oauth.h"
#include "smtp/route.h"
#include "smtp/security.h"
#include "ctl/check.h"
#include "ctl/ctl.h"
#include "ctl/json.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Report whether one address of a destination or listener answers. relay: the address; why: the
 * text that follows the address in the finding, NULL if the address answers. */
static void report_relay(struct findings *f, const char *kind, const char *name, const char *relay,
                         const char *why)
{
    struct err text;
    json_t *more = json_object();

    err_set(&text, "%s %s: %s%s%s", kind, name, relay, why == NULL ? " answers" : "",
            why == NULL ? "" : why);
    ctl_json_set(more, strcmp(kind, "destination") == 0 ? "destination" : "listener",
                 ctl_json_text(name));
    ctl_json_set(more, "relay", ctl_json_text(relay));
    ctl_json_set(more, "answers", json_boolean(why == NULL));
    find_more(f, why == NULL ? LEVEL_OK : LEVEL_WARNING, text.text, more);
}

/* Check one entry of relay_to: every address that splitrelay would try. kind: "destination" or
 * "primary of listener". */
static void check_entry(struct findings *f, const char *kind, const struct config_destination *d,
                        const char *hostname)
{
    struct route *route = route_new(d, hostname, NULL, -1);
    struct outcome fault = {0};
    const struct route_hop *hop;
    char entry[sizeof d->relay_to->host + 16];
    struct err err;

    endpoint_format(d->relay_to, entry, sizeof entry);
    while ((hop = route_next(route, &fault)) != NULL) {
        const char *name = endpoint_is_domain(d->relay_to) ? hop->text : entry;
        int fd = endpoint_connect_address((const struct sockaddr *)&hop->sa, hop->sa_len,
                                          CTL_CONNECT_TIMEOUT_MS, &err);
        if (fd < 0)
            err_wrap(&err, " does not answer");
        else
            close(fd);
        report_relay(f, kind, d->name, name, fd < 0 ? err.text : NULL);
    }
    if (fault.reason[0] != '\0') {
        err_set(&err, ": %s", fault.reason);
        report_relay(f, kind, d->name, entry, err.text);
    }
    route_free(route);
}

/* Explain why the daemon may not write to this path. error: the errno of the attempt. A setting of
 * the daemon's unit that forbids the access is given as the reason. */
static void explain_refusal(const struct service *s, const char *path, int error, struct err *out)
{
    struct err why;

    errno = error;
    if (s->has_user)
        err_set_errno(out, ": cannot be written to by user %s", s->user);
    else
        err_set_errno(out, ": cannot be written to");
    if (unit_allows(&s->unit, path, true, &why) < 0)
        err_set(out, ": is %s", why.text);
    else if (error == EROFS && s->unit.is_known && s->run == SERVICE_RUNS)
        err_set(out, ": is read-only for the running %s, but not by its unit: restart it", s->name);
}

/* splitrelay makes the directory of a Maildir and what is missing in it, but not the directory that
 * the first component is in which varies. */
static void check_maildir(struct findings *f, const struct config_destination *d,
                          const struct service *s)
{
    const char *path = d->relay_to[0].path;
    char entry[ENDPOINT_PATH_SIZE + 16];
    struct buf base = {0};
    struct err err;

    template_base(path, &base);
    const char *wanted = access(path, F_OK) == 0 ? path : buf_str(&base);
    endpoint_format(d->relay_to, entry, sizeof entry);
    bool may_write = access(wanted, R_OK | W_OK | X_OK) == 0;
    if (!may_write) {
        explain_refusal(s, wanted, errno, &err);
    } else if (service_allows(s, wanted, true, &err) < 0) {
        explain_refusal(s, wanted, EROFS, &err);
        may_write = false;
    }
    report_relay(f, "destination", d->name, entry, may_write ? NULL : err.text);
    buf_clear(&base);
}

static void check_destination(struct findings *f, const char *kind,
                              const struct config_destination *d, const struct config *config,
                              const struct service *s)
{
    if (d->relay_to[0].kind == ENDPOINT_MAILDIR) {
        check_maildir(f, d, s);
        return;
    }
    for (size_t i = 0; i < d->relay_to_count; i++) {
        struct config_destination one = *d;
        one.relay_to += i;
        one.relay_to_count = 1;
        one.connect_timeout_ms = CTL_CONNECT_TIMEOUT_MS;
        check_entry(f, kind, &one, config->relay.hostname);
    }
}

struct secrets {
    struct findings *findings;
    const struct service *service;
};

static const char *owner_name(uid_t uid)
{
    const struct passwd *pw = getpwuid(uid);

    return pw == NULL ? "?" : pw->pw_name;
}

/* Does the file contain a token? It is not read at the start, so its faults are no errors of the
 * configuration. */
static bool check_token(struct findings *f, const char *where, const char *path)
{
    struct buf token = {0};
    struct err err;
    bool is_good = oauth_read_token(path, &token, &err) == 0;

    if (!is_good)
        find(f, LEVEL_ERROR, "%s: %s", where, err.text);
    explicit_bzero(token.data, token.len);
    buf_clear(&token);
    return is_good;
}

/* Check the permissions of a file with a secret. The group may have read access: a file that
 * belongs to root is readable for splitrelay through its group. */
static void check_secret(const struct security_secret *secret, void *ctx)
{
    const struct secrets *secrets = ctx;
    const char *where = secret->where, *path = secret->path;
    struct findings *f = secrets->findings;
    struct stat st;

    if (stat(path, &st) < 0)
        find(f, LEVEL_ERROR, "%s: %s: %s", where, path, strerror(errno));
    else if ((st.st_mode & 027) != 0)
        find(f, LEVEL_ERROR,
             "%s: %s: others than its owner may read or write it (mode %04o); allowed: 0600, 0640",
             where, path, (unsigned)st.st_mode & 07777);
    else if (check_reach(f, secrets->service, where, path, false) &&
             (!secret->is_token || check_token(f, where, path)))
        find(f, LEVEL_OK, "%s: %s, owner %s", where, path, owner_name(st.st_uid));
}

/* Check that keys, certificates and passwords can be used, and which users may read them. */
static void check_security(struct findings *f, const struct config *config, const struct service *s)
{
    struct secrets secrets = {f, s};
    struct err err;

    struct security *security = security_open(config, &err);
    if (security == NULL)
        find(f, LEVEL_ERROR, "%s", err.text);
    security_unref(security);
    security_secrets(config, check_secret, &secrets);
    if (config->relay.page && config->relay.page_password_file[0] != '\0') {
        struct http_access *access = http_access_open(config->relay.page_password_file, &err);
        if (access == NULL)
            find(f, LEVEL_ERROR, "relay: page_password_file: %s", err.text);
        http_access_free(access);
    }
}

static void check_listener(struct findings *f, const struct config *config,
                           const struct config_listener *l, const struct service *s)
{
    check_listener_tables(f, config, l);
    for (size_t i = 0; i < l->copy_maps.count; i++)
        check_table_reach(f, s, l->copy_maps.items[i]);
    check_destination(f, "primary of listener", &l->primary, config, s);
}

static void check_paths(struct findings *f, const struct config *config, const struct service *s)
{
    const struct config_relay *r = &config->relay;

    check_listen(f, s, "relay.listen", r->listen, r->listen_count);
    check_listen(f, s, "relay.metrics", r->metrics, r->metrics_count);
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *l = &config->listeners[i];
        char *option = mem_printf("listener %s: listen", l->name);
        check_listen(f, s, option, l->listen, l->listen_count);
        free(option);
    }
}

void check_relay(struct findings *f, const struct config *config, const struct service *s)
{
    if (!s->belongs_here) {
        find(f, LEVEL_NOTE, "relay: splitrelay does not belong to this machine: %s", s->why_not);
        if (access(config->relay.spool_directory, F_OK) != 0)
            return;
    }
    check_spool(f, config, s);
    check_paths(f, config, s);
    check_security(f, config, s);
    for (size_t i = 0; i < config->destination_count; i++)
        check_destination(f, "destination", &config->destinations[i], config, s);
    for (size_t i = 0; i < config->listener_count; i++)
        check_listener(f, config, &config->listeners[i], s);
}
