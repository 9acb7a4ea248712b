/* SPDX-License-Identifier: ISC */
#include "mail/template.h"
#include "base/mem.h"
#include "mail/address.h"
#include "unit.h"

#include <string.h>

#define LOCAL_60 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff"
#define LABEL_60 "a23456789-b23456789-c23456789-d23456789-e23456789-f234567890"
#define NAME_243 LABEL_60 "." LABEL_60 "." LABEL_60 "." LABEL_60

/* made NULL: no address; `why` is in the reason */
static const struct {
    const char *text, *recipient, *made, *why;
} addresses[] = {
    {"%u-%d@archive.test", "anna@x.test", "anna-x.test@archive.test", ""},
    {"%u-%d@archive.test", "Anna+Ext@X.Test", "Anna+Ext-x.test@archive.test", ""},
    {"%u@%d.archive.test", "Anna@X.Test", "Anna@x.test.archive.test", ""},
    {"%a", "Anna@X.Test", "Anna@x.test", ""},
    {"%a@archive.test", "anna@x.test", "\"anna@x.test\"@archive.test", ""},
    {"%d@archive.test", "anna@x.test.", "x.test@archive.test", ""},
    {"100%%-%u@archive.test", "anna@x.test", "100%-anna@archive.test", ""},
    {"%%u@archive.test", "anna@x.test", "%u@archive.test", ""},
    {"%u@archive.test", "a%d%u@x.test", "a%d%u@archive.test", ""}, /* not expanded once more */
    {"\"to %u\"@archive.test", "anna@x.test", "\"to anna\"@archive.test", ""},
    /* quotes: none that are not needed, and all that are */
    {"%u-x@archive.test", "\"anna\"@x.test", "anna-x@archive.test", ""},
    {"%u-x@archive.test", "\"anna b\"@x.test", "\"anna b-x\"@archive.test", ""},
    {"%u-x@archive.test", "\"a\\\"b\\\\c\"@x.test", "\"a\\\"b\\\\c-x\"@archive.test", ""},
    {"%u-x@archive.test", "\"a\\b\"@x.test", "ab-x@archive.test", ""},
    {"%u@archive.test", "\"v@other.test\"@x.test", "\"v@other.test\"@archive.test", ""},
    {"%u@archive.test", "\"a>,<b@c\"@x.test", "\"a>,<b@c\"@archive.test", ""},
    {"%u-x@archive.test", "a..b@x.test", "\"a..b-x\"@archive.test", ""},
    {"%u-x@archive.test", ".a@x.test", "\".a-x\"@archive.test", ""},
    {"%u.x@archive.test", "a.@x.test", "\"a..x\"@archive.test", ""},
    {"%u@archive.test", "\"\"@x.test", "\"\"@archive.test", ""},
    {"%u@archive.test", "a(b)c@x.test", "\"a(b)c\"@archive.test", ""},
    {"%u@archive.test", "a\"b\"c@x.test", NULL, "a quote or a backslash in it"},
    {"%u@archive.test", "a\\\"b@x.test", NULL, "a quote or a backslash in it"},
    /* control characters, lines, octets */
    {"%u@archive.test", "a\r\nRCPT TO:<b@c>@x.test", NULL, "control character"},
    {"%u@archive.test", "\"a\nb\"@x.test", NULL, "control character"},
    {"%u@archive.test", "\"a\\\nb\"@x.test", NULL, "control character"},
    {"%u@archive.test", "a\x7f@x.test", NULL, "control character"},
    {"%u@archive.test", "a\xc2\x85@x.test", NULL, "control character"},
    {"%u@archive.test", "a\xe4@x.test", NULL, "UTF-8"},
    {"%u-%d@archive.test", "j\xc3\xbcrg@b\xc3\xbc.test", "j\xc3\xbcrg-b\xc3\xbc.test@archive.test",
     ""},
    {"%u@%d.archive.test", "a@b\xc3\xbc.test", "a@b\xc3\xbc.test.archive.test", ""},
    /* domains */
    {"%u@archive.test", "postmaster", "postmaster@archive.test", ""},
    {"%u-%d@archive.test", "postmaster", NULL, "the recipient has no domain"},
    {"%a", "postmaster", NULL, "the recipient has no domain"},
    {"%u-%d@archive.test", "a@[192.0.2.1]", "\"a-[192.0.2.1]\"@archive.test", ""},
    {"%u@%d.archive.test", "a@[192.0.2.1]", NULL, "neither a host name nor"},
    {"%u@archive.test", "", NULL, "empty"},
    {"%u@archive.test", "@x.test", NULL, ""},
    /* lengths: local parts of 64 and 65, domains of 255 and 256, labels of 63 and 64 */
    {"%u1234@archive.test", LOCAL_60 "@x.test", LOCAL_60 "1234@archive.test", ""},
    {"%u12345@archive.test", LOCAL_60 "@x.test", NULL, "more than 64 octets"},
    {"%u 2@archive.test", "a@x.test", "\"a 2\"@archive.test", ""},
    {"\"%u 2\"@archive.test", LOCAL_60 "@x.test", "\"" LOCAL_60 " 2\"@archive.test", ""},
    {"\"%u 23\"@archive.test", LOCAL_60 "@x.test", NULL, "more than 64 octets"},
    {"u@%d.12345678901", "a@" NAME_243, "u@" NAME_243 ".12345678901", ""},
    {"u@%d.123456789012", "a@" NAME_243, NULL, "neither a host name nor"},
    {"u@abc%d", "a@" LABEL_60, "u@abc" LABEL_60, ""},
    {"u@abcd%d", "a@" LABEL_60, NULL, "neither a host name nor"},
};

