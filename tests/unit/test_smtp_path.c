/* SPDX-License-Identifier: ISC */
#include "mail/smtp_path.h"
#include "base/mem.h"
#include "unit.h"

#include <string.h>

/* what: the address that is read, or '!' and the fault. */
static const struct {
    const char *text, *what;
} cases[] = {
    {"a@b", "a@b"},
    {"a", "a"},
    {"", ""},
    {" \t", ""},
    {"(c)", ""},
    {" a @ b ", "a@b"},
    {"\ta\t.\tb\t@\tc\t.\td\t", "a.b@c.d"},
    {"a(c)@(d)b(e)", "a@b"},
    {"a@b (c (d \\) e) f)", "a@b"},
    {"a@b (c", "!a comment does not end, or holds a bracket"},
    {"a@b (c <d>)", "!a comment does not end, or holds a bracket"},
    {"a@b (c \\<)", "!a comment does not end, or holds a bracket"},
    {"a@b (\\", "!a comment does not end, or holds a bracket"},
    {"a@b )", "!it is not one address"},
    {"Name <a@b>", "a@b"},
    {"\"N <x@y> ame\" J. <a@b>", "a@b"},
    {"N\\<ame <a@b>", "a@b"},
    {"<a@b>", "a@b"},
    {"< @r:a@b (c) > (d)", "a@b"},
    {"<a@b", "!a bracket is not closed"},
    {"<>", "!there is no local part"},
    {"N <>", "!there is no local part"},
    {"<<a@b>>", "!there is no local part"},
    {"N <a@b> c", "!it is not one address"},
    {"a@b>", "!it is not one address"},
    {"N@x <a@b>", "!it is not one address"},
    {"@r:a@b", "a@b"},
    {"@r , @[IPv6:::1] : a@b", "a@b"},
    {"@r:", "!there is no local part"},
    {"@r:@s:a@b", "!there is no local part"},
    {"@r a@b", "!there is no local part"},
    {"@b", "!there is no local part"},
    {"@", "!there is no local part"},
    {"\"a\"@b", "\"a\"@b"},
    {"\"a\\b\\\"\"@c", "\"a\\b\\\"\"@c"},
    {"\"\"@b", "\"\"@b"},
    {"\"\"", "!there is no domain"},
    {"\"a@b\"", "!there is no domain"},
    {"\"a@b\"@c", "\"a@b\"@c"},
    {"a\\@b", "!there is no domain"},
    {"a\\@b@c", "\"a@b\"@c"},
    {"a\\b@c", "ab@c"},
    {"a\\ b\\\\\\\"@c", "\"a b\\\\\\\"\"@c"},
    {"a.\"b c\".d@e", "\"a.b c.d\"@e"},
    {"\"a\".\"b\"@c", "a.b@c"},
    {"\"a\".@c", "a.@c"},
    {"a..b.@c", "a..b.@c"},
    {".@c", ".@c"},
    {"a b@c", "!the local part has a blank or a quote in it"},
    {"a\"b\"@c", "!the local part has a blank or a quote in it"},
    {"\"a\"\"b\"@c", "!the local part has a blank or a quote in it"},
    {"\"a@b", "!a quoted string does not end"},
    {"\"a\\", "!a quoted string does not end"},
    {"\"a\\\"", "!a quoted string does not end"},
    {"a@b\\", "!it is not one address"},
    {"a\\", "!there is nothing behind a backslash"},
    {"a@", "!there is no domain"},
    {"a@.b", "!a label of the domain is empty"},
    {"a@b..c", "!a label of the domain is empty"},
    {"a@b..", "!a label of the domain is empty"},
    {"a@b.", "a@b"},
    {"a@b .", "a@b"},
    {"a@b c", "!it is not one address"},
    {"a@[1.2.3.4]", "a@[1.2.3.4]"},
    {"a@ [IPv6:::1] ", "a@[IPv6:::1]"},
    {"a@[1.2.3.4", "!an address literal does not end"},
    {"a@[1 2]", "!an address literal does not end"},
    {"a@[[1]", "!an address literal does not end"},
    {"a@b@c", "!it is not one address"},
    {"a@b,c@d", "!it is not one address"},
    {"a,b@c", "!it is not one address"},
    {"a@b;", "!it is not one address"},
    {"g:a@b;", "!it is not one address"},
    {"j\xfcrgen@b", "j\xfcrgen@b"},
    {"\xc3\xbc@\xc3\xbc", "\xc3\xbc@\xc3\xbc"},
    {"a%b!c@d", "a%b!c@d"},
};

START_TEST(test_read)
{
    const char *text = cases[_i].text, *what = cases[_i].what;
    struct buf out = {0};
    const char *fault = smtp_path_read(text, strlen(text), &out);

    if (what[0] == '!') {
        ck_assert_str_eq(fault != NULL ? fault : "(none)", what + 1);
    } else {
        ck_assert_str_eq(fault != NULL ? fault : "", "");
        ck_assert_str_eq(buf_str(&out), what);
        /* The result is in the right form, so it is read as itself. */
        char *again = mem_strdup(buf_str(&out));
        ck_assert_ptr_null(smtp_path_read(again, strlen(again), &out));
        ck_assert_str_eq(buf_str(&out), what);
        free(again);
    }
    buf_clear(&out);
}
END_TEST

static const struct {
    const char *text;
    size_t len;
} lengths[] = {
    {"<a@b>", 5},
    {"<a@b> X=1", 5},
    {"<a@b>X", 0},
    {"<a@b", 0},
    {"<>", 2},
    {"<a<b>> c", 6},
    {"<a<b> c", 5},
    {"<\"a>\"@b> c", 8},
    {"<a\\>b> c", 6},
    {"", 0},
    {"a@b", 3},
    {"a@b X=<c>", 3},
    {"a X=<c>", 1},
    {"\"a b\"@c d", 7},
    {"\"a b", 0},
    {"N <a@b> c", 7},
    {"N M. <a@b> c", 10},
    {"\"N M\" <a@b>", 11},
    {"N <a@b", 0},
    {"a@b <c@d>", 3},
    {"N <a@b>c", 0},
    {"\"N <a@b>\" c", 9},
};

START_TEST(test_len)
{
    ck_assert_uint_eq(smtp_path_len(lengths[_i].text), lengths[_i].len);
}
END_TEST

/* Deeply nested and very long paths are read without a crash. */
START_TEST(test_deep)
{
    struct buf text = {0}, out = {0};

    for (int i = 0; i < 100000; i++)
        buf_addc(&text, '(');
    ck_assert_str_eq(smtp_path_read(buf_str(&text), text.len, &out),
                     "too many comments in each other");
    buf_reset(&text);
    for (int i = 0; i < 100000; i++)
        buf_addc(&text, '<');
    ck_assert_uint_eq(smtp_path_len(buf_str(&text)), 0);
    ck_assert_ptr_nonnull(smtp_path_read(buf_str(&text), text.len, &out));
    buf_clear(&text);
    buf_clear(&out);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("smtp_path");

    tcase_add_loop_test(tc, test_read, 0, UNIT_COUNT(cases));
    tcase_add_loop_test(tc, test_len, 0, UNIT_COUNT(lengths));
    tcase_add_test(tc, test_deep);
    return unit_run("smtp_path", tc);
}
