/* SPDX-License-Identifier: ISC */
/* Connections to the server of a mysql: table: waiting until the deadline, connecting, failures. */
#include "table/module_mysql_private.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errmsg.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define STACK_SIZE ((size_t)256 * 1024) /* for one call; TLS and getaddrinfo(3) need some */
#define AUTHENTICATION_PLUGINS                                                                     \
    "mysql_native_password,client_ed25519,parsec,caching_sha2_password,sha256_password,"           \
    "auth_gssapi_client"
#define PACKET_MAX ((size_t)1024 * 1024) /* bytes of one row */

/* --- waiting --- */

void mysql_connection_give_up(struct mysql_connection *c)
{
    shutdown(mysql_get_socket(c->mysql), SHUT_RDWR); /* fails if the library has closed it */
    c->is_lost = true;
}

/* The TLS handshake reads from a blocking socket: let each read end after the time that is left. */
static void limit_blocking_reads(const struct mysql_connection *c, int fd)
{
    const int64_t left_ms = c->deadline_ms - clock_now_ms();
    const struct timeval limit = {.tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000};

    if (left_ms > 0) /* 0 means no limit */
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

int mysql_connection_await(struct mysql_connection *c, int events)
{
    struct pollfd p = {.fd = mysql_get_socket(c->mysql)};
    const bool is_limited = (events & MYSQL_WAIT_TIMEOUT) != 0; /* by an option, too */
    const int64_t option_ms =
        clock_now_ms() + (is_limited ? mysql_get_timeout_value_ms(c->mysql) : 0);
    const int64_t until_ms = is_limited && option_ms < c->deadline_ms ? option_ms : c->deadline_ms;

    if (c->is_connecting)
        limit_blocking_reads(c, p.fd);
    p.events = (short)(((events & MYSQL_WAIT_READ) != 0 ? POLLIN : 0) |
                       ((events & MYSQL_WAIT_WRITE) != 0 ? POLLOUT : 0) |
                       ((events & MYSQL_WAIT_EXCEPT) != 0 ? POLLPRI : 0));
    for (;;) {
        const int64_t left_ms = until_ms - clock_now_ms();
        int rc = left_ms > 0 ? poll(&p, 1, (int)left_ms) : 0; /* also of a server that trickles */
        if (rc > 0)
            return events & (MYSQL_WAIT_READ | MYSQL_WAIT_WRITE | MYSQL_WAIT_EXCEPT);
        if (rc == 0 || errno != EINTR)
            break;
    }
    c->has_timed_out = true;
    if (until_ms == c->deadline_ms)
        mysql_connection_give_up(c);
    return MYSQL_WAIT_TIMEOUT;
}

bool mysql_connection_is_late(struct mysql_connection *c)
{
    if (clock_now_ms() < c->deadline_ms)
        return false;
    c->has_timed_out = true;
    mysql_connection_give_up(c);
    return true;
}

void mysql_connection_begin(struct mysql_connection *c, int64_t deadline_ms)
{
    c->deadline_ms = deadline_ms;
    c->has_timed_out = false;
}

/* --- failures --- */

/* Errors of a server for any key: another server may have the answer. Further ones are in the
 * classes of SQLSTATE that is_state_of_server() knows. */
static const unsigned server_errors[] = {
    1021, /* disk full */
    1030, /* error of the storage engine */
    1034, /* incorrect key file */
    1037, /* out of memory */
    1038, /* out of sort memory */
    1041, /* out of resources */
    1044, /* access to the database denied */
    1046, /* no database selected */
    1049, /* unknown database */
    1129, /* host blocked */
    1142, /* command on the table denied */
    1143, /* command on the column denied */
    1146, /* no such table */
    1194, /* table crashed */
    1195, /* table crashed, repair failed */
    1203, /* too many connections of this user */
    1205, /* lock wait timeout */
    1226, /* limit of queries per hour exceeded */
    1290, /* not allowed while the server runs with some option */
    1305, /* no such procedure or function */
    1356, /* the view has invalid tables */
    1370, /* execution of the procedure denied */
    1429, /* the server of a federated table is away */
    4031, /* the server has closed an idle connection (MySQL) */
};

/* Did the library refuse a row that is longer than PACKET_MAX? It then reports a lost connection.
 * After a real one, net.error is 2. */
static bool is_row_too_long(MYSQL *mysql)
{
    const unsigned code = mysql_errno(mysql);

    return code == CR_NET_PACKET_TOO_LARGE || (code == CR_SERVER_LOST && mysql->net.error == 1);
}

static bool is_among(unsigned code, const unsigned *codes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (code == codes[i])
            return true;
    return false;
}

static bool has_class(MYSQL *mysql, const char *sqlstate_class)
{
    return strncmp(mysql_sqlstate(mysql), sqlstate_class, 2) == 0;
}

/* Is the last error one of the client, and not of the server? */
static bool is_of_client(MYSQL *mysql)
{
    const unsigned code = mysql_errno(mysql);

    return code == 0 || IS_MYSQL_ERROR(code) || IS_MARIADB_ERROR(code);
}

/* Does the last error tell about the server or the connection, and not about the query or its
 * key? */
static bool is_state_of_server(MYSQL *mysql, const struct mysql_settings *s)
{
    /* connection, also to other nodes of a cluster; access; deadlock; interruption or shutdown */
    static const char *const classes[] = {"08", "28", "40", "70"};
    const unsigned code = mysql_errno(mysql);

    if (is_of_client(mysql))
        return true;
    if (code == 1969) /* execution time exceeded (MariaDB), as a slow key does at each host */
        return false;
    if (s->has_unquoted && has_class(mysql, "42")) /* syntax, names */
        return false;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (has_class(mysql, classes[i]))
            return true;
    return is_among(code, server_errors, sizeof server_errors / sizeof *server_errors);
}

/* A call of the library has failed: set `err`. */
static void explain(struct mysql_connection *c, const char *action, struct err *err)
{
    const char *text = mysql_error(c->mysql);

    if (c->has_timed_out)
        err_set(err, "%s: timed out", action);
    else
        err_set(err, "%s: %s", action, *text != '\0' ? text : "no reason is known");
}

enum table_answer mysql_connection_fail(struct mysql_connection *c, struct err *err)
{
    if (!c->has_timed_out && is_row_too_long(c->mysql)) {
        err_set(err, "a row is longer than %zu bytes", PACKET_MAX);
        mysql_connection_give_up(c);
        return ANSWER_LIMIT;
    }
    explain(c, "query", err);
    return c->has_timed_out || is_state_of_server(c->mysql, c->settings) ? ANSWER_BROKEN
                                                                         : ANSWER_FAILED;
}

/* --- connections --- */

void mysql_connection_close(void *connection)
{
    struct mysql_connection *c = connection;

    if (c->has_timed_out)
        mysql_connection_give_up(c);
    /* Sends COM_QUIT, for which an idle connection has room, and does not wait for an answer. */
    mysql_close(c->mysql);
    free(c);
}

/* Options that the option file must not change: the server may not ask for files of this machine,
 * and the library may not connect again by itself. Returns non-zero on failure. */
static int restrict_client(MYSQL *mysql)
{
    const unsigned has_local_infile = 0;
    const my_bool reconnects = 0;

    return mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &has_local_infile) |
           mysql_options(mysql, MYSQL_OPT_RECONNECT, &reconnects);
}

