/* SPDX-License-Identifier: ISC */
/* The checks of a PostgreSQL that holds the copies. */
#include "config/config_queue.h"
#include "ctl/check.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Check the file of passwords. libpq ignores one that others may read. */
static void check_passfile(struct findings *f, const struct config_relay *r,
                           const struct service *s)
{
    struct buf path = {0};
    struct stat st;

    config_queue_option(r->queue, "passfile", &path);
    if (path.len > 0 && (stat(buf_str(&path), &st) < 0 || access(buf_str(&path), R_OK) < 0))
        find(f, LEVEL_ERROR, "queue: passfile %s: %s", buf_str(&path), strerror(errno));
    else if (path.len > 0 && (st.st_mode & 077) != 0)
        find(f, LEVEL_ERROR,
             "queue: passfile %s: others than its owner may use it (mode %04o), so it is not "
             "used; allowed: 0600",
             buf_str(&path), (unsigned)st.st_mode & 07777);
    else if (path.len > 0)
        (void)check_reach(f, s, "queue: passfile", buf_str(&path), false);
    buf_clear(&path);
}

static void check_password(struct findings *f, const struct config_relay *r)
{
    struct stat st;

    if (config_queue_has_password(r->queue) && stat(r->queue_file, &st) == 0 &&
        (st.st_mode & 07) != 0)
        find(f, LEVEL_WARNING,
             "queue: %s has a password, and all users may read it (mode %04o): chmod o= %s, or "
             "put the password into a passfile",
             r->queue_file, (unsigned)st.st_mode & 07777, r->queue_file);
}

static void check_replication(struct findings *f, const struct config_relay *r,
                              const struct db_replication *found)
{
    if (found->problem[0] != '\0' && r->queue_replicated)
        find(f, LEVEL_ERROR, "queue: %s", found->problem);
    else if (found->problem[0] != '\0')
        find(f, LEVEL_NOTE, "queue: queue_replicated = \"no\", and %s", found->problem);
    if (found->unsafe[0] != '\0')
        find(f, LEVEL_WARNING, "queue: %s", found->unsafe);
}

static void check_nodes(struct findings *f, const struct config_relay *r, const struct service *s,
                        const struct queue_nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++) {
        const struct queue_node_row *n = &nodes->items[i];
        if (n->until != 0 && !n->is_alive)
            find(f, LEVEL_WARNING, "queue: node %s is silent, its lease ended %lld s ago", n->name,
                 (long long)(time(NULL) - n->until));
        else if (n->is_alive && s->run == SERVICE_STOPPED && strcmp(n->name, r->node) == 0)
            find(f, LEVEL_WARNING,
                 "queue: another splitrelay is node %s: each needs a name of its own (node)",
                 n->name);
    }
}

void check_database(struct findings *f, const struct config *config, const struct service *s,
                    struct queue_reader *reader)
{
    const struct config_relay *r = &config->relay;
    struct queue_nodes nodes;
    struct buf shown = {0};
    struct err err;

    if (!config_queue_is_postgresql(r->queue))
        return;
    check_password(f, r);
    check_passfile(f, r, s);
    if (reader == NULL)
        return;
    if (queue_reader_nodes(reader, &nodes, &err) < 0)
        find(f, LEVEL_ERROR, "queue: %s", err.text);
    else if (nodes.is_shared) {
        config_queue_show(r->queue, &shown);
        find(f, LEVEL_OK, "queue: %s, PostgreSQL %u.%u at %s, %u of %u standbys synchronous",
             buf_str(&shown), nodes.replication.version / 10000, nodes.replication.version % 10000,
             nodes.replication.server, nodes.replication.synchronous, nodes.replication.standbys);
        check_replication(f, r, &nodes.replication);
        check_nodes(f, r, s, &nodes);
        buf_clear(&shown);
    }
    queue_nodes_clear(&nodes);
}
