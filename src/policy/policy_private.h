/* SPDX-License-Identifier: ISC */
/* What the files of the policy and of its checks share. */
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
    POLICY_ORCPT,
    POLICY_MAP_COUNT,                          /* the number of maps of the milter */
    POLICY_LISTENER_COPIES = POLICY_MAP_COUNT, /* copy_maps of a listener */
};

struct policy {
    const struct config *config;
    struct lookup_list maps[POLICY_MAP_COUNT];
};

/* The name of the option ("filter_maps"); and, for a map of the milter, its value in the
 * configuration. */
const char *policy_map_option(enum policy_map map);
const struct string_list *policy_map_specs(const struct config *config, enum policy_map map);

/* Open the tables of these specifications and check their results. The caller closes *out with
 * lookup_close(), also after -1 with `err`. */
int policy_open_map(const struct config *config, enum policy_map map,
                    const struct string_list *specs, struct lookup_list *out, struct err *err)
    __attribute__((warn_unused_result));

/* Fill *out with the tables of `from`. Those that were read from `path` are opened again, the
 * others are shared. -1: as policy_open_map(). */
int policy_replace_map(const struct config *config, enum policy_map map,
                       const struct lookup_list *from, const char *path, struct lookup_list *out,
                       struct err *err) __attribute__((warn_unused_result));

/* policy_value_check() for an entry of a table. -1 with `err`, which begins with the place of the
 * entry. */
int policy_check_value(const struct config *config, enum policy_map map, const struct table *t,
                       const char *key, const char *value, unsigned line, struct err *err)
    __attribute__((warn_unused_result));

/* Check that a table of this map may have this result. -1 with `err`. If a value passes,
 * policy_decide() refuses it only for a reason that depends on the recipient's address. */
int policy_value_check(const struct config *config, enum policy_map map, const char *value,
                       struct err *err) __attribute__((warn_unused_result));

/* Check a canonical address (end): it must not be in the tag domain. -1 with `err`. */
int policy_canonical_check(const struct config *config, const struct address *end, struct err *err)
    __attribute__((warn_unused_result));

/* Find the recipient as the client gave it, from its ORCPT ("" for none). rcpt: the recipient now.
 * TABLE_FOUND: orcpt_maps confirm it, and *out is set. TABLE_FAILED with `err'. */
enum table_result policy_find_original(const struct policy *p, struct table_scratch *s,
                                       const char *orcpt, const struct address *rcpt,
                                       struct address *out, struct err *err);

/* The filter with this name or with this nexthop, or NULL. */
const struct config_filter *policy_find_filter(const struct config *c, const char *name);

/*
 * Does the value mean "none" here, because Postfix itself delivers? It does if it is one of
 * unfiltered_nexthops, or one of these results of transport(5): ":"; smtp, relay, lmtp, local or
 * virtual, without a next hop; error, discard or retry, with or without a text.
 * *takes_effect_there_out: the value is error, discard or retry, and has an effect only in
 * transport_maps of Postfix.
 */
bool policy_is_unfiltered(const struct config *config, const char *value,
                          bool *takes_effect_there_out);

/*
 * Parse a result of filter_maps. A nexthop may contain commas or spaces, so the whole text is tried
 * first: if it names a filter, *whole_out is that filter and `choices` is empty; otherwise
 * *whole_out is NULL. `choices` is also empty if policy_is_unfiltered() is true for the value. 0:
 * the caller clears `choices`. -1 with `err`: nothing has to be cleared.
 */
int policy_parse_filters(const struct config *config, const char *value,
                         const struct config_filter **whole_out, struct policy_choices *choices,
                         struct err *err) __attribute__((warn_unused_result));

/* Parse a result of a map of copies. 0: the caller clears `choices`. -1 with `err`, also for a name
 * that is no declared destination, or with POLICY_LISTENER_COPIES one that has a direction: nothing
 * has to be cleared. */
int policy_parse_copies(const struct config *config, enum policy_map map, const char *value,
                        struct policy_choices *choices, struct err *err)
    __attribute__((warn_unused_result));

/* Add destinations to an array that the caller frees: those that `value`, a result of this map, has
 * for the recipient `to`. A destination that is already in the array is not added again. -1 with
 * `err`: the result is invalid. */
int policy_add_copies(const struct config *config, enum policy_map map, const struct address *to,
                      const char *value, const struct config_destination ***copies, size_t *count,
                      struct err *err) __attribute__((warn_unused_result));

/* The direction of a message for this recipient. is_outbound: of struct policy_message. */
enum config_direction policy_direction(const struct config *config, bool is_outbound,
                                       const struct address *to);

/* Move the copies whose destinations do not take d->direction from d->copies to d->skips. */
void policy_skip_copies(struct policy_decision *d);

/* Set, copy and free a reason, which owns its strings. */
void policy_reason_set(struct policy_reason *r, const struct table_match *m);
void policy_reason_copy(struct policy_reason *r, const struct policy_reason *from);
void policy_reason_clear(struct policy_reason *r);

/* Put the place of an invalid result in front of the text of `err`: the file and line, or the
 * table, and the key. Returns TABLE_FAILED. */
enum table_result policy_bad_answer(const struct table_match *m, struct err *err);

/* How a decision fails, given the result of a look-up that it needs; POLICY_OK: it does not
 * fail. */
enum policy_failed policy_failed_of(enum table_result result);

/* Append the recipient's address with the tag for this copy, or for the filter when `copy` is NULL.
 * -1 with `err`: the address cannot carry the tag. */
int policy_tagged(const struct policy *p, const struct policy_decision *d,
                  const struct config_destination *copy, struct buf *out, struct err *err)
    __attribute__((warn_unused_result));

/* Append the address with which a rewritten recipient goes back to the MTA; see
 * POLICY_REWRITTEN_BACK. -1: the address cannot carry the suffix. */
int policy_tagged_back(const struct policy *p, const struct policy_decision *d, struct buf *out)
    __attribute__((warn_unused_result));

#endif