/*
 * Restrict the ways of authentication to those that do not send the password in clear text: a
 * server can ask for any of the library's. The plugins of SHA-256 encrypt it with a key that the
 * server sends; without them, users of MySQL 8 could not log in. Only a server whose certificate is
 * verified may see it (plugin mysql_clear_password, for PAM). The option restricted-auth of the
 * option file replaces the list. Returns non-zero on failure.
 */
static int restrict_authentication(MYSQL *mysql, const struct mysql_settings *s)
{
    const bool is_verified =
        cf_is_set(s->cf, "tls_verify_cert") && cf_bool(s->cf, "tls_verify_cert");

    return mysql_options(mysql, MARIADB_OPT_RESTRICTED_AUTH,
                         is_verified ? AUTHENTICATION_PLUGINS ",mysql_clear_password"
                                     : AUTHENTICATION_PLUGINS);
}

/* Returns non-zero on failure. */
static int set_options(const struct mysql_connection *c, const struct mysql_settings *s)
{
    static const struct {
        const char *parameter;
        enum mysql_option option;
    } texts[] = {
        {"option_file", MYSQL_READ_DEFAULT_FILE}, {"option_group", MYSQL_READ_DEFAULT_GROUP},
        {"tls_key_file", MYSQL_OPT_SSL_KEY},      {"tls_cert_file", MYSQL_OPT_SSL_CERT},
        {"tls_CAfile", MYSQL_OPT_SSL_CA},         {"tls_CApath", MYSQL_OPT_SSL_CAPATH},
        {"tls_ciphers", MYSQL_OPT_SSL_CIPHER},
    };
    const size_t stack_size = STACK_SIZE, packet_max = PACKET_MAX;
    const int64_t left_ms = c->deadline_ms - clock_now_ms();
    const unsigned timeout_s = left_ms < 1000 ? 1 : (unsigned)((left_ms + 999) / 1000);
    int rc = mysql_options(c->mysql, MYSQL_OPT_NONBLOCK, &stack_size) |
             mysql_options(c->mysql, MYSQL_OPT_CONNECT_TIMEOUT, &timeout_s) |
             mysql_options(c->mysql, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet_max) |
             restrict_client(c->mysql) | restrict_authentication(c->mysql, s);

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *value = cf_text(s->cf, texts[i].parameter);
        if (value != NULL && *value != '\0')
            rc |= mysql_options(c->mysql, texts[i].option, value);
    }
    if (cf_is_set(s->cf, "tls_verify_cert")) { /* the default is the library's, as with Postfix */
        const my_bool verifies = cf_bool(s->cf, "tls_verify_cert");
        rc |= mysql_options(c->mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verifies);
    }
    return rc;
}

