/* SPDX-License-Identifier: ISC */
/* Send statements to PostgreSQL in pipeline mode, and take their results. */
#include "queue/db_pgsql_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLUSH_BYTES (256 * 1024) /* a buffer of libpq with so much is written to the socket */
#define WATCH_MS 50              /* from one call of goes_on() to the next */

/* --- faults --- */

void db_pgsql_say(const struct db_pgsql *p, const char *message, struct err *err)
{
    err_set(err, "%s: %s", p->server, message);
    size_t len = strlen(err->text);
    while (len > 0 && err->text[len - 1] == '\n')
        err->text[--len] = '\0';
    for (char *c = err->text; *c != '\0'; c++)
        *c = *c == '\n' || *c == '\t' ? ' ' : *c;
    log_sanitize(err->text);
}

enum db_status db_pgsql_lost(struct db_pgsql *p, struct err *err)
{
    if (!p->has_failed)
        db_pgsql_say(p, PQerrorMessage(p->conn), err);
    else
        err_set(err, "%s: the connection is lost", p->server);
    p->has_failed = true;
    return DB_FAULT;
}

/* Convert an SQLSTATE, which is in appendix A of PostgreSQL's manual. */
static enum db_status status_of(const char *sqlstate)
{
    static const struct {
        const char *prefix;
        enum db_status status;
    } kinds[] = {
        {"23", DB_CONFLICT},   /* integrity constraint violation */
        {"40001", DB_AGAIN},   /* serialization failure */
        {"40P01", DB_AGAIN},   /* deadlock detected */
        {"53100", DB_FULL},    /* disk full */
        {"XX001", DB_CORRUPT}, /* data corrupted */
        {"XX002", DB_CORRUPT}, /* index corrupted */
    };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strncmp(sqlstate, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
            return kinds[i].status;
    return DB_FAULT;
}

/* Convert a result that is an error. The detail of the message is left out, because it may quote
 * values of rows. */
static enum db_status note_error(struct db_pgsql *p, const char *sql, const PGresult *result,
                                 struct err *err)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (sqlstate == NULL || PQstatus(p->conn) == CONNECTION_BAD) { /* from libpq: the socket */
        db_pgsql_say(p, PQresultErrorMessage(result), err);
        p->has_failed = true;
        return DB_FAULT;
    }
    mem_copy_string(p->sqlstate, sizeof p->sqlstate, sqlstate);
    err_set(err, "%s: %s: %s", p->server, sql, message == NULL ? sqlstate : message);
    log_sanitize(err->text);
    return status_of(sqlstate);
}

/* --- the socket --- */

void db_pgsql_set_deadline(struct db_pgsql *p)
{
    if (!p->is_in_transaction || p->access != DB_WRITE)
        p->deadline_ms = clock_now_ms() + p->timeout_ms;
}

int db_pgsql_poll(struct db_pgsql *p, bool writes, int wake_fd, struct err *err)
{
    struct pollfd fds[2] = {
        {.fd = PQsocket(p->conn), .events = (short)(POLLIN | (writes ? POLLOUT : 0))},
        {.fd = wake_fd, .events = POLLIN}};
    int64_t left_ms = p->deadline_ms - clock_now_ms();
    int rc = poll(fds, 2, left_ms < 0 ? 0 : (int)left_ms);

    if (rc < 0 && errno != EINTR) {
        err_set_errno(err, "%s: poll", p->server);
        p->has_failed = true;
        return -1;
    }
    if (rc == 0)
        return 0;
    if (rc > 0 && fds[0].revents != 0 && !PQconsumeInput(p->conn)) {
        db_pgsql_lost(p, err);
        return -1;
    }
    return rc > 0 && fds[1].revents != 0 ? 2 : 1;
}

void db_pgsql_watch(struct db *db, bool (*goes_on)(void *ctx), void *ctx)
{
    struct db_pgsql *p = (struct db_pgsql *)db;

    p->goes_on = goes_on;
    p->goes_on_ctx = ctx;
}

