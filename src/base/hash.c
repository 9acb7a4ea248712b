/* SPDX-License-Identifier: ISC */
#include "base/hash.h"
#include "base/clock.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

uint32_t hash_fnv1a_32(uint32_t start, const void *data, size_t len)
{
    uint32_t h = start;

    for (const unsigned char *p = data; len > 0; p++, len--)
        h = (h ^ *p) * 0x01000193U;
    return h;
}

uint64_t hash_fnv1a_64(const char *text)
{
    uint64_t h = 0xcbf29ce484222325U;

    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        h = (h ^ *p) * 0x100000001b3U;
    return h;
}

uint64_t hash_string(const char *text)
{
    uint64_t h = hash_fnv1a_64(text);

    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15U;
    return h ^ h >> 29;
}

static uint64_t rotate_left(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_rounds(uint64_t v[4], unsigned count)
{
    for (; count > 0; count--) {
        v[0] += v[1];
        v[1] = rotate_left(v[1], 13) ^ v[0];
        v[0] = rotate_left(v[0], 32);
        v[2] += v[3];
        v[3] = rotate_left(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate_left(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate_left(v[1], 17) ^ v[2];
        v[2] = rotate_left(v[2], 32);
    }
}

/* Up to 8 bytes as a little-endian number. */
static uint64_t load(const unsigned char *p, size_t len)
{
    uint64_t word = 0;

    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)p[i] << (8 * i);
    return word;
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_rounds(v, 2);
    v[0] ^= word;
}

uint64_t hash_siphash(const uint64_t key[2], const void *data, size_t len)
{
    const unsigned char *p = data;
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575U, key[1] ^ 0x646f72616e646f6dU,
                     key[0] ^ 0x6c7967656e657261U, key[1] ^ 0x7465646279746573U};
    size_t rest = len % 8;

    for (const unsigned char *end = p + (len - rest); p < end; p += 8)
        sip_word(v, load(p, 8));
    sip_word(v, (uint64_t)len << 56 | load(p, rest));
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint64_t process_key[2];

static void choose_key(void)
{
    /* Without random numbers from the kernel the key is hard, but not impossible, to guess. */
    if (getentropy(process_key, sizeof process_key) != 0) {
        process_key[0] = (uint64_t)clock_realtime_us();
        process_key[1] = (uint64_t)clock_now_us() << 16 ^ (uint64_t)getpid();
    }
}

uint64_t hash_untrusted_bytes(const void *data, size_t len)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, choose_key);
    return hash_siphash(process_key, data, len);
}

uint64_t hash_untrusted(const char *text)
{
    return hash_untrusted_bytes(text, strlen(text));
}
