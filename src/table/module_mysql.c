/* SPDX-License-Identifier: ISC */
/*
 * module_mysql: mysql: tables, by MariaDB's client library (libmariadb), for servers of MariaDB and
 * MySQL. Parameters and behaviour are those of mysql_table(5).
 *
 * The timeouts of libmariadb are in seconds, and begin anew with each read. So this module uses the
 * calls of the non-blocking interface, whose names end in _start and _cont, and waits for the
 * socket itself. Such a call runs on a stack of its own, and is suspended where it would block. It
 * has to be continued until it ends, because only then it releases its memory. So at the deadline
 * the module shuts the socket down, and continues the call, which then fails at once.
 *
 * The server gets a time limit, too, so that a query which takes longer ends there as well, and
 * does not take its processors and its connections away from the next ones.
 *
 * The TLS handshake blocks in this interface, too. Each of its reads has a time limit, so that a
 * server which hangs does not exceed the deadline, but one that sends byte by byte may.
 */
#include "base/clock.h"
#include "table/module_mysql_private.h"

#include <string.h>

/* After a value that is not valid, so many rows are read, so that the connection can be used again.
 */
#define SKIPPED_MAX 1000

/* The time limit that the server gets for a query, in percent of the time that is left. It is set
 * again when it would be outside of LIMIT_MIN and LIMIT_MAX, so that most look-ups need no further
 * statement. */
#define LIMIT_PERCENT 90
#define LIMIT_MIN 50
#define LIMIT_MAX 95

struct quoting {
    const struct mysql_connection *connection;
    const struct mysql_settings *settings;
};

/* In the SQL mode NO_BACKSLASH_ESCAPES the library quotes for '...' alone. */
static int quote(void *ctx, const char *text, size_t len, struct buf *out, struct err *err)
{
    const struct quoting *q = ctx;
    MYSQL *mysql = q->connection->mysql;

    if (q->settings->has_double_quotes && memchr(text, '"', len) != NULL &&
        (mysql->server_status & SERVER_STATUS_NO_BACKSLASH_ESCAPES) != 0) {
        err_set(err,
                "the key has a double quote, and the query has strings in double quotes, which "
                "cannot be quoted in the SQL mode NO_BACKSLASH_ESCAPES: use single quotes");
        return -1;
    }
    const unsigned long size =
        mysql_real_escape_string(mysql, buf_reserve(out, 2 * len + 1), text, len);
    if (size == (unsigned long)-1) {
        err_set(err, "the key cannot be quoted");
        return -1;
    }
    out->len += size;
    return 0;
}

/* Send a statement, and wait for the beginning of its answer. Returns non-zero on failure. */
static int send_statement(struct mysql_connection *c, const char *sql, size_t len)
{
    int failed;
    int events = mysql_real_query_start(&failed, c->mysql, sql, len);

    while (events != 0)
        events = mysql_real_query_cont(&failed, c->mysql, mysql_connection_await(c, events));
    return failed;
}

/* Set the time limit of the server, unless it fits or the server knows none. ANSWER_OK, or
 * ANSWER_BROKEN with `err`. */
static enum table_answer limit_query(struct mysql_connection *c, struct err *err)
{
    const int64_t left_ms = c->deadline_ms - clock_now_ms();
    const int64_t limit_ms = left_ms * LIMIT_PERCENT / 100;
    struct buf sql = {0};

    if (c->has_no_limit || limit_ms <= 0 ||
        (c->limit_ms * 100 >= left_ms * LIMIT_MIN && c->limit_ms * 100 <= left_ms * LIMIT_MAX))
        return ANSWER_OK;
    if (mariadb_connection(c->mysql))
        buf_addf(&sql, "SET SESSION max_statement_time = %lld.%03d", (long long)(limit_ms / 1000),
                 (int)(limit_ms % 1000));
    else
        buf_addf(&sql, "SET SESSION max_execution_time = %lld", (long long)limit_ms);
    int failed = send_statement(c, buf_str(&sql), sql.len);
    buf_clear(&sql);
    c->limit_ms = limit_ms;
    if (failed == 0)
        return ANSWER_OK;
    if (mysql_connection_fail(c, err) == ANSWER_BROKEN)
        return ANSWER_BROKEN;
    c->has_no_limit = true;
    err_clear(err);
    return ANSWER_OK;
}

static MYSQL_ROW next_row(struct mysql_connection *c, MYSQL_RES *rows)
{
    MYSQL_ROW row;
    int events = mysql_fetch_row_start(&row, rows);

    while (events != 0)
        events = mysql_fetch_row_cont(&row, rows, mysql_connection_await(c, events));
    return row;
}

