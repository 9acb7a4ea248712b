/* SPDX-License-Identifier: ISC */
#include "net/endpoint.h"
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LONG_PATH                                                                                  \
    "/123456789/123456789/123456789/123456789/123456789/123456789/123456789/123456789/123456789/"  \
    "123456789/123456"

/* kind: NULL if the text is refused; shown: the result of endpoint_format() */
static const struct {
    const char *text;
    const char *shown;
    const char *host_or_path;
    unsigned port;
} sockets[] = {
    {"inet:10030@127.0.0.1", "[127.0.0.1]:10030", "127.0.0.1", 10030},
    {"inet:25", "[]:25", "", 25},
    {"inet:65535@localhost", "[localhost]:65535", "localhost", 65535},
    {"inet6:25@::1", "[::1]:25", "::1", 25},
    {"inet6:25@[::1]", "[::1]:25", "::1", 25},
    {"inet:25@[ipv6:2001:db8::1]", "[2001:db8::1]:25", "2001:db8::1", 25},
    {"unix:/run/x.sock", "unix:/run/x.sock", "/run/x.sock", 0},
    {"local:/run/x.sock", "unix:/run/x.sock", "/run/x.sock", 0},
    {"unix:" LONG_PATH, "unix:" LONG_PATH, LONG_PATH, 0},
    {"unix:" LONG_PATH "7", NULL, NULL, 0},
    {"unix:run/x.sock", NULL, NULL, 0},
    {"unix:/", NULL, NULL, 0},
    {"unix:", NULL, NULL, 0},
    {"inet:0", NULL, NULL, 0},
    {"inet:65536", NULL, NULL, 0},
    {"inet:", NULL, NULL, 0},
    {"inet:25x", NULL, NULL, 0},
    {"inet:+25", NULL, NULL, 0},
    {"inet:25@", NULL, NULL, 0},
    {"inet:25@[]", NULL, NULL, 0},
    {"inet:25@[", NULL, NULL, 0},
    {"inet:25@a b", NULL, NULL, 0},
    {"inet:25@1:2", NULL, NULL, 0},
    {"127.0.0.1:25", NULL, NULL, 0},
    {"", NULL, NULL, 0},
};

START_TEST(sockets_are_parsed)
{
    struct endpoint e;
    struct err err = {{0}};
    char shown[400];
    int rc = endpoint_parse_socket(sockets[_i].text, &e, &err);

    if (sockets[_i].shown == NULL) {
        ck_assert_int_eq(rc, -1);
        ck_assert_ptr_nonnull(strstr(err.text, sockets[_i].text));
        return;
    }
    ck_assert_int_eq(rc, 0);
    endpoint_format(&e, shown, sizeof shown);
    ck_assert_str_eq(shown, sockets[_i].shown);
    ck_assert_str_eq(e.kind == ENDPOINT_UNIX ? e.path : e.host, sockets[_i].host_or_path);
    ck_assert_uint_eq(e.port, sockets[_i].port);
}
END_TEST

static const struct {
    const char *text;
    const char *shown;
    bool is_literal;
} nexthops[] = {
    {"[archive.example.com]:2525", "[archive.example.com]:2525", true},
    {"[archive.example.com]", "[archive.example.com]:25", true},
    {"archive.example.com:2525", "archive.example.com:2525", false},
    {"archive", "archive:25", false},
    {"[192.0.2.1]:24", "[192.0.2.1]:24", true},
    {"[2001:db8::1]:24", "[2001:db8::1]:24", true},
    {"[IPv6:2001:db8::1]", "[2001:db8::1]:25", true},
    {"unix:/run/lmtp", "unix:/run/lmtp", false},
    {"2001:db8::1", NULL, false},
    {"host:25:26", NULL, false},
    {"host:", NULL, false},
    {"host:smtp", NULL, false},
    {"[host", NULL, false},
    {"[host]25", NULL, false},
    {"[]", NULL, false},
    {"[a:b]", NULL, false},
    {"-host", NULL, false},
    {".host", NULL, false},
    {"ho st", NULL, false},
    {"host/x", NULL, false},
    {"unix:x", NULL, false},
    {":25", NULL, false},
    {"", NULL, false},
};

START_TEST(nexthops_are_parsed)
{
    struct endpoint e;
    struct err err = {{0}};
    char shown[400];
    int rc = endpoint_parse_nexthop(nexthops[_i].text, &e, &err);

    if (nexthops[_i].shown == NULL) {
        ck_assert_int_eq(rc, -1);
        ck_assert_str_ne(err.text, "");
        return;
    }
    ck_assert_int_eq(rc, 0);
    endpoint_format(&e, shown, sizeof shown);
    ck_assert_str_eq(shown, nexthops[_i].shown);
    ck_assert_int_eq(e.is_literal, nexthops[_i].is_literal);
}
END_TEST

