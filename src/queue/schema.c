/* SPDX-License-Identifier: ISC */
#include "queue/schema.h"

#include "base/buf.h"

#include <string.h>

static const char *const statements[] = {
    "CREATE TABLE schema (version {INT} NOT NULL)",
    "CREATE TABLE message ("
    " id {ID} PRIMARY KEY,"
    " arrival {REAL} NOT NULL," /* seconds since 1970 */
    " size {INT} NOT NULL,"
    " sender TEXT NOT NULL,"
    " client_name TEXT NOT NULL,"
    " client_addr TEXT NOT NULL,"
    " helo TEXT NOT NULL,"
    " protocol TEXT NOT NULL,"
    " mta_queue_id TEXT NOT NULL,"
    " message_id TEXT NOT NULL,"
    " flags TEXT NOT NULL,"          /* some of 8bit, utf8, requiretls, with commas between */
    " body_at TEXT NOT NULL,"        /* body | file */
    " state TEXT NOT NULL) {CHURN}", /* prepared | stored */
    /* Finds what a crash between prepare and commit has left. */
    "CREATE INDEX message_prepared ON message (id) WHERE state = 'prepared'",
    "CREATE TABLE body ("
    " message {ID} NOT NULL,"
    " part {INT} NOT NULL,"
    " data {BLOB} NOT NULL"
    " {BODY_KEY}) {CHURN_BODY}",
    "CREATE TABLE copy ("
    " id {ID} PRIMARY KEY,"
    " message {INT} NOT NULL,"
    " destination TEXT NOT NULL,"
    " state TEXT NOT NULL," /* queued | held | dead */
    " due {INT} NOT NULL,"  /* seconds since 1970 */
    " attempts {INT} NOT NULL,"
    " owner TEXT,"            /* a node; NULL: free, and always with SQLite */
    " ordered TEXT) {CHURN}", /* delete | requeue | requeue DEST; NULL: none */
    "CREATE INDEX copy_due ON copy (destination, due, id)"
    " WHERE state = 'queued' AND ordered IS NULL",
    "CREATE INDEX copy_ordered ON copy (id) WHERE ordered IS NOT NULL",
    "CREATE TABLE recipient ("
    " copy {INT} NOT NULL,"
    " number {INT} NOT NULL,"
    " address TEXT NOT NULL,"
    " orcpt TEXT NOT NULL,"
    " state TEXT NOT NULL," /* pending | sent | dead */
    " reason TEXT NOT NULL,"
    " PRIMARY KEY (copy, number)) {CLUSTERED} {CHURN}",
    "CREATE TABLE history ("
    " number {SERIAL} PRIMARY KEY,"
    " copy {INT} NOT NULL,"
    " destination TEXT NOT NULL,"
    " time {INT} NOT NULL,"
    " sender TEXT NOT NULL,"
    " recipients TEXT NOT NULL," /* with ", " between */
    " message_id TEXT NOT NULL,"
    " mta_queue_id TEXT NOT NULL,"
    " size {INT} NOT NULL,"
    " result TEXT NOT NULL," /* sent | deleted | requeued | skipped */
    " relay TEXT NOT NULL,"
    " reply TEXT NOT NULL,"
    " attempts {INT} NOT NULL)",
    "CREATE TABLE suspended ("
    " destination TEXT PRIMARY KEY,"
    " since {INT} NOT NULL,"
    " until {INT} NOT NULL," /* 0: until it is resumed */
    " reason TEXT NOT NULL)",
    "CREATE TABLE node ("
    " number {INT} PRIMARY KEY," /* in the ids of its messages */
    " name TEXT NOT NULL UNIQUE,"
    " since {INT} NOT NULL,"
    " until {INT}," /* the end of its leases; NULL: it has ended cleanly */
    " version TEXT NOT NULL)",
    /* The nodes whose leases are valid. */
    "CREATE VIEW alive AS SELECT number, name FROM node WHERE until > {NOW}",
};

static void translate(const char *statement, const struct schema_word *words, struct buf *out)
{
    while (*statement != '\0') {
        const struct schema_word *w = words;
        while (w->name != NULL && strncmp(statement, w->name, strlen(w->name)) != 0)
            w++;
        if (w->name == NULL) {
            buf_addc(out, *statement++);
            continue;
        }
        buf_adds(out, w->sql);
        statement += strlen(w->name);
    }
}

enum db_status schema_create(struct db *db, const struct schema_word *words, struct err *err)
{
    const struct db_value version = db_int(SCHEMA_VERSION);
    enum db_status status = DB_OK;

    for (size_t i = 0; i < sizeof statements / sizeof *statements && status == DB_OK; i++) {
        struct buf sql = {0};
        translate(statements[i], words, &sql);
        status = db->ops->query_text(db, buf_str(&sql), NULL, 0, NULL, NULL, err);
        buf_clear(&sql);
    }
    return status == DB_OK
               ? db->ops->run(db, "INSERT INTO schema VALUES ($1)", &version, 1, NULL, err)
               : status;
}

enum db_status schema_check(struct db *db, const char *name, struct err *err)
{
    int64_t version = 0;
    enum db_status status = db_get_number(db, "SELECT version FROM schema", NULL, 0, &version, err);

    if (status != DB_OK || version == SCHEMA_VERSION)
        return status;
    err_set(err, "%s: the tables are of version %lld, this program knows version %d", name,
            (long long)version, SCHEMA_VERSION);
    return DB_FAULT;
}
