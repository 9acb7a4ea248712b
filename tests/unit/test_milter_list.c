/* SPDX-License-Identifier: ISC */
#include "ctl/setup/marked_text.h"
#include "ctl/milter_list.h"
#include "unit.h"

#include <string.h>

static const struct {
    const char *value;
    const char *texts[4], *names[4];
} rows[] = {
    {"", {NULL}, {NULL}},
    {" , ", {NULL}, {NULL}},
    {"unix:a", {"unix:a"}, {"unix:a"}},
    {"unix:a, inet:h:1\tlocal:b,",
     {"unix:a", "inet:h:1", "local:b"},
     {"unix:a", "inet:h:1", "local:b"}},
    {"{ unix:a, protocol=6 },inet:[::1]:2",
     {"{ unix:a, protocol=6 }", "inet:[::1]:2"},
     {"unix:a", "inet:[::1]:2"}},
    {"{unix:a}", {"{unix:a}"}, {"unix:a"}},
    {"{ unix:a, x={ b, c } } unix:d", {"{ unix:a, x={ b, c } }", "unix:d"}, {"unix:a", "unix:d"}},
    /* a name, and a condition, are one entry each */
    {"${x?{a, b}:{c}} $y", {"${x?{a, b}:{c}}", "$y"}, {"${x?{a, b}:{c}}", "$y"}},
    /* no end */
    {"{ unix:a, b", {"{ unix:a, b"}, {"unix:a"}},
    {"{", {"{"}, {""}},
};

START_TEST(lists_are_split_as_postfix_does)
{
    struct milter_list list;
    size_t i = 0;

    milter_list_parse(rows[_i].value, &list);
    for (; rows[_i].texts[i] != NULL; i++) {
        ck_assert_uint_gt(list.count, i);
        ck_assert_str_eq(list.items[i].text, rows[_i].texts[i]);
        ck_assert_str_eq(list.items[i].name, rows[_i].names[i]);
    }
    ck_assert_uint_eq(list.count, i);
    milter_list_clear(&list);
}
END_TEST

static const struct {
    const char *name, *socket;
    bool is_same;
} sockets[] = {
    {"unix:/run/s", "unix:/run/s", true},
    {"local:/run/s", "unix:/run/s", true},
    {"UNIX:/run/s", "unix:/run/s", true},
    {"unix:/run/t", "unix:/run/s", false},
    {"inet:127.0.0.1:1", "unix:/run/s", false},
    /* a relative path is below the queue directory, with chroot or without */
    {"unix:d/s", "unix:/q/d/s", true},
    {"unix:/d/s", "unix:/q/d/s", true},
    {"unix:/q/d/s", "unix:/q/d/s", true},
    {"unix:d/s", "unix:/d/s", false},
    {"inet:127.0.0.1:8890", "inet:8890@127.0.0.1", true},
    {"inet:localhost:8890", "inet:8890@127.0.0.1", true},
    {"inet:[::1]:8890", "inet6:8890@[::1]", true},
    {"inet:mail.example.com:8890", "inet:8890@0.0.0.0", true},
    {"inet:127.0.0.1:8891", "inet:8890@127.0.0.1", false},
    {"inet:192.0.2.1:8890", "inet:8890@127.0.0.1", false},
    {"inet:8890", "inet:8890@127.0.0.1", false},
    {"", "inet:8890@127.0.0.1", false},
};

START_TEST(a_milter_is_known_by_its_socket)
{
    struct endpoint socket;
    struct err err;

    ck_assert_int_eq(endpoint_parse_socket(sockets[_i].socket, &socket, &err), 0);
    ck_assert_int_eq(milter_is_at(sockets[_i].name, &socket, "/q"), sockets[_i].is_same);
}
END_TEST

START_TEST(the_first_line_of_our_part_says_who_made_it)
{
    struct buf text = {0};

    ck_assert_ptr_null(marked_who("a = 1\n"));
    marked_add("a = 1\n", MARKED_MAIN_CF, NULL, 0, "b = 2\n", "x --y=1,2", &text);
    char *who = marked_who(buf_str(&text));
    ck_assert_str_eq(who, "x --y=1,2");
    free(who);
    buf_clear(&text);
    ck_assert_ptr_null(
        marked_who("# BEGIN splitmilter 00000000 -: made by x\n, edit outside of this part\n"));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("milter_list");

    tcase_add_loop_test(tests, lists_are_split_as_postfix_does, 0, (int)UNIT_COUNT(rows));
    tcase_add_loop_test(tests, a_milter_is_known_by_its_socket, 0, (int)UNIT_COUNT(sockets));
    tcase_add_test(tests, the_first_line_of_our_part_says_who_made_it);
    return unit_run("milter_list", tests);
}
