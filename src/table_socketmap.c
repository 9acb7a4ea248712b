/* SPDX-License-Identifier: ISC */
/*
 * socketmap: look-ups are asked of a server, as in socketmap_table(5).
 *
 *   argument  = server ":" map-name
 *   server    = "inet:" host ":" port / "unix:" path
 *   request   = netstring( map-name SP key )
 *   reply     = netstring( "OK" SP value / "NOTFOUND" SP /
 *                          ( "TEMP" / "TIMEOUT" / "PERM" ) SP reason )
 *   netstring = length ":" bytes ","
 *
 * A few idle connections are kept for whoever asks next; nothing is locked while one is used.
 */
#include "endpoint.h"
#include "mem.h"
#include "stream.h"
#include "table_private.h"
#include "utf8.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOKUP_TIMEOUT_MS 10000 /* for one look-up with all that belongs to it */
#define REPLY_MAX 100000        /* bytes, as with Postfix */
#define IDLE_MAX 16             /* connections */
#define IDLE_MS 10000           /* older ones are not used again */

struct idle {
    struct stream *stream;
    int64_t since_ms;
};

struct socketmap {
    struct table table;
    struct endpoint server;
    char *server_name; /* for messages */
    char *map_name;
    pthread_mutex_t lock; /* of what follows */
    struct idle idle[IDLE_MAX];
    size_t idle_count;
};

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

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

/* An idle connection that is still good, or NULL. */
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
        if (now_ms() - idle.since_ms > IDLE_MS || stream_is_stale(s)) {
            stream_free(s);
            s = NULL;
        }
    }
    return s;
}

static void put_idle(struct socketmap *sm, struct stream *s)
{
    pthread_mutex_lock(&sm->lock);
    if (sm->idle_count < IDLE_MAX) {
        sm->idle[sm->idle_count++] = (struct idle){s, now_ms()};
        s = NULL;
    }
    pthread_mutex_unlock(&sm->lock);
    stream_free(s);
}

enum exchange { EXCHANGE_OK, EXCHANGE_BROKEN, EXCHANGE_FAILED };

static enum exchange fail(const struct stream *s, enum stream_status status, struct err *err)
{
    err_set(err, "%s", stream_status_text(s, status));
    return status == STREAM_EOF || status == STREAM_ERROR ? EXCHANGE_BROKEN : EXCHANGE_FAILED;
}

static enum exchange garbage(const char *what, struct err *err)
{
    err_set(err, "the reply is no netstring of at most %d bytes: %s", REPLY_MAX, what);
    return EXCHANGE_FAILED;
}

static enum exchange read_length(struct stream *s, size_t *len_out, struct err *err)
{
    size_t len = 0, got;
    char c = '\0';

    for (unsigned digits = 0;; digits++) {
        enum stream_status status = stream_read(s, &c, 1, &got);
        if (status != STREAM_OK)
            return fail(s, status, err);
        if (c == ':' && digits > 0)
            break;
        if (c < '0' || c > '9')
            return garbage("bad length", err);
        len = len * 10 + (size_t)(c - '0');
        if (len > REPLY_MAX || digits > 20)
            return garbage("too long", err);
    }
    *len_out = len;
    return EXCHANGE_OK;
}

static enum exchange read_reply(struct stream *s, struct buf *reply, struct err *err)
{
    size_t len = 0, got;
    char end = '\0';
    enum exchange x = read_length(s, &len, err);

    if (x != EXCHANGE_OK)
        return x;
    while (reply->len < len) {
        enum stream_status status =
            stream_read(s, buf_reserve(reply, len - reply->len), len - reply->len, &got);
        if (status != STREAM_OK)
            return fail(s, status, err);
        reply->len += got;
        reply->data[reply->len] = '\0';
    }
    enum stream_status status = stream_read(s, &end, 1, &got);
    if (status != STREAM_OK)
        return fail(s, status, err);
    return end == ',' ? EXCHANGE_OK : garbage("no comma at its end", err);
}

