/* SPDX-License-Identifier: ISC */
/* What policy.c and policy_plan.c share. */
#ifndef SPLIT_POLICY_PRIVATE_H
#define SPLIT_POLICY_PRIVATE_H

#include "policy/policy.h"
#include "policy/policy_choice.h"

enum policy_map {
    POLICY_CANONICAL,
    POLICY_FILTERS,
    POLICY_COPIES,
    POLICY_SENDER_FILTERS,
    POLICY_SENDER_COPIES,
    POLICY_MAP_COUNT
};

struct policy {
    const struct config *config;
    struct lookup_list maps[POLICY_MAP_COUNT];
};

/* The name of the option ("filter_maps"), and its value in the configuration. */
const char *policy_map_option(enum policy_map map);
const struct string_list *policy_map_specs(const struct config *config, enum policy_map map);

/* Open the tables of these specifications and check their results. -1 with `err`: the caller still
 * has to close *out with lookup_close(). */
int policy_open_map(const struct config *config, enum policy_map map,
                    const struct string_list *specs, struct lookup_list *out, struct err *err)
    __attribute__((warn_unused_result));

/* Put the same tables into *out, but open those again that were read from `path`. -1: as
 * policy_open_map(). */
int policy_replace_map(const struct config *config, enum policy_map map,
                       const struct lookup_list *from, const char *path, struct lookup_list *out,
                       struct err *err) __attribute__((warn_unused_result));

/* policy_value_check() for an entry of a table. -1 with `err`, which begins with the place of the
 * entry. */
int policy_check_value(const struct config *config, enum policy_map map, const struct table *t,
                       const char *key, const char *value, unsigned line, struct err *err)
    __attribute__((warn_unused_result));

/*
 * Check that the results of a look-up in this map may have this value. -1 with `err`.
 * policy_decide() refuses a value that passes only for a reason that depends on the address.
 */
int policy_value_check(const struct config *config, enum policy_map map, const char *value,
                       struct err *err) __attribute__((warn_unused_result));

/* Check that a recipient may end at this address: it must not be in the tag domain. -1 with
 * `err`. */
int policy_canonical_check(const struct config *config, const struct address *end, struct err *err)
    __attribute__((warn_unused_result));

/* The filter with this name or with this nexthop, or NULL. */
const struct config_filter *policy_find_filter(const struct config *c, const char *name);

/*
 * Does the value name a delivery of Postfix itself, so that it means "none"? These are, of
 * transport(5), ":" and the transports smtp, relay, lmtp, local, virtual, error, discard and retry
 * without a next hop, error, discard and retry with a text, and the values of unfiltered_nexthops.
 * *takes_effect_there_out: it is error, discard or retry, which take effect only in the
 * transport_maps of Postfix.
 */
bool policy_is_unfiltered(const struct config *config, const char *value,
                          bool *takes_effect_there_out);

/*
 * Parse a result of filter_maps. A nexthop may contain commas or spaces, so the whole text is tried
 * first: if it names a filter, *whole_out is that filter and `choices` is empty; otherwise
 * *whole_out is NULL. -1 with `err`: nothing has to be cleared.
 */
int policy_parse_filters(const struct config *config, const char *value,
                         const struct config_filter **whole_out, struct policy_choices *choices,
                         struct err *err) __attribute__((warn_unused_result));

/* The same for a result of copy_maps. */
int policy_parse_copies(const struct config *config, const char *value,
                        struct policy_choices *choices, struct err *err)
    __attribute__((warn_unused_result));

/* Add the destinations that a result of copy_maps or sender_copy_maps has for the recipient `to` to
 * an array that the caller frees. A destination that is in the array is not added again. -1 with
 * `err`: the result is invalid. */
int policy_add_copies(const struct config *config, const struct address *to, const char *value,
                      const struct config_destination ***copies, size_t *count, struct err *err)
    __attribute__((warn_unused_result));

/* Set, copy and free a reason. It owns its strings. */
void policy_reason_set(struct policy_reason *r, const struct table_match *m);
void policy_reason_copy(struct policy_reason *r, const struct policy_reason *from);
void policy_reason_clear(struct policy_reason *r);

/* For a result that is invalid: put the table and key that gave it before `err`. Returns
 * TABLE_FAILED. */
enum table_result policy_bad_answer(const struct table_match *m, struct err *err);

/* The failure of a decision that this result of a look-up means. */
enum policy_failed policy_failed_of(enum table_result result);

/* Append the address with the tag for this copy, or for the filter when `copy` is NULL. -1 with
 * `err`: the address cannot carry the tag. */
int policy_tagged(const struct policy *p, const struct policy_decision *d,
                  const struct config_destination *copy, struct buf *out, struct err *err)
    __attribute__((warn_unused_result));

/* Append the address with which a rewritten recipient goes back to the MTA (POLICY_REWRITTEN_BACK).
 * -1: the address cannot carry the suffix. */
int policy_tagged_back(const struct policy *p, const struct policy_decision *d, struct buf *out)
    __attribute__((warn_unused_result));

#endif
