/* SPDX-License-Identifier: ISC */
/*
 * schema: the tables. Their names are an interface, because administrators query them;
 * docs/queue.md describes each column. A word in braces is replaced by the engine with its own
 * spelling: {INT} a 64-bit integer, {REAL} a double, {BLOB} bytes, {ID} the type of a primary key
 * that is one integer, {SERIAL} the type of a primary key that the database counts up, {CLUSTERED}
 * the clause that stores a table in the order of its primary key, {BODY_KEY} the primary key of
 * body, {CHURN} the settings of a table whose rows are removed soon, {CHURN_BODY} those of body,
 * {NOW} the time in seconds since 1970 by the clock of the database.
 */
#ifndef SPLIT_SCHEMA_H
#define SPLIT_SCHEMA_H

#include "base/err.h"
#include "queue/db.h"

#define SCHEMA_VERSION 1

struct schema_word {
    const char *name, *sql; /* NULL: the end of the list */
};

/* Create the tables, inside of a transaction. */
enum db_status schema_create(struct db *db, const struct schema_word *words, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Check that the tables are of this version; otherwise DB_FAULT. name: of the database, for `err`.
 */
enum db_status schema_check(struct db *db, const char *name, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
