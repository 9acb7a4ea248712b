/* SPDX-License-Identifier: ISC */
/*
 * Values are checked and stored after the whole file was parsed, as the table in
 * config_option_table.c describes them. Each value carries its line, so a mistake that is found
 * late is still reported with its line.
 */
#include "config/config_file.h"
#include "mail/address.h"
#include "config/config_destination.h"
#include "config/config_fallback.h"
#include "config/config_option.h"
#include "config/config_parse.h"
#include "config/config_queue.h"
#include "config/config_tls.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int store_default(const struct config_option *o, void *base)
{
    char *text = mem_strdup(o->default_text), *rest = text, *one;
    struct err err;
    int rc = 0;

    if (!config_option_is_list(o))
        rc = config_option_store(o, base, text, &err);
    else
        while (rc == 0 && (one = strtok_r(rest, ", ", &rest)) != NULL)
            rc = config_option_store(o, base, one, &err);
    free(text);
    return rc;
}

/* The value of an option with this index, or NULL. */
static const struct config_value *value_at(const struct config_part *part, const char *name,
                                           size_t index)
{
    const struct config_setting *s = config_part_setting(part, name);

    return s == NULL || index >= s->count ? NULL : &s->values[index];
}

/* Put a place before `err`: the place of the value; if there is no such value, the place of its
 * option; if that was not given, the place of the section. Returns -1. */
static int fail_value(const struct config_part *part, const char *name, size_t index,
                      struct err *err)
{
    const struct config_value *v = value_at(part, name, index);
    const struct config_setting *s = config_part_setting(part, name);

    return config_place_fail(v != NULL ? v->place : s != NULL ? s->place : part->place, err);
}

/* Remember where a table is named, for the message that the table cannot be opened. */
static void note_place(const struct config_option *o, void *base, struct text_place place)
{
    struct string_list *list = (void *)((char *)base + o->offset);

    if (o->type != CONFIG_OPT_TABLES)
        return;
    list->places = mem_grow(list->places, list->count, sizeof *list->places);
    list->places[list->count - 1] = place;
}

static int fail_missing(const struct config_part *part, const struct config_option *o,
                        struct err *err)
{
    err_set(err, "%s%s%s: %s is missing; at least one value is needed",
            config_section_name(o->section), part->title == NULL ? "" : " ",
            part->title == NULL ? "" : part->title, o->name);
    return fail_value(part, o->name, 0, err);
}

static int store_option(const struct config_part *part, const struct config_option *o, void *base,
                        struct err *err)
{
    const struct config_setting *s = config_part_setting(part, o->name);
    size_t count = s == NULL ? 0 : s->count;

    if (s == NULL && o->default_text != NULL) {
        if (store_default(o, base) < 0)
            abort();
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (config_option_store(o, base, s->values[i].text, err) < 0) {
            err_wrap(err, "%s", o->name);
            return config_place_fail(s->values[i].place, err);
        }
        note_place(o, base, s->values[i].place);
    }
    return count < (config_option_is_list(o) ? o->min : 1) ? fail_missing(part, o, err) : 0;
}

static int store_section(const struct config_part *part, void *base, struct err *err)
{
    for (const struct config_option *o = config_options; o->name != NULL; o++)
        if (o->section == part->section && store_option(part, o, base, err) < 0)
            return -1;
    return 0;
}

/* The section of a kind of which there is only one. */
static const struct config_part *only(const struct config_tree *t, enum config_section section)
{
    return config_tree_part(t, section, 0);
}

/* The name of a filter, destination or listener becomes part of addresses and of paths in the
 * spool, that of a milter part of the path of its socket and of the name of its unit. In a table
 * "none" means that there is no filter or copy, so it cannot be a name. */
static int store_name(const struct config_part *part, char **name, struct text_place *place,
                      struct err *err)
{
    *place = part->place;
    if (!address_is_tag_name(part->title) || strcmp(part->title, "none") == 0) {
        err_set(err,
                "%s '%s': the name is not allowed; allowed: 1 to 63 of a-z 0-9 '-', no '-' at "
                "either end, not \"none\"",
                config_section_name(part->section), part->title);
        return config_place_fail(part->place, err);
    }
    *name = mem_strdup(part->title);
    return 0;
}

