/* SPDX-License-Identifier: ISC */
#include "smtp/connection_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define QUIT_WAIT_MS 500 /* for the reply to QUIT, which changes nothing any more */

int64_t client_now_ms(void)
{
    return task_now_ms();
}

struct client *client_new(const struct config_destination *d, const char *hostname,
                          const struct resolver *resolver)
{
    struct client *c = mem_zalloc(sizeof *c);

    c->destination = d;
    c->hostname = hostname;
    c->resolver = resolver;
    pthread_mutex_init(&c->lock, NULL);
    c->live_fd = -1;
    smtp_reply_init(&c->reply);
    return c;
}

/* line: for the reply, NULL: not to be waited for. */
static void quit(struct stream *stream, struct buf *line, const char *peer)
{
    stream_set_deadline(stream, QUIT_WAIT_MS);
    if (stream_write(stream, "QUIT\r\n", 6) == STREAM_OK && stream_flush(stream) == STREAM_OK &&
        line != NULL && stream_read_line(stream, line, SMTP_REPLY_LINE_MAX) != STREAM_OK)
        log_debug("%s: no reply to QUIT", peer);
}

void client_end(struct client *c)
{
    if (c->stream != NULL && !atomic_load(&c->is_interrupted))
        quit(c->stream, &c->line, c->peer);
    client_close(c);
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    client_end(c);
    smtp_reply_clear(&c->reply);
    buf_clear(&c->line);
    buf_clear(&c->command);
    buf_clear(&c->xclient);
    format_clear(&c->format);
    free(c->block);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

bool client_is_connected(const struct client *c)
{
    return c->stream != NULL;
}

int client_set_live(struct client *c, int fd)
{
    pthread_mutex_lock(&c->lock);
    c->live_fd = fd;
    pthread_mutex_unlock(&c->lock);
    /* After publishing, so that an interrupt is seen either here or by the descriptor. */
    if (fd != -1 && atomic_load(&c->is_interrupted)) {
        client_outcome(&c->fault, OUTCOME_RETRY, "4.3.2", "delivery interrupted: shutting down");
        return -1;
    }
    return 0;
}

void client_interrupt(struct client *c)
{
    pthread_mutex_lock(&c->lock);
    atomic_store(&c->is_interrupted, true);
    if (c->live_fd != -1)
        shutdown(c->live_fd, SHUT_RDWR);
    pthread_mutex_unlock(&c->lock);
}

void client_close(struct client *c)
{
    pthread_mutex_lock(&c->lock);
    c->live_fd = -1;
    pthread_mutex_unlock(&c->lock);
    stream_free(c->stream);
    c->stream = NULL;
}

struct client_connection *client_detach(struct client *c)
{
    struct client_connection *k = mem_zalloc(sizeof *k);

    stream_leave(c->stream);
    k->stream = c->stream;
    mem_copy_string(k->peer, sizeof k->peer, c->peer);
    k->uses = c->uses;
    k->opened_ms = c->opened_ms;
    k->needs_rset = c->needs_rset;
    k->features = c->features;
    c->stream = NULL;
    client_close(c);
    return k;
}

int client_attach(struct client *c, struct client_connection *k)
{
    c->stream = k->stream;
    mem_copy_string(c->peer, sizeof c->peer, k->peer);
    c->uses = k->uses;
    c->opened_ms = k->opened_ms;
    c->needs_rset = k->needs_rset;
    c->features = k->features;
    free(k);
    if (client_set_live(c, stream_fd(c->stream)) == 0)
        return 0;
    client_close(c);
    return -1;
}

void client_connection_close(struct client_connection *k, bool is_hurried)
{
    struct buf line = {0};

    quit(k->stream, is_hurried ? NULL : &line, k->peer);
    stream_free(k->stream);
    buf_clear(&line);
    free(k);
}

/* Before a message: a connection that the server has closed meanwhile, that has carried enough
 * messages, or that is another client's for the server, is not used any more. */
static void drop_if_unfit(struct client *c, const struct queue_copy *copy)
{
    unsigned max = c->destination->max_messages_per_connection;

    if (c->stream == NULL)
        return;
    if (stream_is_stale(c->stream)) {
        client_close(c);
    } else if ((max > 0 && c->uses >= max) || !client_origin_fits(c, copy) ||
               (copy->message.needs_requiretls && !c->features.requiretls)) {
        client_end(c);
    }
}

/* -1 with `fault` when the copy cannot be read. */
static int begin_format(struct client *c, const struct queue_copy *copy)
{
    struct err err;

    if (format_begin(&c->format, copy, c->destination, c->hostname, &err) == 0)
        return 0;
    client_outcome(&c->fault, OUTCOME_RETRY, "4.3.0", "%s", err.text);
    return -1;
}

/* Connect, unless there is a connection. Adds to report->setup_ms. -1 with `fault`. */
static int be_connected(struct client *c, struct outcome_report *report)
{
    int64_t begin_ms = client_now_ms();

    if (c->stream != NULL)
        return 0;
    int result = client_connect(c);
    report->setup_ms += client_now_ms() - begin_ms;
    return result;
}

/* One transaction after the other, until all are decided or something is lost. */
static enum client_sent send_all(struct client *c, struct client_mail *m,
                                 struct outcome_report *report)
{
    enum client_sent sent = CLIENT_SENT;
    bool is_reused = false;

    do {
        drop_if_unfit(c, m->copy);
        is_reused = c->stream != NULL;
        c->wants_requiretls = m->copy->message.needs_requiretls;
        if (be_connected(c, report) != 0) {
            /* A host that answers, but is no good for this copy, may be for others. */
            report->is_host_fault = !c->lacks_requiretls || atomic_load(&c->is_interrupted);
            return CLIENT_LOST_EARLY;
        }
        int64_t ready_ms = client_now_ms();
        report->conn_use = ++c->uses;
        sent = client_transaction(c, m);
        report->transmit_ms += client_now_ms() - ready_ms;
        /* A server may close a kept connection at any time: that is no fault of its. */
        if (sent == CLIENT_LOST_EARLY && is_reused && !atomic_load(&c->is_interrupted))
            sent = CLIENT_SENT;
    } while (sent == CLIENT_SENT && m->first < m->count);
    return sent;
}

void client_deliver(struct client *c, const struct queue_copy *copy, struct outcome_report *report)
{
    struct client_mail m;

    report->is_host_fault = report->is_connection_fault = false;
    report->conn_use = 0;
    report->setup_ms = report->transmit_ms = 0;
    client_mail_init(&m, c, copy, report);
    enum client_sent sent =
        begin_format(c, copy) == 0 ? send_all(c, &m, report) : CLIENT_LOCAL_FAULT;
    if (sent != CLIENT_SENT)
        client_mail_decide_rest(&m, &c->fault);
    client_mail_finish(&m);
    snprintf(report->relay, sizeof report->relay, "%s", c->peer[0] == '\0' ? "none" : c->peer);
    if (!report->is_host_fault) {
        report->is_host_fault = atomic_load(&c->is_interrupted) && sent != CLIENT_SENT;
        report->is_connection_fault =
            (sent == CLIENT_LOST_EARLY || sent == CLIENT_LOST_LATE) && !c->lacks_requiretls;
    }
}
