/* SPDX-License-Identifier: ISC */
#include "check.h"
#include "ctl.h"

#include <grp.h>

static void check_paths(struct findings *f, const struct config *config, const struct service *s)
{
    const struct config_milter *m = &config->milter;
    const struct config_strings *const lists[] = {&m->canonical_maps, &m->filter_maps,
                                                  &m->copy_maps, &m->sender_filter_maps,
                                                  &m->sender_copy_maps};

    if (m->socket.kind == ENDPOINT_UNIX)
        check_socket_directory(f, s, "milter.socket", m->socket.path);
    if (m->pid_file[0] != '\0')
        check_socket_directory(f, s, "milter.pid_file", m->pid_file);
    for (size_t i = 0; i < m->metrics_count; i++)
        if (m->metrics[i].kind == ENDPOINT_UNIX)
            check_socket_directory(f, s, "milter.metrics", m->metrics[i].path);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (size_t k = 0; k < lists[i]->count; k++)
            check_table_reach(f, s, lists[i]->items[k]);
}

void check_milter(struct findings *f, struct config *config, const struct service *s)
{
    const struct config_milter *m = &config->milter;
    struct err err;

    check_tables(f, config);
    if (!s->belongs_here) {
        find(f, LEVEL_NOTE, "milter: splitmilter is not of this machine: %s", s->why_not);
        return;
    }
    check_paths(f, config, s);
    if (m->socket_group[0] != '\0' && getgrnam(m->socket_group) == NULL)
        find(f, LEVEL_ERROR, "milter: socket_group: there is no group '%s'", m->socket_group);
    if (ctl_probe(&m->socket, CTL_CONNECT_TIMEOUT_MS, &err) < 0)
        find(f, LEVEL_WARNING, "milter: %s: nobody answers: %s", m->socket_text, err.text);
    else
        find(f, LEVEL_OK, "milter: %s answers", m->socket_text);
}