static int check_filter(const struct config_part *part, const struct config *c,
                        const struct config_filter *f, struct err *err)
{
    size_t index = 0;

    if (config_fallback_check(c, f, &index, err) == 0)
        return 0;
    return fail_value(part, "fallback", index, err);
}

static int store_filters(const struct config_tree *t, struct config *c, struct err *err)
{
    size_t count = config_tree_count(t, CONFIG_SECTION_FILTER);

    c->filters = mem_zalloc(count * sizeof *c->filters);
    for (size_t i = 0; i < count; i++) {
        const struct config_part *part = config_tree_part(t, CONFIG_SECTION_FILTER, i);
        struct config_filter *f = &c->filters[c->filter_count++];
        if (store_name(part, &f->name, &f->place, err) < 0 || store_section(part, f, err) < 0 ||
            check_filter(part, c, f, err) < 0)
            return -1;
    }
    return 0;
}

static int check_destination(const struct config_part *part, const struct config *c,
                             const struct config_destination *d, struct err *err)
{
    struct config_blame blame = {0};

    if (config_destination_check(d, &blame, err) == 0 &&
        config_places_check(c, d, &blame, err) == 0)
        return 0;
    const char *name = blame.otherwise == NULL || config_part_setting(part, blame.option) != NULL
                           ? blame.option
                           : blame.otherwise;
    return fail_value(part, name, blame.index, err);
}

static int store_destinations(const struct config_tree *t, struct config *c, struct err *err)
{
    size_t count = config_tree_count(t, CONFIG_SECTION_DESTINATION);

    c->destinations = mem_zalloc(count * sizeof *c->destinations);
    for (size_t i = 0; i < count; i++) {
        const struct config_part *part = config_tree_part(t, CONFIG_SECTION_DESTINATION, i);
        struct config_destination *d = &c->destinations[c->destination_count++];
        if (store_name(part, &d->name, &d->place, err) < 0 || store_section(part, d, err) < 0 ||
            check_destination(part, c, d, err) < 0)
            return -1;
    }
    return 0;
}

static int check_listener(const struct config_part *part, const struct config *c,
                          struct config_listener *l, struct err *err)
{
    struct config_blame blame = {0};

    for (size_t i = 0; i < l->copies.count; i++) {
        const struct config_destination *d = config_find_destination(c, l->copies.items[i]);
        if (d == NULL)
            err_set(err, "listener %s: copies: '%s' is not a declared destination", l->name,
                    l->copies.items[i]);
        else if (config_listener_copy_check(d, err) == 0)
            continue;
        else
            err_wrap(err, "listener %s: copies", l->name);
        return fail_value(part, "copies", i, err);
    }
    if (config_primary_check(l, &blame, err) < 0)
        return fail_value(part, blame.option, blame.index, err);
    l->primary.name = l->name;
    l->primary.place = l->place;
    return 0;
}

