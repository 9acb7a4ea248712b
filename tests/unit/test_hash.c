/* SPDX-License-Identifier: ISC */
#include "base/hash.h"
#include "unit.h"

#include <stdio.h>

/* Values of draft-eastlake-fnv. */
START_TEST(fnv1a_gives_published_values)
{
    ck_assert_uint_eq(hash_fnv1a_32(HASH_FNV1A_32_START, "", 0), 0x811c9dc5);
    ck_assert_uint_eq(hash_fnv1a_32(HASH_FNV1A_32_START, "a", 1), 0xe40c292c);
    ck_assert_uint_eq(hash_fnv1a_32(HASH_FNV1A_32_START, "foobar", 6), 0xbf9cf968);
    ck_assert_uint_eq(hash_fnv1a_32(hash_fnv1a_32(HASH_FNV1A_32_START, "foo", 3), "bar", 3),
                      0xbf9cf968);
    ck_assert(hash_fnv1a_64("") == 0xcbf29ce484222325);
    ck_assert(hash_fnv1a_64("a") == 0xaf63dc4c8601ec8c);
    ck_assert(hash_fnv1a_64("foobar") == 0x85944171f73967e8);
}
END_TEST

/* Values from the authors' vectors.h. The key is 00 to 0f, and the text is 00 to length - 1. */
static const struct {
    size_t len;
    uint64_t expect;
} vectors[] = {
    {0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd},  {7, 0xab0200f58b01d137},
    {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5},
};

START_TEST(siphash_gives_published_values)
{
    static const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    unsigned char text[16];

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (unsigned char)i;
    ck_assert(hash_siphash(key, text, vectors[_i].len) == vectors[_i].expect);
}
END_TEST

START_TEST(a_process_has_one_key)
{
    char copy[] = "user@example.com";

    ck_assert(hash_untrusted("user@example.com") == hash_untrusted(copy));
    ck_assert(hash_untrusted("user@example.com") != hash_untrusted("user@example.org"));
}
END_TEST

enum { SLOTS = 64, KEYS = 6400 };

/* The highest number of keys in one slot, if slots are chosen by these bits of the hash. */
static unsigned fullest(uint64_t (*hash)(const char *text), unsigned shift)
{
    unsigned slots[SLOTS] = {0}, most = 0;
    char key[32];

    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "user%u@example.com", i);
        unsigned n = ++slots[hash(key) >> shift & (SLOTS - 1)];
        most = n > most ? n : most;
    }
    return most;
}

START_TEST(keys_are_spread)
{
    ck_assert_uint_lt(fullest(hash_string, 0), 2 * KEYS / SLOTS);
    ck_assert_uint_lt(fullest(hash_string, 32), 2 * KEYS / SLOTS);
    ck_assert_uint_lt(fullest(hash_untrusted, 0), 2 * KEYS / SLOTS);
    ck_assert_uint_lt(fullest(hash_untrusted, 32), 2 * KEYS / SLOTS);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("hash");

    tcase_add_test(tests, fnv1a_gives_published_values);
    tcase_add_loop_test(tests, siphash_gives_published_values, 0, UNIT_COUNT(vectors));
    tcase_add_test(tests, a_process_has_one_key);
    tcase_add_test(tests, keys_are_spread);
    return unit_run("hash", tests);
}