START_TEST(an_address_is_right_or_there_is_none)
{
    struct buf out = {0};
    struct address a;
    struct err err = {""};

    buf_adds(&out, "kept");
    int rc = template_address(addresses[_i].text, addresses[_i].recipient, &out, &err);
    if (addresses[_i].made == NULL) {
        ck_assert_msg(rc == -1, "%s", buf_str(&out));
        ck_assert_str_eq(buf_str(&out), "kept");
        ck_assert_msg(strstr(err.text, addresses[_i].why) != NULL, "%s", err.text);
    } else {
        ck_assert_msg(rc == 0, "%s", err.text);
        ck_assert_str_eq(buf_str(&out) + 4, addresses[_i].made);
        ck_assert_int_eq(address_parse(buf_str(&out) + 4, out.len - 4, 0, &a, &err), 0);
        ck_assert_uint_le(a.local_len, TEMPLATE_LOCAL_MAX);
    }
    buf_clear(&out);
}
END_TEST

/* why NULL: the configuration may have it */
static const struct {
    const char *text, *why;
} address_texts[] = {
    {"%u-%d@archive.test", NULL},
    {"%a", NULL},
    {"%u@%d.archive.test", NULL},
    {"\"%u %d\"@archive.test", NULL},
    {"%%@archive.test", NULL},
    {"%u", "there is no domain"},
    {"%x@archive.test", "'%x' is not allowed here; allowed: %u"},
    {"u%@archive.test", "'%' is not allowed here; allowed: %u"},
    {"u%\n@archive.test", "'%' is not allowed here; allowed: %u"},
    {"u@%u.archive.test", "'%u' is not allowed here; allowed: %d"},
    {"u@%a", "'%a' is not allowed here; allowed: %d"},
    {"u@%%.archive.test", "neither a host name"},
    {"u@[%d]", "an address literal takes no part"},
    {"%u %d@archive.test", NULL},
    {"%u@", ""},
    {"%u@-%d", "neither a host name"},
    {"%u\"@archive.test", "a quote or a backslash"},
    {"%u" LOCAL_60 "1@archive.test", "more than 64 octets"},
};

START_TEST(templates_of_addresses_are_checked)
{
    struct err err = {""};
    const char *why = address_texts[_i].why;
    int rc = template_check_address(address_texts[_i].text, &err);

    ck_assert_msg(rc == (why == NULL ? 0 : -1), "%s: %s", address_texts[_i].text, err.text);
    ck_assert_msg(why == NULL || strstr(err.text, why) != NULL, "%s", err.text);
}
END_TEST

/* 2023-11-14 22:13:20 UTC */
#define WHEN 1700000000

