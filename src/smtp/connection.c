/* SPDX-License-Identifier: ISC */
#include "smtp/connection_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "task/task.h"

#include <stdlib.h>
#include <sys/socket.h>

#define QUIT_WAIT_MS 500 /* for the reply to QUIT, on which nothing depends */

struct connection *connection_new(const struct config_destination *d,
                                  const struct security_client *security, const char *hostname,
                                  const struct resolver *resolver)
{
    struct connection *c = mem_zalloc(sizeof *c);

    c->destination = d;
    c->security = security;
    c->hostname = hostname;
    c->resolver = resolver;
    pthread_mutex_init(&c->lock, NULL);
    c->live_fd = -1;
    smtp_reply_init(&c->reply);
    return c;
}

void connection_free(struct connection *c)
{
    if (c == NULL)
        return;
    connection_quit(c);
    smtp_reply_clear(&c->reply);
    buf_clear(&c->line);
    buf_clear(&c->xclient);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* --- interrupt --- */

static void interrupt(struct connection *c, bool if_it_carries)
{
    pthread_mutex_lock(&c->lock);
    if (!c->carries || if_it_carries) {
        atomic_store(&c->is_interrupted, true);
        if (c->live_fd != -1)
            shutdown(c->live_fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&c->lock);
}

void connection_interrupt(struct connection *c)
{
    interrupt(c, true);
}

void connection_interrupt_setup(struct connection *c)
{
    interrupt(c, false);
}

bool connection_is_interrupted(const struct connection *c)
{
    return atomic_load(&c->is_interrupted);
}

void connection_set_interrupted(struct connection *c)
{
    outcome_set(&c->fault, OUTCOME_RETRY, "4.3.2", "delivery interrupted: shutting down");
}

int connection_set_live(struct connection *c, int fd)
{
    pthread_mutex_lock(&c->lock);
    c->live_fd = fd;
    pthread_mutex_unlock(&c->lock);
    /* The check comes after the descriptor is published: either an interrupt is seen here, or it
     * shuts the descriptor down. */
    if (fd != -1 && connection_is_interrupted(c)) {
        connection_set_interrupted(c);
        return -1;
    }
    return 0;
}

/* --- close --- */

/* Send QUIT. line: memory for the reply; NULL: do not wait for the reply. */
static void quit(struct stream *stream, struct buf *line, const char *peer)
{
    stream_set_deadline(stream, QUIT_WAIT_MS);
    if (stream_write(stream, "QUIT\r\n", 6) == STREAM_OK && stream_flush(stream) == STREAM_OK &&
        line != NULL && stream_read_line(stream, line, SMTP_REPLY_LINE_MAX) != STREAM_OK)
        log_debug("%s: no reply to QUIT", peer);
}

void connection_quit(struct connection *c)
{
    if (connection_is_open(c) && !connection_is_interrupted(c))
        quit(c->link.stream, &c->line, c->link.peer);
    connection_close(c);
}

void connection_close(struct connection *c)
{
    pthread_mutex_lock(&c->lock);
    c->live_fd = -1;
    c->carries = false;
    pthread_mutex_unlock(&c->lock);
    stream_free(c->link.stream);
    c->link.stream = NULL;
    c->content.status = STREAM_OK;
}

/* --- detach and attach --- */

struct connection_detached *connection_detach(struct connection *c)
{
    struct connection_detached *k = mem_zalloc(sizeof *k);

    stream_detach(c->link.stream);
    *k = c->link;
    c->link.stream = NULL;
    connection_close(c);
    return k;
}

int connection_attach(struct connection *c, struct connection_detached *k)
{
    c->link = *k;
    free(k);
    buf_reset(&c->xclient);
    if (connection_set_live(c, stream_fd(c->link.stream)) == 0)
        return 0;
    connection_close(c);
    return -1;
}

int64_t connection_detached_opened_ms(const struct connection_detached *k)
{
    return k->opened_ms;
}

void connection_detached_quit(struct connection_detached *k, bool is_hurried)
{
    struct buf line = {0};

    quit(k->stream, is_hurried ? NULL : &line, k->peer);
    stream_free(k->stream);
    buf_clear(&line);
    free(k);
}

/* --- what is known --- */

bool connection_is_open(const struct connection *c)
{
    return c->link.stream != NULL;
}

bool connection_is_stale(struct connection *c)
{
    return stream_is_stale(c->link.stream);
}

bool connection_is_worn_out(const struct connection *c)
{
    unsigned max = c->destination->max_messages_per_connection;

    return max > 0 && c->link.messages >= max;
}

bool connection_lacks_requiretls(const struct connection *c)
{
    return c->lacks_requiretls;
}

const struct smtp_features *connection_features(const struct connection *c)
{
    return &c->link.features;
}

const char *connection_peer(const struct connection *c)
{
    return c->link.peer;
}

unsigned connection_begin_message(struct connection *c)
{
    pthread_mutex_lock(&c->lock);
    c->carries = true;
    pthread_mutex_unlock(&c->lock);
    return ++c->link.messages;
}

unsigned connection_messages(const struct connection *c)
{
    return c->link.messages;
}

bool connection_needs_rset(const struct connection *c)
{
    return c->link.needs_rset;
}

void connection_set_needs_rset(struct connection *c, bool needs_rset)
{
    c->link.needs_rset = needs_rset;
}

const struct outcome *connection_fault(const struct connection *c)
{
    return &c->fault;
}

const struct smtp_reply *connection_reply(const struct connection *c)
{
    return &c->reply;
}