/* Wait as db_pgsql_poll() does, in pieces of time between which goes_on() is called. */
static int poll_watched(struct db_pgsql *p, bool writes, struct err *err)
{
    const int64_t deadline_ms = p->deadline_ms;
    int rc = 0;

    while (rc == 0 && clock_now_ms() < deadline_ms) {
        if (!p->goes_on(p->goes_on_ctx)) {
            err_set(err, "%s: interrupted", p->server);
            p->has_failed = true;
            return -1;
        }
        int64_t next_ms = clock_now_ms() + WATCH_MS;
        p->deadline_ms = next_ms < deadline_ms ? next_ms : deadline_ms;
        rc = db_pgsql_poll(p, writes, -1, err);
    }
    p->deadline_ms = deadline_ms;
    return rc;
}

/* Wait as db_pgsql_poll() does. False with `err`: the deadline has passed, the connection is lost,
 * or goes_on() has returned false. */
static bool wait_socket(struct db_pgsql *p, bool writes, struct err *err)
{
    int rc = p->goes_on == NULL ? db_pgsql_poll(p, writes, -1, err) : poll_watched(p, writes, err);

    if (rc == 0) {
        err_set(err, "%s: no answer within %u ms", p->server, p->timeout_ms);
        p->has_failed = true;
    }
    return rc > 0;
}

static bool flush(struct db_pgsql *p, struct err *err)
{
    int rc;

    while ((rc = PQflush(p->conn)) == 1)
        if (!wait_socket(p, true, err))
            return false;
    if (rc < 0)
        db_pgsql_lost(p, err);
    p->unsent_bytes = 0;
    return rc == 0;
}

/* --- sending --- */

static void note_sent(struct db_pgsql *p, enum db_pgsql_kind kind, size_t slot, const char *sql)
{
    if (p->sent_count == p->sent_cap) {
        p->sent_cap = p->sent_cap == 0 ? 64 : 2 * p->sent_cap;
        p->sent = mem_grow(p->sent, p->sent_cap, sizeof *p->sent);
    }
    p->sent[p->sent_count++] = (struct db_pgsql_sent){kind, slot, sql};
}

static size_t find_slot(struct db_pgsql *p, const char *sql)
{
    size_t slot = (size_t)((uint64_t)(uintptr_t)sql * 0x9e3779b97f4a7c15U >> 40);

    for (;; slot++) {
        slot %= DB_PGSQL_STATEMENTS;
        if (p->statements[slot].sql == sql)
            return slot;
        if (p->statements[slot].sql == NULL)
            break;
    }
    /* The texts are constants of the program: too many of them show in the first test. */
    if (++p->statement_count == DB_PGSQL_STATEMENTS)
        abort();
    p->statements[slot].sql = sql;
    return slot;
}

/* Check that each parameter has the type that it had before. The server keeps the types from the
 * preparation, and would read the bytes of an integer as a real. */
static void check_types(struct db_pgsql *p, size_t slot, const struct db_value *values,
                        size_t count)
{
    unsigned char *types = p->statements[slot].types;

    for (size_t i = 0; i < count; i++) {
        if (types[i] == DB_NULL)
            types[i] = (unsigned char)values[i].type;
        else if (values[i].type != DB_NULL && values[i].type != types[i])
            abort();
    }
}

static bool send_kept(struct db_pgsql *p, const char *sql, const struct db_pgsql_parameters *par,
                      size_t slot)
{
    int count = (int)par->count;
    char name[16];

    snprintf(name, sizeof name, "s%zu", slot);
    if (!p->statements[slot].is_prepared) {
        if (!PQsendPrepare(p->conn, name, sql, count, par->types))
            return false;
        note_sent(p, DB_PGSQL_PREPARE, slot, sql);
        p->statements[slot].is_prepared = true; /* take_one() clears this if it fails */
    }
    return PQsendQueryPrepared(p->conn, name, count, par->values, par->lengths, par->formats, 1);
}

enum db_status db_pgsql_send(struct db_pgsql *p, const char *sql, bool is_kept,
                             const struct db_value *values, size_t count, struct err *err)
{
    struct db_pgsql_parameters par;
    bool is_sent;

    if (p->has_failed)
        return db_pgsql_lost(p, err);
    db_pgsql_encode(values, count, &par);
    if (is_kept) {
        size_t slot = find_slot(p, sql);
        check_types(p, slot, values, count);
        is_sent = send_kept(p, sql, &par, slot);
    } else {
        is_sent = PQsendQueryParams(p->conn, sql, (int)count, par.types, par.values, par.lengths,
                                    par.formats, 1);
    }
    p->unsent_bytes += par.bytes + 100;
    db_pgsql_encode_clear(&par);
    if (!is_sent)
        return db_pgsql_lost(p, err);
    note_sent(p, DB_PGSQL_EXECUTE, 0, sql);
    return p->unsent_bytes < FLUSH_BYTES || flush(p, err) ? DB_OK : DB_FAULT;
}

