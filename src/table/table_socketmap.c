/* SPDX-License-Identifier: ISC */
/*
 * socketmap: a server answers the look-ups, as in socketmap_table(5).
 *
 *   argument  = server ":" map-name
 *   server    = "inet:" host ":" port / "unix:" path
 *   request   = netstring( map-name SP key )
 *   reply     : see socketmap_reply.h
 *
 * A few idle connections are kept for the next look-up; no lock is held while one is used.
 */
#include "net/endpoint.h"
#include "base/mem.h"
#include "table/socketmap_reply.h"
#include "net/stream.h"
#include "table/table_private.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MAX 16   /* connections */
#define IDLE_MS 10000 /* a connection that was idle for longer is not used again */

struct idle {
    struct stream *stream;
    int64_t since_ms;
};

struct socketmap {
    struct table table;
    struct endpoint server;
    char *server_name; /* for messages */
    char *map_name;
    pthread_mutex_t lock; /* protects the members below */
    struct idle idle[IDLE_MAX];
    size_t idle_count;
};

static void socketmap_close(struct table *t)
{
    struct socketmap *sm = (struct socketmap *)t;

    for (size_t i = 0; i < sm->idle_count; i++)
        stream_free(sm->idle[i].stream);
    pthread_mutex_destroy(&sm->lock);
    free(sm->server_name);
    free(sm->map_name);
    free(sm);
}

static int parse_server(const char *text, struct endpoint *out, struct err *err)
{
    struct err ignored;
    const char *colon = strrchr(text, ':');

    if (strncmp(text, "unix:", 5) == 0 && endpoint_parse_nexthop(text, out, &ignored) == 0)
        return 0;
    if (strncmp(text, "inet:", 5) == 0 && colon > text + 5 && strchr(colon, ']') == NULL &&
        endpoint_parse_nexthop(text + 5, out, &ignored) == 0)
        return 0;
    err_set(err,
            "socketmap:%s: no valid server; allowed: socketmap:inet:host:port:name, "
            "socketmap:unix:/path:name",
            text);
    return -1;
}

static struct table *socketmap_open(const char *argument, struct err *err)
{
    const char *colon = strrchr(argument, ':');
    struct endpoint server;

    if (colon == NULL || colon[1] == '\0') {
        err_set(err,
                "socketmap:%s: the map's name is missing; allowed: "
                "socketmap:inet:host:port:name, socketmap:unix:/path:name",
                argument);
        return NULL;
    }
    char *name = mem_strndup(argument, (size_t)(colon - argument));
    if (parse_server(name, &server, err) < 0) {
        free(name);
        return NULL;
    }
    struct socketmap *sm = mem_zalloc(sizeof *sm);
    sm->server = server;
    sm->server_name = name;
    sm->map_name = mem_strdup(colon + 1);
    pthread_mutex_init(&sm->lock, NULL);
    return &sm->table;
}

/* Take an idle connection that can still be used, or NULL. */
static struct stream *take_idle(struct socketmap *sm)
{
    struct stream *s = NULL;

    while (s == NULL) {
        struct idle idle = {NULL, 0};
        pthread_mutex_lock(&sm->lock);
        if (sm->idle_count > 0)
            idle = sm->idle[--sm->idle_count];
        pthread_mutex_unlock(&sm->lock);
        if (idle.stream == NULL)
            return NULL;
        s = idle.stream;
        if (clock_now_ms() - idle.since_ms > IDLE_MS || stream_is_stale(s)) {
            stream_free(s);
            s = NULL;
        }
    }
    return s;
}

static void put_idle(struct socketmap *sm, struct stream *s)
{
    stream_detach(s); /* the next look-up may be in another task or thread */
    pthread_mutex_lock(&sm->lock);
    if (sm->idle_count < IDLE_MAX) {
        sm->idle[sm->idle_count++] = (struct idle){s, clock_now_ms()};
        s = NULL;
    }
    pthread_mutex_unlock(&sm->lock);
    stream_free(s);
}

/* BROKEN: the connection broke, and a new one may succeed. */
enum exchange { EXCHANGE_OK, EXCHANGE_BROKEN, EXCHANGE_FAILED };

