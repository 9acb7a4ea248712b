/* SPDX-License-Identifier: ISC */
/*
 * sqlite: the module of sqlite: tables (sqlite_table(5)). A database file is the one host. As in
 * Postfix, the first column of each row is a value, and text after the first statement is ignored.
 *
 * A database that was replaced by another file (rename(2)) is opened again at the next look-up,
 * while Postfix reads the old one until its process ends.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "table/table_module.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define PROGRESS_STEPS 1000 /* of SQLite's virtual machine, between two looks at the clock */
#define BUSY_PAUSE_MS 5     /* between two attempts to lock the database */

static const struct cf_parameter parameters[] = {
    {.name = "dbpath", .kind = CF_TEXT, .is_required = true},
    CF_SQL_PARAMETERS,
    {.name = NULL},
};

static const char *const templates[] = {"query", NULL};

struct settings {
    const struct query *query;
    struct table_host host;
};

struct connection {
    sqlite3 *db;
    int64_t deadline_ms; /* of the call that is running */
    dev_t device;        /* of the file that is open */
    ino_t inode;
};

static void *sqlite_open(const struct cf *cf, const struct query *query, struct err *err)
{
    const char *path = cf_text(cf, "dbpath");

    if (path[0] != '/') {
        cf_fault(cf, "dbpath", err, "\"%.200s\" is no absolute path", path);
        return NULL;
    }
    struct settings *s = mem_zalloc(sizeof *s);
    s->query = query;
    s->host = (struct table_host){.name = path, .is_local = true};
    return s;
}

static void sqlite_close(void *settings)
{
    free(settings);
}

static size_t sqlite_hosts(const void *settings, const struct table_host **hosts_out)
{
    *hosts_out = &((const struct settings *)settings)->host;
    return 1;
}

static void sqlite_disconnect(void *connection)
{
    struct connection *c = connection;

    sqlite3_close(c->db);
    free(c);
}

/* Called while a statement runs: a result other than 0 ends it with SQLITE_INTERRUPT. */
static int on_progress(void *ctx)
{
    return clock_now_ms() >= ((const struct connection *)ctx)->deadline_ms;
}

/* Called while another process has the database locked: 0 ends the call with SQLITE_BUSY. */
static int on_busy(void *ctx, int count)
{
    static const struct timespec pause = {.tv_nsec = BUSY_PAUSE_MS * 1000000L};

    (void)count;
    if (clock_now_ms() + BUSY_PAUSE_MS >= ((const struct connection *)ctx)->deadline_ms)
        return 0;
    nanosleep(&pause, NULL);
    return 1;
}

static void *sqlite_connect(const void *settings, size_t host, int64_t deadline_ms, struct err *err)
{
    const struct settings *s = settings;
    struct connection *c = mem_zalloc(sizeof *c);
    struct stat st;

    (void)host;
    /* The file is examined first: if it is replaced in between, it is opened once more. */
    if (stat(s->host.name, &st) < 0) {
        err_set_errno(err, "cannot open the database");
        free(c);
        return NULL;
    }
    c->device = st.st_dev;
    c->inode = st.st_ino;
    c->deadline_ms = deadline_ms;
    int rc =
        sqlite3_open_v2(s->host.name, &c->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        err_set(err, "cannot open the database: %s",
                c->db == NULL ? sqlite3_errstr(rc) : sqlite3_errmsg(c->db));
        sqlite_disconnect(c);
        return NULL;
    }
    sqlite3_busy_handler(c->db, on_busy, c);
    sqlite3_progress_handler(c->db, PROGRESS_STEPS, on_progress, c);
    return c;
}

/* Double the single quotes, as in a string constant of SQL. */
static int quote(void *ctx, const char *text, size_t len, struct buf *out, struct err *err)
{
    (void)ctx;
    (void)err;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\'')
            buf_addc(out, '\'');
        buf_addc(out, text[i]);
    }
    return 0;
}

/* Is the file that is open still the one that the path names? */
static bool is_current(const struct connection *c, const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && st.st_dev == c->device && st.st_ino == c->inode;
}

/* Set the reason of a failure. BROKEN, where the file may be another one next time. */
static enum table_answer fail(const struct connection *c, int rc, struct err *err)
{
    err_set(err, "%s", sqlite3_errmsg(c->db));
    switch (rc & 0xff) {
    case SQLITE_INTERRUPT:
        err_set(err, "the query takes too long");
        return ANSWER_BROKEN;
    case SQLITE_BUSY:
    case SQLITE_CANTOPEN:
    case SQLITE_CORRUPT:
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_NOTADB:
    case SQLITE_PROTOCOL:
        return ANSWER_BROKEN;
    default:
        return ANSWER_FAILED;
    }
}

static enum table_answer read_rows(const struct connection *c, sqlite3_stmt *statement,
                                   struct query_result *result, struct err *err)
{
    enum table_answer answer = ANSWER_OK;
    int rc;

    while (answer == ANSWER_OK && (rc = sqlite3_step(statement)) != SQLITE_DONE) {
        if (rc != SQLITE_ROW)
            return fail(c, rc, err);
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        answer = query_result_add(result, text, (size_t)sqlite3_column_bytes(statement, 0), err);
    }
    return answer;
}

static enum table_answer run(const struct connection *c, const struct buf *text,
                             struct query_result *result, struct err *err)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(c->db, buf_str(text), (int)text->len, &statement, NULL);

    if (rc != SQLITE_OK)
        return fail(c, rc, err);
    if (statement == NULL) {
        err_set(err, "the query has no statement");
        return ANSWER_FAILED;
    }
    enum table_answer answer = read_rows(c, statement, result, err);
    sqlite3_finalize(statement);
    return answer;
}

static enum table_answer sqlite_ask(void *connection, const void *settings, const char *key,
                                    struct query_result *result, int64_t deadline_ms,
                                    struct err *err)
{
    const struct settings *s = settings;
    struct connection *c = connection;
    struct buf text = {0};
    enum table_answer answer = ANSWER_BROKEN;

    c->deadline_ms = deadline_ms;
    if (!is_current(c, s->host.name)) {
        err_set(err, "the database was replaced or removed");
    } else if (query_expand(s->query, "query", key, quote, NULL, &text, err) < 0) {
        answer = ANSWER_FAILED;
    } else {
        query_result_asked(result, "%s", buf_str(&text));
        answer = run(c, &text, result, err);
    }
    buf_clear(&text);
    return answer;
}

const struct table_module splitmilter_table = {
    .version = PACKAGE_VERSION,
    .type = "sqlite",
    .parameters = parameters,
    .templates = templates,
    .retry_s = 0,
    .open = sqlite_open,
    .close = sqlite_close,
    .hosts = sqlite_hosts,
    .connect = sqlite_connect,
    .disconnect = sqlite_disconnect,
    .ask = sqlite_ask,
};
