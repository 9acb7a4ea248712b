/* SPDX-License-Identifier: ISC */
#include "config/config.h"
#include "config/config_destination.h"
#include "config/config_tls.h"
#include "base/ascii.h"

#include <stdlib.h>
#include <string.h>

int config_place_fail(struct text_place place, struct err *err)
{
    err_wrap(err, "%s:%u", place.file, place.line);
    return -1;
}

static bool find_table(const struct string_list *list, const char *spec, struct text_place *out)
{
    for (size_t i = 0; i < list->count && list->places != NULL; i++)
        if (strcmp(list->items[i], spec) == 0) {
            *out = list->places[i];
            return true;
        }
    return false;
}

struct text_place config_table_place(const struct config *c, const char *spec)
{
    const struct config_milter *m = &c->milter;
    struct text_place place = {c->path, 1};

    if (find_table(&m->canonical_maps, spec, &place) || find_table(&m->filter_maps, spec, &place) ||
        find_table(&m->copy_maps, spec, &place) ||
        find_table(&m->sender_filter_maps, spec, &place) ||
        find_table(&m->sender_copy_maps, spec, &place) || find_table(&m->orcpt_maps, spec, &place))
        return place;
    for (size_t i = 0; i < c->listener_count; i++)
        if (find_table(&c->listeners[i].copy_maps, spec, &place))
            break;
    return place;
}

static void milter_clear(struct config_milter *m)
{
    free(m->name);
    free(m->label);
    free(m->socket_text);
    free(m->socket_group);
    free(m->trusted_mtas);
    free(m->pid_file);
    string_list_clear(&m->canonical_maps);
    string_list_clear(&m->filter_maps);
    string_list_clear(&m->copy_maps);
    string_list_clear(&m->sender_filter_maps);
    string_list_clear(&m->sender_copy_maps);
    string_list_clear(&m->orcpt_maps);
    string_list_clear(&m->unfiltered_nexthops);
    free(m->bypass_clients);
    free(m->local_networks);
    string_list_clear(&m->local_domains);
    string_list_clear(&m->canonical_classes);
    free(m->filter_header);
    free(m->metrics);
}

static void relay_clear(struct config_relay *r)
{
    free(r->listen);
    free(r->hostname);
    free(r->spool_directory);
    free(r->queue);
    free(r->node);
    free(r->trusted_networks);
    free(r->metrics);
    free(r->page_password_file);
    free(r->dns.servers);
    config_server_tls_clear(&r->tls);
}

static void listener_clear(struct config_listener *l)
{
    free(l->name);
    free(l->listen);
    l->primary.name = NULL; /* the name of the listener, which is freed already */
    config_destination_clear(&l->primary);
    string_list_clear(&l->copies);
    string_list_clear(&l->copy_maps);
    config_server_tls_clear(&l->tls);
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    free(c->path);
    for (size_t i = 0; i < c->file_count; i++)
        free(c->files[i]);
    free(c->files);
    free(c->tag_domain);
    free(c->recipient_delimiter);
    free(c->log.target);
    free(c->log.facility);
    free(c->log.level);
    free(c->log.style);
    milter_clear(&c->milter);
    for (size_t i = 0; i < c->other_milter_count; i++)
        milter_clear(&c->other_milters[i]);
    free(c->other_milters);
    for (size_t i = 0; i < c->filter_count; i++) {
        free(c->filters[i].name);
        free(c->filters[i].nexthop);
        string_list_clear(&c->filters[i].fallback);
    }
    free(c->filters);
    relay_clear(&c->relay);
    for (size_t i = 0; i < c->destination_count; i++)
        config_destination_clear(&c->destinations[i]);
    free(c->destinations);
    for (size_t i = 0; i < c->listener_count; i++)
        listener_clear(&c->listeners[i]);
    free(c->listeners);
    free(c);
}

int config_use_milter(struct config *c, const char *name, struct err *err)
{
    size_t i = 0;

    if (strcmp(c->milter.name, name) == 0)
        return 0;
    while (i < c->other_milter_count && strcmp(c->other_milters[i].name, name) != 0)
        i++;
    if (i == c->other_milter_count) {
        err_set(err, "%s: there is no section \"milter %s\"", c->path, name);
        return -1;
    }
    struct config_milter former = c->milter;
    c->milter = c->other_milters[i];
    c->other_milters[i] = former;
    return 0;
}

