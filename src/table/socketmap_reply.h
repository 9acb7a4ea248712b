/* SPDX-License-Identifier: ISC */
/*
 * socketmap_reply: the parser of replies of a socketmap server (socketmap_table(5)). It takes bytes
 * as they arrive and is independent of sockets. One thread.
 *
 *   netstring = length ":" bytes ","
 *   bytes     = "OK" SP value / "NOTFOUND" SP / ( "TEMP" / "TIMEOUT" / "PERM" ) SP reason
 */
#ifndef SPLIT_SOCKETMAP_REPLY_H
#define SPLIT_SOCKETMAP_REPLY_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define SOCKETMAP_REPLY_MAX 100000 /* bytes; Postfix has the same limit */

struct socketmap_reply {
    struct buf text; /* the bytes that were received so far */
    size_t length;   /* the length that the netstring begins with */
    unsigned digits; /* digits of the length that were read so far */
    bool has_length, is_complete;
};

/* A struct socketmap_reply that is all zeros is empty. _reset() empties it for the next reply,
 * _clear() frees its memory. */
void socketmap_reply_reset(struct socketmap_reply *r) __attribute__((nonnull));
void socketmap_reply_clear(struct socketmap_reply *r) __attribute__((nonnull));

/*
 * Add the next bytes to a reply that is not complete. *used_out: how many of these bytes belong to
 * the reply; fewer than len only if further bytes follow its end. -1 with `err`: the bytes are no
 * netstring, or one of more than SOCKETMAP_REPLY_MAX bytes; the caller has to reset `r`.
 */
int socketmap_reply_add(struct socketmap_reply *r, const char *data, size_t len, size_t *used_out,
                        struct err *err) __attribute__((nonnull, warn_unused_result));

enum socketmap_answer {
    SOCKETMAP_FOUND,
    SOCKETMAP_NOT_FOUND,
    SOCKETMAP_FAILED, /* the server reports a fault, or the value is no UTF-8; see `err` */
};

/* The answer in a complete reply, read up to its first NUL. With SOCKETMAP_FOUND *value_out is the
 * value, borrowed and valid UTF-8. */
enum socketmap_answer socketmap_reply_answer(const struct socketmap_reply *r,
                                             const char **value_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
