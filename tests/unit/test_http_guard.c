/* SPDX-License-Identifier: ISC */
/* http_guard: who has to wait after wrong passwords, and for how long. */
#include "metrics/http_guard.h"
#include "unit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define BEGIN_MS 1000000

static struct http_guard g;

static const char *name_of(unsigned i)
{
    static char text[INET6_ADDRSTRLEN];

    snprintf(text, sizeof text, "192.0.%u.%u", i / 250, i % 250);
    return text;
}

START_TEST(an_address_has_so_many_attempts)
{
    for (unsigned i = 1; i <= HTTP_GUARD_WRONG_MAX; i++) {
        ck_assert_uint_eq(http_guard_wait_s(&g, "10.0.0.1", BEGIN_MS + i), 0);
        ck_assert(http_guard_note(&g, "10.0.0.1", false, BEGIN_MS + i) ==
                  (i == HTTP_GUARD_WRONG_MAX));
    }
    ck_assert_uint_eq(http_guard_wait_s(&g, "10.0.0.1", BEGIN_MS + 11), 60);
    ck_assert_uint_eq(http_guard_wait_s(&g, "10.0.0.1", BEGIN_MS + 30000), 31);
    ck_assert_uint_eq(http_guard_wait_s(&g, "10.0.0.2", BEGIN_MS + 30000), 0);
    ck_assert_uint_eq(http_guard_take_refused(&g, BEGIN_MS + 30000), 0); /* not over yet */
    ck_assert_uint_eq(http_guard_wait_s(&g, "10.0.0.1", BEGIN_MS + 60001), 0);
    ck_assert_uint_eq(http_guard_take_refused(&g, BEGIN_MS + 60001), 2);
    ck_assert_uint_eq(http_guard_take_refused(&g, BEGIN_MS + 60001), 0);
    /* a new minute begins */
    ck_assert(!http_guard_note(&g, "10.0.0.1", false, BEGIN_MS + 60001));
    ck_assert_uint_eq(http_guard_wait_s(&g, "10.0.0.1", BEGIN_MS + 60002), 0);
}
END_TEST

START_TEST(a_right_password_does_not_excuse_wrong_ones)
{
    for (unsigned i = 0; i < HTTP_GUARD_WRONG_MAX; i++) {
        ck_assert_uint_eq(http_guard_wait_s(&g, "unix", BEGIN_MS), 0);
        (void)http_guard_note(&g, "unix", false, BEGIN_MS);
        ck_assert(!http_guard_note(&g, "unix", true, BEGIN_MS));
    }
    ck_assert_uint_eq(http_guard_wait_s(&g, "unix", BEGIN_MS), 60);
}
END_TEST

START_TEST(many_addresses_together)
{
    ck_assert(!http_guard_note(&g, "10.0.0.1", true, BEGIN_MS));
    ck_assert(!http_guard_note(&g, "10.0.0.2", true, BEGIN_MS - HTTP_GUARD_KNOWN_MS + 10));
    for (unsigned i = 1; i <= HTTP_GUARD_ALL_MAX; i++)
        ck_assert(http_guard_note(&g, name_of(i), false, BEGIN_MS) == (i == HTTP_GUARD_ALL_MAX));
    ck_assert_uint_eq(http_guard_wait_s(&g, "198.51.100.1", BEGIN_MS), 60);
    ck_assert_uint_eq(http_guard_wait_s(&g, "10.0.0.1", BEGIN_MS), 0); /* gave a right one */
    ck_assert_uint_eq(http_guard_wait_s(&g, "10.0.0.2", BEGIN_MS), 0);
    ck_assert_uint_eq(http_guard_wait_s(&g, "10.0.0.2", BEGIN_MS + 10), 60); /* an hour ago */
    ck_assert_uint_eq(http_guard_wait_s(&g, "198.51.100.1", BEGIN_MS + 60000), 0);
}
END_TEST

/* The table is small. A client with many addresses pushes none out that is in use. */
START_TEST(more_addresses_than_places)
{
    for (unsigned i = 0; i < HTTP_GUARD_WRONG_MAX; i++)
        (void)http_guard_note(&g, "10.0.0.1", false, BEGIN_MS + i);
    for (unsigned i = 0; i < HTTP_GUARD_ADDRESSES - 1; i++)
        (void)http_guard_note(&g, name_of(i), true, BEGIN_MS - 1);
    for (unsigned i = 0; i < HTTP_GUARD_ADDRESSES - 1; i++)
        (void)http_guard_note(&g, name_of(1000 + i), false, BEGIN_MS + 20);
    ck_assert_uint_eq(http_guard_wait_s(&g, "10.0.0.1", BEGIN_MS + 20), 60);
}
END_TEST

static const struct {
    int family;
    const char *address, *counted;
} addresses[] = {
    {AF_INET, "192.0.2.7", "192.0.2.7"},
    {AF_INET6, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
    {AF_INET6, "::ffff:192.0.2.7", "192.0.2.7"},
    {AF_INET6, "::1", "::1"},
    {AF_UNIX, "", "unix"},
};

START_TEST(an_address_as_it_is_counted)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    char text[INET6_ADDRSTRLEN];

    if (addresses[_i].family == AF_INET) {
        ck_assert_int_eq(inet_pton(AF_INET, addresses[_i].address, &in4.sin_addr), 1);
        http_guard_address((struct sockaddr *)&in4, text);
    } else if (addresses[_i].family == AF_INET6) {
        ck_assert_int_eq(inet_pton(AF_INET6, addresses[_i].address, &in6.sin6_addr), 1);
        http_guard_address((struct sockaddr *)&in6, text);
    } else {
        http_guard_address(NULL, text);
    }
    ck_assert_str_eq(text, addresses[_i].counted);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("all");

    tcase_add_test(tests, an_address_has_so_many_attempts);
    tcase_add_test(tests, a_right_password_does_not_excuse_wrong_ones);
    tcase_add_test(tests, many_addresses_together);
    tcase_add_test(tests, more_addresses_than_places);
    tcase_add_loop_test(tests, an_address_as_it_is_counted, 0, UNIT_COUNT(addresses));
    return unit_run("http_guard", tests);
}
