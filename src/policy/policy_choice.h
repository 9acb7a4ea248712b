/* SPDX-License-Identifier: ISC */
/*
 * policy_choice: parses the result of a look-up in filter_maps or copy_maps, and finds out which of
 * its choices apply to a recipient. The percentage of a choice is the part of all addresses to
 * which the choice applies. Each address has a fixed share, a number from 0 to 9999, which is
 * compared with the percentages. Pure.
 *
 *     result = "none" / choice *( ( "," / SP ) choice )
 *     choice = NAME [ SP percent ]           percent = 0..100 with at most two decimals, "%"
 */
#ifndef SPLIT_POLICY_CHOICE_H
#define SPLIT_POLICY_CHOICE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define POLICY_CHOICES_MAX 64
#define POLICY_SHARES 10000 /* shares are counted in hundredths of a percent */

struct policy_choice {
    char *name;
    unsigned share; /* 0..POLICY_SHARES; POLICY_SHARES when no percentage is given */
    bool has_share;
};

struct policy_choices {
    struct policy_choice items[POLICY_CHOICES_MAX];
    size_t count; /* 0: no choice, as for "none" */
};

/* Parse a result; the caller clears *out. -1 with `err`, which says what is allowed: nothing has to
 * be cleared. */
int policy_choices_parse(const char *value, struct policy_choices *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void policy_choices_clear(struct policy_choices *c) __attribute__((nonnull));

/*
 * The share (0..POLICY_SHARES-1) of an address: FNV-1a (64 bit) over the folded address, upper half
 * xor'ed into the lower, modulo POLICY_SHARES. The share of an address never changes, so a choice
 * of 20 % covers all recipients that 10 % covered.
 */
unsigned policy_share_of(const char *folded_address) __attribute__((nonnull));

/* For filters, of which only one can apply: the choices take consecutive ranges of shares,
 * beginning at 0, in their order. Returns the index of the choice whose range has this share, or -1
 * if there is none. */
int policy_choose_one(const struct policy_choices *c, unsigned share_of_address)
    __attribute__((nonnull));

#endif
