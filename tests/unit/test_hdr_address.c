/* SPDX-License-Identifier: ISC */
#include "mail/hdr_address.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

/* Some addresses become new@y.test; an address at "fails" ends the rewriting; the others stay. */
static int map(const char *address, struct buf *out, void *ctx)
{
    (void)ctx;
    if (strstr(address, "@fails") != NULL)
        return -1;
    if (strcmp(address, "a@x.test") != 0 && strcmp(address, "\"a b\"@x.test") != 0 &&
        strcmp(address, "a@[192.0.2.1]") != 0 && strcmp(address, "a.@x.test") != 0)
        return 0;
    buf_adds(out, "new@y.test");
    return 1;
}

static const struct {
    const char *body, *expect;
    int count;
} cases[] = {
    {"a@x.test", "new@y.test", 1},
    {"b@x.test", "b@x.test", 0},
    {"", "", 0},
    {"  a@x.test  ", "  new@y.test  ", 1},
    {"<a@x.test>", "<new@y.test>", 1},
    {"Name <a@x.test>", "Name <new@y.test>", 1},
    {"\"a@x.test\" <a@x.test>", "\"a@x.test\" <new@y.test>", 1},
    {"\"Last, First\" <a@x.test>, b@x.test", "\"Last, First\" <new@y.test>, b@x.test", 1},
    {"\"q\\\"<a@x.test>\" <b@x.test>", "\"q\\\"<a@x.test>\" <b@x.test>", 0},
    {"a@x.test,a@x.test,,b@x.test , a@x.test", "new@y.test,new@y.test,,b@x.test , new@y.test", 3},
    {"a@x.test (a@x.test, b)", "new@y.test (a@x.test, b)", 1},
    {"(c) a (d) @ x . test (e)", "(c) new@y.test (d) (e)", 1},
    {"a@x.test(nested (deep \\) <) )", "new@y.test(nested (deep \\) <) )", 1},
    {"=?utf-8?Q?J=C3=BCrgen=2C?= <a@x.test>", "=?utf-8?Q?J=C3=BCrgen=2C?= <new@y.test>", 1},
    {"J\xc3\xbcrgen <a@x.test>", "J\xc3\xbcrgen <new@y.test>", 1},
    {"group: a@x.test, b@x.test;", "group: new@y.test, b@x.test;", 1},
    {"a@x.test: b@x.test;", "a@x.test: b@x.test;", 0},
    {"undisclosed-recipients:;", "undisclosed-recipients:;", 0},
    {"g: N <a@x.test>;, a@x.test", "g: N <new@y.test>;, new@y.test", 2},
    {"Name\n <a@x.test>,\n\tOther\n\t<b@x.test>", "Name\n <new@y.test>,\n\tOther\n\t<b@x.test>", 1},
    {"<@r1,@r2:a@x.test>", "<@r1,@r2:new@y.test>", 1},
    {"< a@x.test >", "< new@y.test >", 1},
    {"\"a b\"@x.test", "new@y.test", 1},
    {"a@[192.0.2.1]", "new@y.test", 1},
    {"a.@x.test", "new@y.test", 1},
    {"a b@x.test", "a b@x.test", 0},
    {"a@x.test b", "a@x.test b", 0},
    {"a@x.test@y.test", "a@x.test@y.test", 0},
    {"a", "a", 0},
    {"@x.test", "@x.test", 0},
    {"a@", "a@", 0},
    {"<>", "<>", 0},
    {"<a@x.test", "<a@x.test", 0},
    {"a@x.test, <b@x.test, a@x.test", "new@y.test, <b@x.test, a@x.test", 1},
    {"a@x.test, \"open, a@x.test", "new@y.test, \"open, a@x.test", 1},
    {"a@x.test, (open, a@x.test", "new@y.test, (open, a@x.test", 1},
    {"a@[x, a@x.test", "a@[x, a@x.test", 0},
    {"a@x.test, \"\\", "new@y.test, \"\\", 1},
    {"a@x.test>, a@x.test", "a@x.test>, new@y.test", 1},
    {"\\", "\\", 0},
};

START_TEST(addresses_are_replaced_and_nothing_else)
{
    struct buf out = {0};
    int rc = hdr_address_rewrite(cases[_i].body, map, NULL, &out);

    ck_assert_msg(strcmp(buf_str(&out), cases[_i].expect) == 0, "%s: %s", cases[_i].body,
                  buf_str(&out));
    ck_assert_int_eq(rc, cases[_i].count);
    buf_clear(&out);
}
END_TEST

START_TEST(giving_up)
{
    struct buf out = {0};

    ck_assert_int_eq(hdr_address_rewrite("a@x.test, N <b@fails>, c@x", map, NULL, &out), -1);
    buf_clear(&out);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("hdr_address");

    tcase_add_loop_test(tests, addresses_are_replaced_and_nothing_else, 0, UNIT_COUNT(cases));
    tcase_add_test(tests, giving_up);
    return unit_run("hdr_address", tests);
}
