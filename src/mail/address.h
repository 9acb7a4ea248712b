/* SPDX-License-Identifier: ISC */
/*
 * address: envelope addresses (RFC 5321 section 4.1.2, RFC 6531), and the suffix that carries
 * splitmilter's decision (user@example.com.NAME.filter.split.invalid). Pure functions on plain
 * data; any thread.
 */
#ifndef SPLIT_ADDRESS_H
#define SPLIT_ADDRESS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define ADDRESS_MAX 1024 /* bytes of a parsed address; anything longer is a parse error */
/* Bytes of an address with suffix. RFC 5321 4.5.3.1.3 allows 254, but Sendmail counts the <> as
 * well, and drops a longer recipient that a milter adds. */
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
    ADDRESS_NULL_OK = 1, /* accept "<>" (MAIL FROM) */
    /* Accept a local part that lacks the quotes it needs, and an address without domain, as MTAs
     * do. */
    ADDRESS_LENIENT = 2,
    ADDRESS_OCTETS = 4, /* accept octets above 127 that are not UTF-8 in a local part */
};

/*
 * Parse a path: "<...>" or the bare address, as in RCPT TO. The grammar is in address.c: a
 * dot-string or quoted-string, "@", and a domain or address literal. A source route ("@a,@b:")
 * before the address is dropped (RFC 5321 appendix C), and so is a trailing dot of the domain.
 * Control characters, NUL and unbalanced quotes are errors with any flags; invalid UTF-8 is an
 * error without ADDRESS_OCTETS. flags: a combination of enum address_flags. -1 with `err`.
 */
int address_parse(const char *path, size_t len, unsigned flags, struct address *out,
                  struct err *err) __attribute__((nonnull, warn_unused_result));

/*
 * Does the local part have characters outside quotes that are allowed only inside quotes: blanks,
 * or one of ()<>[]:;,\ ? MTAs read such an address in different ways (as a comment, as a list), so
 * it is not certain which recipient an MTA finds in it.
 */
bool address_is_ambiguous(const struct address *a) __attribute__((nonnull));

/*
 * Append the form in which tables are searched: ASCII letters in lower case, and quotes removed
 * from a local part that does not need them ("john"@x is john@x). Nothing is appended for the
 * domain of an address that has none.
 */
void address_fold(const struct address *a, struct buf *out) __attribute__((nonnull));

/* Append the meaning of a local part: without the quotes and backslashes of a quoted string. -1,
 * and nothing appended, if it has a quote or a backslash and is no quoted string. */
int address_unquote_local(const char *local, size_t len, struct buf *out)
    __attribute__((nonnull, warn_unused_result));

/* The reverse: append a local part with this meaning, as a quoted string if it is no dot-string. */
void address_quote_local(const char *plain, size_t len, struct buf *out) __attribute__((nonnull));

/*
 * Append `a` with ".NAME.KIND.TAG_DOMAIN" behind its domain. kind: "filter" or "copy". -1 with
 * `err`, and nothing appended, if the address cannot have a suffix: it has no domain, an address
 * literal, or a domain that is no host name, or the result would be too long.
 */
int address_tag(const struct address *a, const char *name, const char *kind, const char *tag_domain,
                struct buf *out, struct err *err) __attribute__((nonnull, warn_unused_result));

/*
 * The reverse of address_tag(): if `a` ends in ".NAME.KIND.TAG_DOMAIN" (case is ignored), set
 * *plain_out to the address before this suffix, and append NAME in lower case to name_out. False if
 * there is no such suffix, or if nothing is left of the domain; *plain_out is undefined then, and
 * nothing is appended.
 */
bool address_untag(const struct address *a, const char *kind, const char *tag_domain,
                   struct address *plain_out, struct buf *name_out) __attribute__((nonnull));

/*
 * Can any MTA read the address as one in the tag domain? True for the domain itself and everything
 * below it, and for routes in the local part: user%host.TAG, host.TAG!user, quoted local parts with
 * '@', source routes (so `path` is the path as the client wrote it). Case is ignored, also that of
 * letters outside ASCII which fold to ASCII.
 */
bool address_leads_into(const char *path, size_t len, const char *tag_domain)
    __attribute__((nonnull));

/* Do two addresses (without <>) name the same mailbox? Local parts are compared as they are,
 * domains without case (RFC 5321 2.4). */
bool address_is_same(const char *a, const char *b) __attribute__((nonnull));

/* May the name be in a suffix: 1 to 63 of a-z 0-9 '-', without '-' at either end? */
bool address_is_tag_name(const char *name) __attribute__((nonnull));

#endif