static const struct {
    const char *text, *recipient, *made, *base, *why;
} paths[] = {
    {"/srv/mail", "", "/srv/mail", "/srv", ""},
    {"/mail", "", "/mail", "/", ""},
    {"/srv/100%%/mail", "", "/srv/100%/mail", "/srv/100%", ""},
    {"/srv/%d", "a@X.Test", "/srv/x.test", "/srv", ""},
    {"/%d", "a@x.test", "/x.test", "/", ""},
    {"/srv/%d/{%Y-%m}", "a@x.test", "/srv/x.test/2023-11", "/srv", ""},
    {"/srv/all/{%Y/%m/%d}-{%H}", "no address at all", "/srv/all/2023/11/14-22", "/srv/all", ""},
    {"/srv/of-%d/mail", "a@x.test", "/srv/of-x.test/mail", "/srv", ""},
    {"/srv/{%%%Y}", "", "/srv/%2023", "/srv", ""},
    {"/srv/%d", "a@xn--bcher-kva.test.", "/srv/xn--bcher-kva.test", "/srv", ""},
    {"/srv/%d", "a@1.2.3.4", "/srv/1.2.3.4", "/srv", ""},
    {"/srv/%d", "\"../../etc\"@x.test", "/srv/x.test", "/srv", ""},
    /* domains that are none in DNS, or could lead elsewhere */
    {"/srv/%d", "a@b\xc3\xbc.test", NULL, "/srv", "no name in DNS"},
    {"/srv/%d", "a@x_y.test", NULL, "/srv", "no name in DNS"},
    {"/srv/%d", "a@[192.0.2.1]", NULL, "/srv", "no name in DNS"},
    {"/srv/%d", "a@[../../etc]", NULL, "/srv", "no name in DNS"},
    {"/srv/%d", "a@[/etc]", NULL, "/srv", "no name in DNS"},
    {"/srv/%d", "postmaster", NULL, "/srv", "no name in DNS"},
    {"/srv/%d", "a@..", NULL, "/srv", ""},
    {"/srv/%d", "a@.", NULL, "/srv", ""},
    {"/srv/%d", "a@../x", NULL, "/srv", ""},
    {"/srv/%d", "a@x/../../y", NULL, "/srv", ""},
    {"/srv/%d", "a@.x.test", NULL, "/srv", ""},
    {"/srv/%d", "a@x..test", NULL, "/srv", ""},
    {"/srv/%d", "a@-x.test", NULL, "/srv", ""},
    {"/srv/%d", "a@x-.test", NULL, "/srv", ""},
    {"/srv/%d", "a@x\n.test", NULL, "/srv", ""},
    {"/srv/%d", "a@x%d.test", NULL, "/srv", ""},
    {"/srv/%d", "a@{%Y}.test", NULL, "/srv", ""},
    {"/srv/%d", "", NULL, "/srv", ""},
    /* names in a Maildir */
    {"/srv/%d", "a@new", NULL, "/srv", "'new' is no name"},
    {"/srv/%d", "a@TMP", NULL, "/srv", "'tmp' is no name"},
    {"/srv/%d", "a@cur", NULL, "/srv", "'cur' is no name"},
    /* lengths: names of 253 and 254 octets, components of 255 and 256 */
    {"/srv/%d", "a@" NAME_243 ".abcdefghi", "/srv/" NAME_243 ".abcdefghi", "/srv", ""},
    {"/srv/%d", "a@" NAME_243 ".abcdefghij", NULL, "/srv", "no name in DNS"},
    {"/srv/ab%d", "a@" NAME_243 ".abcdefghi", "/srv/ab" NAME_243 ".abcdefghi", "/srv", ""},
    {"/srv/abc%d", "a@" NAME_243 ".abcdefghi", NULL, "/srv", "more than 255 octets"},
};

START_TEST(a_path_stays_below_its_base)
{
    struct buf out = {0}, base = {0};
    struct err err = {""};
    size_t made_at = 0;

    ck_assert_int_eq(template_check_path(paths[_i].text, &err), 0);
    template_base(paths[_i].text, &base);
    ck_assert_str_eq(buf_str(&base), paths[_i].base);
    buf_adds(&out, "kept");
    int rc = template_path(paths[_i].text, paths[_i].recipient, WHEN, &out, &made_at, &err);
    if (paths[_i].made == NULL) {
        ck_assert_msg(rc == -1, "%s", buf_str(&out));
        ck_assert_str_eq(buf_str(&out), "kept");
        ck_assert_msg(strstr(err.text, paths[_i].why) != NULL, "%s", err.text);
    } else {
        ck_assert_msg(rc == 0, "%s", err.text);
        ck_assert_str_eq(buf_str(&out) + 4, paths[_i].made);
        ck_assert_int_eq(out.data[made_at - 1], '/');
        ck_assert_uint_eq(made_at, 4 + strlen(paths[_i].base) + (strlen(paths[_i].base) > 1));
    }
    buf_clear(&out);
    buf_clear(&base);
}
END_TEST

