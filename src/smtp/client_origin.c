/* SPDX-License-Identifier: ISC */
#include "smtp/client_private.h"

#include "base/ascii.h"

#include <stdio.h>
#include <string.h>

/* Copy the text, cut to fit. */
static void copy_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text);
}

static void set_origin(struct xforward *x, const struct queue_copy *copy)
{
    const struct queue_message *m = &copy->message;

    memset(x, 0, sizeof *x);
    copy_text(x->name, sizeof x->name, m->client_name);
    copy_text(x->addr, sizeof x->addr, m->client_addr);
    copy_text(x->helo, sizeof x->helo, m->helo);
    copy_text(x->ident, sizeof x->ident, m->mta_queue_id[0] != '\0' ? m->mta_queue_id : copy->id);
    /* Both commands know only the protocols SMTP and ESMTP; LMTP counts as ESMTP. */
    if (m->protocol[0] != '\0')
        copy_text(x->proto, sizeof x->proto, ascii_equal(m->protocol, "SMTP") ? "SMTP" : "ESMTP");
}

enum connection_xclient_result client_send_origin(struct client *c, const struct queue_copy *copy)
{
    const struct config_destination *d = c->destination;
    enum connection_xclient_result result = CONNECTION_XCLIENT_OK;
    struct xforward x;
    char log_name[80];

    if (d->xforward == 0 && d->xclient == 0)
        return result;
    set_origin(&x, copy);
    if (d->xclient == 1)
        result = connection_xclient(c->connection, &x);
    if (result == CONNECTION_XCLIENT_OK && d->xforward == 1 &&
        connection_features(c->connection)->xforward) {
        snprintf(log_name, sizeof log_name, "dest=%s", d->name);
        if (connection_xforward(c->connection, &x, log_name) != 0)
            result = CONNECTION_XCLIENT_LOST;
    }
    return result;
}

bool client_origin_fits(const struct client *c, const struct queue_copy *copy)
{
    struct xforward x;

    if (c->destination->xclient != 1)
        return true;
    set_origin(&x, copy);
    return connection_xclient_fits(c->connection, &x);
}
