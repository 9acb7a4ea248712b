/* SPDX-License-Identifier: ISC */
#include "net/sasl.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct sasl *new_sasl(void)
{
    struct err err;
    struct sasl *s = sasl_new("tim", "tanstaaftanstaaf", &err);

    if (s == NULL)
        ck_abort_msg("%s", err.text);
    return s;
}

/* RFC 4616 section 4, without an authorization identity; LOGIN has no RFC. */
static const struct {
    const char *mechanism;
    const char *steps[4][2]; /* challenge, answer */
} exchanges[] = {
    {"PLAIN", {{"", "AHRpbQB0YW5zdGFhZnRhbnN0YWFm"}}},
    {"LOGIN", {{"VXNlcm5hbWU6", "dGlt"}, {"UGFzc3dvcmQ6", "dGFuc3RhYWZ0YW5zdGFhZg=="}}},
};

START_TEST(what_is_said)
{
    struct sasl *s = new_sasl();
    struct err err;
    struct buf out = {0};
    struct sasl_exchange *x = sasl_begin(s, exchanges[_i].mechanism, &err);

    ck_assert_ptr_nonnull(x);
    for (size_t i = 0; exchanges[_i].steps[i][0] != NULL; i++) {
        ck_assert(!sasl_is_complete(x));
        ck_assert_int_eq(sasl_step(x, exchanges[_i].steps[i][0], &out, &err), 0);
        ck_assert_str_eq(buf_str(&out), exchanges[_i].steps[i][1]);
    }
    ck_assert(sasl_is_complete(x));
    ck_assert_int_eq(sasl_step(x, "", &out, &err), -1);
    ck_assert_int_eq(sasl_begins(exchanges[_i].mechanism), exchanges[_i].steps[0][0][0] == '\0');
    sasl_end(x);
    sasl_free(s);
    buf_clear(&out);
}
END_TEST

/* A nonce that does not begin with the client's, an error of the server, text that is no base64,
 * text that is no SCRAM message, and an empty challenge. */
START_TEST(scram_challenges_that_are_refused)
{
    static const char *const challenges[] = {
        "cj1vdGhlcixzPVczSW1ZMlk9LGk9NDA5Ng==", "ZT1vdGhlci1lcnJvcg==", "not base64!", "AAAA", ""};
    struct sasl *s = new_sasl();
    struct err err;
    struct buf out = {0};
    struct sasl_exchange *x = sasl_begin(s, "SCRAM-SHA-256", &err);

    ck_assert_int_eq(sasl_step(x, "", &out, &err), 0);
    ck_assert(strncmp(buf_str(&out), "biwsbj10aW0scj", 14) == 0); /* n,,n=tim,r= */
    ck_assert_int_eq(sasl_step(x, challenges[_i], &out, &err), -1);
    ck_assert(err.text[0] != '\0' && !sasl_is_complete(x));
    sasl_end(x);
    sasl_free(s);
    buf_clear(&out);
}
END_TEST

static const struct {
    const char *text;
    const char *plain; /* the answer of PLAIN; NULL: refused */
} files[] = {
    {"tanstaaftanstaaf", "AHRpbQB0YW5zdGFhZnRhbnN0YWFm"},
    {"tanstaaftanstaaf\r\nmore\n", "AHRpbQB0YW5zdGFhZnRhbnN0YWFm"},
    {"a b ", "AHRpbQBhIGIg"},
    {"", NULL},
    {"\nx\n", NULL},
    {"a\tb\n", NULL},
    {"\xff\n", NULL},
};

START_TEST(password_files)
{
    char path[] = "/tmp/test_sasl.XXXXXX";
    int fd = mkstemp(path);
    struct err err;
    struct buf out = {0};

    ck_assert_int_eq(write(fd, files[_i].text, strlen(files[_i].text)),
                     (ssize_t)strlen(files[_i].text));
    close(fd);
    struct sasl *s = sasl_open("tim", path, &err);
    unlink(path);
    ck_assert_int_eq(s == NULL, files[_i].plain == NULL);
    if (s != NULL) {
        struct sasl_exchange *x = sasl_begin(s, "PLAIN", &err);
        ck_assert_int_eq(sasl_step(x, "", &out, &err), 0);
        ck_assert_str_eq(buf_str(&out), files[_i].plain);
        sasl_end(x);
        sasl_free(s);
    }
    buf_clear(&out);
    ck_assert_ptr_null(sasl_open("tim", path, &err)); /* the file does not exist any more */
    ck_assert_ptr_null(sasl_open("tim", "/tmp", &err));
}
END_TEST

START_TEST(length_of_a_password)
{
    char path[] = "/tmp/test_sasl.XXXXXX", text[SASL_PASSWORD_MAX + 3];
    struct err err;
    struct sasl *s;

    memset(text, 'x', sizeof text);
    close(mkstemp(path));
    for (size_t len = SASL_PASSWORD_MAX; len <= SASL_PASSWORD_MAX + 2; len++) {
        FILE *f = fopen(path, "w");
        ck_assert_ptr_nonnull(f);
        ck_assert_uint_eq(fwrite(text, 1, len, f), len);
        ck_assert_int_eq(fclose(f), 0);
        s = sasl_open("tim", path, &err);
        ck_assert_int_eq(s != NULL, len == SASL_PASSWORD_MAX);
        sasl_free(s);
    }
    unlink(path);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("sasl");

    tcase_add_loop_test(t, what_is_said, 0, (int)UNIT_COUNT(exchanges));
    tcase_add_loop_test(t, scram_challenges_that_are_refused, 0, 5);
    tcase_add_loop_test(t, password_files, 0, (int)UNIT_COUNT(files));
    tcase_add_test(t, length_of_a_password);
    return unit_run("sasl", t);
}