struct config config_of_milter(const struct config *c, size_t index)
{
    struct config view = *c;

    if (index > 0)
        view.milter = c->other_milters[index - 1];
    return view;
}

size_t config_milter_table_count(const struct config_milter *m)
{
    return m->canonical_maps.count + m->filter_maps.count + m->copy_maps.count +
           m->sender_filter_maps.count + m->sender_copy_maps.count;
}

const struct config_filter *config_find_filter(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->filter_count; i++)
        if (ascii_equal(c->filters[i].name, name))
            return &c->filters[i];
    return NULL;
}

const struct config_destination *config_find_destination(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->destination_count; i++)
        if (ascii_equal(c->destinations[i].name, name))
            return &c->destinations[i];
    return NULL;
}

const struct config_listener *config_find_listener(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->listener_count; i++)
        if (ascii_equal(c->listeners[i].name, name))
            return &c->listeners[i];
    return NULL;
}

const char *config_direction_name(enum config_direction direction)
{
    static const char *const names[CONFIG_DIRECTION_COUNT] = {"inbound", "outbound", "internal"};

    return names[direction];
}

bool config_destination_takes(const struct config_destination *d, enum config_direction direction)
{
    for (size_t i = 0; i < d->direction.count; i++)
        if (strcmp(d->direction.items[i], config_direction_name(direction)) == 0)
            return true;
    return false;
}

bool config_destination_takes_all(const struct config_destination *d)
{
    for (enum config_direction i = 0; i < CONFIG_DIRECTION_COUNT; i++)
        if (!config_destination_takes(d, i))
            return false;
    return true;
}

int config_listener_copy_check(const struct config_destination *d, struct err *err)
{
    if (config_destination_takes_all(d))
        return 0;
    err_set(
        err,
        "\"%s\" has a direction, which a listener does not know; allowed: a destination without "
        "direction, which may have the same relay_to",
        d->name);
    return -1;
}

bool config_has_canonical_class(const struct config *c, const char *name)
{
    const struct string_list *classes = &c->milter.canonical_classes;

    for (size_t i = 0; i < classes->count; i++)
        if (strcmp(classes->items[i], name) == 0)
            return true;
    return false;
}

/* Return true if two values "transport:nexthop" are written alike. Case is ignored, unless a value
 * has a path. */
static bool is_same_text(const char *a, const char *b)
{
    return strchr(a, '/') != NULL ? strcmp(a, b) == 0 : ascii_equal(a, b);
}

/* Return true if two values have the same transport and the same host and port, even if they are
 * written in different ways. */
static bool is_same_place(const char *a, const char *b)
{
    struct err err;
    struct endpoint ea, eb;
    size_t len = strcspn(a, ":");

    if (a[len] != ':' || !ascii_equal_n(a, b, len + 1) ||
        endpoint_parse_nexthop(a + len + 1, &ea, &err) < 0 ||
        endpoint_parse_nexthop(b + len + 1, &eb, &err) < 0 || ea.kind != eb.kind)
        return false;
    if (ea.kind == ENDPOINT_UNIX)
        return strcmp(ea.path, eb.path) == 0;
    return ea.port == eb.port && ascii_equal(ea.host, eb.host);
}

const struct config_filter *config_find_nexthop(const struct config *c, const char *nexthop)
{
    for (size_t i = 0; i < c->filter_count; i++)
        if (is_same_text(c->filters[i].nexthop, nexthop))
            return &c->filters[i];
    for (size_t i = 0; i < c->filter_count; i++)
        if (is_same_place(c->filters[i].nexthop, nexthop))
            return &c->filters[i];
    return NULL;
}

const char *config_hop(const char *nexthop)
{
    const char *colon = strchr(nexthop, ':');

    return colon == NULL ? "" : colon + 1;
}

bool config_is_same_nexthop(const char *a, const char *b)
{
    return is_same_text(a, b) || is_same_place(a, b);
}

bool config_is_unfiltered_nexthop(const struct config *c, const char *nexthop)
{
    const struct string_list *list = &c->milter.unfiltered_nexthops;

    for (size_t i = 0; i < list->count; i++)
        if (config_is_same_nexthop(list->items[i], nexthop))
            return true;
    return false;
}
