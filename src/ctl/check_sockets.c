/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/check.h"
#include "base/ascii.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* An endpoint where a daemon listens, and the option that names it. */
struct place {
    char *option;
    const struct endpoint *endpoint;
};

struct places {
    struct place *items;
    size_t count;
};

static void add(struct places *p, char *option, const struct endpoint *endpoints, size_t count)
{
    p->items = mem_grow(p->items, p->count + count, sizeof *p->items);
    for (size_t i = 0; i < count; i++)
        p->items[p->count++] = (struct place){mem_strdup(option), &endpoints[i]};
    free(option);
}

static void add_milter(struct places *p, const struct config_milter *m)
{
    add(p, mem_printf("%s.socket", m->label), &m->socket, 1);
    add(p, mem_printf("%s.metrics", m->label), m->metrics, m->metrics_count);
}

static bool is_ipv6(const char *host)
{
    return strchr(host, ':') != NULL;
}

/* "" is all addresses of both families, 0.0.0.0 and :: are all addresses of one family. */
static bool hosts_overlap(const char *a, const char *b)
{
    bool is_any_a = strcmp(a, "0.0.0.0") == 0 || strcmp(a, "::") == 0;
    bool is_any_b = strcmp(b, "0.0.0.0") == 0 || strcmp(b, "::") == 0;

    if (a[0] == '\0' || b[0] == '\0' || ascii_equal(a, b))
        return true;
    return (is_any_a || is_any_b) && is_ipv6(a) == is_ipv6(b);
}

static bool overlap(const struct endpoint *a, const struct endpoint *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == ENDPOINT_INET)
        return a->port == b->port && hosts_overlap(a->host, b->host);
    return strcmp(a->path, b->path) == 0;
}

static void compare(struct findings *f, const struct place *a, const struct place *b)
{
    char text[ENDPOINT_PATH_SIZE + 32];

    if (!overlap(a->endpoint, b->endpoint))
        return;
    endpoint_format(b->endpoint, text, sizeof text);
    find(f, LEVEL_ERROR, "sockets: %s and %s are the same: %s", a->option, b->option, text);
}

void check_ports(struct findings *f, const struct config *config)
{
    struct places p = {0};

    add_milter(&p, &config->milter);
    for (size_t i = 0; i < config->other_milter_count; i++)
        add_milter(&p, &config->other_milters[i]);
    add(&p, mem_strdup("relay.listen"), config->relay.listen, config->relay.listen_count);
    add(&p, mem_strdup("relay.metrics"), config->relay.metrics, config->relay.metrics_count);
    for (size_t i = 0; i < config->listener_count; i++)
        add(&p, mem_printf("listen of listener %s", config->listeners[i].name),
            config->listeners[i].listen, config->listeners[i].listen_count);
    for (size_t i = 0; i < p.count; i++)
        for (size_t k = i + 1; k < p.count; k++)
            compare(f, &p.items[i], &p.items[k]);
    for (size_t i = 0; i < p.count; i++)
        free(p.items[i].option);
    free(p.items);
}

bool check_reach(struct findings *f, const struct service *s, const char *what, const char *path,
                 bool to_write)
{
    struct err err;

    if (service_allows(s, path, to_write, &err) == 0)
        return true;
    find(f, LEVEL_ERROR, "%s: %s: %s", what, path, err.text);
    return false;
}

void check_table_reach(struct findings *f, const struct service *s, const char *spec)
{
    const char *colon = strchr(spec, ':');

    if (colon != NULL && colon[1] == '/')
        (void)check_reach(f, s, "tables", colon + 1, false);
}

void check_socket_directory(struct findings *f, const struct service *s, const char *option,
                            const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory =
        mem_strndup(path, slash == path || slash == NULL ? 1 : (size_t)(slash - path));

    bool is_stranger = s->has_user && geteuid() != 0 && geteuid() != s->uid;

    if (is_stranger)
        ; /* this user cannot check what the daemon's user may do */
    else if (access(directory, F_OK) != 0)
        find(f, LEVEL_ERROR, "%s: %s: %s: %s", option, path, directory, strerror(errno));
    else if (access(directory, W_OK | X_OK) != 0)
        find(f, LEVEL_ERROR, "%s: %s: user %s may not create files in %s: %s", option, path,
             s->user[0] == '\0' ? "?" : s->user, directory, strerror(errno));
    else
        (void)check_reach(f, s, option, directory, true);
    free(directory);
}

/* Try to listen on this address. Returns 0 or the errno. */
static int try_bind(const struct addrinfo *a)
{
    static const int on = 1;
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol), error = 0;

    if (fd < 0)
        return errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (a->ai_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0) ||
        bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, 1) < 0)
        error = errno;
    close(fd);
    return error;
}

static void check_bind(struct findings *f, const struct service *s, const char *option,
                       const struct endpoint *e)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    char port[8], text[ENDPOINT_PATH_SIZE + 32];
    /* With PrivateUsers=yes the daemon is in a user namespace, where the capability does not apply
     * to the machine's network. */
    bool may_bind = strstr(s->unit.ambient, "cap_net_bind_service") != NULL &&
                    strcmp(s->unit.private_users, "yes") != 0;
    int error = 0;

    endpoint_format(e, text, sizeof text);
    snprintf(port, sizeof port, "%u", (unsigned)e->port);
    int rc = getaddrinfo(e->host[0] == '\0' ? NULL : e->host, port, &hints, &list);
    if (rc != 0) {
        find(f, LEVEL_WARNING, "%s: %s: %s", option, text, gai_strerror(rc));
        return;
    }
    for (const struct addrinfo *a = list; a != NULL && error == 0; a = a->ai_next)
        error = try_bind(a);
    freeaddrinfo(list);
    if (error == EADDRINUSE)
        find(f, LEVEL_WARNING, "%s: %s: another program listens there", option, text);
    else if (error == EACCES && !may_bind)
        find(f, LEVEL_WARNING,
             "%s: %s: user %s may not listen there (have a socket unit do it, or give the unit "
             "AmbientCapabilities=CAP_NET_BIND_SERVICE and PrivateUsers=no)",
             option, text, s->user[0] == '\0' ? "?" : s->user);
    else if (error != 0 && error != EACCES && error != EAFNOSUPPORT)
        find(f, LEVEL_WARNING, "%s: %s: %s", option, text, strerror(error));
}

void check_listen(struct findings *f, const struct service *s, const char *option,
                  const struct endpoint *endpoints, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (endpoints[i].kind == ENDPOINT_UNIX)
            check_socket_directory(f, s, option, endpoints[i].path);
        else if (s->run == SERVICE_STOPPED && s->belongs_here && !s->unit.is_by_socket)
            check_bind(f, s, option, &endpoints[i]);
    }
}
