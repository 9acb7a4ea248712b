/* SPDX-License-Identifier: ISC */
/* What policy.c and policy_plan.c share. */
#ifndef SPLIT_POLICY_PRIVATE_H
#define SPLIT_POLICY_PRIVATE_H

#include "policy.h"

enum policy_map { POLICY_CANONICAL, POLICY_FILTERS, POLICY_COPIES, POLICY_MAP_COUNT };

struct policy {
    const struct config *config;
    struct lookup_list maps[POLICY_MAP_COUNT];
};

/* Append the address that carries the decision: for this copy, or for the filter when copy is NULL.
 */
int policy_tagged(const struct policy *p, const struct policy_decision *d,
                  const struct config_destination *copy, struct buf *out, struct err *err)
    __attribute__((warn_unused_result));

/* Append the address by which a rewritten recipient goes back to the MTA. */
int policy_tagged_back(const struct policy *p, const struct policy_decision *d, struct buf *out)
    __attribute__((warn_unused_result));

#endif
