/* SPDX-License-Identifier: ISC */
/*
 * schema: the tables, for both engines. Names are part of the interface: administrators query them
 * (docs/queue.md describes each column). Words in braces stand for what the engines spell
 * differently: {INT} a 64-bit integer, {REAL} a double, {BLOB}, {ID} the type of a primary key that
 * is one integer, {CLUSTERED} what stores a table in the order of its primary key.
 */
#ifndef SPLIT_SCHEMA_H
#define SPLIT_SCHEMA_H

#define SCHEMA_VERSION 1

/* Statements one by one, ended by NULL. */
extern const char *const schema_statements[];

#endif
