/* SPDX-License-Identifier: ISC */
#include "conn.h"
#include "counters.h"
#include "base/mem.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_uint connections; /* that have a state */

struct conn *conn_of(SMFICTX *ctx, struct snapshot_slot *slot)
{
    struct conn *c = smfi_getpriv(ctx);

    if (c == NULL) {
        c = mem_zalloc(sizeof *c);
        c->snapshot = snapshot_slot_get(slot);
        c->scratch = table_scratch_new();
        smfi_setpriv(ctx, c);
        atomic_fetch_add(&connections, 1);
        counters_mta_entered();
    }
    return c;
}

unsigned conn_count(void)
{
    return atomic_load(&connections);
}

static void targets_add(struct conn_targets *t, char *target)
{
    if (t->count == t->size) {
        t->size = t->size == 0 ? 4 : t->size * 2;
        t->list = mem_grow(t->list, t->size, sizeof *t->list);
    }
    t->list[t->count++] = target;
}

static void targets_clear(struct conn_targets *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->list[i]);
    free(t->list);
    *t = (struct conn_targets){0};
}

void conn_forget_message(struct conn *c)
{
    for (size_t i = 0; i < c->count; i++)
        policy_decision_clear(&c->decisions[i]);
    policy_message_clear(&c->message);
    headers_clear(&c->headers);
    free(c->decisions);
    c->decisions = NULL;
    targets_clear(&c->accepted);
    targets_clear(&c->refused);
    c->has_sender = c->is_intruder = c->is_bounce = false;
    c->sticky.code = 0;
    c->count = c->size = 0;
}

void conn_close(struct conn *c)
{
    if (c == NULL)
        return;
    conn_forget_message(c);
    table_scratch_free(c->scratch);
    snapshot_unref(c->snapshot);
    free(c);
    counters_mta_left();
    atomic_fetch_sub(&connections, 1);
}

void conn_keep(struct conn *c, const struct policy_decision *d, SMFICTX *ctx)
{
    assert(policy_may_accept(c->snapshot->policy, d));
    if (c->count == c->size) {
        c->size = c->size == 0 ? 4 : c->size * 2;
        c->decisions = mem_grow(c->decisions, c->size, sizeof *c->decisions);
    }
    c->decisions[c->count++] = *d;
    if (c->mta == MTA_SENDMAIL)
        targets_add(&c->accepted, mta_target(ctx));
}

void conn_note_refused(struct conn *c, SMFICTX *ctx)
{
    counters_refused();
    /* A NULL entry stands for any recipient, so nothing is added after it. */
    bool is_any = c->refused.count > 0 && c->refused.list[c->refused.count - 1] == NULL;

    if (c->mta == MTA_SENDMAIL && !is_any)
        targets_add(&c->refused, c->refused.count < POLICY_RECIPIENTS_MAX ? mta_target(ctx) : NULL);
}

const char *conn_queue_id(SMFICTX *ctx)
{
    const char *id = smfi_getsymval(ctx, "i");

    return id == NULL ? "NOQUEUE" : id; /* Postfix has no queue id at the first recipient */
}