START_TEST(a_host_name_that_is_too_long_is_refused)
{
    struct endpoint e;
    struct err err;
    char name[300];

    memset(name, 'a', sizeof name);
    name[256] = '\0';
    ck_assert_int_eq(endpoint_parse_nexthop(name, &e, &err), -1);
    name[255] = '\0';
    ck_assert_int_eq(endpoint_parse_nexthop(name, &e, &err), 0);
}
END_TEST

/* address: NULL means the network is refused */
static const struct {
    const char *network;
    const char *address;
    bool is_member;
} memberships[] = {
    {"127.0.0.0/8", "127.255.0.1", true},
    {"127.0.0.0/8", "128.0.0.1", false},
    {"127.0.0.0/8", "::ffff:127.0.0.1", true},
    {"127.0.0.0/8", "::1", false},
    {"192.0.2.128/25", "192.0.2.129", true},
    {"192.0.2.128/25", "192.0.2.127", false},
    {"192.0.2.1", "192.0.2.1", true},
    {"192.0.2.1", "192.0.2.0", false},
    {"0.0.0.0/0", "203.0.113.9", true},
    {"0.0.0.0/0", "2001:db8::1", false},
    {"::/0", "2001:db8::1", true},
    {"::/0", "203.0.113.9", false},
    {"::1/128", "::1", true},
    {"[::1]/128", "::1", true},
    {"::1", "::2", false},
    {"2001:db8::/33", "2001:db8:7fff::1", true},
    {"2001:db8::/33", "2001:db8:8000::1", false},
    {"::ffff:10.0.0.0/104", "10.1.2.3", true},
    {"::ffff:10.0.0.0/104", "::ffff:11.0.0.1", false},
    {"127.0.0.1/8", NULL, false},
    {"2001:db8::1/64", NULL, false},
    {"192.0.2.0/33", NULL, false},
    {"::1/129", NULL, false},
    {"192.0.2.0/", NULL, false},
    {"192.0.2.0/-1", NULL, false},
    {"192.0.2.0/24x", NULL, false},
    {"192.0.2.0/0024", NULL, false},
    {"192.0.2/24", NULL, false},
    {"[192.0.2.0/24]", NULL, false},
    {"example.com", NULL, false},
    {"", NULL, false},
};

/* shown: NULL if the text is refused */
static const struct {
    const char *text, *shown;
    int family;
} clients[] = {
    {"192.0.2.1", "192.0.2.1", AF_INET},
    {"2001:DB8::1", "2001:db8::1", AF_INET6},
    {"IPv6:2001:db8::1", "2001:db8::1", AF_INET6},
    {"ipv6:::1", "::1", AF_INET6},
    {"::ffff:192.0.2.1", "::ffff:192.0.2.1", AF_INET6},
    {"", NULL, 0},
    {"unknown", NULL, 0},
    {"192.0.2", NULL, 0},
    {"192.0.2.1 ", NULL, 0},
    {"192.0.2.1/32", NULL, 0},
    {"IPv6:", NULL, 0},
    {"IPv6:192.0.2.1", NULL, 0},
    {"IPv6:IPv6:::1", NULL, 0},
    {"[::1]", NULL, 0},
    {"fe80::1%lo", NULL, 0},
};

START_TEST(addresses_of_clients_are_parsed)
{
    struct sockaddr_storage sa;
    char shown[INET6_ADDRSTRLEN];
    bool is = endpoint_parse_address(clients[_i].text, &sa);

    ck_assert_int_eq(is, clients[_i].shown != NULL);
    if (!is)
        return;
    ck_assert_int_eq(sa.ss_family, clients[_i].family);
    const void *address = sa.ss_family == AF_INET
                              ? (const void *)&((struct sockaddr_in *)&sa)->sin_addr
                              : (const void *)&((struct sockaddr_in6 *)&sa)->sin6_addr;
    ck_assert_ptr_nonnull(inet_ntop(sa.ss_family, address, shown, sizeof shown));
    ck_assert_str_eq(shown, clients[_i].shown);
}
END_TEST

