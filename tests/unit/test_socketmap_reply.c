/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "table/socketmap_reply.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

/* answer: "=VALUE"; "-": not found; "!" and a part of the reason; "?": the reply is not complete.
 * The input cannot contain a NUL. */
static const struct {
    const char *input, *answer;
} cases[] = {
    {"8:OK value,", "=value"},
    {"3:OK ,", "="},
    {"2:OK,", "-"},
    {"9:OK  value,", "= value"},
    {"10:OK a, b: c,", "=a, b: c"},
    {"0000000000000000008:OK value,", "=value"},
    {"9:NOTFOUND ,", "-"},
    {"8:NOTFOUND,", "-"},
    {"11:NOTFOUND no,", "-"},
    {"9:TEMP busy,", "!the server answered \"TEMP busy\""},
    {"12:TIMEOUT slow,", "!TIMEOUT slow"},
    {"7:PERM no,", "!PERM no"},
    {"0:,", "!the server answered \"\""},
    {"7:OKvalue,", "!OKvalue"},
    {"8:ok value,", "!ok value"},
    {"10:NOTFOUND's,", "!NOTFOUND's"},
    {"4:OK \xff,", "!is not UTF-8"},
    {"5:OK \xc3\xbc,", "=\xc3\xbc"},
    /* not a netstring */
    {":OK,", "!bad length"},
    {"-1:OK,", "!bad length"},
    {" 2:OK,", "!bad length"},
    {"2 :OK,", "!bad length"},
    {"0x2:OK,", "!bad length"},
    {"\n", "!bad length"},
    {"OK value", "!bad length"},
    {"8:OK value;", "!no comma"},
    {"7:OK value,", "!no comma"},
    {"9:OK value,,", "=value,"},
    {"100001:", "!too long"},
    {"99999999999999999999999999999999999999:", "!too long"},
    {"000000000000000000000:", "!too long"},
    /* not complete */
    {"", "?"},
    {"8", "?"},
    {"8:", "?"},
    {"8:OK value", "?"},
    {"100000:OK", "?"},
};

/* The answer, as above, for bytes that come in pieces of `step`. The caller frees it. */
static char *answer_to(const char *input, size_t size, size_t step)
{
    struct socketmap_reply r = {0};
    struct err err = {""};
    const char *value = "";
    char *answer = NULL;
    size_t used = 0;

    for (size_t at = 0; at < size && !r.is_complete && answer == NULL; at += used) {
        size_t len = step < size - at ? step : size - at;
        if (socketmap_reply_add(&r, input + at, len, &used, &err) != 0)
            answer = mem_printf("!%s", err.text);
        else
            ck_assert(r.is_complete ? used <= len : used == len);
    }
    if (answer == NULL && !r.is_complete)
        answer = mem_strdup("?");
    if (answer == NULL) {
        switch (socketmap_reply_answer(&r, &value, &err)) {
        case SOCKETMAP_FOUND:
            answer = mem_printf("=%s", value);
            break;
        case SOCKETMAP_NOT_FOUND:
            answer = mem_strdup("-");
            break;
        case SOCKETMAP_FAILED:
            answer = mem_printf("!%s", err.text);
            break;
        }
    }
    socketmap_reply_clear(&r);
    return answer;
}

START_TEST(replies_in_pieces_of_any_size)
{
    for (size_t step = 1; step < 16; step++) {
        size_t len = strlen(cases[_i].input);
        char *got = answer_to(cases[_i].input, len, step);
        const char *want = cases[_i].answer;
        bool is_right = want[0] == '!' ? got[0] == '!' && strstr(got, want + 1) != NULL
                                       : strcmp(got, want) == 0;
        ck_assert_msg(is_right, "%s in pieces of %zu: %s", cases[_i].input, step, got);
        free(got);
    }
}
END_TEST

START_TEST(what_comes_behind_belongs_to_the_next)
{
    static const char two[] = "4:OK a,4:OK b,";
    struct socketmap_reply r = {0};
    struct err err;
    const char *value;
    size_t used, at = 0;

    for (const char *want = "ab"; *want != '\0'; want++) {
        ck_assert_int_eq(socketmap_reply_add(&r, two + at, sizeof two - 1 - at, &used, &err), 0);
        ck_assert(r.is_complete);
        ck_assert_uint_eq(used, 7);
        ck_assert_int_eq(socketmap_reply_answer(&r, &value, &err), SOCKETMAP_FOUND);
        ck_assert_int_eq(value[0], *want);
        socketmap_reply_reset(&r);
        at += used;
    }
    socketmap_reply_clear(&r);
}
END_TEST

START_TEST(a_value_ends_at_its_nul)
{
    char *got = answer_to("7:OK a\0bc,", 10, 3);

    ck_assert_str_eq(got, "=a");
    free(got);
}
END_TEST

START_TEST(the_largest_is_taken)
{
    struct buf all = {0};

    buf_addf(&all, "%d:OK ", SOCKETMAP_REPLY_MAX);
    size_t head = all.len;
    for (size_t i = 3; i < SOCKETMAP_REPLY_MAX; i++)
        buf_add(&all, "v", 1);
    buf_adds(&all, ",");
    char *got = answer_to(all.data, all.len, 1000);
    ck_assert_uint_eq(strlen(got), all.len - head);
    ck_assert_int_eq(got[0], '=');
    free(got);
    buf_clear(&all);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("socketmap_reply");

    tcase_add_loop_test(tests, replies_in_pieces_of_any_size, 0, (int)UNIT_COUNT(cases));
    tcase_add_test(tests, what_comes_behind_belongs_to_the_next);
    tcase_add_test(tests, a_value_ends_at_its_nul);
    tcase_add_test(tests, the_largest_is_taken);
    return unit_run("socketmap_reply", tests);
}
