/* SPDX-License-Identifier: ISC */
/*
 * Values are checked and stored only after the whole file was parsed, by the table in
 * config_option.c; each value knows its line, so a mistake is reported with it however late it is
 * found.
 */
#include "config_file.h"
#include "address.h"
#include "config_destination.h"
#include "config_option.h"
#include "config_parse.h"
#include "config_tls.h"
#include "mem.h"

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

static int fail_section(const struct config_parse *p, const cfg_t *sec, struct err *err)
{
    struct config_section_start start = config_parse_section(p, sec);

    return config_parse_fail(start.file, start.line, err);
}

/* The value of that index, or NULL; marks are no values. */
static const struct config_value *value_at(cfg_t *sec, const char *name, unsigned index)
{
    cfg_opt_t *opt = cfg_getopt(sec, name);
    unsigned seen = 0;

    for (unsigned i = 0; i < cfg_opt_size(opt); i++) {
        const struct config_value *v = cfg_opt_getnptr(opt, i);
        if (!v->is_mark && seen++ == index)
            return v;
    }
    return NULL;
}

/* Was the option set, be it to an empty list? */
static bool is_given(cfg_t *sec, const char *name)
{
    return (cfg_getopt(sec, name)->flags & CFGF_MODIFIED) != 0;
}

static int store_option(const struct config_parse *p, cfg_t *sec, const struct config_option *o,
                        void *base, struct err *err)
{
    const struct config_value *v;
    unsigned count = 0;

    if (!is_given(sec, o->name) && o->default_text != NULL) {
        if (store_default(o, base) < 0)
            abort();
        return 0;
    }
    for (; (v = value_at(sec, o->name, count)) != NULL; count++)
        if (config_option_store(o, base, v->text, err) < 0) {
            err_wrap(err, "%s", o->name);
            return config_parse_fail(v->file, v->line, err);
        }
    if (count < (config_option_is_list(o) ? o->min : 1)) {
        err_set(err, "%s%s%s: %s is missing; at least one value is needed",
                config_section_name(o->section), sec->title == NULL ? "" : " ",
                sec->title == NULL ? "" : sec->title, o->name);
        return fail_section(p, sec, err);
    }
    return 0;
}

static int store_section(const struct config_parse *p, cfg_t *sec, enum config_section section,
                         void *base, struct err *err)
{
    for (const struct config_option *o = config_options; o->name != NULL; o++)
        if (o->section == section && store_option(p, sec, o, base, err) < 0)
            return -1;
    return 0;
}

/* The name of a filter, destination or listener: it becomes part of addresses and of paths in the
 * spool, and tables say "none" for nothing. */
static int store_name(const struct config_parse *p, cfg_t *sec, char **name, unsigned *line,
                      struct err *err)
{
    const char *title = cfg_title(sec);

    *line = config_parse_section(p, sec).line;
    if (!address_is_tag_name(title) || strcmp(title, "none") == 0) {
        err_set(err,
                "%s '%s': the name is not allowed; allowed: 1 to 63 of a-z 0-9 '-', no '-' at "
                "either end, not \"none\"",
                cfg_name(sec), title);
        return fail_section(p, sec, err);
    }
    *name = mem_strdup(title);
    return 0;
}

static int store_filters(const struct config_parse *p, struct config *c, struct err *err)
{
    unsigned count = cfg_size(p->cfg, "filter");

    c->filters = mem_zalloc(count * sizeof *c->filters);
    for (unsigned i = 0; i < count; i++) {
        cfg_t *sec = cfg_getnsec(p->cfg, "filter", i);
        struct config_filter *f = &c->filters[c->filter_count++];
        if (store_name(p, sec, &f->name, &f->line, err) < 0 ||
            store_section(p, sec, CONFIG_SECTION_FILTER, f, err) < 0)
            return -1;
    }
    return 0;
}

static int fail_value(const struct config_parse *p, cfg_t *sec, const char *name, unsigned index,
                      struct err *err)
{
    const struct config_value *v = value_at(sec, name, index);

    return v == NULL ? fail_section(p, sec, err) : config_parse_fail(v->file, v->line, err);
}

static int check_destination(const struct config_parse *p, cfg_t *sec, const struct config *c,
                             const struct config_destination *d, struct err *err)
{
    struct config_blame blame = {0};

    if (config_destination_check(d, &blame, err) == 0 &&
        config_places_check(c, d, &blame, err) == 0)
        return 0;
    const char *name =
        blame.otherwise == NULL || is_given(sec, blame.option) ? blame.option : blame.otherwise;
    return fail_value(p, sec, name, blame.index, err);
}

static int store_destinations(const struct config_parse *p, struct config *c, struct err *err)
{
    unsigned count = cfg_size(p->cfg, "destination");

    c->destinations = mem_zalloc(count * sizeof *c->destinations);
    for (unsigned i = 0; i < count; i++) {
        cfg_t *sec = cfg_getnsec(p->cfg, "destination", i);
        struct config_destination *d = &c->destinations[c->destination_count++];
        if (store_name(p, sec, &d->name, &d->line, err) < 0 ||
            store_section(p, sec, CONFIG_SECTION_DESTINATION, d, err) < 0 ||
            check_destination(p, sec, c, d, err) < 0)
            return -1;
    }
    return 0;
}

static int check_listener(const struct config_parse *p, cfg_t *sec, const struct config *c,
                          struct config_listener *l, struct err *err)
{
    struct config_blame blame = {0};

