/* SPDX-License-Identifier: ISC */
#include "pgsql_unit.h"

#include "base/clock.h"
#include "base/mem.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_LIBPQ
#include <libpq-fe.h>

static char *uri, name[64];

static const char *server(void)
{
    return getenv("SPLIT_POSTGRESQL");
}

bool pgsql_unit_is_there(void)
{
    if (server() == NULL)
        printf("SKIP postgresql: SPLIT_POSTGRESQL is not set\n");
    return server() != NULL;
}

/* sql is freed. is_last: a failure ends the test. */
static bool execute(char *sql, bool is_last)
{
    PGconn *conn = PQconnectdb(server());

    ck_assert_msg(PQstatus(conn) == CONNECTION_OK, "%s", PQerrorMessage(conn));
    PGresult *result = PQexec(conn, sql);
    bool is_done = PQresultStatus(result) == PGRES_COMMAND_OK;
    ck_assert_msg(is_done || !is_last, "%s", PQerrorMessage(conn));
    PQclear(result);
    PQfinish(conn);
    free(sql);
    return is_done;
}

const char *pgsql_unit_create(const char *clause)
{
    static unsigned count;

    snprintf(name, sizeof name, "unit_%ld_%u_%lld", (long)getpid(), ++count,
             (long long)clock_now_us());
    execute(mem_printf("CREATE DATABASE %s TEMPLATE template0 %s", name, clause), true);
    uri = pgsql_unit_uri_at(pgsql_unit_port(), "");
    return uri;
}

/* FORCE may not end a worker of autovacuum, which is soon over. */
void pgsql_unit_drop(void)
{
    struct timespec pause = {.tv_nsec = 50 * 1000000};

    for (int i = 99; !execute(mem_printf("DROP DATABASE %s WITH (FORCE)", name), i == 0); i--)
        nanosleep(&pause, NULL);
    free(uri);
    uri = NULL;
}

/* postgresql://ROLE@127.0.0.1:PORT/DATABASE?OPTIONS */
unsigned pgsql_unit_port(void)
{
    const char *host = strstr(server(), "127.0.0.1:");

    ck_assert_ptr_nonnull(host);
    return (unsigned)strtoul(host + strlen("127.0.0.1:"), NULL, 10);
}

char *pgsql_unit_uri_at(unsigned port, const char *options)
{
    const char *host = strstr(server(), "127.0.0.1:"), *mark = strchr(server(), '?');

    ck_assert_ptr_nonnull(host);
    return mem_printf("%.*s127.0.0.1:%u/%s%s%s", (int)(host - server()), server(), port, name,
                      mark == NULL ? "?connect_timeout=5" : mark, options);
}
#else
bool pgsql_unit_is_there(void)
{
    printf("SKIP postgresql: built without libpq\n");
    return false;
}

const char *pgsql_unit_create(const char *clause)
{
    (void)clause;
    return "";
}

void pgsql_unit_drop(void)
{
}

unsigned pgsql_unit_port(void)
{
    return 0;
}

char *pgsql_unit_uri_at(unsigned port, const char *options)
{
    return mem_printf("%u%s", port, options);
}
#endif
