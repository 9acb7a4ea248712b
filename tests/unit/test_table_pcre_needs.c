/* SPDX-License-Identifier: ISC */
/* The text that a pattern needs: every text that the pattern matches contains it, and it is long
 * enough to be useful. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "table/table_pcre_needs.h"
#include "unit.h"

#include <pcre2.h>

#include <stdio.h>
#include <string.h>

/* run: the text that every match contains; "" if none is known. */
static const struct {
    const char *regex, *run;
} cases[] = {
    {"abc", "abc"},
    {"^abc$", "abc"},
    {"ABC", "abc"},
    {"a\\.b\\@c", "a.b@c"},
    {"^user123@example\\.com$", "user123@example.com"},
    {".*@example\\.com", "@example.com"},
    {"[a-z]+@example\\.com", "@example.com"},
    {"[^]x]@example", "@example"},
    {"[]x]@example", "@example"},
    {"[\\w.-]+@example", "@example"},
    {"(foo|bar)@example", "@example"},
    {"(?:foo|bar)@example", "@example"},
    {"((a|b)c|d)+@example", "@example"},
    {"\\d+@example", "@example"},
    {"colou?r", "colo"},
    {"ab*cde", "cde"},
    {"abcd{0,2}", "abc"},
    {"abcd+", "abcd"},
    {"abc(?i)def", "ab"},
    {"abc\\x41", "ab"},
    {"abc(?=x)def", "ab"},
    {"abc(*ACCEPT)def", "ab"},
    {"abc\\E?", "ab"},
    {"abc(?#x)?", "ab"},
    /* nothing */
    {"", ""},
    {"abc|def", ""},
    {"abc(?=x)|def", ""},
    {"(?i)abc|d", ""},
    {"(*ACCEPT)abc", ""},
    {"(a(*ACCEPT)b)cde", ""},
    {"(?#(((()abc", ""},
    {"[[:alpha:]]abc", ""},
    {"\\Qa.c\\E", ""},
    {"\\x41bc", ""},
    {"\\cabc", ""},
    {"a?b?c?", ""},
    {"a{0}b{0}", ""},
};

START_TEST(needs_are_those_of_the_run)
{
    const char *run = cases[_i].run;
    struct rule_needs got = table_pcre_needs(cases[_i].regex, false);
    struct rule_needs want = table_pcre_has(run, strlen(run));

    ck_assert_msg(got.pairs == want.pairs && got.triples == want.triples, "%s: not \"%s\"",
                  cases[_i].regex, run);
}
END_TEST

START_TEST(white_space_that_means_nothing)
{
    struct rule_needs needs = table_pcre_needs("a b c", true);

    ck_assert(needs.pairs == 0 && needs.triples == 0);
    needs = table_pcre_needs("a b c", false);
    ck_assert(needs.pairs == table_pcre_has("a b c", 5).pairs);
}
END_TEST

/* The same numbers each time. */
static unsigned next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*state >> 33);
}

static void random_text(uint64_t *state, const char *const *parts, size_t count, char *out,
                        size_t size)
{
    size_t pieces = 1 + next_random(state) % 8;

    out[0] = '\0';
    for (size_t i = 0; i < pieces && strlen(out) + 16 < size; i++)
        strcat(out, parts[next_random(state) % count]);
}

/* Every text that pcre2 matches contains the text that the pattern needs. Otherwise the table would
 * miss a match. */
START_TEST(no_match_is_lost)
{
    static const char *const parts[] = {
        "a",         "b",     "ab",   "A",           "\\.",   ".",     ".*",    "x?",   "b+",
        "b*",        "(",     ")",    "(?:",         "|",     "[ab]",  "[^a]",  "[]a]", "^",
        "$",         "{0,1}", "{2}",  "{",           "}",     "\\d",   "\\w",   "\\b",  "\\x61",
        "\\Q",       "\\E",   "(?i)", "(?=a",        "(?!b",  "(?#",   "\\(",   "\\)",  "\\[",
        "[",         "]",     "\\\\", "\\K",         "\\1",   "[\\w]", "(?<n>", "(?|",  "1",
        "(*ACCEPT)", "(*F)",  "-",    "[[:alpha:]]", "[\\]a]"};
    static const char *const letters[] = {"a", "b",  "ab", "x", ".", "1", "A", "B",   "(", "[",
                                          "]", "\\", "-",  "{", "}", "Q", "E", "aab", "^", "$"};
    uint64_t state = 2026;
    unsigned compiled = 0, matched = 0, useful = 0;
    pcre2_match_data *data = pcre2_match_data_create(20, NULL);

    for (unsigned round = 0; round < 200000; round++) {
        char regex[128], text[64];
        PCRE2_SIZE offset;
        int error;
        random_text(&state, parts, UNIT_COUNT(parts), regex, sizeof regex);
        pcre2_code *code = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED,
                                         PCRE2_CASELESS | PCRE2_DOTALL, &error, &offset, NULL);
        if (code == NULL)
            continue;
        compiled++;
        struct rule_needs needs = table_pcre_needs(regex, false);
        useful += needs.pairs != 0;
        for (unsigned i = 0; i < 8; i++) {
            random_text(&state, letters, UNIT_COUNT(letters), text, sizeof text);
            size_t len = strlen(text);
            struct rule_needs has = table_pcre_has(text, len);
            if (pcre2_match(code, (PCRE2_SPTR)text, len, 0, 0, data, NULL) < 0)
                continue;
            matched++;
            ck_assert_msg((needs.pairs & ~has.pairs) == 0 && (needs.triples & ~has.triples) == 0,
                          "/%s/ matches \"%s\"", regex, text);
        }
        pcre2_code_free(code);
    }
    pcre2_match_data_free(data);
    ck_assert_uint_gt(compiled, 20000);
    ck_assert_uint_gt(matched, 20000);
    ck_assert_uint_gt(useful, 5000);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("table_pcre_needs");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, needs_are_those_of_the_run, 0, (int)UNIT_COUNT(cases));
    tcase_add_test(tests, white_space_that_means_nothing);
    tcase_add_test(tests, no_match_is_lost);
    return unit_run("table_pcre_needs", tests);
}
