/* SPDX-License-Identifier: ISC */
#include "smtp/smtp_features.h"
#include "unit.h"

#include <string.h>

#define BIT(a) (1U << SMTP_ATTRIBUTE_##a)

static const struct {
    const char *text;
    bool is_verified;
    struct smtp_features expected;
} replies[] = {
    {"mx.test", false, {0}},
    {"", false, {0}},
    {"PIPELINING", false, {0}}, /* the first line is the server's name */
    {"me.test", false, {.has_our_name = true}},
    {"ME.test at your service\nDSN", false, {.has_our_name = true, .dsn = true}},
    {"me.test.example", false, {0}},
    {"mx.test\nPIPELINING\n8bitmime\nSMTPUTF8\nDSN\nSTARTTLS\nENHANCEDSTATUSCODES",
     false,
     {.pipelining = true, .eight_bit = true, .smtputf8 = true, .dsn = true, .starttls = true}},
    {"mx.test\nPIPELININGS\nDS\n DSN\n\n8BITMIME x", false, {.eight_bit = true}},
    /* RFC 1870 */
    {"mx.test\nSIZE", false, {.size = true}},
    {"mx.test\nSIZE 0", false, {.size = true}},
    {"mx.test\nSIZE 10240000\nDSN",
     false,
     {.size = true, .size_limit_bytes = 10240000, .dsn = true}},
    {"mx.test\nSIZE 12k", false, {.size = true}},
    {"mx.test\nSIZE 99999999999999999999999", false, {.size = true}},
    {"mx.test\nSIZE ", false, {.size = true}},
    /* RFC 8689 */
    {"mx.test\nREQUIRETLS", false, {0}},
    {"mx.test\nREQUIRETLS", true, {.requiretls = true}},
    /* AUTH */
    {"mx.test\nAUTH PLAIN login X-OTHER",
     false,
     {.auth = SMTP_MECHANISM_PLAIN | SMTP_MECHANISM_LOGIN}},
    {"mx.test\nAUTH=PLAIN\nAUTH DIGEST-MD5 SCRAM-SHA-256",
     false,
     {.auth = SMTP_MECHANISM_PLAIN | SMTP_MECHANISM_SCRAM_SHA_256}},
    {"mx.test\nAUTH\nAUTH=\nAUTHS PLAIN\nAUTH PLAINS", false, {0}},
    {"mx.test\nAUTH X\nPLAIN", false, {0}},
    {"mx.test\nAUTH LOGIN PLAIN-CLIENTTOKEN oauthbearer XOAUTH",
     false,
     {.auth = SMTP_MECHANISM_LOGIN | SMTP_MECHANISM_OAUTHBEARER}},
    {"mx.test\nAUTH XOAUTH2", false, {.auth = SMTP_MECHANISM_XOAUTH2}},
    /* XFORWARD, XCLIENT */
    {"mx.test\nXFORWARD", false, {.xforward = true}},
    {"mx.test\nXFORWARD NAME addr SOURCE  IDENT",
     false,
     {.xforward = true, .xforward_attributes = BIT(NAME) | BIT(ADDR) | BIT(IDENT)}},
    {"mx.test\nXCLIENT PORT PROTO HELO LOGIN",
     false,
     {.xclient_attributes = BIT(PORT) | BIT(PROTO) | BIT(HELO)}},
};

static void compare(const struct smtp_features *a, const struct smtp_features *b)
{
    ck_assert_int_eq(a->pipelining, b->pipelining);
    ck_assert_int_eq(a->eight_bit, b->eight_bit);
    ck_assert_int_eq(a->smtputf8, b->smtputf8);
    ck_assert_int_eq(a->dsn, b->dsn);
    ck_assert_int_eq(a->size, b->size);
    ck_assert_int_eq(a->xforward, b->xforward);
    ck_assert_int_eq(a->starttls, b->starttls);
    ck_assert_int_eq(a->requiretls, b->requiretls);
    ck_assert_uint_eq(a->auth, b->auth);
    ck_assert_uint_eq(a->size_limit_bytes, b->size_limit_bytes);
    ck_assert_uint_eq(a->xforward_attributes, b->xforward_attributes);
    ck_assert_uint_eq(a->xclient_attributes, b->xclient_attributes);
    ck_assert_int_eq(a->has_our_name, b->has_our_name);
}

START_TEST(parses)
{
    struct smtp_features f;

    memset(&f, 0xff, sizeof f);
    smtp_features_parse(replies[_i].text, "me.test", replies[_i].is_verified, &f);
    compare(&f, &replies[_i].expected);
}
END_TEST

START_TEST(names)
{
    ck_assert_str_eq(smtp_features_attribute_name(SMTP_ATTRIBUTE_NAME), "NAME");
    ck_assert_str_eq(smtp_features_attribute_name(SMTP_ATTRIBUTE_IDENT), "IDENT");
    ck_assert_uint_eq(smtp_features_mechanism("scram-sha-256", 13), SMTP_MECHANISM_SCRAM_SHA_256);
    ck_assert_uint_eq(smtp_features_mechanism("LOGINS", 5), SMTP_MECHANISM_LOGIN);
    ck_assert_uint_eq(smtp_features_mechanism("LOGI", 4), SMTP_MECHANISM_NONE);
    ck_assert_uint_eq(smtp_features_mechanism("", 0), SMTP_MECHANISM_NONE);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("smtp_features");

    tcase_add_loop_test(t, parses, 0, UNIT_COUNT(replies));
    tcase_add_test(t, names);
    return unit_run("smtp_features", t);
}
