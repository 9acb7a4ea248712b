/* SPDX-License-Identifier: ISC */
/*
 * Limits on connections. Where a limit is reached, an idle client is disconnected in favour of the
 * new one: an untrusted client rather than a trusted one, and then the one that has been idle
 * longest. It must have been idle for IDLE_MS, or within a message for IDLE_IN_MESSAGE_MS. Thus
 * silent connections cannot keep other clients out, whether they come from other hosts or from the
 * host of the MTA.
 */
#include "receive/server_private.h"

#include "base/log.h"
#include "net/stream.h"
#include "task/task.h"
#include "metrics/counters.h"

#include <netinet/in.h>
#include <string.h>

/* How long a client must be idle to be disconnected for another one. A busy MTA sends its next
 * command sooner, also on a connection that it keeps for later messages. Within a message the MTA
 * may wait for its own disk. */
#define IDLE_MS 1000
#define IDLE_IN_MESSAGE_MS 10000

static void set_network(struct connection *c)
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&c->sa;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&c->sa;

    c->is_unix = c->sa.ss_family != AF_INET && c->sa.ss_family != AF_INET6;
    if (c->sa.ss_family == AF_INET) {
        memset(c->network + 10, 0xff, 2);
        memcpy(c->network + 12, &in4->sin_addr, 4);
    } else if (c->sa.ss_family == AF_INET6) {
        bool is_mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
        bool is_one = is_mapped || IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
        memcpy(c->network, &in6->sin6_addr, is_one ? 16 : 8);
    }
}

static bool is_trusted(const struct config_relay *config, const struct connection *c)
{
    if (c->is_unix)
        return true;
    for (size_t i = 0; i < config->trusted_network_count; i++) {
        if (endpoint_network_has(&config->trusted_networks[i], (const struct sockaddr *)&c->sa))
            return true;
    }
    return false;
}

static bool is_same_client(const struct connection *a, const struct connection *b)
{
    return !a->is_unix && !b->is_unix && memcmp(a->network, b->network, sizeof a->network) == 0;
}

/* The connections that one limit counts. */
enum group { GROUP_ALL, GROUP_UNTRUSTED, GROUP_CLIENT };

static bool is_in(const struct connection *c, enum group group, const struct connection *arrival)
{
    switch (group) {
    case GROUP_ALL:
        return true;
    case GROUP_UNTRUSTED:
        return !c->is_trusted;
    case GROUP_CLIENT:
        return is_same_client(c, arrival);
    }
    return false;
}

/* The member of the group to be disconnected: an untrusted one rather than a trusted one, and then
 * the one that has been idle longest. NULL: none has been idle for long enough. With the lock
 * held. */
static struct connection *choose_idle(struct server *s, enum group group,
                                      const struct connection *arrival)
{
    int64_t now_ms = task_now_ms(), since_ms = 0;
    struct connection *found = NULL;

    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        int64_t idle_since_ms = atomic_load(&c->presence.idle_since_ms);
        int64_t enough_ms = atomic_load(&c->presence.is_in_message) ? IDLE_IN_MESSAGE_MS : IDLE_MS;
        if (!c->has_place || !is_in(c, group, arrival) || idle_since_ms == 0 ||
            now_ms - idle_since_ms < enough_ms)
            continue;
        bool is_better = found == NULL || (found->is_trusted && !c->is_trusted) ||
                         (found->is_trusted == c->is_trusted && idle_since_ms <= since_ms);
        if (is_better) {
            found = c;
            since_ms = idle_since_ms;
        }
    }
    return found;
}

/* True: the group has fewer members than `limit`, or one of them was disconnected. With the lock
 * held. */
static bool has_room(struct server *s, enum group group, const struct connection *arrival,
                     unsigned limit)
{
    unsigned count = 0;

    for (const struct connection *c = s->connections; c != NULL; c = c->next)
        count += c->has_place && is_in(c, group, arrival);
    if (count < limit)
        return true;
    struct connection *idle = choose_idle(s, group, arrival);
    if (idle == NULL)
        return false;
    idle->has_place = false;
    atomic_store(&idle->presence.is_evicted, true);
    stream_shutdown_read(idle->stream);
    counters_refused("421 4.3.2");
    return true;
}

/* The option whose limit is reached; NULL: none. Smaller groups come first, so that a client over
 * its own limit does not displace another one. With the lock held. */
static const char *find_obstacle(struct server *s, const struct connection *c,
                                 const struct config_relay *config)
{
    unsigned max = config->max_connections, reserve = config->connection_reserve;

    if (reserve > max / 2)
        reserve = max / 2;
    if (!c->is_unix && config->client_connection_limit > 0 &&
        !has_room(s, GROUP_CLIENT, c, config->client_connection_limit))
        return "client_connection_limit";
    if (!c->is_trusted && !has_room(s, GROUP_UNTRUSTED, c, max - reserve))
        return "max_connections without connection_reserve";
    return has_room(s, GROUP_ALL, c, max) ? NULL : "max_connections";
}

const char *server_admit(struct server *s, struct connection *c, const struct config_relay *config)
{
    set_network(c);
    c->is_trusted = is_trusted(config, c);
    pthread_mutex_lock(&s->lock);
    const char *obstacle = find_obstacle(s, c, config);
    c->has_place = obstacle == NULL;
    c->next = s->connections;
    c->link = &s->connections;
    if (c->next != NULL)
        c->next->link = &c->next;
    s->connections = c;
    s->connection_count++;
    pthread_mutex_unlock(&s->lock);
    counters_client_entered();
    return obstacle;
}

void server_remove(struct server *s, struct connection *c)
{
    counters_client_left();
    pthread_mutex_lock(&s->lock);
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    s->connection_count--;
    if (s->is_stopping)
        task_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}
