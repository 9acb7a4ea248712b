/* SPDX-License-Identifier: ISC */
/*
 * table_module: what a module of an external table type exports: one symbol, splitmilter_table. A
 * module is loaded when a configuration has a table of its type, so that the programs need no
 * client library. A module uses base/, cf, query and endpoint_connect() of the program that loads
 * it, and no other part of it (module.symbols).
 *
 * A module keeps no global state, logs nothing, and does not print. It starts no thread. Client
 * libraries are not told to be global (no mysql_library_end, no ldap_set_option(NULL, ...)).
 * Texts in `err` never contain a password; the pool makes them printable (log_sanitize()).
 *
 * Threads: open() and close() are called by one thread at a time. Settings are const afterwards,
 * and may be used by any number of threads. A connection is used by one thread at a time, but not
 * always by the same one; no lock is held while it is used. A call may be made on a thread with a
 * stack of 256 kB.
 *
 * Deadlines: times of clock_now_ms(). No call returns later than its deadline, whatever the server
 * does (50 ms more do no harm), except for the time that the look-up of a host name takes. For
 * connect() the pool divides the time that is left among the hosts that are left; ask() has all of
 * it, which may be less than lookup_timeout.
 */
#ifndef SPLIT_TABLE_MODULE_H
#define SPLIT_TABLE_MODULE_H

#include "base/err.h"
#include "table/cf.h"
#include "table/query.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A server. */
struct table_host {
    const char *name; /* as in the file, for messages; without password, also in a URI */
    bool is_local;    /* a Unix-domain socket or a file: tried before the others */
    bool is_last;     /* a connection URI: tried after the others, as in Postfix */
};

struct table_module {
    const char *version; /* PACKAGE_VERSION; a module of another version is not used */
    const char *type;    /* "mysql" */
    /* The parameters that a file may have. retry_interval and idle_interval (CF_NUMBER, seconds)
     * are read by the pool, where a type has them. */
    const struct cf_parameter *parameters;
    const char *const *templates; /* for query_open() */
    /* Seconds for which a host that has failed is not asked, where the type has no retry_interval.
     * 0: it is tried in each look-up. */
    unsigned retry_s;
    /* Hosts are asked in the order of hosts(), and not in random order. */
    bool has_host_order;

    /* Make the settings of one table, without connecting. cf, query: borrowed until close(). NULL
     * with `err` (cf_fault()): a value is not valid. */
    void *(*open)(const struct cf *cf, const struct query *query, struct err *err);
    void (*close)(void *settings);

    /* The hosts, in the order of the file; at least one. Borrowed as long as the settings. The
     * index of a host in this list is what connect() takes. */
    size_t (*hosts)(const void *settings, const struct table_host **hosts_out);

    /* Connect to a host, up to the point where a query can be sent: TLS, authentication. NULL with
     * `err`, which does not name the host. */
    void *(*connect)(const void *settings, size_t host, int64_t deadline_ms, struct err *err);
    /* Close a connection, also one that is broken or in the middle of a query. Does not wait for
     * the server. */
    void (*disconnect)(void *connection);

    /*
     * Ask for one key, for which query_applies(). result: empty, with query and key; the function
     * adds the values by query_result_add(), and the text of the query by query_result_asked().
     *
     *   ANSWER_OK      `result` is complete; the connection is usable
     *   ANSWER_BROKEN  the connection is lost, the deadline is over, or this server cannot answer
     *                  any query now (it shuts down, starts, is full): the pool disconnects, and
     *                  asks the next host unless it was a matter of time
     *   ANSWER_FAILED  the query or its answer is at fault, as it would be at each host; the
     *                  connection is usable
     *   ANSWER_LIMIT   as ANSWER_FAILED, where the key exceeds a limit, or cannot be quoted. Of
     *                  other faults table_external.c finds out whether the key is the reason
     *
     * Where the connection is not usable with another answer than ANSWER_BROKEN (what remains of
     * the answer was not read), the module sets result->is_lost, and the pool disconnects. If the
     * module has waited for an answer until a limit of its own that comes before the deadline, it
     * returns ANSWER_BROKEN, and sets result->is_late.
     *
     * Unless ANSWER_OK, `err` has the reason, without the name of the table and of the host.
     */
    enum table_answer (*ask)(void *connection, const void *settings, const char *key,
                             struct query_result *result, int64_t deadline_ms, struct err *err);
};

/* The symbol of a module; declared here for the modules, and not to be used by the program, which
 * finds it by dlsym(3). */
extern const struct table_module splitmilter_table __attribute__((visibility("default")));

#endif