static int store_listeners(const struct config_tree *t, struct config *c, struct err *err)
{
    size_t count = config_tree_count(t, CONFIG_SECTION_LISTENER);

    c->listeners = mem_zalloc(count * sizeof *c->listeners);
    for (size_t i = 0; i < count; i++) {
        const struct config_part *part = config_tree_part(t, CONFIG_SECTION_LISTENER, i);
        struct config_listener *l = &c->listeners[c->listener_count++];
        if (store_name(part, &l->name, &l->place, err) < 0 || store_section(part, l, err) < 0 ||
            check_listener(part, c, l, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < count; i++) {
        const struct config_part *part = config_tree_part(t, CONFIG_SECTION_LISTENER, i);
        struct config_blame blame;
        if (config_loop_check(c, &c->listeners[i], &blame, err) < 0)
            return fail_value(part, blame.option, blame.index, err);
    }
    return 0;
}

/* Check the option metrics of a section, which has `count` values: a build without libmicrohttpd
 * allows none. */
static int check_metrics(const struct config_part *part, size_t count, struct err *err)
{
#ifdef HAVE_MICROHTTPD
    static const bool is_built = true;
#else
    static const bool is_built = false;
#endif

    if (is_built || count == 0)
        return 0;
    err_set(err, "metrics: built without libmicrohttpd; allowed: to leave it out");
    return fail_value(part, "metrics", 0, err);
}

/* A page at a socket that other machines can reach needs a password, if the configuration asks for
 * the page. If it does not, the page is only served at the other sockets (metrics_http.h). */
static int check_page(const struct config_part *part, const struct config_relay *r, struct err *err)
{
    char text[300];

    if (!r->page || r->page_password_file[0] != '\0' || config_part_setting(part, "page") == NULL)
        return 0;
    for (size_t i = 0; i < r->metrics_count; i++) {
        if (r->metrics[i].host[0] == '\0' || endpoint_is_loopback(&r->metrics[i]))
            continue;
        endpoint_format(&r->metrics[i], text, sizeof text);
        err_set(err,
                "page: metrics at %s can be reached from other machines: set page_password_file;"
                " allowed without it: loopback addresses, unix sockets, page = \"no\"",
                text);
        return fail_value(part, "page", 0, err);
    }
    return 0;
}

/* The socket of a milter with a name has that name in its path. The pid file is beside a unix
 * socket. A milter socket without a host listens on loopback. A milter socket that other machines
 * can reach needs trusted_mtas, because splitmilter believes what a connected MTA sends. */
static int derive_socket(const struct config_part *part, struct config_milter *m, struct err *err)
{
    struct endpoint *e = &m->socket;

    if (m->name[0] != '\0' && config_part_setting(part, "socket") == NULL) {
        free(m->socket_text);
        m->socket_text = mem_printf("unix:/run/splitmilter/milter-%s.sock", m->name);
        mem_copy_string(e->path, sizeof e->path, strchr(m->socket_text, '/'));
    }
    if (e->kind == ENDPOINT_UNIX && config_part_setting(part, "pid_file") == NULL) {
        free(m->pid_file);
        m->pid_file = mem_printf("%s.pid", e->path);
    }
    if (e->kind != ENDPOINT_INET)
        return 0;
    if (e->host[0] == '\0')
        mem_copy_string(e->host, sizeof e->host,
                        strncmp(m->socket_text, "inet6:", 6) == 0 ? "::1" : "127.0.0.1");
    if (endpoint_is_loopback(e) || m->trusted_mta_count > 0)
        return 0;
    err_set(err,
            "socket: \"%s\" can be reached from other machines: set trusted_mtas to the addresses "
            "of the mail servers that may connect",
            m->socket_text);
    return fail_value(part, "socket", 0, err);
}

/* Set an option of section relay to the system's name, unless it has a value. */
static int derive_name(const struct config *c, char **field, const char *option, struct err *err)
{
    char name[256];

    if ((*field)[0] != '\0')
        return 0;
    if (gethostname(name, sizeof name) < 0 || memchr(name, '\0', sizeof name) == NULL ||
        name[0] == '\0') {
        err_set(err, "%s: the system has no name; set %s in section relay", c->path, option);
        return -1;
    }
    free(*field);
    *field = mem_strdup(name);
    return 0;
}

/* Set the values whose defaults depend on other values or on the machine. */
static int derive(struct config *c, struct err *err)
{
    for (size_t i = 0; i < c->destination_count; i++)
        c->destinations[i].dns = &c->relay.dns;
    for (size_t i = 0; i < c->listener_count; i++)
        c->listeners[i].primary.dns = &c->relay.dns;
    if (config_queue_is_postgresql(c->relay.queue) &&
        derive_name(c, &c->relay.node, "node", err) < 0)
        return -1;
    return derive_name(c, &c->relay.hostname, "hostname", err);
}

static int check_queue(const struct config_part *part, struct config_relay *r, struct err *err)
{
    const struct config_value *v = value_at(part, "queue", 0);

    r->queue_file = v == NULL ? part->place.file : v->place.file;
#ifndef HAVE_LIBPQ
    if (config_queue_is_postgresql(r->queue)) {
        err_set(err, "queue: built without PostgreSQL (libpq); allowed: \"sqlite\"");
        return fail_value(part, "queue", 0, err);
    }
#else
    (void)err;
#endif
    return 0;
}

static int store_relay(const struct config_tree *t, struct config *c, struct err *err)
{
    const struct config_part *part = only(t, CONFIG_SECTION_RELAY);
    struct config_blame blame = {0};

    c->relay.place = part->place;
    if (store_section(part, &c->relay, err) < 0)
        return -1;
    if (config_server_tls_check("relay", &c->relay.tls, &blame, err) < 0)
        return fail_value(part, blame.option, blame.index, err);
    if (check_queue(part, &c->relay, err) < 0)
        return -1;
    if (check_metrics(part, c->relay.metrics_count, err) < 0)
        return -1;
    return check_page(part, &c->relay, err);
}

static int store_milter(const struct config_part *part, struct config_milter *m, struct err *err)
{
    m->place = part->place;
    if (part->title == NULL)
        m->name = mem_strdup("");
    else if (store_name(part, &m->name, &m->place, err) < 0)
        return -1;
    m->label = mem_printf("milter%s%s", m->name[0] == '\0' ? "" : " ", m->name);
    if (store_section(part, m, err) < 0 || check_metrics(part, m->metrics_count, err) < 0)
        return -1;
    if (m->orcpt_maps.count > 0 && m->canonical_maps.count > 0) {
        err_set(err, "orcpt_maps: canonical_maps in the same section would rewrite a recipient "
                     "again; allowed: one of the two");
        return fail_value(part, "orcpt_maps", 0, err);
    }
    return derive_socket(part, m, err);
}

static int store_milters(const struct config_tree *t, struct config *c, struct err *err)
{
    size_t count = config_tree_count(t, CONFIG_SECTION_MILTER);

    c->other_milters = mem_zalloc((count - 1) * sizeof *c->other_milters);
    if (store_milter(only(t, CONFIG_SECTION_MILTER), &c->milter, err) < 0)
        return -1;
    for (size_t i = 1; i < count; i++)
        if (store_milter(config_tree_part(t, CONFIG_SECTION_MILTER, i),
                         &c->other_milters[c->other_milter_count++], err) < 0)
            return -1;
    return 0;
}

static int store_all(const struct config_tree *t, struct config *c, struct err *err)
{
    if (store_section(only(t, CONFIG_SECTION_TOP), c, err) < 0 ||
        store_section(only(t, CONFIG_SECTION_LOG), &c->log, err) < 0 ||
        store_milters(t, c, err) < 0 || store_relay(t, c, err) < 0 ||
        store_filters(t, c, err) < 0 || store_destinations(t, c, err) < 0 ||
        store_listeners(t, c, err) < 0)
        return -1;
    return derive(c, err);
}

/* Make the configuration from the tree, and clear the tree. NULL with `err`. */
static struct config *make_config(const char *path, struct config_tree *t, struct err *err)
{
    struct config *c = mem_zalloc(sizeof *c);

    c->path = mem_strdup(path);
    /* Every struct text_place points to one of these names, so the configuration keeps them. */
    c->files = t->files;
    c->file_count = t->file_count;
    t->files = NULL;
    t->file_count = 0;
    for (size_t i = 0; i < t->part_count; i++)
        if (t->parts[i].place.line == 0) /* the file does not have this section */
            t->parts[i].place = (struct text_place){c->files[0], 1};
    if (store_all(t, c, err) < 0) {
        config_free(c);
        c = NULL;
    }
    config_tree_clear(t);
    return c;
}

struct config *config_file_load(const char *path, struct err *err)
{
    struct config_tree tree;

    if (config_parse_file(&tree, path, err) == 0)
        return make_config(path, &tree, err);
    config_tree_clear(&tree);
    return NULL;
}

struct config *config_file_load_text(const char *name, const char *text, size_t len,
                                     struct err *err)
{
    struct config_tree tree;

    if (config_parse_text(&tree, name, text, len, err) == 0)
        return make_config(name, &tree, err);
    config_tree_clear(&tree);
    return NULL;
}
