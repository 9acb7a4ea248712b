/* SPDX-License-Identifier: ISC */
/*
 * pgsql_unit: databases of PostgreSQL for the check programs. The environment variable
 * SPLIT_POSTGRESQL has the URI of a database whose role may create others (`python3 -m
 * rig.postgres` sets it). Faults end the test.
 */
#ifndef SPLIT_TESTS_PGSQL_UNIT_H
#define SPLIT_TESTS_PGSQL_UNIT_H

#include <stdbool.h>

/* Is there a server? If not, say so on standard output. */
bool pgsql_unit_is_there(void);

/* Create an empty database. Returns its URI, valid until pgsql_unit_drop(). One at a time in a
 * process. clause: of CREATE DATABASE, or "". */
const char *pgsql_unit_create(const char *clause);
/* Remove it, and end its connections. */
void pgsql_unit_drop(void);

/* The port of the server, which is at 127.0.0.1. */
unsigned pgsql_unit_port(void);
/* The URI of the database with another port, and options ("&a=b"). The caller frees it. */
char *pgsql_unit_uri_at(unsigned port, const char *options);

#endif
