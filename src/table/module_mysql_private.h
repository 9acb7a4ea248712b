/* SPDX-License-Identifier: ISC */
/*
 * What the parts of the module of mysql: tables share. module_mysql.c begins with an overview.
 */
#ifndef SPLIT_MODULE_MYSQL_PRIVATE_H
#define SPLIT_MODULE_MYSQL_PRIVATE_H

#include "table/table_module.h"

#include <mysql.h>

/* --- settings: module_mysql_settings.c ------------------------------------------------------ */

struct mysql_server {
    char *host;    /* NULL: the default socket, or the host of the option file, as with Postfix */
    char *socket;  /* NULL: TCP */
    unsigned port; /* 0: the default port */
};

struct mysql_settings {
    const struct cf *cf;       /* borrowed */
    const struct query *query; /* borrowed */
    struct table_host *hosts;
    struct mysql_server *servers; /* of the hosts */
    size_t count;
    bool has_double_quotes; /* in the query */
    bool has_unquoted;      /* a key can change the syntax of the query: query_unquoted() */
};

extern const struct cf_parameter mysql_settings_parameters[];

/* The functions of struct table_module. */
void *mysql_settings_open(const struct cf *cf, const struct query *query, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void mysql_settings_close(void *settings);
size_t mysql_settings_hosts(const void *settings, const struct table_host **hosts_out)
    __attribute__((nonnull));

/* --- connections: module_mysql_connection.c ------------------------------------------------- */

struct mysql_connection {
    MYSQL *mysql;
    const struct mysql_settings *settings;
    int64_t deadline_ms; /* of the present call */
    bool is_connecting;
    bool has_timed_out; /* in the present call */
    bool is_lost;       /* an answer was not read to its end; nothing more can be asked */
    int64_t limit_ms;   /* that the server has for one query; 0: not set */
    bool has_no_limit;  /* the server knows none */
};

/* The functions of struct table_module. */
void *mysql_connection_open(const void *settings, size_t host, int64_t deadline_ms, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void mysql_connection_close(void *connection);

/* Begin a call with this deadline. */
void mysql_connection_begin(struct mysql_connection *c, int64_t deadline_ms)
    __attribute__((nonnull));

/*
 * Wait for the events (MYSQL_WAIT_...) that a suspended call of the library needs, or for the
 * deadline. Returns the events with which the call goes on:
 *
 *     int events = mysql_next_result_start(&rc, c->mysql);
 *     while (events != 0)
 *         events = mysql_next_result_cont(&rc, c->mysql, mysql_connection_await(c, events));
 */
int mysql_connection_await(struct mysql_connection *c, int events)
    __attribute__((nonnull, warn_unused_result));

/* Is the deadline over? The connection is then ended. For answers that arrive so fast that no call
 * of the library has to wait. */
bool mysql_connection_is_late(struct mysql_connection *c)
    __attribute__((nonnull, warn_unused_result));

/* End the connection, so that no call of the library can wait for it any more. */
void mysql_connection_give_up(struct mysql_connection *c) __attribute__((nonnull));

/* A call of the library for a query has failed, or mysql_connection_is_late(). Sets `err`. Returns
 * ANSWER_BROKEN, if the connection or the state of the server is the reason; ANSWER_LIMIT, if a row
 * is too long; or ANSWER_FAILED. */
enum table_answer mysql_connection_fail(struct mysql_connection *c, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
