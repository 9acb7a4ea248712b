/* SPDX-License-Identifier: ISC */
#include "mail/smtp_command.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* what: "argument|path|word,word", or "!text of the error". If the address differs from the path:
 * "argument|path=address|...", or "argument|path!fault|...". */
static const struct {
    const char *line;
    enum smtp_verb verb;
    const char *what;
} cases[] = {
    {"EHLO mx.example.com", SMTP_EHLO, "mx.example.com||"},
    {"ehlo  [192.0.2.1] ", SMTP_EHLO, "[192.0.2.1]||"},
    {"EHLO", SMTP_EHLO, "||"},
    {"LhLo x", SMTP_LHLO, "x||"},
    {"HELO a b", SMTP_HELO, "a b||"},
    {"MAIL FROM:<a@b.c>", SMTP_MAIL, "|<a@b.c>|"},
    {"mail from: <a@b.c>", SMTP_MAIL, "|<a@b.c>|"},
    {"MAIL FROM:<>", SMTP_MAIL, "|<>|"},
    {"MAIL FROM:<> SIZE=1 BODY=8BITMIME SMTPUTF8", SMTP_MAIL, "|<>|SIZE=1,BODY=8BITMIME,SMTPUTF8"},
    {"MAIL FROM:<a@b>   SIZE=1   ", SMTP_MAIL, "|<a@b>|SIZE=1"},
    {"\tMAIL\t FROM:\t<a@b>\tSIZE=1\t", SMTP_MAIL, "|<a@b>|SIZE=1"},
    {"MAIL FROM:  <a@b>", SMTP_MAIL, "|<a@b>|"},
    {"MAIL FROM:a@b", SMTP_MAIL, "|<a@b>|"},
    {"MAIL FROM: a@b SIZE=1", SMTP_MAIL, "|<a@b>|SIZE=1"},
    {"MAIL FROM:a", SMTP_MAIL, "|<a>|"},
    {"RCPT TO:a", SMTP_RCPT, "|<a>|"},
    {"RCPT TO:a@b X=<c@d>", SMTP_RCPT, "|<a@b>|X=<c@d>"},
    {"RCPT TO:a X=<c@d>", SMTP_RCPT, "|<a>|X=<c@d>"},
    {"RCPT TO:\"a b\"@c X=1", SMTP_RCPT, "|<\"a b\"@c>|X=1"},
    {"RCPT TO:A B <a@b> X=1", SMTP_RCPT, "|<A B <a@b>>=<a@b>|X=1"},
    {"RCPT TO:<A B <a@b>> X=1", SMTP_RCPT, "|<A B <a@b>>=<a@b>|X=1"},
    {"RCPT TO:<a@b (c)>", SMTP_RCPT, "|<a@b (c)>=<a@b>|"},
    {"RCPT TO:(c)", SMTP_RCPT, "|<(c)>!it is empty|"},
    {"RCPT TO:\"\"@x", SMTP_RCPT, "|<\"\"@x>|"},
    {"RCPT TO:<a@b@c>", SMTP_RCPT, "|<a@b@c>!it is not one address|"},
    {"MAIL FROM:<a<b>", SMTP_MAIL, "|<a<b>!a bracket is not closed|"},
    {"RCPT TO:< >", SMTP_RCPT, "|< >=<>|"},
    {"MAIL FROM:<\"a>b\\\"> c\"@d> RET=HDRS", SMTP_MAIL, "|<\"a>b\\\"> c\"@d>|RET=HDRS"},
    {"MAIL FROM:<\xc3\xa9@b.c> SMTPUTF8", SMTP_MAIL, "|<\xc3\xa9@b.c>|SMTPUTF8"},
    {"RCPT TO:<a@b> NOTIFY=NEVER ORCPT=rfc822;a+2Bb@c", SMTP_RCPT,
     "|<a@b>|NOTIFY=NEVER,ORCPT=rfc822;a+2Bb@c"},
    {"RCPT TO:<@x,@y:a@b>", SMTP_RCPT, "|<@x,@y:a@b>=<a@b>|"},
    {"DATA", SMTP_DATA, "||"},
    {"data ", SMTP_DATA, "||"},
    {"RSET", SMTP_RSET, "||"},
    {"NOOP", SMTP_NOOP, "||"},
    {"NOOP anything goes", SMTP_NOOP, "anything goes||"},
    {"QUIT", SMTP_QUIT, "||"},
    {"VRFY user", SMTP_VRFY, "user||"},
    {"HELP", SMTP_HELP, "||"},
    {"STARTTLS", SMTP_STARTTLS, "||"},
    {"XFORWARD NAME=spike.example ADDR=192.0.2.1 PORT=1", SMTP_XFORWARD,
     "||NAME=spike.example,ADDR=192.0.2.1,PORT=1"},
    {"XFORWARD HELO=", SMTP_XFORWARD, "||HELO="},
    {"XFORWARD NAME=[UNAVAILABLE]", SMTP_XFORWARD, "||NAME=[UNAVAILABLE]"},
    {"GET / HTTP/1.1", SMTP_UNKNOWN, "/ HTTP/1.1||"},
    {"MAILFROM:<a@b>", SMTP_UNKNOWN, "||"},
    {"DAT", SMTP_UNKNOWN, "||"},
    {"DATAX", SMTP_UNKNOWN, "||"},
    {"", SMTP_UNKNOWN, "||"},
    {"   ", SMTP_UNKNOWN, "||"},
    {" DATA", SMTP_DATA, "||"},
    {"MAIL", SMTP_MAIL, "!syntax: MAIL FROM:<address>"},
    {"MAIL TO:<a@b>", SMTP_MAIL, "!syntax: MAIL FROM:<address>"},
    {"MAIL FROM <a@b>", SMTP_MAIL, "!syntax: MAIL FROM:<address>"},
    {"MAIL FROM:", SMTP_MAIL, "!syntax: MAIL FROM:<address>"},
    {"MAIL FROM:<a@b>> X=1", SMTP_MAIL, "!syntax: MAIL FROM:<address>"},
    {"MAIL FROM:<a@b", SMTP_MAIL, "!syntax: MAIL FROM:<address>"},
    {"MAIL FROM:<a@b>SIZE=1", SMTP_MAIL, "!syntax: MAIL FROM:<address>"},
    {"RCPT TO:<\"a>", SMTP_RCPT, "!syntax: RCPT TO:<address>"},
    {"RCPT TO:<\"a\\", SMTP_RCPT, "!syntax: RCPT TO:<address>"},
    {"RCPT TO:<a@b> =x", SMTP_RCPT, "!malformed parameter"},
    {"RCPT TO:<a@b> a_b=x", SMTP_RCPT, "!malformed parameter"},
    {"RCPT TO:<a@b> -=x", SMTP_RCPT, "!malformed parameter"},
    {"RCPT TO:<a@b> a a a a a a a a a a a a a a a a", SMTP_RCPT,
     "|<a@b>|a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a"},
    {"RCPT TO:<a@b> a a a a a a a a a a a a a a a a a", SMTP_RCPT, "!too many parameters"},
    {"DATA now", SMTP_DATA, "!DATA takes no argument"},
    {"QUIT x", SMTP_QUIT, "x||"},
    {"XFORWARD", SMTP_XFORWARD, "!syntax: XFORWARD attribute=value..."},
    {"NOOP a\tb", SMTP_NOOP, "a b||"},
    {"RCPT TO:<a\x01@b>", SMTP_UNKNOWN, "!control character in a command"},
    {"RCPT TO:<\"a\tc\"@b>", SMTP_UNKNOWN, "!control character in a command"},
    {"RCPT TO:<a\\\tc@b>", SMTP_UNKNOWN, "!control character in a command"},
    {"RCPT TO:<\"a\\\\\"@b>\tX", SMTP_RCPT, "|<\"a\\\\\"@b>|X"},
    {"MAIL FROM:<\"a\tc\"@b>", SMTP_MAIL, "|<\"a?c\"@b>!it has a control character|"},
    {"NOOP a\rb", SMTP_UNKNOWN, "!control character in a command"},
    {"MAIL FROM:<\"a\x01\x7f\"@b> X=\r", SMTP_MAIL, "|<\"a??\"@b>!it has a control character|X=?"},
    {"NOOP \x7f", SMTP_UNKNOWN, "!control character in a command"},
};

