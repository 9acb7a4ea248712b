/* SPDX-License-Identifier: ISC */
/*
 * The module of pgsql: tables (table_module.h), with libpq. The parameters are those of
 * pgsql_table(5). As in Postfix, the statement is sent as text, in which the parts of the key are
 * quoted by PQescapeStringConn() for the connection's encoding. All columns of all rows of the last
 * statement are values.
 *
 * libpq is used without blocking, so that each call ends at its deadline. Only the look-up of a
 * host name blocks. A server does not notice that a client has closed its connection while it works
 * on a query. So each query is sent with a limit (statement_timeout) that ends it a bit before the
 * deadline; otherwise slow queries of clients that have left could occupy all of the server's
 * connections.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "table/module_pgsql_private.h"

#include <assert.h>
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

struct connection {
    PGconn *conn;
    const struct pgsql_settings *settings;
    bool sets_limit; /* add_limit() */
    bool is_spent;   /* cannot be used again, although the last answer was complete */
};

static const char *const templates[] = {"query", NULL};

/* A statement_timeout of a query is shorter than the time that is left, by a tenth, but at most by
 * this time. If the server ends the query, the connection stays usable, and it is known that the
 * server works. */
#define MARGIN_MAX_MS 500

/* From this version on, SET LOCAL in front of a statement in the same message applies to it. */
#define VERSION_MIN 110000

/* --- connections --- */

/* Set `err` to a message of libpq, in one line. */
static void say(const char *message, struct err *err)
{
    err_set(err, "%s", message);
    size_t len = strlen(err->text);
    while (len > 0 && err->text[len - 1] == '\n')
        err->text[--len] = '\0';
    for (char *c = err->text; *c != '\0'; c++)
        if (*c == '\n' || *c == '\t')
            *c = ' ';
}

/* Wait until libpq can read (or write) the connection. False with `err`: the deadline is over. */
static bool wait_socket(PGconn *conn, short events, int64_t deadline_ms, struct err *err)
{
    for (;;) {
        struct pollfd fd = {.fd = PQsocket(conn), .events = events};
        int64_t left_ms = deadline_ms - clock_now_ms();
        int rc = left_ms <= 0 ? 0 : poll(&fd, 1, (int)left_ms);
        if (rc > 0)
            return true;
        if (rc == 0) {
            err_set(err, "no answer within the time limit");
            return false;
        }
        if (errno != EINTR) {
            err_set_errno(err, "poll");
            return false;
        }
    }
}

static void ignore_notice(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

/* Begin to connect. As with PQsetdbLogin(), which Postfix uses, dbname may be a list of options,
 * and the parameters of the file take precedence over it. */
static PGconn *start(const struct pgsql_settings *s, const struct pgsql_host *h)
{
    const char *names[8], *values[8];
    size_t count = 0;
    bool is_uri = h->uri != NULL;
    const struct {
        const char *name, *value;
    } all[] = {
        {"dbname", is_uri ? h->uri : s->dbname},
        {"host", is_uri ? "" : h->host},
        {"port", is_uri ? "" : h->port},
        {"user", is_uri ? "" : s->user},
        {"password", is_uri ? "" : s->password},
        {"client_encoding", s->encoding},
        {"fallback_application_name", "splitmilter"},
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (*all[i].value == '\0')
            continue;
        names[count] = all[i].name;
        values[count++] = all[i].value;
    }
    names[count] = values[count] = NULL;
    return PQconnectStartParams(names, values, 1);
}

static bool finish(PGconn *conn, int64_t deadline_ms, struct err *err)
{
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;

    PQsetNoticeProcessor(conn, ignore_notice, NULL);
    if (PQstatus(conn) == CONNECTION_BAD)
        state = PGRES_POLLING_FAILED;
    while (state != PGRES_POLLING_OK && state != PGRES_POLLING_FAILED) {
        short events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (!wait_socket(conn, events, deadline_ms, err))
            return false;
        state = PQconnectPoll(conn);
    }
    if (state == PGRES_POLLING_OK && PQsetnonblocking(conn, 1) == 0)
        return true;
    say(PQerrorMessage(conn), err);
    return false;
}

/* --- questions --- */

static int quote(void *ctx, const char *text, size_t len, struct buf *out, struct err *err)
{
    PGconn *conn = ctx;
    int failure = 0;
    char *room = buf_reserve(out, 2 * len);
    size_t quoted = PQescapeStringConn(conn, room, text, len, &failure);

    if (failure != 0) {
        say(PQerrorMessage(conn), err);
        err_wrap(err, "the key cannot be quoted");
        return -1;
    }
    out->len += quoted;
    out->data[out->len] = '\0';
    return 0;
}

static bool is_among(const char *sqlstate, const char *const *beginnings)
{
    for (; *beginnings != NULL; beginnings++)
        if (strncmp(sqlstate, *beginnings, strlen(*beginnings)) == 0)
            return true;
    return false;
}

/*
 * Classify an error of the server by its SQLSTATE (appendix A of PostgreSQL's manual). A fault of
 * this server alone is ANSWER_BROKEN. A fault that the key or the data can cause must not be,
 * because then a client could make the host count as failed.
 */
static enum table_answer classify(const struct pgsql_settings *s, const char *sqlstate)
{
    static const char *const broken[] = {
        "08",    /* connection exception */
        "25006", /* read-only transaction: a standby */
        "3F000", /* no such schema */
        "40",    /* transaction rollback: conflict with recovery, deadlock */
        "42501", /* insufficient privilege */
        "42P01", /* no such table */
        "531",   /* disk full */
        "532",   /* out of memory */
        "533",   /* too many connections */
        "57P",   /* the server shuts down, crashes, starts; the connection was ended */
        "58",    /* system error */
        "XX001", /* data corrupted */
        "XX002", /* index corrupted */
        NULL,
    };

    if (s->has_unquoted && strncmp(sqlstate, "42", 2) == 0) /* syntax, names */
        return ANSWER_FAILED;
    return is_among(sqlstate, broken) ? ANSWER_BROKEN : ANSWER_FAILED;
}

static enum table_answer note_error(const struct connection *c, const PGresult *result,
                                    struct err *err)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    say(message != NULL ? message : PQresultErrorMessage(result), err);
    if (sqlstate == NULL || PQstatus(c->conn) == CONNECTION_BAD) /* an error of libpq */
        return ANSWER_BROKEN;
    return classify(c->settings, sqlstate);
}

