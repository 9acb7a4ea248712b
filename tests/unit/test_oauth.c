/* SPDX-License-Identifier: ISC */
#include "base/base64.h"
#include "net/oauth.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RFC_TOKEN "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="

static const struct {
    const char *mechanism;
    struct oauth_client client;
    const char *token, *message;
} messages[] = {
    /* RFC 7628 section 4.1, and the same client at the port of submission */
    {"OAUTHBEARER",
     {"user@example.com", "server.example.com", 143},
     RFC_TOKEN,
     "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGO"
     "WRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"},
    {"OAUTHBEARER",
     {"user@example.com", "server.example.com", 587},
     RFC_TOKEN,
     "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHZGO"
     "WRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"},
    /* "n,a=a=2Cb=3Dc,^Aauth=Bearer t^A^A" */
    {"OAUTHBEARER", {"a,b=c", "", 0}, "t", "bixhPWE9MkNiPTNEYywBYXV0aD1CZWFyZXIgdAEB"},
    /* "Authenticate an IMAP, POP or SMTP connection using OAuth" of Microsoft */
    {"XOAUTH2",
     {"test@contoso.onmicrosoft.com", "smtp.office365.com", 587},
     "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA",
     "dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwY"
     "mpMQldaV0NjbFJDM0VvQUEBAQ=="},
    /* "OAuth 2.0 Mechanism" of Gmail */
    {"XOAUTH2",
     {"someuser@example.com", "", 0},
     "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg",
     "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZ"
     "G1semRHRXVZMjl0Q2cBAQ=="},
};

START_TEST(what_is_said)
{
    struct buf out = {0};

    buf_adds(&out, "replaced");
    oauth_respond(messages[_i].mechanism, &messages[_i].client, messages[_i].token, &out);
    ck_assert_str_eq(buf_str(&out), messages[_i].message);
    ck_assert(oauth_is_mechanism(messages[_i].mechanism));
    buf_clear(&out);
}
END_TEST

/* The longest message fits into a line of RFC 4954. */
START_TEST(longest_message)
{
    char user[256], host[254], token[OAUTH_TOKEN_MAX + 1];
    struct oauth_client client = {user, host, 65535};
    struct buf out = {0};

    memset(user, ',', sizeof user - 1);
    memset(host, 'h', sizeof host - 1);
    memset(token, 't', sizeof token - 1);
    user[sizeof user - 1] = host[sizeof host - 1] = token[sizeof token - 1] = '\0';
    oauth_respond("OAUTHBEARER", &client, token, &out);
    ck_assert_uint_le(out.len + 2, 12288);
    ck_assert_uint_gt(out.len, 12000);
    buf_clear(&out);
}
END_TEST

START_TEST(answers)
{
    ck_assert_str_eq(oauth_answer("OAUTHBEARER"), "AQ==");
    ck_assert_str_eq(oauth_answer("XOAUTH2"), "");
    ck_assert(!oauth_is_mechanism("PLAIN") && !oauth_is_mechanism("XOAUTH"));
}
END_TEST

#define FIFTY "12345678901234567890123456789012345678901234567890"

static const struct {
    const char *json, *text;
} explanations[] = {
    {"{\"status\":\"invalid_token\",\"scope\":\"example_scope\"}",
     "status invalid_token, scope example_scope"},
    {"{\"scope\":\"mail\",\"schemes\":\"bearer mac\",\"status\":\"401\"}",
     "status 401, scope mail"},
    {"{\"scope\":\"mail\"}", "scope mail"},
    {"{\"status\":\"400\",\"scope\":\"\"}", "status 400"},
    {"{\"status\":400}", ""},
    {"{}", ""},
    {"[\"status\"]", ""},
    {"{\"status\":\"400\"", ""},
    {"{\"status\":\"a\\r\\n\\u001b\\u00e9 b\"}", "status a????? b"},
    {"{\"status\":\"a\\u0000b\"}", ""},
    {"{\"status\":\"\xff\"}", ""},
    {"{\"status\":\"" FIFTY "x\",\"scope\":\"" FIFTY "y\"}", "status " FIFTY ", scope " FIFTY},
    {"{\"a\":[[[[[[[[[[[[[[]]]]]]]]]]]]]],\"status\":\"x\"}", "status x"},
    {"{\"a\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]],\"status\":\"x\"}", ""},
};

START_TEST(challenges)
{
    char out[OAUTH_EXPLANATION_SIZE] = "x";
    struct buf challenge = {0};

    base64_encode(explanations[_i].json, strlen(explanations[_i].json), &challenge);
    oauth_explain(buf_str(&challenge), out);
    ck_assert_str_eq(out, explanations[_i].text);
    buf_clear(&challenge);
}
END_TEST

