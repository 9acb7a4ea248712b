/* SPDX-License-Identifier: ISC */
/*
 * pool: the hosts of one external table, and the connections to them. Any thread; no lock is held
 * while a connection is made or used.
 *
 * Order of the hosts, as in Postfix: first those with an idle connection, then those that have not
 * failed within the last retry interval; among these, local ones before others, and connection URIs
 * last; equals in random order, or with has_host_order in the order of the file. A host that fails
 * (no connection, or ANSWER_BROKEN) is not asked again before the retry interval is over; if that
 * leaves no host, the look-up fails at once. A single host is tried twice in a look-up, and again
 * after 1, 2, 4 ... seconds. For its connection each host has its share of the time that is left:
 * one that hangs leaves time for the others. A connection that breaks after it was idle is replaced
 * once, without the host counting as failed, because the server may have been restarted.
 *
 * A question over a connection has all of the time that is left. When it takes longer, or longer
 * than a limit of the module, the look-up has failed (ANSWER_FAILED): no other host is asked,
 * because the client has chosen the key. Whether the host hangs is found out by the next look-up,
 * which makes a new connection.
 *
 * Connections: at most POOL_CONNECTIONS_MAX to all hosts together, and at most
 * POOL_HOST_CONNECTIONS_MAX to one of several; a look-up waits for one until its deadline. A host
 * that refuses a connection beside those that are open has not failed: the look-up asks another
 * host, or waits for one of the open connections. One of several that takes no connection in time,
 * and gives no answer over an open one meanwhile, has failed. Idle ones are closed after the idle
 * interval, at the next look-up.
 *
 * Log: one warning when a host fails, one line when it answers again.
 */
#ifndef SPLIT_POOL_H
#define SPLIT_POOL_H

#include "table/table_module.h"

#include <stdint.h>

#define POOL_CONNECTIONS_MAX 16
#define POOL_HOST_CONNECTIONS_MAX 12 /* to one of several hosts */

struct pool;

struct pool_times {
    int64_t retry_ms, idle_ms;
};

/* name: of the table, for messages and the log. module, settings: borrowed until pool_free(). */
struct pool *pool_new(const char *name, const struct table_module *module, const void *settings,
                      struct pool_times times)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
/* Close all connections, none of which is in use. NULL is legal. */
void pool_free(struct pool *p);

/*
 * Ask the hosts, one after the other, until one has answered. result: empty, with query and key.
 * limit_ms: the time that a look-up has, of which a part may be over already.
 * *host_out: the name of the host that has answered, borrowed as long as the pool. ANSWER_BROKEN
 * with `err`: no host could be asked; the reasons of all hosts that were tried are in `err`.
 */
enum table_answer pool_ask(struct pool *p, struct query_result *result, int64_t limit_ms,
                           int64_t deadline_ms, const char **host_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* For `splitctl check`: the number of hosts; the name of one; connect to it, and ask for a key, on
 * a connection of its own, whatever the state of the host. */
size_t pool_hosts(const struct pool *p) __attribute__((nonnull));
const char *pool_host(const struct pool *p, size_t host) __attribute__((nonnull, returns_nonnull));
enum table_answer pool_try_host(const struct pool *p, size_t host, struct query_result *result,
                                int64_t deadline_ms, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
