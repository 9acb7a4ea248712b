/* SPDX-License-Identifier: ISC */
#include "receive/primary_private.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

struct primary *primary_new(struct runtime *runtime, const struct config_listener *listener,
                            struct primary_pool *pool)
{
    struct primary *p = mem_zalloc(sizeof *p);

    p->listener = listener;
    p->runtime = runtime;
    p->pool = pool;
    p->connection = connection_new(&listener->primary,
                                   security_find_client(runtime->security, &listener->primary),
                                   runtime_config(runtime)->relay.hostname, NULL);
    return p;
}

/* Give an idle connection to the pool, for the next session. A connection with refusals is closed
 * instead: a server counts refusals, and slows down or closes a connection that has many, so that
 * the errors of one client would affect another. */
static void give_to_pool(struct primary *p)
{
    struct connection *c = p->connection;

    if (!connection_is_open(c) || p->unanswered > 0 || p->has_refusals ||
        connection_is_cut_short(c) || connection_is_worn_out(c) || connection_is_interrupted(c) ||
        connection_is_stale(c))
        return;
    struct connection_detached *k = connection_detach(c);
    if (!primary_pool_give(p->pool, p->runtime, p->listener, k) && connection_attach(c, k) != 0)
        log_debug("%s: interrupted", connection_peer(c));
}

void primary_free(struct primary *p)
{
    if (p == NULL)
        return;
    give_to_pool(p);
    connection_free(p->connection);
    buf_clear(&p->unsent);
    buf_clear(&p->message);
    buf_clear(&p->text);
    free(p);
}

void primary_interrupt(struct primary *p)
{
    connection_interrupt(p->connection);
}

void primary_forget(struct primary *p)
{
    buf_reset(&p->unsent);
    buf_reset(&p->message);
    p->may_begin_again = p->awaits_rset = false;
}

int primary_connect(struct primary *p)
{
    connection_close(p->connection);
    p->has_refusals = false;
    p->unanswered = 0;
    if (connection_open(p->connection, false) != 0)
        return -1;
    primary_pool_learn(p->pool, p->listener, connection_features(p->connection));
    return 0;
}

bool primary_open(struct primary *p)
{
    struct connection *c = p->connection;
    struct connection_detached *k;

    if (connection_is_open(c) && (connection_is_cut_short(c) || connection_is_stale(c)))
        connection_close(c);
    if (connection_is_open(c) && p->unanswered == 0 && connection_is_worn_out(c))
        connection_quit(c);
    if (connection_is_open(c))
        return true;
    primary_forget(p);
    while ((k = primary_pool_take(p->pool, p->listener)) != NULL) {
        if (connection_attach(c, k) != 0)
            return false;
        p->has_refusals = false;
        p->unanswered = 0;
        if (!connection_is_stale(c))
            return true;
        connection_close(c);
    }
    return primary_connect(p) == 0;
}

void primary_fault(const struct primary *p, struct err *reply)
{
    const struct outcome *fault = connection_fault(p->connection);

    err_set(reply, "421 %s %s", fault->dsn, fault->reason);
}

const struct smtp_features *primary_features(const struct primary *p)
{
    return connection_is_open(p->connection) ? connection_features(p->connection) : NULL;
}

bool primary_features_known(const struct primary *p, struct smtp_features *out)
{
    const struct smtp_features *f = primary_features(p);

    if (f == NULL)
        return primary_pool_known(p->pool, p->listener, out);
    *out = *f;
    return true;
}

void primary_reset(struct primary *p)
{
    primary_forget(p);
}

void primary_abandon(struct primary *p)
{
    connection_fail(p->connection, "4.3.0", "message given up");
    primary_forget(p);
}

const char *primary_peer(const struct primary *p)
{
    const char *peer = connection_peer(p->connection);

    return peer[0] != '\0' ? peer : "none";
}

unsigned primary_uses(const struct primary *p)
{
    return connection_messages(p->connection);
}

const char *primary_dsn(const struct primary *p)
{
    return p->dsn;
}

const char *primary_text(const struct primary *p)
{
    return buf_str(&p->text);
}