/* Connect, authenticate, and agree on the character set. Returns non-zero on failure. */
static int start_session(struct mysql_connection *c, const struct mysql_settings *s,
                         const struct mysql_server *server)
{
    MYSQL *connected;
    int failed;
    int events = mysql_real_connect_start(
        &connected, c->mysql, server->host, cf_text(s->cf, "user"), cf_text(s->cf, "password"),
        cf_text(s->cf, "dbname"), server->port, server->socket, CLIENT_MULTI_RESULTS);

    while (events != 0)
        events = mysql_real_connect_cont(&connected, c->mysql, mysql_connection_await(c, events));
    if (connected == NULL)
        return -1;
    c->is_connecting = false;
    c->has_timed_out = false; /* one of several addresses may have timed out */
    /* With a blocking socket, reads over TLS would block. */
    const int fd = mysql_get_socket(c->mysql);
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || restrict_client(c->mysql) != 0)
        return -1;
    /* The server need not take the character set of the handshake, and quoting depends on it. */
    events = mysql_set_character_set_start(&failed, c->mysql, cf_text(s->cf, "charset"));
    while (events != 0)
        events = mysql_set_character_set_cont(&failed, c->mysql, mysql_connection_await(c, events));
    return failed;
}

void *mysql_connection_open(const void *settings, size_t host, int64_t deadline_ms, struct err *err)
{
    const struct mysql_settings *s = settings;
    struct mysql_connection *c = mem_zalloc(sizeof *c);

    mysql_connection_begin(c, deadline_ms);
    c->settings = s;
    c->is_connecting = true;
    c->mysql = mysql_init(NULL);
    if (c->mysql == NULL) {
        err_set(err, "no memory");
        free(c);
        return NULL;
    }
    if (set_options(c, s) == 0 && start_session(c, s, &s->servers[host]) == 0)
        return c;
    explain(c, "connect", err);
    mysql_connection_close(c);
    return NULL;
}