static enum exchange exchange(const struct socketmap *sm, struct stream *s, const char *key,
                              struct buf *reply, struct err *err)
{
    size_t len = strlen(sm->map_name) + 1 + strlen(key);
    enum stream_status status = stream_printf(s, "%zu:%s %s,", len, sm->map_name, key);

    buf_reset(reply);
    if (status == STREAM_OK)
        status = stream_flush(s);
    return status == STREAM_OK ? read_reply(s, reply, err) : fail(s, status, err);
}

/* Ask over an idle connection, or a new one. A connection that breaks is replaced once: the server
 * may have been restarted. */
static int ask(struct socketmap *sm, const char *key, struct buf *reply, struct err *err)
{
    int64_t deadline_ms = now_ms() + LOOKUP_TIMEOUT_MS;
    enum exchange x = EXCHANGE_BROKEN;
    struct stream *s = take_idle(sm);

    for (int attempt = 0; attempt < 2 && x == EXCHANGE_BROKEN; attempt++) {
        int64_t left_ms = deadline_ms - now_ms();
        if (left_ms <= 0)
            break;
        if (s == NULL) {
            int fd = endpoint_connect(&sm->server, (unsigned)left_ms, err);
            if (fd < 0) {
                err_wrap(err, "cannot connect");
                return -1;
            }
            s = stream_new(fd);
            left_ms = deadline_ms - now_ms();
        }
        stream_set_deadline(s, left_ms > 0 ? (unsigned)left_ms : 1);
        x = exchange(sm, s, key, reply, err);
        if (x == EXCHANGE_OK)
            put_idle(sm, s);
        else
            stream_free(s);
        s = NULL;
    }
    return x == EXCHANGE_OK ? 0 : -1;
}

/* Is this the first word of the reply? *rest_out: what is behind the space, NULL without one. */
static bool has_word(const char *reply, const char *word, const char **rest_out)
{
    size_t len = strlen(word);

    if (strncmp(reply, word, len) != 0 || (reply[len] != ' ' && reply[len] != '\0'))
        return false;
    *rest_out = reply[len] == ' ' ? reply + len + 1 : NULL;
    return true;
}

static enum table_result understand(const char *reply, const char *key, struct table_match *m,
                                    struct err *err)
{
    const char *rest;

    if (has_word(reply, "NOTFOUND", &rest))
        return TABLE_NOT_FOUND;
    if (!has_word(reply, "OK", &rest)) {
        err_set(err, "the server answered \"%.200s\"", reply);
        return TABLE_FAILED;
    }
    if (rest == NULL)
        return TABLE_NOT_FOUND;
    if (!utf8_is_valid(rest, strlen(rest))) {
        err_set(err, "the result for \"%s\" is not UTF-8", key);
        return TABLE_FAILED;
    }
    buf_reset(&m->value);
    buf_adds(&m->value, rest);
    buf_reset(&m->key);
    buf_adds(&m->key, key);
    m->line = 0;
    return TABLE_FOUND;
}

static enum table_result socketmap_find(const struct table *t, struct table_scratch *s,
                                        const char *key, struct table_match *m, struct err *err)
{
    /* The idle connections are no part of what a table says. */
    struct socketmap *sm = (struct socketmap *)t;
    enum table_result result = TABLE_FAILED;
    struct buf reply = {0};

    (void)s;
    if (ask(sm, key, &reply, err) == 0)
        result = understand(buf_str(&reply), key, m, err);
    if (result == TABLE_FAILED)
        err_wrap(err, "socketmap:%s:%s", sm->server_name, sm->map_name);
    buf_clear(&reply);
    return result;
}

const struct table_type table_socketmap = {
    .name = "socketmap",
    .takes_whole_address = true,
    .open = socketmap_open,
    .close = socketmap_close,
    .find = socketmap_find,
};
