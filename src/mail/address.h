/* SPDX-License-Identifier: ISC */
/*
 * address: envelope addresses (RFC 5321 section 4.1.2, RFC 6531), and the suffix in which
 * splitmilter's decisions travel (user@example.com.NAME.filter.split.invalid). Pure functions on
 * plain data; any thread.
 */
#ifndef SPLIT_ADDRESS_H
#define SPLIT_ADDRESS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define ADDRESS_MAX 1024 /* bytes of a parsed address; anything longer is a parse error */
/* Bytes of an address with suffix. RFC 5321 4.5.3.1.3 would allow 254, but Sendmail counts the <>,
 * and drops a longer one that a milter adds. */
#define ADDRESS_TAGGED_MAX 253
#define ADDRESS_DOMAIN_MAX 255 /* bytes of its domain (RFC 5321 4.5.3.1.2) */

struct address {
    char text[ADDRESS_MAX +
              1];     /* local@domain as written: no <>, no source route; "" is the null path */
    size_t local_len; /* bytes of the local part, quotes included */
    size_t domain_at; /* offset of the domain; strlen(text) when there is none */
    bool is_literal;  /* the domain is an address literal, [192.0.2.1] */
    bool is_utf8;     /* holds non-ASCII characters (valid UTF-8) */
};

enum address_flags {
    ADDRESS_NULL_OK = 1, /* "<>" is fine (MAIL FROM) */
    ADDRESS_LENIENT =
        2, /* local parts that need quotes but have none, as MTAs accept them; no domain */
    ADDRESS_OCTETS = 4, /* a local part may hold octets above 127 that are no UTF-8 */
};

/*
 * Parse a path: "<...>" or the bare address, as in RCPT TO. Grammar: dot-string or quoted-string,
 * optionally
 * "@" domain or address literal, optionally behind a source route ("@a,@b:"), which is dropped (RFC
 * 5321 appendix C). Control characters, NUL and unbalanced quotes are errors under every flag,
 * invalid UTF-8 under every flag but ADDRESS_OCTETS. A trailing dot of the domain is dropped.
 * flags: enum address_flags. -1: `err` says what is wrong.
 */
int address_parse(const char *path, size_t len, unsigned flags, struct address *out,
                  struct err *err) __attribute__((nonnull, warn_unused_result));

/*
 * Does the local part hold, outside quotes, what belongs inside ( ()<>[]:;,\ and blanks)? MTAs read
 * such addresses in different ways (comments, lists), so that it is not certain which recipient of
 * theirs it is.
 */
bool address_is_ambiguous(const struct address *a) __attribute__((nonnull));

/*
 * Append the form in which tables are searched: ASCII letters in lower case, and quotes removed
 * from a local part that does not need them ("john"@x is john@x). A domain is present only if the
 * address has one.
 */
void address_fold(const struct address *a, struct buf *out) __attribute__((nonnull));

/*
 * Append `a` with ".NAME.KIND.TAG_DOMAIN" behind its domain. kind: "filter" or "copy". Returns -1
 * and appends nothing when the address cannot carry it: no domain, address literal, not a host
 * name, too long.
 */
int address_tag(const struct address *a, const char *name, const char *kind, const char *tag_domain,
                struct buf *out, struct err *err) __attribute__((nonnull, warn_unused_result));

/*
 * The reverse: if `a` ends in ".NAME.KIND.TAG_DOMAIN" (case is ignored), set *plain_out to the
 * address below it and append NAME in lower case to name_out. False, with nothing changed, if it
 * does not, or if nothing is left of the domain.
 */
bool address_untag(const struct address *a, const char *kind, const char *tag_domain,
                   struct address *plain_out, struct buf *name_out) __attribute__((nonnull));

/*
 * Does the address lead into the tag domain, in any reading that an MTA might have of it? True for
 * the domain itself and everything below it, and for routing forms in the local part:
 * user%host.TAG, host.TAG!user, quoted local parts with '@', source routes (so this takes the path
 * as it was written). Case is ignored, also that of letters outside ASCII which fold to ASCII.
 */
bool address_leads_into(const char *path, size_t len, const char *tag_domain)
    __attribute__((nonnull));

/* Do two addresses (without <>) name the same mailbox? Local parts are compared as they are,
 * domains without case (RFC 5321 2.4). */
bool address_is_same(const char *a, const char *b) __attribute__((nonnull));

/* A name that may stand in a suffix: 1 to 63 of a-z 0-9 '-', no '-' at either end. */
bool address_is_tag_name(const char *name) __attribute__((nonnull));

#endif
