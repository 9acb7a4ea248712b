/* SPDX-License-Identifier: ISC */
#include "deliver/transport.h"

#include "base/mem.h"
#include "deliver/maildir.h"
#include "smtp/client.h"

#include <stdlib.h>

struct smtp_transport {
    struct transport transport; /* must be first */
    struct client *client;
};

static struct client *client_of(const struct transport *t)
{
    return ((const struct smtp_transport *)t)->client;
}

static void smtp_deliver(struct transport *t, const struct queue_copy *copy,
                         struct outcome_report *report)
{
    client_deliver(client_of(t), copy, report);
}

static bool smtp_is_connected(const struct transport *t)
{
    return client_is_connected(client_of(t));
}

static void smtp_interrupt(struct transport *t, bool only_setup)
{
    if (only_setup)
        client_interrupt_setup(client_of(t));
    else
        client_interrupt(client_of(t));
}

static void smtp_free(struct transport *t)
{
    client_free(client_of(t));
    free(t);
}

struct transport *transport_new(const struct config_destination *d,
                                const struct security_client *security, const char *hostname)
{
    static const struct transport_ops ops = {smtp_deliver, smtp_is_connected, smtp_interrupt,
                                             smtp_free};

    if (d->relay_to[0].kind == ENDPOINT_MAILDIR)
        return maildir_new(d, hostname);
    struct smtp_transport *t = mem_zalloc(sizeof *t);
    t->transport.ops = &ops;
    t->client = client_new(d, security, hostname, NULL);
    return &t->transport;
}