static enum table_answer send_query(struct connection *c, const char *sql, int64_t deadline_ms,
                                    struct err *err)
{
    int rc;

    if (!PQsendQuery(c->conn, sql)) {
        say(PQerrorMessage(c->conn), err);
        return ANSWER_BROKEN;
    }
    (void)PQsetSingleRowMode(c->conn); /* memory does not grow with the number of rows */
    while ((rc = PQflush(c->conn)) == 1) {
        if (!wait_socket(c->conn, POLLIN | POLLOUT, deadline_ms, err))
            return ANSWER_BROKEN;
        if (!PQconsumeInput(c->conn))
            rc = -1;
        if (rc < 0)
            break;
    }
    if (rc == 0)
        return ANSWER_OK;
    say(PQerrorMessage(c->conn), err);
    return ANSWER_BROKEN;
}

/* Take the next result. *result_out NULL with ANSWER_OK: there are no more. */
static enum table_answer next_result(struct connection *c, int64_t deadline_ms,
                                     PGresult **result_out, struct err *err)
{
    *result_out = NULL;
    while (PQisBusy(c->conn)) {
        if (!wait_socket(c->conn, POLLIN, deadline_ms, err))
            return ANSWER_BROKEN;
        if (!PQconsumeInput(c->conn)) {
            say(PQerrorMessage(c->conn), err);
            return ANSWER_BROKEN;
        }
    }
    *result_out = PQgetResult(c->conn);
    return ANSWER_OK;
}

static enum table_answer add_rows(const PGresult *rows, struct query_result *result,
                                  struct err *err)
{
    for (int i = 0; i < PQntuples(rows); i++)
        for (int j = 0; j < PQnfields(rows); j++) {
            const char *value = PQgetisnull(rows, i, j) ? NULL : PQgetvalue(rows, i, j);
            size_t len = value == NULL ? 0 : (size_t)PQgetlength(rows, i, j);
            enum table_answer answer = query_result_add(result, value, len, err);
            if (answer != ANSWER_OK)
                return answer;
        }
    return ANSWER_OK;
}

/* The statements of a query, one after the other; the values of the last one count. */
struct answer {
    enum table_answer answer;
    bool is_over; /* the statement before is complete */
};

static void take(struct connection *c, const PGresult *part, struct answer *a, const char *query,
                 struct query_result *result, struct err *err)
{
    ExecStatusType status = PQresultStatus(part);

    if (a->answer != ANSWER_OK) /* what remains of an answer that is at fault */
        return;
    if (a->is_over) {
        query_result_reset(result);
        query_result_asked(result, "%s", query);
    }
    a->is_over = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
    switch ((int)status) {
    case PGRES_SINGLE_TUPLE:
    case PGRES_TUPLES_OK:
        a->answer = add_rows(part, result, err);
        break;
    case PGRES_COMMAND_OK:
        break;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        err_set(err, "the query is a COPY, and not a SELECT");
        a->answer = ANSWER_FAILED;
        break;
    case PGRES_EMPTY_QUERY:
        err_set(err, "the query has no statement");
        a->answer = ANSWER_FAILED;
        break;
    default:
        a->answer = note_error(c, part, err);
    }
}

