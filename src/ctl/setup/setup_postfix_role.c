/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/setup/setup_postfix.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void setup_escape(const char *s, struct buf *out)
{
    for (; *s != '\0'; s++) {
        if (strchr(".[]{}()*+?^$|\\/", *s) != NULL)
            buf_addc(out, '\\');
        buf_addc(out, *s);
    }
}

/* The tag domain, escaped for a regular expression; for the caller to free. */
static char *domain(const struct setup *s)
{
    struct buf b = {0};

    setup_escape(s->config->tag_domain, &b);
    return buf_take(&b);
}

char *setup_filter_route(const struct setup *s, const struct config_filter *f)
{
    char *tag = domain(s);
    char *line = mem_printf("/\\.%s\\.filter\\.%s$/    split-%s%s\n", f->name, tag, f->name,
                            strchr(f->nexthop, ':'));

    free(tag);
    return line;
}

char *setup_copy_route(const struct setup *s)
{
    char *tag = domain(s), copies[300];

    setup_format_relay(s, copies, sizeof copies);
    char *line = mem_printf("/\\.copy\\.%s$/    splitcopy:%s\n", tag, copies);
    free(tag);
    return line;
}

/* Write the routes of the suffixes. Mail with a suffix that has no route waits. Mail without suffix
 * goes to `next`, or if that is "", where the other tables of transport_maps send it. */
static void write_routes(const struct setup *s, bool has_filters, const char *next, bool is_closed,
                         struct setup_edit *e)
{
    struct buf t = {0};
    char *tag = domain(s);

    if (is_closed) {
        char *line = setup_local_route(tag);
        buf_adds(&t, line);
        free(line);
    }
    for (size_t i = 0; has_filters && i < s->config->filter_count; i++) {
        char *line = setup_filter_route(s, &s->config->filters[i]);
        buf_adds(&t, line);
        free(line);
    }
    if (s->config->destination_count > 0) {
        char *line = setup_copy_route(s);
        buf_adds(&t, line);
        free(line);
    }
    buf_addf(&t,
             "/[@.]%s$/    retry:4.3.5 no such filter or copy: if splitmilter.conf has it, run "
             "splitctl setup-postfix\n",
             tag);
    if (next[0] != '\0')
        buf_addf(&t, "/^/    splitnext:%s\n", next);
    setup_file(e, "split_transport", buf_take(&t));
    free(tag);
}

static void write_tables(const struct setup *s, struct setup_edit *e)
{
    char *tag = domain(s);
    struct buf header = {0};

    setup_file(e, "split_untag", mem_printf("/^(.+)\\.[a-z0-9-]+\\.filter\\.%s$/    $1\n", tag));
    if (s->config->filter_count > 0)
        setup_file(e, "split_bounce", setup_bounce_table(tag));
    if (s->config->milter.filter_method == CONFIG_METHOD_HEADER) {
        setup_escape(s->config->milter.filter_header, &header);
        setup_file(
            e, "split_filter",
            mem_printf("/^%s:[[:space:]]+([^[:space:]]+)$/    FILTER $1\n", buf_str(&header)));
    }
    buf_clear(&header);
    free(tag);
}

static void write_closed(const struct setup *s, struct setup_edit *e)
{
    char *tag = domain(s);

    setup_file(e, "split_closed",
               mem_printf("/[@.]%s\\.?$/    REJECT 5.7.1 Address not allowed\n", tag));
    free(tag);
}

/* A map that matches everything must not rewrite an address with a suffix, so the address is first
 * mapped to itself. The maps apply when the mail comes back from the filter. */
static void keep_from_maps(const struct setup *s, const struct postfix *p, struct setup_edit *e)
{
    static const char *const names[] = {"canonical_maps", "recipient_canonical_maps",
                                        "virtual_alias_maps"};
    bool is_needed = false;
    char *tag = domain(s);

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (postfix_get_expanded(p, names[i])[0] != '\0') {
            if (strcmp(names[i], "recipient_canonical_maps") != 0 || !setup_can_close_local(p))
                setup_join(e, p, names[i], "regexp:$config_directory/split_keep");
            is_needed = true;
        }
    if (is_needed)
        setup_file(e, "split_keep", mem_printf("/^(.+@.*[@.]%s)$/    $1\n", tag));
    free(tag);
}

