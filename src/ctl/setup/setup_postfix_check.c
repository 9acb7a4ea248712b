/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/setup/setup_postfix.h"
#include "base/ascii.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Settings that send a whole message elsewhere, regardless of its recipients. */
static const char *const rivals[] = {"content_filter", "smtpd_proxy_filter"};

enum { RIVAL_COUNT = sizeof rivals / sizeof rivals[0] };

static int check_version(const struct postfix *p, struct err *err)
{
    const char *version = postfix_get(p, "mail_version");

    if (strtol(version, NULL, 10) >= 3)
        return 0;
    err_set(err, "Postfix %s is too old: settings for a single milter need 3.0", version);
    return -1;
}

static int check_rivals(const struct postfix *p, struct err *err)
{
    for (int i = 0; i < RIVAL_COUNT; i++) {
        if (postfix_get_expanded(p, rivals[i])[0] != '\0') {
            err_set(err,
                    "%s/main.cf: %s = %s sends whole messages to a filter: make it a filter of "
                    "splitmilter.conf and remove the setting",
                    p->directory, rivals[i], postfix_get(p, rivals[i]));
            return -1;
        }
        for (size_t k = 0; k < p->service_count; k++) {
            char *value = NULL;
            const struct postfix_service *s = &p->services[k];
            bool is_set = postfix_takes_mail(s) && postfix_service_option(s, rivals[i], &value) &&
                          value[0] != '\0';
            free(value);
            if (!is_set)
                continue;
            err_set(err,
                    "%s/master.cf: service %s/%s has its own %s: make it a filter of "
                    "splitmilter.conf and remove the option",
                    p->directory, s->name, s->type, rivals[i]);
            return -1;
        }
    }
    return 0;
}

static bool is_ours(const char *name)
{
    return strncmp(name, "split-", 6) == 0 || strcmp(name, "splitcopy") == 0 ||
           strcmp(name, "splitnext") == 0;
}

long setup_listener_port(const char *name)
{
    const char *colon = strrchr(name, ':'), *port = colon == NULL ? name : colon + 1;

    if (strcmp(port, "smtp") == 0)
        return 25;
    return ascii_is_digit(port[0]) ? strtol(port, NULL, 10) : -1;
}

/* Refuse a service on a port that the plan needs. The ports of both secondary instances are checked
 * in the input instance. */
static int check_port(const struct setup *s, const struct postfix_service *v, enum setup_role role,
                      const char *directory, struct err *err)
{
    const struct {
        const char *option;
        long port;
        bool is_taken;
    } ours[] = {{"--reinject", s->options->reinject.port, role == SETUP_SINGLE || role == SETUP_IN},
                {"--local", s->options->local.port, role == SETUP_IN},
                {"--submission", s->options->submission.port, role == SETUP_IN}};

    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (ours[i].is_taken && ours[i].port == setup_listener_port(v->name)) {
            err_set(err, "%s/master.cf: service %s/inet has a port that we need: choose with %s",
                    directory, v->name, ours[i].option);
            return -1;
        }
    return 0;
}

static int check_services(const struct setup *s, enum setup_role role, const struct postfix *p,
                          struct err *err)
{
    for (size_t i = 0; i < p->service_count; i++) {
        const struct postfix_service *v = &p->services[i];
        char *value = NULL;
        if (is_ours(v->name)) {
            err_set(err, "%s/master.cf: service %s/%s has a name that we need", p->directory,
                    v->name, v->type);
            return -1;
        }
        if (strcmp(v->command, "cleanup") == 0 &&
            postfix_service_option(v, "non_smtpd_milters", &value)) {
            err_set(err,
                    "%s/master.cf: service %s has its own non_smtpd_milters = %s: move it to "
                    "main.cf",
                    p->directory, v->name, value);
            free(value);
            return -1;
        }
        if (strcmp(v->type, "inet") == 0 && check_port(s, v, role, p->directory, err) < 0)
            return -1;
        if (strcmp(v->command, "trivial-rewrite") == 0 &&
            postfix_service_option(v, "transport_maps", &value)) {
            err_set(err, "%s/master.cf: service %s has its own transport_maps = %s", p->directory,
                    v->name, value);
            free(value);
            return -1;
        }
    }
    return 0;
}