START_TEST(test_lines)
{
    struct smtp_command c;
    struct err err = {0};
    char got[SMTP_COMMAND_LINE_MAX];
    const char *line = cases[_i].line;
    int status = smtp_command_parse(line, strlen(line), &c, &err);

    ck_assert_int_eq(c.verb, cases[_i].verb);
    if (status != 0) {
        snprintf(got, sizeof got, "!%s", err.text);
    } else {
        int n = snprintf(got, sizeof got, "%s|%s", c.argument, c.path);
        if (c.address == NULL)
            n += snprintf(got + n, sizeof got - (size_t)n, "!%s", c.fault);
        else if (strcmp(c.address, c.path) != 0)
            n += snprintf(got + n, sizeof got - (size_t)n, "=%s", c.address);
        got[n++] = '|';
        got[n] = '\0';
        for (size_t i = 0; i < c.word_count; i++)
            n += snprintf(got + n, sizeof got - (size_t)n, "%s%s", i == 0 ? "" : ",", c.words[i]);
        ck_assert_ptr_null(c.words[c.word_count]);
    }
    ck_assert_str_eq(got, cases[_i].what);
}
END_TEST

START_TEST(test_nul_is_refused)
{
    struct smtp_command c;
    struct err err = {0};

    ck_assert_int_eq(smtp_command_parse("NOOP\0", 5, &c, &err), -1);
    ck_assert_str_eq(err.text, "control character in a command");
}
END_TEST

