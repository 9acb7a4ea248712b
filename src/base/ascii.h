/* SPDX-License-Identifier: ISC */
/*
 * ascii: classes of characters and comparisons without case, as mail protocols and configuration
 * files define them: for ASCII alone, in any locale. Bytes from 0x80 on are in no class and equal
 * only themselves. Pure functions; any thread.
 */
#ifndef SPLIT_ASCII_H
#define SPLIT_ASCII_H

#include <stdbool.h>
#include <stddef.h>

/* "0" to "9" */
static inline bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "A" to "Z", "a" to "z" */
static inline bool ascii_is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* A letter or a digit. */
static inline bool ascii_is_alnum(char c)
{
    return ascii_is_letter(c) || ascii_is_digit(c);
}

/* Printable, and neither a letter, a digit nor a space. */
static inline bool ascii_is_punctuation(char c)
{
    return c > ' ' && c < 0x7f && !ascii_is_alnum(c);
}

/* A letter in lower case; any other character as it is. */
static inline char ascii_to_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* A letter in upper case; any other character as it is. */
static inline char ascii_to_upper(char c)
{
    return (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
}

/* The value of a hexadecimal digit in either case, 0 to 15; -1 for any other character. */
int ascii_hex_value(char c);

/* Are two strings equal without case? */
bool ascii_equal(const char *a, const char *b) __attribute__((nonnull));

/* Are the first len characters of two strings equal without case? If a string is shorter, its NUL
 * is compared as well, as strncasecmp(3) does. */
bool ascii_equal_n(const char *a, const char *b, size_t len) __attribute__((nonnull));

#endif