/* A chrooted smtpd(8) can connect only to a socket below the queue directory. */
static int check_socket(const struct setup *s, const struct postfix *p, const char *queue_directory,
                        struct err *err)
{
    const struct endpoint *e = &s->config->milter.socket;
    size_t len = strlen(queue_directory);

    if (e->kind != ENDPOINT_UNIX ||
        (strncmp(e->path, queue_directory, len) == 0 && e->path[len] == '/'))
        return 0;
    for (size_t i = 0; i < p->service_count; i++) {
        const struct postfix_service *v = &p->services[i];
        if (strcmp(v->command, "smtpd") != 0 || !postfix_is_chrooted(p, v))
            continue;
        err_set(err,
                "milter.socket: %s: service %s/%s is chrooted to %s and cannot see it: set socket "
                "= \"unix:%s/splitmilter/milter.sock\" in %s, or use an inet socket",
                e->path, v->name, v->type, queue_directory, queue_directory, s->config->path);
        return -1;
    }
    return 0;
}

static int check_state(const struct setup *s, const struct postfix *p, struct err *err)
{
    bool is_edited = p->main_state == MARKED_EDITED || p->master_state == MARKED_EDITED;
    const char *other = s->is_multi ? "made by " SETUP_WHO_SINGLE : "made by " SETUP_WHO_MULTI;

    if (strstr(p->main_disk, other) != NULL) {
        err_set(err, "%s was set up in the other way: --remove that first", p->directory);
        return -1;
    }
    if (!is_edited || s->options->is_forced)
        return 0;
    err_set(
        err,
        "%s/%s: our part, at its end, was edited: move the change outside of it, or use --force to "
        "discard it",
        p->directory, p->main_state == MARKED_EDITED ? "main.cf" : "master.cf");
    return -1;
}

/* Refuse values that are valid in the configuration but would have another meaning in the files of
 * Postfix. */
static int check_values(const struct setup *s, struct err *err)
{
    const struct config_milter *after = setup_after(s);
    const struct {
        const char *key;
        const struct endpoint *at;
    } listeners[] = {{"milter.socket", &s->config->milter.socket},
                     {"relay.listen", &s->config->relay.listen[0]},
                     {"milter " SETUP_AFTER ".socket", after == NULL ? NULL : &after->socket}};

    for (size_t i = 0; i < sizeof listeners / sizeof listeners[0]; i++) {
        if (listeners[i].at == NULL)
            continue;
        const struct endpoint *e = listeners[i].at;
        const char *text = e->kind == ENDPOINT_UNIX ? e->path : e->host;
        if (text[0] != '\0' && !setup_is_harmless(text)) {
            err_set(err, "%s: '%s' cannot be written into Postfix's files: choose another name",
                    listeners[i].key, text);
            return -1;
        }
    }
    return 0;
}

int setup_check(const struct setup *s, enum setup_role role, const struct postfix *p,
                struct err *err)
{
    if (setup_check_after(s, err) < 0 || check_values(s, err) < 0 || check_version(p, err) < 0 ||
        check_state(s, p, err) < 0 || check_rivals(p, err) < 0 ||
        check_services(s, role, p, err) < 0 || setup_check_files(p->directory, err) < 0)
        return -1;
    if (role == SETUP_SINGLE || role == SETUP_IN) {
        char *queue_directory =
            role == SETUP_IN ? setup_sibling(postfix_get_expanded(p, "queue_directory"), "-in")
                             : mem_strdup(postfix_get_expanded(p, "queue_directory"));
        int rc = check_socket(s, p, queue_directory, err);
        free(queue_directory);
        if (rc < 0)
            return -1;
    }
    if (role == SETUP_SINGLE && strstr(postfix_get(p, "master_service_disable"), "inet") != NULL) {
        err_set(err, "%s/main.cf: master_service_disable = %s: this instance takes no mail",
                p->directory, postfix_get(p, "master_service_disable"));
        return -1;
    }
    return 0;
}

