/* SPDX-License-Identifier: ISC */
/*
 * lookup: searches an address in a list of tables, in the order of Postfix: key by key, and for
 * each key table by table; the first result wins. Tables that take the whole address are asked with
 * the first key only. Keys are folded by casefold_add(), those for tables that take the whole
 * address by casefold_add_ascii(). All keys are quoted as by address_fold(). A result that is an
 * empty string is TABLE_FAILED. Unless table_has_failed(), `err` is empty. Any thread.
 */
#ifndef SPLIT_LOOKUP_H
#define SPLIT_LOOKUP_H

#include "mail/address.h"
#include "table/table.h"

struct lookup_list {
    struct table **tables; /* owned by the list */
    size_t count;
};

/* Open the tables of `specs`, in order. -1 with `err`: no table is open. */
int lookup_open(struct lookup_list *list, char *const *specs, size_t count, struct err *err)
    __attribute__((nonnull(1, 4), warn_unused_result));
/* Open one more table, at the end of the list. -1 with `err`: the list is unchanged. */
int lookup_add(struct lookup_list *list, const char *spec, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Close the tables, and empty the list. */
void lookup_close(struct lookup_list *list) __attribute__((nonnull));

/*
 * Search in the order of transport(5): user+ext@domain, user@domain, domain, .parent for every
 * parent domain, "*". Where a local part needs quotes, the form without quotes is tried next (not
 * with tables that take the whole address). delimiter: recipient_delimiter, a set of characters, ""
 * for none. As in Postfix, the first of these characters in the local part begins the extension;
 * postmaster, mailer-daemon, double-bounce and, with '-', owner-* and *-request are never split.
 */
enum table_result lookup_transport(const struct lookup_list *list, struct table_scratch *s,
                                   const struct address *a, const char *delimiter,
                                   struct table_match *m, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* As lookup_transport(), for the sender of a message. For the null sender the keys are "<>" and
 * "*". */
enum table_result lookup_sender(const struct lookup_list *list, struct table_scratch *s,
                                const struct address *a, const char *delimiter,
                                struct table_match *m, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * Search in the order of canonical(5): user+ext@domain, user@domain (the extension is carried
 * over), @domain (a result "@other" keeps the local part as the client sent it). As in cleanup(8),
 * the result is looked up again until nothing is found or an address maps to itself; more than 10
 * rounds are TABLE_FAILED. On TABLE_FOUND *out is the new address and `m` what the first round
 * found. A result that is not an address with a domain is TABLE_FAILED (Postfix would append its
 * own domain, or take the first address of a list). TABLE_LIMIT: the result is an address, but
 * together with the extension or local part that is carried over it is not valid.
 */
enum table_result lookup_canonical(const struct lookup_list *list, struct table_scratch *s,
                                   const struct address *a, const char *delimiter,
                                   struct address *out, struct table_match *m, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * Check that lookup_canonical() takes this result. *sample_out: the address that lookup_canonical()
 * would make of user@domain. -1 with the reason in `err`.
 */
int lookup_check_canonical(const char *value, struct address *sample_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