static enum exchange fail(const struct stream *s, enum stream_status status, struct err *err)
{
    err_set(err, "%s", stream_status_text(s, status));
    return status == STREAM_EOF || status == STREAM_ERROR ? EXCHANGE_BROKEN : EXCHANGE_FAILED;
}

static enum exchange read_reply(struct stream *s, struct socketmap_reply *reply, struct err *err)
{
    const char *data;
    size_t len, used;

    while (!reply->is_complete) {
        enum stream_status status = stream_peek(s, &data, &len);
        if (status != STREAM_OK)
            return fail(s, status, err);
        if (socketmap_reply_add(reply, data, len, &used, err) != 0)
            return EXCHANGE_FAILED;
        stream_consume(s, used);
    }
    return EXCHANGE_OK;
}

static enum exchange exchange(const struct socketmap *sm, struct stream *s, const char *key,
                              struct socketmap_reply *reply, struct err *err)
{
    size_t len = strlen(sm->map_name) + 1 + strlen(key);
    enum stream_status status = stream_printf(s, "%zu:%s %s,", len, sm->map_name, key);

    socketmap_reply_reset(reply);
    if (status == STREAM_OK)
        status = stream_flush(s);
    return status == STREAM_OK ? read_reply(s, reply, err) : fail(s, status, err);
}

/* Send a request over an idle connection or a new one, and read the reply. A connection that breaks
 * is replaced once, because the server may have been restarted. */
static int ask(struct socketmap *sm, const char *key, int64_t deadline_ms,
               struct socketmap_reply *reply, struct err *err)
{
    enum exchange x = EXCHANGE_BROKEN;
    struct stream *s = take_idle(sm);

    for (int attempt = 0; attempt < 2 && x == EXCHANGE_BROKEN; attempt++) {
        int64_t left_ms = deadline_ms - clock_now_ms();
        if (left_ms <= 0) {
            if (attempt == 0)
                err_set(err, "no time is left");
            stream_free(s);
            break;
        }
        if (s == NULL) {
            int fd = endpoint_connect(&sm->server, (unsigned)left_ms, err);
            if (fd < 0) {
                err_wrap(err, "cannot connect");
                return -1;
            }
            s = stream_new(fd);
            left_ms = deadline_ms - clock_now_ms();
        }
        stream_set_deadline(s, left_ms > 0 ? (unsigned)left_ms : 1);
        err_clear(err); /* the text may be about the connection that broke */
        x = exchange(sm, s, key, reply, err);
        if (x == EXCHANGE_OK)
            put_idle(sm, s);
        else
            stream_free(s);
        s = NULL;
    }
    return x == EXCHANGE_OK ? 0 : -1;
}

static enum table_result understand(const struct socketmap_reply *reply, const char *key,
                                    struct table_match *m, struct err *err)
{
    const char *value;

    switch (socketmap_reply_answer(reply, &value, err)) {
    case SOCKETMAP_NOT_FOUND:
        return TABLE_NOT_FOUND;
    case SOCKETMAP_FAILED:
        return TABLE_FAILED;
    case SOCKETMAP_FOUND:
        break;
    }
    buf_reset(&m->value);
    buf_adds(&m->value, value);
    buf_reset(&m->key);
    buf_adds(&m->key, key);
    m->line = 0;
    return TABLE_FOUND;
}

static enum table_result socketmap_find(const struct table *t, struct table_scratch *s,
                                        const char *key, struct table_match *m, struct err *err)
{
    /* The idle connections are not part of the immutable state of a table, so const is cast
     * away. */
    struct socketmap *sm = (struct socketmap *)t;
    struct socketmap_reply reply = {0};
    enum table_result result;
    int64_t deadline_ms = table_deadline_ms(t, s, &result);

    if (ask(sm, key, deadline_ms, &reply, err) == 0)
        result = understand(&reply, key, m, err);
    if (table_has_failed(result))
        err_wrap(err, "socketmap:%s:%s", sm->server_name, sm->map_name);
    socketmap_reply_clear(&reply);
    return result;
}

const struct table_type table_socketmap = {
    .name = "socketmap",
    .asks_server = true,
    .may_take_long = true,
    .takes_whole_address = true,
    .open = socketmap_open,
    .close = socketmap_close,
    .find = socketmap_find,
};
