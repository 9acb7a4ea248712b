/* SPDX-License-Identifier: ISC */
#include "primary_private.h"

#include "../log.h"
#include "../mem.h"

#include <stdlib.h>

struct primary *primary_new(struct snapshot *snapshot, const struct config_listener *listener,
                            struct primary_pool *pool)
{
    struct primary *p = mem_zalloc(sizeof *p);

    p->listener = listener;
    p->snapshot = snapshot;
    p->pool = pool;
    p->client = client_new(&listener->primary, snapshot->config->relay.hostname, NULL);
    return p;
}

static bool is_worn_out(const struct primary *p)
{
    unsigned max = p->listener->primary.max_messages_per_connection;

    return max > 0 && p->client->uses >= max;
}

/* Nothing is under way on it: the next session may go on where this one ends. Servers count
 * refusals, and slow down or hang up when there are many: those of one client must not become
 * another's. */
static void leave_to_pool(struct primary *p)
{
    struct client *c = p->client;

    if (c->stream == NULL || p->unanswered > 0 || p->has_refusals || p->is_cut_short ||
        is_worn_out(p) || atomic_load(&c->is_interrupted) || stream_is_stale(c->stream))
        return;
    c->needs_rset = p->needs_rset;
    struct client_connection *k = client_detach(c);
    if (!primary_pool_give(p->pool, p->snapshot, p->listener, k) && client_attach(c, k) != 0)
        log_debug("%s: interrupted", c->peer);
}

void primary_free(struct primary *p)
{
    if (p == NULL)
        return;
    leave_to_pool(p);
    client_free(p->client);
    buf_clear(&p->unsent);
    buf_clear(&p->message);
    buf_clear(&p->text);
    free(p);
}

void primary_interrupt(struct primary *p)
{
    client_interrupt(p->client);
}

void primary_forget(struct primary *p)
{
    buf_reset(&p->unsent);
    buf_reset(&p->message);
    p->may_begin_again = p->awaits_rset = p->is_answered_early = false;
}

int primary_connect(struct primary *p)
{
    client_close(p->client);
    p->needs_rset = p->has_refusals = p->is_cut_short = false;
    p->unanswered = 0;
    if (client_connect(p->client) != 0)
        return -1;
    primary_pool_learn(p->pool, p->listener, &p->client->features);
    return 0;
}

bool primary_open(struct primary *p)
{
    struct client *c = p->client;
    struct client_connection *k;

    if (c->stream != NULL && (p->is_cut_short || stream_is_stale(c->stream)))
        client_close(c);
    if (c->stream != NULL && p->unanswered == 0 && is_worn_out(p))
        client_end(c);
    if (c->stream != NULL)
        return true;
    primary_forget(p);
    while ((k = primary_pool_take(p->pool, p->listener)) != NULL) {
        if (client_attach(c, k) != 0)
            return false;
        p->needs_rset = c->needs_rset;
        p->has_refusals = p->is_cut_short = false;
        p->unanswered = 0;
        if (!stream_is_stale(c->stream))
            return true;
        client_close(c);
    }
    return primary_connect(p) == 0;
}

void primary_fault(const struct primary *p, struct err *reply)
{
    const struct delivery_outcome *fault = &p->client->fault;

    err_set(reply, "421 %s %s", fault->dsn, fault->reason);
}

const struct client_features *primary_features(const struct primary *p)
{
    return p->client->stream != NULL ? &p->client->features : NULL;
}

bool primary_features_known(const struct primary *p, struct client_features *out)
{
    if (p->client->stream == NULL)
        return primary_pool_known(p->pool, p->listener, out);
    *out = p->client->features;
    return true;
}

void primary_reset(struct primary *p)
{
    primary_forget(p);
}

void primary_abandon(struct primary *p)
{
    client_outcome(&p->client->fault, DELIVERY_RETRY, "4.3.0", "message given up");
    client_close(p->client);
    primary_forget(p);
    p->needs_rset = p->is_cut_short = false;
}

const char *primary_peer(const struct primary *p)
{
    return p->client->peer[0] != '\0' ? p->client->peer : "none";
}

unsigned primary_uses(const struct primary *p)
{
    return p->client->uses;
}

const char *primary_dsn(const struct primary *p)
{
    return p->dsn;
}

const char *primary_text(const struct primary *p)
{
    return buf_str(&p->text);
}
