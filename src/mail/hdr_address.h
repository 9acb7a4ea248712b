/* SPDX-License-Identifier: ISC */
/*
 * hdr_address: the addresses in a To or Cc header (RFC 5322 3.4, with the obsolete forms of 4.4),
 * which are replaced while all other bytes stay: names, comments, groups, quoted
 * strings, RFC 2047 words, folding. Pure; any thread.
 */
#ifndef SPLIT_HDR_ADDRESS_H
#define SPLIT_HDR_ADDRESS_H

#include "base/buf.h"

/* Appends the replacement of an address ("local@domain", without comments and white space, local
 * part as written). Returns 1: replaced; 0: the address stays; -1: the rewriting ends. */
typedef int hdr_address_map(const char *address, struct buf *out, void *ctx);

/*
 * Append the header's body with its addresses replaced. Comments inside an address that is replaced
 * follow it. Text that is not an address is left as it is; so is everything after a comment, quoted
 * string, literal or angle bracket that does not end. Returns how many were replaced, or -1 if map
 * returned -1.
 */
int hdr_address_rewrite(const char *body, hdr_address_map *map, void *ctx, struct buf *out)
    __attribute__((nonnull(1, 2, 4), warn_unused_result));

#endif
