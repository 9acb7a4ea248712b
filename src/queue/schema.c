/* SPDX-License-Identifier: ISC */
#include "queue/schema.h"

#include <stddef.h>

const char *const schema_statements[] = {
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
    " flags TEXT NOT NULL,"   /* of 8bit, utf8, requiretls, with commas */
    " body_at TEXT NOT NULL," /* body | file */
    " state TEXT NOT NULL)",  /* prepared | stored */
    /* What a crash between prepare and commit leaves. */
    "CREATE INDEX message_prepared ON message (id) WHERE state = 'prepared'",
    "CREATE TABLE body ("
    " message {ID} NOT NULL,"
    " part {INT} NOT NULL,"
    " data {BLOB} NOT NULL"
    " {BODY_KEY})",
    "CREATE TABLE copy ("
    " id {ID} PRIMARY KEY,"
    " message {INT} NOT NULL,"
    " destination TEXT NOT NULL,"
    " state TEXT NOT NULL," /* queued | held | dead */
    " due {INT} NOT NULL,"  /* seconds since 1970 */
    " attempts {INT} NOT NULL,"
    " owner TEXT,"    /* a node; NULL: free, and always with SQLite */
    " ordered TEXT)", /* hold | delete | requeue DEST; NULL: none */
    "CREATE INDEX copy_due ON copy (destination, due, id) WHERE state = 'queued'",
    "CREATE TABLE recipient ("
    " copy {INT} NOT NULL,"
    " number {INT} NOT NULL,"
    " address TEXT NOT NULL,"
    " orcpt TEXT NOT NULL,"
    " state TEXT NOT NULL," /* pending | sent | dead */
    " reason TEXT NOT NULL,"
    " PRIMARY KEY (copy, number)) {CLUSTERED}",
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
    " result TEXT NOT NULL," /* sent | deleted | requeued */
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
    " until {INT}," /* its copies are its own until then; NULL: it has ended */
    " version TEXT NOT NULL)",
    NULL,
};