    for (size_t i = 0; i < l->copies.count; i++)
        if (config_find_destination(c, l->copies.items[i]) == NULL) {
            err_set(err, "listener %s: copies: '%s' is not a declared destination", l->name,
                    l->copies.items[i]);
            return fail_value(p, sec, "copies", (unsigned)i, err);
        }
    if (config_primary_check(l, &blame, err) < 0)
        return fail_value(p, sec, blame.option, blame.index, err);
    l->primary.name = l->name;
    l->primary.line = l->line;
    return 0;
}

static int store_listeners(const struct config_parse *p, struct config *c, struct err *err)
{
    unsigned count = cfg_size(p->cfg, "listener");

    c->listeners = mem_zalloc(count * sizeof *c->listeners);
    for (unsigned i = 0; i < count; i++) {
        cfg_t *sec = cfg_getnsec(p->cfg, "listener", i);
        struct config_listener *l = &c->listeners[c->listener_count++];
        if (store_name(p, sec, &l->name, &l->line, err) < 0 ||
            store_section(p, sec, CONFIG_SECTION_LISTENER, l, err) < 0 ||
            check_listener(p, sec, c, l, err) < 0)
            return -1;
    }
    for (unsigned i = 0; i < count; i++) {
        cfg_t *sec = cfg_getnsec(p->cfg, "listener", i);
        struct config_blame blame;
        if (config_loop_check(c, &c->listeners[i], &blame, err) < 0)
            return fail_value(p, sec, blame.option, blame.index, err);
    }
    return 0;
}

/* Option metrics of a section, of which there are `count` values. */
static int check_metrics(cfg_t *sec, size_t count, struct err *err)
{
#ifdef HAVE_MICROHTTPD
    static const bool is_built = true;
#else
    static const bool is_built = false;
#endif

    if (is_built || count == 0)
        return 0;
    err_set(err, "metrics: built without libmicrohttpd; allowed: to leave it out");
    const struct config_value *v = value_at(sec, "metrics", 0);
    return config_parse_fail(v->file, v->line, err);
}

/* Without a host the milter socket is on this machine; elsewhere it needs to know its MTAs: what
 * they send is believed. */
static int derive_socket(const struct config_parse *p, struct config_milter *m, struct err *err)
{
    struct endpoint *e = &m->socket;

    if (e->kind != ENDPOINT_INET)
        return 0;
    if (e->host[0] == '\0')
        strcpy(e->host, strncmp(m->socket_text, "inet6:", 6) == 0 ? "::1" : "127.0.0.1");
    if (endpoint_is_loopback(e) || m->trusted_mta_count > 0)
        return 0;
    err_set(err,
            "socket: \"%s\" can be reached from other machines: set trusted_mtas to the addresses "
            "of the mail servers that may connect",
            m->socket_text);
    return fail_value(p, cfg_getsec(p->cfg, "milter"), "socket", 0, err);
}

/* Defaults that depend on other values or on the machine. */
static int derive(const struct config_parse *p, struct config *c, struct err *err)
{
    char name[256];

    for (size_t i = 0; i < c->destination_count; i++)
        c->destinations[i].dns = &c->relay.dns;
    for (size_t i = 0; i < c->listener_count; i++)
        c->listeners[i].primary.dns = &c->relay.dns;
    if (derive_socket(p, &c->milter, err) < 0)
        return -1;
    if (!is_given(cfg_getsec(p->cfg, "milter"), "pid_file") &&
        c->milter.socket.kind == ENDPOINT_UNIX) {
        free(c->milter.pid_file);
        c->milter.pid_file = mem_printf("%s.pid", c->milter.socket.path);
    }
    if (c->relay.hostname[0] != '\0')
        return 0;
    if (gethostname(name, sizeof name) < 0 || memchr(name, '\0', sizeof name) == NULL ||
        name[0] == '\0') {
        err_set(err, "%s: the system has no name; set hostname in section relay", c->path);
        return -1;
    }
    free(c->relay.hostname);
    c->relay.hostname = mem_strdup(name);
    return 0;
}

static int store_relay(const struct config_parse *p, struct config *c, struct err *err)
{
    cfg_t *sec = cfg_getsec(p->cfg, "relay");
    struct config_blame blame = {0};

    if (store_section(p, sec, CONFIG_SECTION_RELAY, &c->relay, err) < 0)
        return -1;
    if (config_server_tls_check("relay", &c->relay.tls, &blame, err) < 0)
        return fail_value(p, sec, blame.option, blame.index, err);
    return 0;
}

static int store_all(const struct config_parse *p, struct config *c, struct err *err)
{
    if (store_section(p, p->cfg, CONFIG_SECTION_TOP, c, err) < 0 ||
        store_section(p, cfg_getsec(p->cfg, "log"), CONFIG_SECTION_LOG, &c->log, err) < 0 ||
        store_section(p, cfg_getsec(p->cfg, "milter"), CONFIG_SECTION_MILTER, &c->milter, err) <
            0 ||
        store_relay(p, c, err) < 0 || store_filters(p, c, err) < 0 ||
        store_destinations(p, c, err) < 0 || store_listeners(p, c, err) < 0)
        return -1;
    if (check_metrics(cfg_getsec(p->cfg, "milter"), c->milter.metrics_count, err) < 0 ||
        check_metrics(cfg_getsec(p->cfg, "relay"), c->relay.metrics_count, err) < 0)
        return -1;
    return derive(p, c, err);
}

struct config *config_file_load(const char *path, struct err *err)
{
    struct config_parse parse;

    if (config_parse_open(&parse, path, err) < 0)
        return NULL;
    struct config *c = mem_zalloc(sizeof *c);
    c->path = mem_strdup(path);
    if (store_all(&parse, c, err) < 0) {
        config_free(c);
        c = NULL;
    }
    config_parse_close(&parse);
    return c;
}
