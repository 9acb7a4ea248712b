/* SPDX-License-Identifier: ISC */
#include "transport.h"

#include "client.h"
#include "maildir.h"

struct transport *transport_new(const struct config_destination *d, const char *hostname)
{
    if (d->relay_to[0].kind == ENDPOINT_MAILDIR)
        return maildir_new(d, hostname);
    return client_transport(client_new(d, hostname, NULL));
}

void transport_free(struct transport *t)
{
    if (t != NULL)
        t->ops->free(t);
}

void transport_deliver(struct transport *t, const struct queue_copy *copy,
                       struct delivery_report *report)
{
    t->ops->deliver(t, copy, report);
}

bool transport_is_connected(const struct transport *t)
{
    return t->ops->is_connected(t);
}

void transport_interrupt(struct transport *t)
{
    t->ops->interrupt(t);
}