START_TEST(networks_know_their_members)
{
    struct endpoint_network net;
    struct err err = {{0}};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    const char *address = memberships[_i].address;
    int rc = endpoint_parse_network(memberships[_i].network, &net, &err);

    if (address == NULL) {
        ck_assert_int_eq(rc, -1);
        ck_assert_str_ne(err.text, "");
        return;
    }
    ck_assert_int_eq(rc, 0);
    const struct sockaddr *sa = (struct sockaddr *)&v4;
    if (inet_pton(AF_INET, address, &v4.sin_addr) != 1) {
        ck_assert_int_eq(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
        sa = (struct sockaddr *)&v6;
    }
    ck_assert_int_eq(endpoint_network_has(&net, sa), memberships[_i].is_member);
}
END_TEST

START_TEST(other_families_are_in_no_network)
{
    struct endpoint_network net;
    struct err err;
    struct sockaddr_un local = {.sun_family = AF_UNIX};

    ck_assert_int_eq(endpoint_parse_network("0.0.0.0/0", &net, &err), 0);
    ck_assert(!endpoint_network_has(&net, (struct sockaddr *)&local));
}
END_TEST

static int connect_unix(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strncpy(sa.sun_path, path, sizeof sa.sun_path - 1);
    ck_assert_int_ge(fd, 0);
    int rc = connect(fd, (struct sockaddr *)&sa, sizeof sa);
    close(fd);
    return rc;
}

START_TEST(a_unix_socket_is_replaced_only_when_nobody_listens)
{
    char dir[] = "/tmp/test_endpoint.XXXXXX";
    struct endpoint e;
    struct err err;
    struct stat st;
    char text[128];
    int first, second;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(text, sizeof text, "unix:%s/s", dir);
    ck_assert_int_eq(endpoint_parse_socket(text, &e, &err), 0);
    umask(0077);
    ck_assert_int_eq(endpoint_listen(&e, 5, 0660, &first, 1, &err), 1);
    ck_assert_int_eq(stat(e.path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0660);
    ck_assert_int_eq(connect_unix(e.path), 0);

    ck_assert_int_eq(endpoint_listen(&e, 5, 0660, &second, 1, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "another process listens"));

    close(first);
    ck_assert_int_eq(connect_unix(e.path), -1);
    ck_assert_int_eq(endpoint_listen(&e, 5, 0600, &second, 1, &err), 1);
    ck_assert_int_eq(connect_unix(e.path), 0);
    close(second);
    unlink(e.path);

    FILE *f = fopen(e.path, "w");
    ck_assert_ptr_nonnull(f);
    fclose(f);
    ck_assert_int_eq(endpoint_listen(&e, 5, 0600, &second, 1, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "is no socket"));
    unlink(e.path);
    rmdir(dir);
}
END_TEST

static unsigned port_of(int fd)
{
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;

    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    return ntohs(sa.sin_port);
}

START_TEST(inet_sockets_listen_and_report_a_port_in_use)
{
    struct endpoint e = {.kind = ENDPOINT_INET, .host = "127.0.0.1", .port = 0};
    struct err err;
    int first, second;

    ck_assert_int_eq(endpoint_listen(&e, 5, 0, &first, 1, &err), 1);
    e.port = (uint16_t)port_of(first);
    ck_assert_int_eq(endpoint_listen(&e, 5, 0, &second, 1, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "[127.0.0.1]:"));
    close(first);
    ck_assert_int_eq(endpoint_listen(&e, 5, 0, &second, 1, &err), 1);
    close(second);
    ck_assert_int_eq(endpoint_listen(&e, 5, 0, &second, 0, &err), -1);
}
END_TEST

static const struct {
    const char *host;
    bool is_loopback, is_any;
} hosts[] = {
    {"localhost", true, false},
    {"LocalHost", true, false},
    {"127.0.0.1", true, false},
    {"127.255.255.254", true, false},
    {"127.1", true, false}, /* getaddrinfo(3) reads it as 127.0.0.1 */
    {"::1", true, false},
    {"0:0::0001", true, false},
    {"::ffff:127.0.0.1", true, false},
    {"", false, true},
    {"0.0.0.0", false, true},
    {"::", false, true},
    {"128.0.0.1", false, false},
    {"192.0.2.127", false, false},
    {"::2", false, false},
    {"::ffff:192.0.2.1", false, false},
    {"127.example.com", false, false},
    {"localhost.example.com", false, false},
    {"example.com", false, false},
};

START_TEST(loopback_hosts_are_known)
{
    struct endpoint e = {.kind = ENDPOINT_INET};

    snprintf(e.host, sizeof e.host, "%s", hosts[_i].host);
    ck_assert(endpoint_is_loopback_host(hosts[_i].host) == hosts[_i].is_loopback);
    ck_assert(endpoint_is_loopback(&e) == hosts[_i].is_loopback);
    ck_assert(endpoint_is_any_host(hosts[_i].host) == hosts[_i].is_any);
}
END_TEST

START_TEST(a_unix_socket_is_loopback)
{
    struct endpoint e = {.kind = ENDPOINT_UNIX, .path = "/run/x"};

    ck_assert(endpoint_is_loopback(&e));
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("endpoint");

    tcase_add_loop_test(t, sockets_are_parsed, 0, UNIT_COUNT(sockets));
    tcase_add_loop_test(t, nexthops_are_parsed, 0, UNIT_COUNT(nexthops));
    tcase_add_test(t, a_host_name_that_is_too_long_is_refused);
    tcase_add_loop_test(t, addresses_of_clients_are_parsed, 0, UNIT_COUNT(clients));
    tcase_add_loop_test(t, networks_know_their_members, 0, UNIT_COUNT(memberships));
    tcase_add_test(t, other_families_are_in_no_network);
    tcase_add_test(t, a_unix_socket_is_replaced_only_when_nobody_listens);
    tcase_add_test(t, inet_sockets_listen_and_report_a_port_in_use);
    tcase_add_loop_test(t, loopback_hosts_are_known, 0, UNIT_COUNT(hosts));
    tcase_add_test(t, a_unix_socket_is_loopback);
    return unit_run("endpoint", t);
}
