/* SPDX-License-Identifier: ISC */
/*
 * smtp_features: what an SMTP or LMTP server offers in its reply to EHLO or LHLO (RFC 5321
 * 4.1.1.1). Plain data and a parser of it. Any thread.
 */
#ifndef SPLIT_SMTP_FEATURES_H
#define SPLIT_SMTP_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Mechanisms of AUTH (RFC 4954) that are known here; a set. */
enum smtp_mechanism {
    SMTP_MECHANISM_NONE = 0,
    SMTP_MECHANISM_PLAIN = 1,
    SMTP_MECHANISM_LOGIN = 2,
    SMTP_MECHANISM_SCRAM_SHA_256 = 4,
    SMTP_MECHANISM_OAUTHBEARER = 8,
    SMTP_MECHANISM_XOAUTH2 = 16,
};

/* Attributes of XFORWARD and XCLIENT (XFORWARD_README, XCLIENT_README of Postfix). */
enum smtp_attribute {
    SMTP_ATTRIBUTE_NAME,
    SMTP_ATTRIBUTE_ADDR,
    SMTP_ATTRIBUTE_PORT,
    SMTP_ATTRIBUTE_PROTO,
    SMTP_ATTRIBUTE_HELO,
    SMTP_ATTRIBUTE_IDENT,
    SMTP_ATTRIBUTE_COUNT
};

/* All false and 0: a server that offers nothing, as after HELO. */
struct smtp_features {
    bool pipelining, eight_bit, smtputf8, dsn, size, xforward, starttls;
    bool requiretls;           /* offered over TLS with a verified certificate (RFC 8689 4.2.1) */
    unsigned auth;             /* a set of enum smtp_mechanism */
    uint64_t size_limit_bytes; /* 0: none announced */
    unsigned xforward_attributes, xclient_attributes; /* sets of 1U << enum smtp_attribute */
    bool has_our_name; /* the server gave `hostname` as its name: the connection is a loop */
};

/*
 * Read the text of a reply to EHLO or LHLO: lines joined by '\n' without the code, as in
 * smtp_reply.text. hostname: the client's own name. is_verified: the server's certificate is
 * verified; REQUIRETLS counts only then. Unknown keywords are skipped. *out is replaced.
 */
void smtp_features_parse(const char *text, const char *hostname, bool is_verified,
                         struct smtp_features *out) __attribute__((nonnull));

/* The bit of a mechanism's name (len bytes, any case); SMTP_MECHANISM_NONE: not known here. */
unsigned smtp_features_mechanism(const char *name, size_t len) __attribute__((nonnull));

/* "NAME", "ADDR"; not for SMTP_ATTRIBUTE_COUNT. */
const char *smtp_features_attribute_name(enum smtp_attribute a) __attribute__((returns_nonnull));

#endif
