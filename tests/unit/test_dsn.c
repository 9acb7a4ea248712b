/* SPDX-License-Identifier: ISC */
#include "mail/dsn.h"
#include "unit.h"

#include <string.h>

static const struct {
    const char *word;
    int result;
} word_cases[] = {
    {"NOTIFY=NEVER", 1},
    {"notify=success,failure,DELAY", 1},
    {"NOTIFY=FAILURE", 1},
    {"NOTIFY=", -1},
    {"NOTIFY=NEVER,FAILURE", -1},
    {"NOTIFY=FAILURE,FAILURE", -1},
    {"NOTIFY=FAILURE,", -1},
    {"NOTIFY=BOO", -1},
    {"ORCPT=rfc822;user+2Bext@a.test", 1},
    {"ORCPT=utf-8;jos\xc3\xa9@a.test", 1},
    {"ORCPT=utf-8;jos\\x{E9}@a.test", 1},
    {"ORCPT=rfc822;jos\xc3\xa9@a.test", -1},
    {"ORCPT=rfc822;user+ext@a.test", -1},
    {"ORCPT=rfc822;", -1},
    {"ORCPT=;x", -1},
    {"ORCPT=user@a.test", -1},
    {"ORCPT=rfc822;a b", -1},
    {"RET=FULL", 0},
    {"NOTIFYX=NEVER", 0},
};

START_TEST(words)
{
    struct dsn d;
    struct err err = {""};

    dsn_init(&d);
    int rc = dsn_parse_word(&d, word_cases[_i].word, &err);
    ck_assert_msg(rc == word_cases[_i].result, "%s: %d %s", word_cases[_i].word, rc, err.text);
    if (rc == 1)
        ck_assert_str_eq(*d.notify ? d.notify : d.orcpt, strchr(word_cases[_i].word, '=') + 1);
    else
        ck_assert(*d.notify == '\0' && *d.orcpt == '\0');
    dsn_clear(&d);
}
END_TEST

START_TEST(given_twice_or_too_long)
{
    struct dsn d;
    struct err err;
    char word[600];

    dsn_init(&d);
    ck_assert_int_eq(dsn_parse_word(&d, "NOTIFY=DELAY", &err), 1);
    ck_assert_int_eq(dsn_parse_word(&d, "NOTIFY=NEVER", &err), -1);
    ck_assert_str_eq(d.notify, "DELAY");
    memset(word, 'a', sizeof word);
    memcpy(word, "ORCPT=rfc822;", 13);
    word[6 + 501] = '\0';
    ck_assert_int_eq(dsn_parse_word(&d, word, &err), -1);
    word[6 + 500] = '\0';
    ck_assert_int_eq(dsn_parse_word(&d, word, &err), 1);
    dsn_clear(&d);
}
END_TEST

START_TEST(words_for_an_added_recipient)
{
    struct dsn d;
    struct address a;
    struct err err;
    struct buf out = {0};

    dsn_init(&d);
    ck_assert_int_eq(address_parse("u+x=y@a.test", 12, ADDRESS_LENIENT, &a, &err), 0);
    dsn_words(&d, "NEVER", &a, &out);
    ck_assert_str_eq(buf_str(&out), "NOTIFY=NEVER ORCPT=rfc822;u+2Bx+3Dy@a.test");
    buf_reset(&out);
    dsn_words(&d, "", &a, &out);
    ck_assert_str_eq(buf_str(&out), "ORCPT=rfc822;u+2Bx+3Dy@a.test");
    buf_reset(&out);
    ck_assert_int_eq(dsn_parse_word(&d, "ORCPT=rfc822;first@b.test", &err), 1);
    dsn_words(&d, "DELAY", &a, &out);
    ck_assert_str_eq(buf_str(&out), "NOTIFY=DELAY ORCPT=rfc822;first@b.test");
    buf_clear(&out);
    dsn_clear(&d);
}
END_TEST

static const struct {
    const char *given, *words;
} orcpt_cases[] = {
    {"", "ORCPT=rfc822;j+C3+BCrgen@a.test"},
    {"ORCPT=rfc822;j+C3+BCrgen@b.test", "ORCPT=rfc822;j+C3+BCrgen@b.test"},
    {"ORCPT=utf-8;j\\x{FC}rgen@b.test", "ORCPT=rfc822;j+C3+BCrgen@b.test"},
    {"ORCPT=UTF-8;j\xc3\xbcrgen@b.test", "ORCPT=rfc822;j+C3+BCrgen@b.test"},
    {"ORCPT=utf-8;a\\x{2B}b@b.test", "ORCPT=rfc822;a+2Bb@b.test"},
    {"ORCPT=utf-8;a\\x{D800}@b.test", "ORCPT=rfc822;j+C3+BCrgen@a.test"}, /* is none */
    {"ORCPT=x400;anything", "ORCPT=x400;anything"},
};

START_TEST(orcpt_for_an_added_recipient)
{
    struct dsn d;
    struct address a;
    struct err err;
    struct buf out = {0};

    dsn_init(&d);
    ck_assert_int_eq(address_parse("j\xc3\xbcrgen@a.test", 14, ADDRESS_LENIENT, &a, &err), 0);
    if (orcpt_cases[_i].given[0] != '\0')
        ck_assert_int_eq(dsn_parse_word(&d, orcpt_cases[_i].given, &err), 1);
    dsn_words(&d, "", &a, &out);
    ck_assert_str_eq(buf_str(&out), orcpt_cases[_i].words);
    buf_clear(&out);
    dsn_clear(&d);
}
END_TEST

START_TEST(an_orcpt_that_becomes_too_long_is_left_out)
{
    struct dsn d;
    struct address a;
    struct err err;
    struct buf out = {0};
    char text[401];

    for (size_t i = 0; i < 396; i += 2)
        memcpy(text + i, "\xc3\xbc", 2);
    memcpy(text + 396, "@b.c", 5);
    dsn_init(&d);
    ck_assert_int_eq(address_parse(text, 400, ADDRESS_LENIENT, &a, &err), 0);
    dsn_words(&d, "", &a, &out);
    ck_assert_str_eq(buf_str(&out), "");
    dsn_words(&d, "NEVER", &a, &out);
    ck_assert_str_eq(buf_str(&out), "NOTIFY=NEVER");
    buf_clear(&out);
    dsn_clear(&d);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("dsn");

    tcase_add_loop_test(tests, words, 0, UNIT_COUNT(word_cases));
    tcase_add_test(tests, given_twice_or_too_long);
    tcase_add_test(tests, words_for_an_added_recipient);
    tcase_add_loop_test(tests, orcpt_for_an_added_recipient, 0, UNIT_COUNT(orcpt_cases));
    tcase_add_test(tests, an_orcpt_that_becomes_too_long_is_left_out);
    return unit_run("dsn", tests);
}