static bool is_copy(const PGresult *part)
{
    ExecStatusType status = PQresultStatus(part);

    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* query: the end of `sql`, without the limit. */
static enum table_answer run(struct connection *c, const char *sql, const char *query,
                             struct query_result *result, int64_t deadline_ms, struct err *err)
{
    struct answer a = {.answer = send_query(c, sql, deadline_ms, err)};
    struct err ignored;
    PGresult *part;

    while (a.answer != ANSWER_BROKEN && !c->is_spent) {
        bool has_failed = a.answer != ANSWER_OK;
        enum table_answer more = next_result(c, deadline_ms, &part, has_failed ? &ignored : err);
        if (more != ANSWER_OK) {
            c->is_spent = true;
            return has_failed ? a.answer : more;
        }
        if (part == NULL)
            break;
        take(c, part, &a, query, result, err);
        c->is_spent = is_copy(part); /* its end does not come */
        PQclear(part);
    }
    if (PQtransactionStatus(c->conn) == PQTRANS_INERROR)
        c->is_spent = true;
    return a.answer;
}

/* --- the module --- */

/* Note whether queries over the new connection are sent with a limit: not where the role, the
 * database or the URI sets one, as its author knows better. False with `err`: the connection is not
 * usable. */
static bool read_limit(struct connection *c, int64_t deadline_ms, struct err *err)
{
    bool is_off = false;
    PGresult *part;

    if (!c->settings->is_select || PQserverVersion(c->conn) < VERSION_MIN)
        return true;
    enum table_answer answer = send_query(c, "SHOW statement_timeout", deadline_ms, err);
    while (answer == ANSWER_OK) {
        answer = next_result(c, deadline_ms, &part, err);
        if (part == NULL)
            break;
        if (PQntuples(part) == 1)
            is_off = strcmp(PQgetvalue(part, 0, 0), "0") == 0;
        PQclear(part);
    }
    c->sets_limit = is_off;
    return answer == ANSWER_OK;
}

static void disconnect(void *connection)
{
    struct connection *c = connection;

    PQfinish(c->conn);
    free(c);
}

static void *connect_host(const void *settings, size_t host, int64_t deadline_ms, struct err *err)
{
    const struct pgsql_settings *s = settings;
    struct connection *c = mem_zalloc(sizeof *c);

    c->settings = s;
    c->conn = start(s, &s->hosts[host]);
    if (c->conn == NULL)
        abort(); /* no memory */
    if (finish(c->conn, deadline_ms, err) && read_limit(c, deadline_ms, err))
        return c;
    disconnect(c);
    return NULL;
}

/* Append the statement that limits the time of the query behind it. It holds for this query alone,
 * because with a pooler the server's session may be used for others next. */
static void add_limit(const struct connection *c, int64_t deadline_ms, struct buf *sql)
{
    int64_t left_ms = deadline_ms - clock_now_ms();
    int64_t margin_ms = left_ms / 10 < MARGIN_MAX_MS ? left_ms / 10 : MARGIN_MAX_MS;

    if (c->sets_limit)
        buf_addf(sql, "SET LOCAL statement_timeout = %lld; ",
                 left_ms - margin_ms < 1 ? 1LL : (long long)(left_ms - margin_ms));
}

static enum table_answer ask(void *connection, const void *settings, const char *key,
                             struct query_result *result, int64_t deadline_ms, struct err *err)
{
    struct connection *c = connection;
    const struct pgsql_settings *s = settings;
    struct buf sql = {0};
    enum table_answer answer = ANSWER_LIMIT; /* the key cannot be quoted */

    assert(!c->is_spent);
    add_limit(c, deadline_ms, &sql);
    size_t limit_len = sql.len;
    if (query_expand(s->query, "query", key, quote, c->conn, &sql, err) == 0) {
        const char *query = buf_str(&sql) + limit_len;
        query_result_asked(result, "%s", query);
        answer = run(c, buf_str(&sql), query, result, deadline_ms, err);
    }
    result->is_lost = c->is_spent;
    buf_clear(&sql);
    return answer;
}

const struct table_module splitmilter_table = {
    .version = PACKAGE_VERSION,
    .type = "pgsql",
    .parameters = module_pgsql_parameters,
    .templates = templates,
    .open = module_pgsql_open,
    .close = module_pgsql_close,
    .hosts = module_pgsql_hosts,
    .connect = connect_host,
    .disconnect = disconnect,
    .ask = ask,
};
