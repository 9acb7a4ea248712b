/* SPDX-License-Identifier: ISC */
/*
 * mem: allocation that cannot fail, and strings that must fit. Without memory the process ends with
 * a message (abort). Every size that a remote party controls is capped before it is allocated here,
 * so no remote party can cause that; a message that was not answered with 250 is still in the MTA's
 * queue. Any thread. Everything returned is released with free().
 */
#ifndef SPLIT_MEM_H
#define SPLIT_MEM_H

#include <stddef.h>

/* size bytes, set to zero; size may be 0. */
void *mem_zalloc(size_t size) __attribute__((warn_unused_result, returns_nonnull));

/* Like realloc(p, count * size), with the multiplication checked. New bytes are not set. */
void *mem_grow(void *p, size_t count, size_t size)
    __attribute__((warn_unused_result, returns_nonnull));

/* A copy of a string. */
char *mem_strdup(const char *s) __attribute__((warn_unused_result, returns_nonnull, nonnull));

/* The first len bytes of s as a string. */
char *mem_strndup(const char *s, size_t len)
    __attribute__((warn_unused_result, returns_nonnull, nonnull));

/* Copy s to out, an array of `size` bytes. The caller checks the length of a string that may be too
 * long. One that does not fit is a bug and ends the process with a message (abort). */
void mem_copy_string(char *out, size_t size, const char *s) __attribute__((nonnull));

/* Formatted text as a string. */
char *mem_printf(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), warn_unused_result, returns_nonnull, nonnull));

#endif