START_TEST(challenge_of_the_rfc)
{
    char out[OAUTH_EXPLANATION_SIZE];

    /* RFC 7628 section 4.3 */
    oauth_explain(
        "eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NvcGUiOiJleGFtcGxlX3Njb3BlIiwib3BlbmlkLWNvbmZp"
        "Z3VyYXRpb24iOiJodHRwczovL2V4YW1wbGUuY29tLy53ZWxsLWtub3duL29wZW5pZC1jb25maWd1cmF0aW9u"
        "In0=",
        out);
    ck_assert_str_eq(out, "status invalid_token, scope example_scope");
    oauth_explain("", out);
    ck_assert_str_eq(out, "");
    oauth_explain("no base64", out);
    ck_assert_str_eq(out, "");
}
END_TEST

static const struct {
    const char *text;
    size_t len;
    const char *token; /* NULL: refused */
    const char *error;
} files[] = {
    {"abc", 3, "abc", NULL},
    {RFC_TOKEN "\n", sizeof RFC_TOKEN, RFC_TOKEN, NULL},
    {"abc\r\n", 5, "abc", NULL},
    {"", 0, NULL, "is empty"},
    {"\n", 1, NULL, "is no token"},
    {"abc\n\n", 5, NULL, "is no token"},
    {"abc\ndef", 7, NULL, "is no token"},
    {"abc\nX: y\n", 9, NULL, "is no token"},
    {"abc\r", 4, NULL, "is no token"},
    {"a bc", 4, NULL, "is no token"},
    {" abc", 4, NULL, "is no token"},
    {"a\tb", 3, NULL, "is no token"},
    {"a\001auth=x", 8, NULL, "is no token"},
    {"a\0b", 3, NULL, "is no token"},
    {"abc\0", 4, NULL, "is no token"},
    {"a\x7f", 2, NULL, "is no token"},
    {"a\xc3\xa9", 3, NULL, "is no token"},
    {"{\"access_token\":\"abc\",\"refresh_token\":\"def\"}", 44, NULL, "is no token"},
};

static int read_text(const char *text, size_t len, struct buf *out, struct err *err)
{
    char path[] = "/tmp/test_oauth.XXXXXX";
    int fd = mkstemp(path);

    ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
    close(fd);
    int result = oauth_read_token(path, out, err);
    ck_assert_int_eq(unlink(path), 0);
    return result;
}

START_TEST(token_files)
{
    struct buf out = {0};
    struct err err;

    int result = read_text(files[_i].text, files[_i].len, &out, &err);
    if (files[_i].token != NULL) {
        ck_assert_int_eq(result, 0);
        ck_assert_str_eq(buf_str(&out), files[_i].token);
        ck_assert_uint_eq(out.len, strlen(files[_i].token));
    } else {
        ck_assert_int_eq(result, -1);
        ck_assert(strstr(err.text, files[_i].error) != NULL);
        ck_assert(strstr(err.text, "abc") == NULL && out.len == 0);
    }
    buf_clear(&out);
}
END_TEST

START_TEST(length_of_a_token)
{
    char text[OAUTH_TOKEN_MAX + 10];
    struct buf out = {0};
    struct err err;

    memset(text, 'x', sizeof text);
    ck_assert_int_eq(read_text(text, OAUTH_TOKEN_MAX, &out, &err), 0);
    ck_assert_uint_eq(out.len, OAUTH_TOKEN_MAX);
    for (size_t more = 1; more <= 9; more++)
        ck_assert_int_eq(read_text(text, OAUTH_TOKEN_MAX + more, &out, &err), -1);
    text[OAUTH_TOKEN_MAX] = '\r';
    text[OAUTH_TOKEN_MAX + 1] = '\n';
    ck_assert_int_eq(read_text(text, OAUTH_TOKEN_MAX + 2, &out, &err), 0);
    ck_assert_int_eq(read_text(text, OAUTH_TOKEN_MAX + 3, &out, &err), -1);
    ck_assert_int_eq(oauth_read_token("/nonexistent/token", &out, &err), -1);
    ck_assert_str_eq(err.text, "/nonexistent/token: No such file or directory");
    ck_assert_int_eq(oauth_read_token("/tmp", &out, &err), -1);
    ck_assert_str_eq(err.text, "/tmp: is no regular file");
    buf_clear(&out);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("oauth");

    tcase_add_loop_test(t, what_is_said, 0, (int)UNIT_COUNT(messages));
    tcase_add_test(t, longest_message);
    tcase_add_test(t, answers);
    tcase_add_loop_test(t, challenges, 0, (int)UNIT_COUNT(explanations));
    tcase_add_test(t, challenge_of_the_rfc);
    tcase_add_loop_test(t, token_files, 0, (int)UNIT_COUNT(files));
    tcase_add_test(t, length_of_a_token);
    return unit_run("oauth", t);
}
