/* SPDX-License-Identifier: ISC */
/*
 * schema: the tables. Their names are an interface, because administrators query them;
 * docs/queue.md describes each column. A word in braces is replaced by the engine with its own
 * spelling: {INT} a 64-bit integer, {REAL} a double, {BLOB} bytes, {ID} the type of a primary key
 * that is one integer, {CLUSTERED} the clause that stores a table in the order of its primary key.
 */
#ifndef SPLIT_SCHEMA_H
#define SPLIT_SCHEMA_H

#define SCHEMA_VERSION 1

/* The statements that create the tables, in this order, ended by NULL. */
extern const char *const schema_statements[];

#endif