static const struct {
    const char *text, *why;
} path_texts[] = {
    {"/srv/%d/{%Y-%m-%d.%H}", NULL},
    {"/srv/%u", "'%u' is not allowed here; allowed: %d"},
    {"/srv/%d/%a", "'%a' is not allowed here; allowed: %d"},
    {"/srv/%Y", "'%Y' is not allowed here; allowed: %d"},
    {"/srv/{%u}", "'%u' is not allowed here; allowed: %Y"},
    {"/srv/{%s}", "'%s' is not allowed here; allowed: %Y"},
    {"/srv/%", "'%' is not allowed here"},
    {"/srv/{%Y", "a brace has no partner"},
    {"/srv/%Y}", "'%Y' is not allowed here"},
    {"/srv/x}", "a brace has no partner"},
    {"/srv/{{%Y}}", "a brace has no partner"},
    {"/srv/%d/..", "'..' is no name"},
    {"/srv/%d/.", "'.' is no name"},
    {"/srv/%d//x", "'' is no name"},
    {"/srv/%d/new", "'new' is no name"},
    {"/srv/{%Y/../..}", "'..' is no name"},
};

START_TEST(templates_of_paths_are_checked)
{
    struct err err = {""};
    const char *why = path_texts[_i].why;
    int rc = template_check_path(path_texts[_i].text, &err);

    ck_assert_msg(rc == (why == NULL ? 0 : -1), "%s: %s", path_texts[_i].text, err.text);
    ck_assert_msg(why == NULL || strstr(err.text, why) != NULL, "%s", err.text);
}
END_TEST

static const struct {
    const char *text, *top;
    bool may_be;
} places[] = {
    {"/var/spool/sm", "/var/spool/sm", true},
    {"/var/spool/sm/x", "/var/spool/sm/", true},
    {"/var/spool/sm2", "/var/spool/sm", false},
    {"/var/spool", "/var/spool/sm", false},
    {"/var/spool/%d", "/var/spool/sm", true},
    {"/var/spool/%d/{%Y}", "/var/spool/sm", true},
    {"/var/spool/s%d/{%Y}", "/var/spool/sm", true},
    {"/var/spool/t%d/{%Y}", "/var/spool/sm", false},
    {"/var/%d/%d/x", "/var/spool/sm", true},
    {"/var/%d/s?/x", "/var/spool/sm", false}, /* only %d varies */
    {"/var/%d/*", "/var/spool/sm", false},
    {"/var/%d", "/var/spool/sm", false},
    {"/var/mail/%d", "/var/spool/sm", false},
    {"/srv/%d/x", "/", true},
    {"/srv/100%%/x", "/srv/100%", true},
    {"/srv/[s]/%d", "/srv/s", false},
    {"/srv/[s]/%d", "/srv/[s]", true},
};

START_TEST(a_template_that_may_lead_into_a_directory)
{
    ck_assert_msg(template_may_be_below(places[_i].text, places[_i].top) == places[_i].may_be,
                  "%s in %s", places[_i].text, places[_i].top);
}
END_TEST

START_TEST(what_varies)
{
    ck_assert(template_varies("%u@x.test"));
    ck_assert(template_varies("/srv/{%Y}"));
    ck_assert(template_varies("/srv/%%%d"));
    ck_assert(!template_varies("/srv/%%d"));
    ck_assert(!template_varies("{x}@y.test"));
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("template");

    tcase_add_loop_test(t, an_address_is_right_or_there_is_none, 0, (int)UNIT_COUNT(addresses));
    tcase_add_loop_test(t, templates_of_addresses_are_checked, 0, (int)UNIT_COUNT(address_texts));
    tcase_add_loop_test(t, a_path_stays_below_its_base, 0, (int)UNIT_COUNT(paths));
    tcase_add_loop_test(t, templates_of_paths_are_checked, 0, (int)UNIT_COUNT(path_texts));
    tcase_add_loop_test(t, a_template_that_may_lead_into_a_directory, 0, (int)UNIT_COUNT(places));
    tcase_add_test(t, what_varies);
    return unit_run("template", t);
}
