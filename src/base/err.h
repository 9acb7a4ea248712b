/* SPDX-License-Identifier: ISC */
/*
 * err: the reason of a failure, as text. Every function that can fail takes a `struct err *` as its
 * last argument (never NULL) and returns 0 / -1. The text is set where the fault is seen, with
 * path, peer and errno, and callers that know more wrap it. The text only explains a failure; the
 * return value or a flag reports it. A text that is not empty is no sign of a failure, because an
 * attempt that failed may have left it before another one succeeded. Owned by the caller, no
 * allocation. Any thread.
 */
#ifndef SPLIT_ERR_H
#define SPLIT_ERR_H

struct err {
    char text[1024]; /* "" as long as nothing was set; longer texts are cut */
};

/* Empty the text: before a retry, and where `err` may still have the text of an earlier call. */
void err_clear(struct err *err) __attribute__((nonnull));

/* Replace the text. */
void err_set(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3), nonnull));

/* Replace the text, followed by ": " and strerror(errno). Leaves errno as it was. */
void err_set_errno(struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull));

/* Put "<new text>: " before the present text. */
void err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3), nonnull));

#endif
