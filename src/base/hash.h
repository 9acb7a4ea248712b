/* SPDX-License-Identifier: ISC */
/*
 * hash: hashes of strings. Hash tables use one of two: hash_string() for keys that the operator
 * chooses (names, keys of tables), hash_untrusted() for keys that come from outside (addresses of a
 * message). With hash_string() a sender can compute keys that all fall into one slot, so that each
 * look-up searches a long list; with hash_untrusted() the sender would have to know a random key.
 * Hashes that are stored, or fixed by the documentation, are FNV-1a. Pure functions; any thread.
 */
#ifndef SPLIT_HASH_H
#define SPLIT_HASH_H

#include <stddef.h>
#include <stdint.h>

/* FNV-1a of 32 bits (draft-eastlake-fnv) over len bytes. start: HASH_FNV1A_32_START, or the result
 * for the bytes before these. */
#define HASH_FNV1A_32_START 0x811c9dc5U
uint32_t hash_fnv1a_32(uint32_t start, const void *data, size_t len) __attribute__((nonnull));

/* FNV-1a of 64 bits over a string without its NUL. */
uint64_t hash_fnv1a_64(const char *text) __attribute__((nonnull));

/* For hash tables whose keys are trusted: hash_fnv1a_64() with all bits mixed, so that the upper
 * and the lower half may be used by themselves. */
uint64_t hash_string(const char *text) __attribute__((nonnull));

/* For hash tables whose keys come from outside: hash_siphash() of a string without its NUL, with a
 * key that is chosen at random once in each process, so the hash is never stored. */
uint64_t hash_untrusted(const char *text) __attribute__((nonnull));
/* The same for len bytes. */
uint64_t hash_untrusted_bytes(const void *data, size_t len) __attribute__((nonnull));

/* SipHash-2-4 of 64 bits (Aumasson and Bernstein 2012) over len bytes. */
uint64_t hash_siphash(const uint64_t key[2], const void *data, size_t len) __attribute__((nonnull));

#endif
