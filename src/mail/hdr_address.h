/* SPDX-License-Identifier: ISC */
/*
 * hdr_address: replaces the addresses in a To or Cc header (RFC 5322 3.4, with the obsolete forms
 * of 4.4). All other bytes stay: names, comments, groups, quoted strings, RFC 2047 words, folding.
 * Pure functions; any thread.
 */
#ifndef SPLIT_HDR_ADDRESS_H
#define SPLIT_HDR_ADDRESS_H

#include "base/buf.h"

/* Appends the replacement of an address ("local@domain", without comments and white space, the
 * local part as written) to out. Returns 1 if the address is replaced, 0 if it stays, -1 to end the
 * rewriting. */
typedef int hdr_address_map(const char *address, struct buf *out, void *ctx);

/*
 * Append the header's body with its addresses replaced. Comments inside a replaced address are put
 * behind the address. Text that is not an address stays as it is; so does everything after a
 * comment, quoted string, literal or angle bracket that does not end. Returns the number of
 * replaced addresses, or -1 if map returned -1.
 */
int hdr_address_rewrite(const char *body, hdr_address_map *map, void *ctx, struct buf *out)
    __attribute__((nonnull(1, 2, 4), warn_unused_result));

#endif
