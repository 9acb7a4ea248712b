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

#define SOCKETMAP_REPLY_MAX 100000 /* bytes, as with Postfix */

struct socketmap_reply {
    struct buf text; /* the bytes as far as they came */
    size_t length;   /* announced */
    unsigned digits; /* of the length, that were read */
    bool has_length, is_complete;
};

/* A reply starts as zeros. _reset() prepares it for the next one, _clear() frees its memory. */
void socketmap_reply_reset(struct socketmap_reply *r) __attribute__((nonnull));
void socketmap_reply_clear(struct socketmap_reply *r) __attribute__((nonnull));

/*
 * The next bytes. *used_out: how many of them belong to this reply; all, unless it is complete
 * afterwards. -1 with `err`: no netstring, or one of more than SOCKETMAP_REPLY_MAX bytes; r is to
 * be reset. Not with a complete reply.
 */
int socketmap_reply_add(struct socketmap_reply *r, const char *data, size_t len, size_t *used_out,
                        struct err *err) __attribute__((nonnull, warn_unused_result));

enum socketmap_answer {
    SOCKETMAP_FOUND,
    SOCKETMAP_NOT_FOUND,
    SOCKETMAP_FAILED, /* `err` has the reason of the server */
};

/* The content of a complete reply, up to its first NUL; *value_out (borrowed, valid UTF-8) with
 * SOCKETMAP_FOUND. */
enum socketmap_answer socketmap_reply_answer(const struct socketmap_reply *r,
                                             const char **value_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
