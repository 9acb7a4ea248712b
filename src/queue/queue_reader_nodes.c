/* SPDX-License-Identifier: ISC */
#include "queue/queue_reader_private.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool add_node(void *ctx, const struct db_value *columns)
{
    struct queue_nodes *nodes = ctx;

    nodes->items = mem_grow(nodes->items, nodes->count + 1, sizeof *nodes->items);
    struct queue_node_row *n = &nodes->items[nodes->count++];
    memset(n, 0, sizeof *n);
    snprintf(n->name, sizeof n->name, "%s", db_string(&columns[0]));
    n->number = columns[1].number;
    n->since = (time_t)columns[2].number;
    n->until = (time_t)columns[3].number;
    n->is_alive = columns[4].number != 0;
    snprintf(n->version, sizeof n->version, "%s", db_string(&columns[5]));
    n->copies = (uint64_t)columns[6].number;
    return true;
}

int queue_reader_nodes(struct queue_reader *r, struct queue_nodes *out, struct err *err)
{
    struct db *db = r->db == NULL ? r->bare : r->db;

    memset(out, 0, sizeof *out);
    if (db == NULL || !db->is_shared)
        return 0;
    out->is_shared = true;
    enum db_status status = db_pgsql_replication(db, &out->replication, err);
    if (status == DB_OK && r->db == NULL) /* it has no tables yet */
        return 0;
    if (status == DB_OK)
        status = r->db->ops->query(
            r->db,
            "SELECT n.name, n.number, n.since, n.until, a.name IS NOT NULL, n.version,"
            " coalesce(owned.copies, 0) FROM node n LEFT JOIN alive a ON a.number = n.number"
            " LEFT JOIN (SELECT owner, count(*) AS copies FROM copy WHERE owner IS NOT NULL"
            " GROUP BY owner) owned ON owned.owner = a.name ORDER BY n.name",
            NULL, 0, add_node, out, err);
    if (status == DB_OK)
        status = db_get_number(r->db, "SELECT count(*) FROM copy WHERE ordered IS NOT NULL", NULL,
                               0, &out->ordered, err);
    return status == DB_OK ? 0 : -1;
}

void queue_nodes_clear(struct queue_nodes *nodes)
{
    free(nodes->items);
    memset(nodes, 0, sizeof *nodes);
}
