/* SPDX-License-Identifier: ISC */
#include "smtp/client_private.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

struct client *client_new(const struct config_destination *d,
                          const struct security_client *security, const char *hostname,
                          const struct resolver *resolver)
{
    struct client *c = mem_zalloc(sizeof *c);

    c->destination = d;
    c->hostname = hostname;
    c->connection = connection_new(d, security, hostname, resolver);
    return c;
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    connection_free(c->connection);
    buf_clear(&c->command);
    format_clear(&c->format);
    free(c->block);
    free(c);
}

bool client_is_connected(const struct client *c)
{
    return connection_is_open(c->connection);
}

void client_interrupt(struct client *c)
{
    connection_interrupt(c->connection);
}

void client_interrupt_setup(struct client *c)
{
    connection_interrupt_setup(c->connection);
}

/* Before a message: close a connection that the server has closed meanwhile, that has carried
 * enough messages, in which XCLIENT named another client, or that lacks REQUIRETLS when the copy
 * needs it. */
static void close_if_unfit(struct client *c, const struct queue_copy *copy)
{
    struct connection *conn = c->connection;

    if (!connection_is_open(conn))
        return;
    if (connection_is_stale(conn)) {
        connection_close(conn);
    } else if (connection_is_worn_out(conn) || !client_origin_fits(c, copy) ||
               (copy->message.needs_requiretls && !connection_features(conn)->requiretls)) {
        connection_quit(conn);
    }
}

/* Connect, unless there is a connection. The time is added to report->setup_ms. */
static int connect_if_needed(struct client *c, const struct queue_copy *copy,
                             struct outcome_report *report)
{
    int64_t begin_ms = clock_now_ms();

    if (connection_is_open(c->connection))
        return 0;
    c->has_logged_missing = false;
    int result = connection_open(c->connection, copy->message.needs_requiretls);
    report->setup_ms += clock_now_ms() - begin_ms;
    return result;
}

/* Run one transaction after the other, until all recipients are decided, the connection is lost, or
 * the content cannot be read. */
static enum client_sent send_all(struct client *c, struct client_mail *m,
                                 struct outcome_report *report)
{
    struct connection *conn = c->connection;
    enum client_sent sent = CLIENT_SENT;

    do {
        close_if_unfit(c, m->copy);
        bool is_reused = connection_is_open(conn);
        if (connect_if_needed(c, m->copy, report) != 0) {
            /* If hosts only lack REQUIRETLS, that is no host fault: they can take copies that do
             * not need REQUIRETLS. */
            report->is_host_fault =
                !connection_lacks_requiretls(conn) || connection_is_interrupted(conn);
            return CLIENT_LOST_EARLY;
        }
        int64_t ready_ms = clock_now_ms();
        report->conn_use = connection_begin_message(conn);
        sent = client_transaction(c, m);
        report->transmit_ms += clock_now_ms() - ready_ms;
        /* A server may close an idle connection at any time, so this loss is no fault: connect
         * again. */
        if (sent == CLIENT_LOST_EARLY && is_reused && !connection_is_interrupted(conn))
            sent = CLIENT_SENT;
    } while (sent == CLIENT_SENT && m->first < m->count);
    return sent;
}

/* Send the copy, and decide all of its recipients. */
static enum client_sent deliver(struct client *c, struct client_mail *m,
                                struct outcome_report *report)
{
    struct outcome unreadable;
    struct err err;

    if (format_begin(&c->format, m->copy, c->destination, c->hostname, &err) != 0) {
        outcome_set(&unreadable, OUTCOME_RETRY, "4.3.0", "%s", err.text);
        client_mail_decide_rest(m, &unreadable);
        return CLIENT_LOCAL_FAULT;
    }
    enum client_sent sent = send_all(c, m, report);
    if (sent != CLIENT_SENT)
        client_mail_decide_rest(m, connection_fault(c->connection));
    return sent;
}

void client_deliver(struct client *c, const struct queue_copy *copy, struct outcome_report *report)
{
    const struct connection *conn = c->connection;
    struct client_mail m;

    report->is_host_fault = report->is_connection_fault = false;
    report->conn_use = 0;
    report->setup_ms = report->transmit_ms = 0;
    client_mail_init(&m, c, copy, report);
    report->is_untried = m.count == 0;
    enum client_sent sent = m.count > 0 ? deliver(c, &m, report) : CLIENT_SENT;
    client_mail_finish(&m);
    snprintf(report->relay, sizeof report->relay, "%s",
             report->is_untried || connection_peer(conn)[0] == '\0' ? "none"
                                                                    : connection_peer(conn));
    if (!report->is_host_fault) {
        report->is_host_fault = connection_is_interrupted(conn) && sent != CLIENT_SENT;
        report->is_connection_fault = (sent == CLIENT_LOST_EARLY || sent == CLIENT_LOST_LATE) &&
                                      !connection_lacks_requiretls(conn);
    }
    report->fault = *connection_fault(conn);
}
