/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/check.h"
#include "ctl/ctl.h"

#include <grp.h>
#include <stdlib.h>
#include <unistd.h>

static void check_paths(struct findings *f, const struct config *config, const struct service *s)
{
    const struct config_milter *m = &config->milter;
    const struct string_list *const lists[] = {&m->canonical_maps,   &m->filter_maps,
                                               &m->copy_maps,        &m->sender_filter_maps,
                                               &m->sender_copy_maps, &m->orcpt_maps};

    char *socket = mem_printf("%s.socket", m->label), *pid = mem_printf("%s.pid_file", m->label);
    char *metrics = mem_printf("%s.metrics", m->label);

    check_listen(f, s, socket, &m->socket, 1);
    if (m->pid_file[0] != '\0')
        check_socket_directory(f, s, pid, m->pid_file);
    check_listen(f, s, metrics, m->metrics, m->metrics_count);
    free(socket);
    free(pid);
    free(metrics);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (size_t k = 0; k < lists[i]->count; k++)
            check_table_reach(f, s, lists[i]->items[k]);
}

/* splitmilter gives its socket to socket_group. A process that does not run as root can do that
 * only if its user is a member of the group. */
static void check_socket_group(struct findings *f, const struct config_milter *m,
                               const struct service *s)
{
    gid_t groups[SERVICE_GROUPS_MAX];
    const struct group *group = m->socket_group[0] == '\0' ? NULL : getgrnam(m->socket_group);

    if (m->socket_group[0] != '\0' && group == NULL)
        find(f, LEVEL_ERROR, "%s: socket_group: there is no group '%s'", m->label, m->socket_group);
    if (group == NULL || geteuid() == 0 || (s->has_user && geteuid() != s->uid))
        return;
    bool is_member = getegid() == group->gr_gid;
    int count = getgroups(SERVICE_GROUPS_MAX, groups);
    for (int i = 0; i < count; i++)
        is_member = is_member || groups[i] == group->gr_gid;
    if (!is_member)
        find(f, LEVEL_ERROR,
             "%s: socket_group: user %s is no member of group %s, and cannot give the socket to it",
             m->label, s->user, m->socket_group);
}

/* libmilter trusts its peers: a malformed packet can end the process (SECURITY.md). */
static void check_socket_mode(struct findings *f, const struct config_milter *m,
                              const struct service *s)
{
    if (m->socket.kind == ENDPOINT_UNIX && (m->socket_mode & 02) != 0)
        find(f, LEVEL_WARNING,
             "%s: socket_mode %04o lets every local user connect and stop %s: use 0660 and "
             "socket_group",
             m->label, m->socket_mode, s->name);
}

void check_milter(struct findings *f, const struct config *config, const struct service *s)
{
    const struct config_milter *m = &config->milter;
    struct err err;

    check_tables(f, config);
    if (!s->belongs_here) {
        find(f, LEVEL_NOTE, "%s: %s does not belong to this machine: %s", m->label, s->name,
             s->why_not);
        return;
    }
    check_paths(f, config, s);
    check_socket_group(f, m, s);
    check_socket_mode(f, m, s);
    if (ctl_probe(&m->socket, CTL_CONNECT_TIMEOUT_MS, &err) < 0)
        find(f, LEVEL_WARNING, "%s: %s: no answer: %s", m->label, m->socket_text, err.text);
    else
        find(f, LEVEL_OK, "%s: %s answers", m->label, m->socket_text);
}
