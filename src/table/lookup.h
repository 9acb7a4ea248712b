/* SPDX-License-Identifier: ISC */
/*
 * lookup: in which order an address is searched in a list of tables, as Postfix does it: key by
 * key, and for each key table by table; the first answer wins. Tables that take the whole address
 * are asked with the first key only. Keys are folded by casefold_add(), for tables that take the
 * whole address by casefold_add_ascii(), and have the quotes of address_fold(). A result that is an
 * empty string is TABLE_FAILED; unless table_has_failed(), `err` is empty. Any thread.
 */
#ifndef SPLIT_LOOKUP_H
#define SPLIT_LOOKUP_H

#include "mail/address.h"
#include "table/table.h"

struct lookup_list {
    struct table **tables; /* owned by the list */
    size_t count;
};

/* Open the tables of `specs`, in order. -1: nothing stays open. */
int lookup_open(struct lookup_list *list, char *const *specs, size_t count, struct err *err)
    __attribute__((nonnull(1, 4), warn_unused_result));
/* Open one more. -1: the list is as it was. */
int lookup_add(struct lookup_list *list, const char *spec, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void lookup_close(struct lookup_list *list) __attribute__((nonnull));

/*
 * As transport(5): user+ext@domain, user@domain, domain, .parent for every parent domain, "*".
 * Where a local part needs quotes, the form without them is tried after it (not with tables that
 * take the whole address). delimiter: recipient_delimiter, "" for none (a set of characters, the
 * first one found splits, as Postfix does it, which leaves postmaster, mailer-daemon, double-bounce
 * and, with '-', owner-* and *-request whole).
 */
enum table_result lookup_transport(const struct lookup_list *list, struct table_scratch *s,
                                   const struct address *a, const char *delimiter,
                                   struct table_match *m, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The same for the sender of a message; the null sender is searched as "<>", then "*". */
enum table_result lookup_sender(const struct lookup_list *list, struct table_scratch *s,
                                const struct address *a, const char *delimiter,
                                struct table_match *m, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * As canonical(5): user+ext@domain, user@domain (the extension is carried over), @domain (a result
 * "@other" keeps the local part as the client sent it). The result is looked up again, until
 * nothing is found or it maps to itself, as cleanup(8) does it; more than 10 rounds are
 * TABLE_FAILED. On TABLE_FOUND *out is the new address and `m` what was found in the first round. A
 * result that is not an address with domain is TABLE_FAILED (Postfix would append its own domain,
 * or take the first of a list).
 */
enum table_result lookup_canonical(const struct lookup_list *list, struct table_scratch *s,
                                   const struct address *a, const char *delimiter,
                                   struct address *out, struct table_match *m, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * Is this a result that lookup_canonical() takes? *sample_out: the result for user@domain. -1 with
 * the reason in `err`.
 */
int lookup_check_canonical(const char *value, struct address *sample_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
