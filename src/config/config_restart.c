/* SPDX-License-Identifier: ISC */
#include "config/config_restart.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static bool same_endpoints(const struct endpoint *a, size_t a_count, const struct endpoint *b,
                           size_t b_count)
{
    bool is_same = a_count == b_count;

    for (size_t i = 0; is_same && i < a_count; i++) {
        const struct endpoint *x = &a[i], *y = &b[i];
        is_same = x->kind == y->kind && x->port == y->port && strcmp(x->host, y->host) == 0 &&
                  strcmp(x->path, y->path) == 0;
    }
    return is_same;
}

static bool same_listeners(const struct config *a, const struct config *b)
{
    bool is_same = a->listener_count == b->listener_count;

    for (size_t i = 0; is_same && i < a->listener_count; i++) {
        const struct config_listener *x = &a->listeners[i];
        const struct config_listener *y = config_find_listener(b, x->name);
        is_same =
            y != NULL && same_endpoints(x->listen, x->listen_count, y->listen, y->listen_count);
    }
    return is_same;
}

static void name(struct buf *out, bool is_same, const char *option)
{
    if (!is_same)
        buf_addf(out, "%s%s", out->len == 0 ? "" : ", ", option);
}

void config_restart_relay(const struct config *started, const struct config *next, struct buf *out)
{
    const struct config_relay *a = &started->relay, *b = &next->relay;

    name(out, same_listeners(started, next), "the sections listener, or listen in one of them");
    name(out, same_endpoints(a->listen, a->listen_count, b->listen, b->listen_count),
         "relay.listen");
    name(out, strcmp(a->spool_directory, b->spool_directory) == 0, "relay.spool_directory");
    name(out, strcmp(a->queue, b->queue) == 0, "relay.queue");
    name(out, a->queue_replicated == b->queue_replicated, "relay.queue_replicated");
    name(out, strcmp(a->node, b->node) == 0, "relay.node");
    name(out, same_endpoints(a->metrics, a->metrics_count, b->metrics, b->metrics_count),
         "relay.metrics");
    name(out, a->page == b->page, "relay.page");
    name(out, strcmp(a->page_password_file, b->page_password_file) == 0,
         "relay.page_password_file");
    name(out, a->min_free_space_bytes == b->min_free_space_bytes, "relay.min_free_space");
}

/* Name an option of a section milter. */
static void name_of_milter(struct buf *out, const struct config_milter *m, bool is_same,
                           const char *option)
{
    char *full = mem_printf("%s.%s", m->label, option);

    name(out, is_same, full);
    free(full);
}

void config_restart_milter(const struct config *started, const struct config *next, struct buf *out)
{
    const struct config_milter *a = &started->milter, *b = &next->milter;

    name_of_milter(out, a, strcmp(a->socket_text, b->socket_text) == 0, "socket");
    name_of_milter(out, a, a->socket_mode == b->socket_mode, "socket_mode");
    name_of_milter(out, a, strcmp(a->socket_group, b->socket_group) == 0, "socket_group");
    name_of_milter(out, a, strcmp(a->pid_file, b->pid_file) == 0, "pid_file");
    name_of_milter(out, a,
                   same_endpoints(a->metrics, a->metrics_count, b->metrics, b->metrics_count),
                   "metrics");
}
