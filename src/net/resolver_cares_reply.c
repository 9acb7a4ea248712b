/* SPDX-License-Identifier: ISC */
/* MX hosts with c-ares before 1.28. */
#include "net/resolver_cares_private.h"

#define CLASS_IN 1
#define TYPE_MX 15

static void take_mx(void *arg, int status, int timeouts, unsigned char *answer, int len)
{
    struct cares_lookup *l = arg;
    struct ares_mx_reply *list = NULL;

    (void)timeouts;
    l->is_done = true;
    l->status = status == ARES_SUCCESS ? ares_parse_mx_reply(answer, len, &list) : status;
    for (const struct ares_mx_reply *m = list; m != NULL; m = m->next)
        cares_add_mx(l, m->priority, m->host);
    if (l->status == ARES_SUCCESS && l->mx_count == 0)
        l->status = list != NULL ? ARES_EBADRESP : ARES_ENODATA;
    ares_free_data(list);
}

void cares_ask_mx(struct cares_lookup *l)
{
    ares_query(l->channel, l->query->name, CLASS_IN, TYPE_MX, take_mx, l);
}
