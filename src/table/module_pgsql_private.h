/* SPDX-License-Identifier: ISC */
/*
 * What the files of the module of pgsql: tables share. module_pgsql_settings.c reads the parameter
 * file; module_pgsql.c connects and asks.
 */
#ifndef SPLIT_MODULE_PGSQL_PRIVATE_H
#define SPLIT_MODULE_PGSQL_PRIVATE_H

#include "table/table_module.h"

struct pgsql_host {
    char *uri;         /* a connection URI; NULL: host and port */
    char *host, *port; /* port "": the default */
    char *shown;       /* table_host.name */
};

struct pgsql_settings {
    const struct query *query;
    const char *user, *password, *dbname, *encoding; /* borrowed from the cf; "": the default */
    struct pgsql_host *hosts;
    struct table_host *shown; /* of the same length */
    size_t count;
    bool has_unquoted; /* a key can change the syntax of the query: query_unquoted() */
    bool is_select;    /* the query begins with SELECT or WITH */
};

extern const struct cf_parameter module_pgsql_parameters[];

/* table_module.open, close and hosts. */
void *module_pgsql_open(const struct cf *cf, const struct query *query, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void module_pgsql_close(void *settings) __attribute__((nonnull));
size_t module_pgsql_hosts(const void *settings, const struct table_host **hosts_out)
    __attribute__((nonnull));

#endif