/* --- results --- */

/* Call row() for each row of the result. *wants: false as soon as row() has returned false. */
static enum db_status take_rows(const PGresult *result, const struct db_pgsql_results *last,
                                bool *wants, struct err *err)
{
    struct db_value columns[DB_VALUES_MAX];

    for (int i = 0; i < PQntuples(result) && *wants; i++) {
        if (db_pgsql_decode(result, i, columns, err) < 0)
            return DB_FAULT;
        *wants = last->row(last->ctx, columns);
    }
    return DB_OK;
}

/* Check the result of COMMIT. After a statement that failed, COMMIT succeeds too, but its command
 * tag is ROLLBACK. */
static enum db_status check_tag(const struct db_pgsql *p, const char *sql, PGresult *result,
                                struct err *err)
{
    if (strcmp(sql, "COMMIT") != 0 || strcmp(PQcmdStatus(result), "COMMIT") == 0)
        return DB_OK;
    err_set(err, "%s: COMMIT: the transaction was rolled back", p->server);
    return DB_FAULT;
}

/* Wait for the next result of a message. NULL: there are no more results, or the connection is
 * lost. */
static PGresult *next_result(struct db_pgsql *p, struct err *err)
{
    while (!p->has_failed && PQisBusy(p->conn))
        if (!wait_socket(p, false, err))
            return NULL;
    return p->has_failed ? NULL : PQgetResult(p->conn);
}

/* Take the results of one message. last: where they go, or NULL, except for the last statement. */
static enum db_status take_one(struct db_pgsql *p, const struct db_pgsql_sent *s,
                               struct db_pgsql_results *last, struct err *err)
{
    bool wants = last != NULL && last->row != NULL, is_over = false;
    enum db_status status = DB_OK;
    PGresult *result;

    if (wants)
        (void)PQsetSingleRowMode(p->conn); /* memory does not grow with the number of rows */
    while (!is_over && (result = next_result(p, err)) != NULL) {
        switch ((int)PQresultStatus(result)) {
        case PGRES_PIPELINE_SYNC:
            is_over = true;
            break;
        case PGRES_PIPELINE_ABORTED: /* skipped, after a failure that was reported before */
            if (s->kind == DB_PGSQL_PREPARE)
                p->statements[s->slot].is_prepared = false;
            break;
        case PGRES_SINGLE_TUPLE:
        case PGRES_TUPLES_OK:
        case PGRES_COMMAND_OK:
            if (status == DB_OK && wants)
                status = take_rows(result, last, &wants, err);
            if (status == DB_OK && s->kind == DB_PGSQL_EXECUTE)
                status = check_tag(p, s->sql, result, err);
            if (last != NULL)
                last->changed = strtoull(PQcmdTuples(result), NULL, 10);
            break;
        case PGRES_COPY_IN: /* there is no end of these results */
        case PGRES_COPY_OUT:
        case PGRES_COPY_BOTH:
            err_set(err, "%s: the server has answered with COPY", p->server);
            p->has_failed = true;
            break;
        default:
            if (s->kind == DB_PGSQL_PREPARE)
                p->statements[s->slot].is_prepared = false;
            if (status == DB_OK)
                status = note_error(p, s->sql, result, err);
        }
        PQclear(result);
    }
    return p->has_failed ? DB_FAULT : status;
}

enum db_status db_pgsql_take(struct db_pgsql *p, struct db_pgsql_results *last, struct err *err)
{
    enum db_status status = DB_OK;
    struct err ignored;

    p->warning[0] = '\0';
    if (p->has_failed || !PQpipelineSync(p->conn))
        return db_pgsql_lost(p, err);
    note_sent(p, DB_PGSQL_SYNC, 0, "");
    if (!flush(p, err))
        status = DB_FAULT;
    for (size_t i = 0; i < p->sent_count && !p->has_failed; i++) {
        bool is_last = i + 2 == p->sent_count;
        enum db_status one =
            take_one(p, &p->sent[i], is_last ? last : NULL, status == DB_OK ? err : &ignored);
        if (status == DB_OK)
            status = one;
    }
    p->sent_count = 0;
    return status;
}