static enum table_answer add_row(MYSQL_RES *rows, MYSQL_ROW row, struct query_result *result,
                                 struct err *err)
{
    const unsigned long *lengths = mysql_fetch_lengths(rows);
    enum table_answer answer = ANSWER_OK;

    for (unsigned i = 0; i < mysql_num_fields(rows) && answer == ANSWER_OK; i++)
        answer = query_result_add(result, row[i], lengths[i], err);
    return answer;
}

static enum table_answer read_rows(struct mysql_connection *c, MYSQL_RES *rows,
                                   struct query_result *result, struct err *err)
{
    enum table_answer answer = ANSWER_OK;
    unsigned skipped = 0;
    MYSQL_ROW row;

    while (skipped < SKIPPED_MAX && (row = next_row(c, rows)) != NULL) {
        if (answer == ANSWER_OK)
            answer = add_row(rows, row, result, err);
        else
            skipped++;
        if (mysql_connection_is_late(c))
            return answer == ANSWER_OK ? mysql_connection_fail(c, err) : answer;
    }
    if (mysql_errno(c->mysql) != 0 && answer == ANSWER_OK)
        return mysql_connection_fail(c, err);
    if (mysql_errno(c->mysql) != 0 || skipped == SKIPPED_MAX)
        mysql_connection_give_up(c);
    return answer;
}

/* Read one result set, if there is one; *count_out is their number. */
static enum table_answer read_set(struct mysql_connection *c, struct query_result *result,
                                  unsigned *count_out, struct err *err)
{
    MYSQL_RES *rows = mysql_use_result(c->mysql);
    enum table_answer answer = ANSWER_FAILED;

    if (rows == NULL)
        return mysql_field_count(c->mysql) == 0 ? ANSWER_OK : mysql_connection_fail(c, err);
    if (++*count_out == 1) {
        answer = read_rows(c, rows, result, err);
    } else {
        err_set(err, "the query has several result sets");
        mysql_connection_give_up(c);
    }
    mysql_free_result(rows); /* waits for rows that were not read, unless the connection is lost */
    return answer;
}

/* Read all results. That of a procedure ends with one that has no result set. */
static enum table_answer read_answer(struct mysql_connection *c, const struct mysql_settings *s,
                                     struct query_result *result, struct err *err)
{
    enum table_answer answer = ANSWER_OK;
    unsigned count = 0;

    for (;;) {
        int failed;
        enum table_answer one = read_set(c, result, &count, err);
        if (one != ANSWER_OK)
            answer = one;
        if (answer == ANSWER_BROKEN || c->is_lost || !mysql_more_results(c->mysql))
            break;
        if (mysql_connection_is_late(c))
            return answer == ANSWER_OK ? mysql_connection_fail(c, err) : answer;
        int events = mysql_next_result_start(&failed, c->mysql);
        while (events != 0)
            events = mysql_next_result_cont(&failed, c->mysql, mysql_connection_await(c, events));
        if (failed != 0)
            return mysql_connection_fail(c, err);
    }
    if (answer == ANSWER_OK && count == 0 && cf_bool(s->cf, "require_result_set")) {
        err_set(err, "the query has no result set (require_result_set = yes)");
        return ANSWER_FAILED;
    }
    return answer;
}

static enum table_answer ask(void *connection, const void *settings, const char *key,
                             struct query_result *result, int64_t deadline_ms, struct err *err)
{
    const struct mysql_settings *s = settings;
    struct mysql_connection *c = connection;
    struct quoting quoting = {c, s};
    struct buf sql = {0};
    enum table_answer answer = ANSWER_LIMIT; /* the key cannot be quoted */

    mysql_connection_begin(c, deadline_ms);
    if (c->is_lost) {
        err_set(err, "the connection was closed after an answer that was not read to its end");
        return ANSWER_BROKEN;
    }
    if (query_expand(s->query, "query", key, quote, &quoting, &sql, err) == 0) {
        query_result_asked(result, "%s", buf_str(&sql));
        answer = limit_query(c, err);
        if (answer == ANSWER_OK)
            answer = send_statement(c, buf_str(&sql), sql.len) != 0
                         ? mysql_connection_fail(c, err)
                         : read_answer(c, s, result, err);
    }
    buf_clear(&sql);
    result->is_lost = c->is_lost;
    result->is_late = c->has_timed_out; /* a limit of the option file may be shorter */
    return answer;
}

static const char *const templates[] = {"query", NULL};

const struct table_module splitmilter_table = {
    .version = PACKAGE_VERSION,
    .type = "mysql",
    .parameters = mysql_settings_parameters,
    .templates = templates,
    .open = mysql_settings_open,
    .close = mysql_settings_close,
    .hosts = mysql_settings_hosts,
    .connect = mysql_connection_open,
    .disconnect = mysql_connection_close,
    .ask = ask,
};
