/* SPDX-License-Identifier: ISC */
/*
 * buf: the one growable byte buffer. Its data always ends with a NUL that is not counted in len, so
 * that data without NUL bytes is a string. buf_init() and buf_clear() pair up; a buffer that is all
 * zero is initialised. Not shared between threads.
 */
#ifndef SPLIT_BUF_H
#define SPLIT_BUF_H

#include <stdarg.h>
#include <stddef.h>

struct buf {
    char *data; /* NULL as long as nothing was added; use buf_str() to read as string */
    size_t len;
    size_t cap;
};

/* An empty buffer without memory. */
void buf_init(struct buf *b) __attribute__((nonnull));

/* Release the memory; the buffer is as after buf_init(). */
void buf_clear(struct buf *b) __attribute__((nonnull));

/* Empty the buffer, and keep its memory. */
void buf_reset(struct buf *b) __attribute__((nonnull));

/* Append bytes (data may be NULL if len is 0), a string, a character, or text formatted as by
 * printf(3). */
void buf_add(struct buf *b, const void *data, size_t len) __attribute__((nonnull(1)));
void buf_adds(struct buf *b, const char *s) __attribute__((nonnull));
void buf_addc(struct buf *b, char c) __attribute__((nonnull));
void buf_addf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull(1, 2)));
void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0), nonnull(1, 2)));

/* Make room behind the content for `more` further bytes and a NUL. Returns the address of this
 * room. The caller writes the bytes there, adds their number to len, and sets data[len] to NUL. */
char *buf_reserve(struct buf *b, size_t more) __attribute__((nonnull, returns_nonnull));

/* Remove the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n) __attribute__((nonnull));

/* Cut to len bytes (len <= present length). */
void buf_truncate(struct buf *b, size_t len) __attribute__((nonnull));

/* Replace each `from`, which is not empty, by `to`. The content is a string. */
void buf_replace(struct buf *b, const char *from, const char *to) __attribute__((nonnull));

/* The content as a string, valid until the next change; "" when empty. Never NULL. */
const char *buf_str(const struct buf *b) __attribute__((nonnull, returns_nonnull));

/* The content as a string for the caller to free(); the buffer is empty afterwards. */
char *buf_take(struct buf *b) __attribute__((nonnull, returns_nonnull, warn_unused_result));

#endif
