/* SPDX-License-Identifier: ISC */
/*
 * mem: allocation that cannot fail, and strings that must fit. Without memory the process ends with
 * a message (abort). A remote party cannot cause this, because every size that it controls is
 * capped before it is allocated here. Nor is mail lost: a message that was not answered with 250 is
 * still in the MTA's queue. Any thread. Everything returned is released with free().
 */
#ifndef SPLIT_MEM_H
#define SPLIT_MEM_H

#include <stddef.h>

/* size bytes, set to zero; size may be 0. */
void *mem_zalloc(size_t size) __attribute__((warn_unused_result, returns_nonnull));

/* As realloc(p, count * size), but a product that overflows ends the process, too. New bytes are
 * not set. */
void *mem_grow(void *p, size_t count, size_t size)
    __attribute__((warn_unused_result, returns_nonnull));

/* A copy of a string. */
char *mem_strdup(const char *s) __attribute__((warn_unused_result, returns_nonnull, nonnull));

/* The first len bytes of s, or fewer if a NUL comes before, as a string. */
char *mem_strndup(const char *s, size_t len)
    __attribute__((warn_unused_result, returns_nonnull, nonnull));

/* Copy s to out, an array of `size` bytes. A string that does not fit is a bug, and ends the
 * process with a message (abort). So the caller first checks the length of a string that may be too
 * long. */
void mem_copy_string(char *out, size_t size, const char *s) __attribute__((nonnull));

/* Text formatted as by printf(3), as a string. */
char *mem_printf(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), warn_unused_result, returns_nonnull, nonnull));

#endif