/* A pattern that matches everything must not make the tag domain a virtual alias domain, for which
 * transport maps are not used. */
static void keep_from_domains(const struct setup *s, const struct postfix *p, struct setup_edit *e)
{
    if (postfix_get_expanded(p, "virtual_alias_domains")[0] == '\0')
        return;
    char *tag = domain(s);
    setup_join(e, p, "virtual_alias_domains", "!regexp:$config_directory/split_domain");
    setup_file(e, "split_domain", mem_printf("/(^|\\.)%s$/    ours\n", tag));
    free(tag);
}

/* Recipients are checked in smtpd_relay_restrictions and in smtpd_recipient_restrictions, because
 * relay restrictions come first and may only defer, and because a service may have its own value of
 * either list. Senders are checked, too: a bounce for a sender in the tag domain would go into the
 * tag domain, to which only splitmilter may add recipients. */
static void close_tag_domain(const struct postfix *p, struct setup_edit *e)
{
    static const char closed[] = "check_recipient_access regexp:$config_directory/split_closed";

    if (postfix_get_expanded(p, "smtpd_relay_restrictions")[0] != '\0')
        setup_join(e, p, "smtpd_relay_restrictions", closed);
    setup_join(e, p, "smtpd_recipient_restrictions", closed);
    setup_join(e, p, "smtpd_sender_restrictions",
               "check_sender_access regexp:$config_directory/split_closed");
}

/* Set transport_maps of the input instance or of the single one. */
static void set_transports(const struct postfix *p, const char *next, struct setup_edit *e)
{
    static const char ours[] = "regexp:$config_directory/split_transport";

    if (next[0] == '\0') {
        setup_join(e, p, "transport_maps", ours);
        return;
    }
    setup_set(e, "transport_maps", "%s", ours);
    /* reject_unverified_recipient has to ask where mail is delivered, because the next instance
     * accepts all mail. */
    if (strcmp(postfix_get(p, "address_verify_transport_maps"), "$transport_maps") == 0)
        setup_set(e, "address_verify_transport_maps", "%s", postfix_get(p, "transport_maps"));
}

static void add_copies(const struct setup *s, const struct postfix *p, struct setup_edit *e)
{
    if (s->config->destination_count == 0)
        return;
    setup_copy_service(s, p, e);
    /* With this limit a message with many copies reaches splitrelay in one transaction. */
    setup_set(e, "splitcopy_destination_recipient_limit", "1000");
}

static int ask_and_split(const struct setup *s, const struct postfix *p,
                         const char *queue_directory, const char *next, struct setup_edit *e,
                         struct err *err)
{
    setup_set_milter(s, p, queue_directory, e);
    bool is_closed = next[0] == '\0' && setup_can_close_local(p);
    setup_keep_from_non_smtpd(s, p, queue_directory, is_closed ? "$split_local_milters" : "", e);
    close_tag_domain(p, e);
    set_transports(p, next, e);
    keep_from_domains(s, p, e);
    if (setup_filter_services(s, p, e, err) < 0)
        return -1;
    setup_bounce_services(s, p, is_closed ? SETUP_CLOSED_OPTION : "", e);
    write_routes(s, true, next, is_closed, e);
    write_tables(s, e);
    write_closed(s, e);
    add_copies(s, p, e);
    return 0;
}

static int client_role(const struct setup *s, const struct postfix *p, const char *next,
                       struct setup_edit *e)
{
    for (size_t i = 0; i < p->service_count; i++)
        if (strcmp(p->services[i].type, "inet") == 0)
            setup_switch_off(e, &p->services[i]);
    setup_set(e, "multi_instance_enable", "yes");
    setup_set(e, "multi_instance_wrapper", "${command_directory}/postmulti -p --");
    setup_set(e, "transport_maps", "regexp:$config_directory/split_transport");
    /* Address maps are applied by the instance that delivers, header and body checks by the next
     * instance. */
    setup_join(e, p, "receive_override_options", "no_address_mappings, no_header_body_checks");
    if (postfix_get(p, "non_smtpd_milters")[0] != '\0')
        setup_set(e, "non_smtpd_milters", "%s", "");
    setup_file(e, "split_transport", mem_printf("/^/    splitnext:%s\n", next));
    setup_next_service(p, e);
    if (s->options->submission.port != 0) {
        write_closed(s, e);
        setup_submission_service(s, e);
    }
    return 0;
}