static void remark_services(const struct setup *s, const struct postfix *p)
{
    for (size_t i = 0; i < p->service_count; i++) {
        const struct postfix_service *v = &p->services[i];
        if (strcmp(v->command, "smtpd") != 0)
            continue;
        if (postfix_service_option(v, "smtpd_recipient_restrictions", NULL) ||
            postfix_service_option(v, "smtpd_sender_restrictions", NULL))
            steps_say(s->steps,
                      "service %s/%s has its own recipient or sender restrictions: splitmilter "
                      "alone keeps the tag domain closed there",
                      v->name, v->type);
    }
}

/* Note sockets whose path is relative to the queue directory, because a new instance has another
 * queue directory. */
static void remark_sockets(const struct setup *s, const struct postfix *p, const char *name)
{
    const char *value = postfix_get_expanded(p, name), *at = value;
    bool is_path = strcmp(name, "smtpd_sasl_path") == 0;

    if (is_path && strcmp(postfix_get(p, "smtpd_sasl_auth_enable"), "yes") != 0)
        return;
    while (!is_path && at != NULL && (at = strstr(at, "unix:")) != NULL && at[5] == '/')
        at += 5;
    if (at == NULL || (is_path && (value[0] == '/' || strchr(value, '/') == NULL)))
        return;
    steps_say(s->steps,
              "%s = %s: the new instances look for that socket below their own queue "
              "directories: let its server listen there, or use an inet socket",
              name, value);
}

/* Note Postfix's own copies: Postfix makes them when mail arrives, and again when the mail comes
 * back from a filter. */
static void remark_bcc(const struct setup *s, const struct postfix *p)
{
    static const char *const names[] = {"always_bcc", "sender_bcc_maps", "recipient_bcc_maps"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (postfix_get_expanded(p, names[i])[0] != '\0')
            steps_say(s->steps,
                      "%s = %s: mail that comes back from a filter is copied once more; a "
                      "destination and copy_maps in %s make each copy once",
                      names[i], postfix_get(p, names[i]), s->config->path);
}

void setup_remarks(const struct setup *s, enum setup_role role, const struct postfix *p)
{
    static const char *const with_sockets[] = {
        "smtpd_milters",   "smtpd_sasl_path", "mailbox_transport", "virtual_transport",
        "local_transport", "relay_transport", "default_transport", "fallback_transport"};
    uint64_t limit = strtoull(postfix_get(p, "message_size_limit"), NULL, 10);

    if (role != SETUP_SINGLE && role != SETUP_IN)
        return;
    remark_services(s, p);
    if (role == SETUP_SINGLE)
        remark_bcc(s, p);
    setup_remark_after(s);
    setup_remark_fallbacks(s, p);
    if (strcmp(postfix_get_expanded(p, "recipient_delimiter"), s->config->recipient_delimiter) != 0)
        steps_say(s->steps, "recipient_delimiter is \"%s\" in Postfix, and \"%s\" in %s",
                  postfix_get_expanded(p, "recipient_delimiter"), s->config->recipient_delimiter,
                  s->config->path);
    if (s->config->destination_count > 0 &&
        (limit == 0 || limit > s->config->relay.message_size_limit_bytes))
        steps_say(s->steps,
                  "Postfix takes larger messages (message_size_limit = %s) than splitrelay: their "
                  "copies wait in its queue until relay.message_size_limit is raised",
                  postfix_get(p, "message_size_limit"));
    for (size_t i = 0; role == SETUP_IN && i < sizeof with_sockets / sizeof with_sockets[0]; i++)
        remark_sockets(s, p, with_sockets[i]);
}
