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

/* "filter_maps" and what the configuration has there. */
const char *policy_map_option(enum policy_map map);
const struct string_list *policy_map_specs(const struct config *config, enum policy_map map);

/* Open the tables of these specifications, and check their results. -1 with `err`: what *out has
 * is to be closed (lookup_close()). */
int policy_open_map(const struct config *config, enum policy_map map,
                    const struct string_list *specs, struct lookup_list *out, struct err *err)
    __attribute__((warn_unused_result));

/* The same tables in *out, those that were read from `path` opened anew. -1: as policy_open_map().
 */
int policy_replace_map(const struct config *config, enum policy_map map,
                       const struct lookup_list *from, const char *path, struct lookup_list *out,
                       struct err *err) __attribute__((warn_unused_result));

/* Is this a good result? `err` begins with its place in the table. */
int policy_check_value(const struct config *config, enum policy_map map, const struct table *t,
                       const char *key, const char *value, unsigned line, struct err *err)
    __attribute__((warn_unused_result));

/*
 * Is this a result that a look-up in such a map takes? -1 with `err`: why not. Whatever passes here
 * is refused by policy_decide() only for what the address itself adds to it.
 */
int policy_value_check(const struct config *config, enum policy_map map, const char *value,
                       struct err *err) __attribute__((warn_unused_result));

/* May a recipient end at this address? Not inside the tag domain. */
int policy_canonical_check(const struct config *config, const struct address *end, struct err *err)
    __attribute__((warn_unused_result));

/* The filter of this name, or with this nexthop, or NULL. */
const struct config_filter *policy_find_filter(const struct config *c, const char *name);

/*
 * Does the value stand for a delivery that Postfix makes by itself, so that it means none? Of
 * transport(5): ":", and the transports smtp, relay, lmtp, local, virtual, error, discard and retry
 * without a next hop; error, discard and retry with their text, too (*takes_effect_there_out: these
 * do what they say only by transport_maps). And what unfiltered_nexthops has.
 */
bool policy_is_unfiltered(const struct config *config, const char *value,
                          bool *takes_effect_there_out);

/*
 * Take a filter_maps result apart. A nexthop may itself hold commas or spaces, so the whole text is
 * tried first. *whole_out: then the filter, and `choices` is empty; NULL otherwise. -1: nothing is
 * to be cleared.
 */
int policy_parse_filters(const struct config *config, const char *value,
                         const struct config_filter **whole_out, struct policy_choices *choices,
                         struct err *err) __attribute__((warn_unused_result));

/* The same with a copy_maps result. */
int policy_parse_copies(const struct config *config, const char *value,
                        struct policy_choices *choices, struct err *err)
    __attribute__((warn_unused_result));

/* Add the destinations that a result of copy_maps or sender_copy_maps has for the recipient `to`,
 * each once, to an array that the caller frees. -1 with `err`: the result is none. */
int policy_add_copies(const struct config *config, const struct address *to, const char *value,
                      const struct config_destination ***copies, size_t *count, struct err *err)
    __attribute__((warn_unused_result));

/* Owned copies of what was found. */
void policy_reason_set(struct policy_reason *r, const struct table_match *m);
void policy_reason_copy(struct policy_reason *r, const struct policy_reason *from);
void policy_reason_clear(struct policy_reason *r);

/* An answer that is no answer: have `err`, which says why, say which table gave it. TABLE_FAILED.
 */
enum table_result policy_bad_answer(const struct table_match *m, struct err *err);

/* How a decision fares with this outcome of a look-up. */
enum policy_failed policy_failed_of(enum table_result result);

/* Append the address that carries the decision: for this copy, or for the filter when copy is NULL.
 */
int policy_tagged(const struct policy *p, const struct policy_decision *d,
                  const struct config_destination *copy, struct buf *out, struct err *err)
    __attribute__((warn_unused_result));

/* Append the address by which a rewritten recipient goes back to the MTA. */
int policy_tagged_back(const struct policy *p, const struct policy_decision *d, struct buf *out)
    __attribute__((warn_unused_result));

#endif