static int in_role(const struct setup *s, const struct postfix *p, const char *queue_directory,
                   const char *next, struct setup_edit *e, struct err *err)
{
    bool takes_mail = false;

    if (ask_and_split(s, p, queue_directory, next, e, err) < 0)
        return -1;
    setup_join(e, p, "receive_override_options", "no_address_mappings");
    setup_next_service(p, e);
    setup_local_service(s, e);
    for (size_t i = 0; i < p->service_count; i++)
        takes_mail |=
            strcmp(p->services[i].type, "inet") == 0 && postfix_takes_mail(&p->services[i]);
    if (!takes_mail)
        buf_adds(&e->master_part, "smtp inet n - - - - smtpd\n");
    return 0;
}

static void close_local(const struct setup *s, const struct postfix *p,
                        const struct config_milter *m, const char *queue_directory,
                        struct setup_edit *e)
{
    char *milter = setup_milter_name(&m->socket, queue_directory);

    setup_close_local(s, p, milter, e);
    free(milter);
}

/* Send the copies that are made behind the filters to splitrelay, and protect their suffixes as in
 * an instance that does everything. */
static void split_copies(const struct setup *s, const struct postfix *p,
                         const char *queue_directory, struct setup_edit *e)
{
    set_transports(p, "", e);
    keep_from_domains(s, p, e);
    keep_from_maps(s, p, e);
    write_routes(s, false, "", setup_can_close_local(p), e);
    add_copies(s, p, e);
    close_local(s, p, setup_after(s), queue_directory, e);
}

static int out_role(const struct setup *s, const struct postfix *p, const char *queue_directory,
                    struct setup_edit *e)
{
    bool has_copies = setup_after(s) != NULL;
    bool is_closed = has_copies && setup_can_close_local(p);

    for (size_t i = 0; i < p->service_count; i++)
        if (strcmp(p->services[i].type, "inet") == 0)
            setup_switch_off(e, &p->services[i]);
    write_closed(s, e);
    setup_keep_from_non_smtpd(s, p, queue_directory, is_closed ? "$split_local_milters" : "", e);
    if (has_copies)
        split_copies(s, p, queue_directory, e);
    /* Other hosts still see the name that the default instance used in HELO. */
    if (s->options->out_hostname[0] == '\0' &&
        strcmp(postfix_get(p, "smtp_helo_name"), "$myhostname") == 0)
        setup_set(e, "smtp_helo_name", "%s", postfix_get_expanded(p, "myhostname"));
    setup_reinject_service(s, p, queue_directory, e);
    return 0;
}

int setup_role(const struct setup *s, enum setup_role role, const struct postfix *p,
               const char *queue_directory, const char *next, struct setup_edit *e, struct err *err)
{
    switch (role) {
    case SETUP_SINGLE:
        if (ask_and_split(s, p, queue_directory, "", e, err) < 0)
            return -1;
        keep_from_maps(s, p, e);
        setup_reinject_service(s, p, queue_directory, e);
        close_local(s, p, &s->config->milter, queue_directory, e);
        return 0;
    case SETUP_CLIENT:
        return client_role(s, p, next, e);
    case SETUP_IN:
        return in_role(s, p, queue_directory, next, e, err);
    case SETUP_OUT:
        return out_role(s, p, queue_directory, e);
    }
    abort();
}

int setup_socket_directory(const struct setup *s, const struct config_milter *m,
                           const char *queue_directory, struct err *err)
{
    const struct endpoint *e = m == NULL ? NULL : &m->socket;
    size_t len = strlen(queue_directory);

    if (e == NULL || e->kind != ENDPOINT_UNIX || strncmp(e->path, queue_directory, len) != 0 ||
        e->path[len] != '/' || strchr(e->path + len + 1, '/') == NULL)
        return 0;
    const struct passwd *user = getpwnam(s->options->user);
    if (user == NULL) {
        err_set(err, "there is no user '%s': give the user of splitmilter with --user",
                s->options->user);
        return -1;
    }
    const struct group *group = getgrnam("postfix");
    char *path = mem_strdup(e->path);
    /* With the set-group-id bit the socket gets the group of its directory, that of Postfix. */
    steps_mkdir(s->steps, dirname(path), 02750, user->pw_uid,
                group == NULL ? user->pw_gid : group->gr_gid);
    free(path);
    return 0;
}