START_TEST(test_length_limit)
{
    static char line[SMTP_COMMAND_LINE_MAX];
    struct smtp_command c;
    struct err err = {0};

    memset(line, 'x', sizeof line);
    memcpy(line, "NOOP ", 5);
    ck_assert_int_eq(smtp_command_parse(line, sizeof line - 1, &c, &err), 0);
    ck_assert_uint_eq(strlen(c.argument), sizeof line - 6);
    ck_assert_int_eq(smtp_command_parse(line, sizeof line, &c, &err), -1);
    ck_assert_str_eq(err.text, "line too long");
}
END_TEST

START_TEST(test_word)
{
    const char *value = NULL;

    ck_assert(smtp_command_word("SIZE=12", "SIZE", &value));
    ck_assert_str_eq(value, "12");
    ck_assert(smtp_command_word("size=", "SIZE", &value));
    ck_assert_str_eq(value, "");
    ck_assert(smtp_command_word("smtputf8", "SMTPUTF8", &value));
    ck_assert_str_eq(value, "");
    ck_assert(smtp_command_word("ORCPT=rfc822;a=b", "ORCPT", &value));
    ck_assert_str_eq(value, "rfc822;a=b");
    ck_assert(!smtp_command_word("SIZEX=1", "SIZE", &value));
    ck_assert(!smtp_command_word("SIZ", "SIZE", &value));
    ck_assert(!smtp_command_word("", "SIZE", &value));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("smtp_command");

    tcase_add_loop_test(tc, test_lines, 0, UNIT_COUNT(cases));
    tcase_add_test(tc, test_nul_is_refused);
    tcase_add_test(tc, test_length_limit);
    tcase_add_test(tc, test_word);
    return unit_run("smtp_command", tc);
}
