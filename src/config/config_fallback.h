/* SPDX-License-Identifier: ISC */
/*
 * config_fallback: the next hops of a filter's option fallback. The service of the MTA that sends
 * to the filter tries them in order, so all of them have its transport, and take mail by TCP. Pure;
 * any thread.
 */
#ifndef SPLIT_CONFIG_FALLBACK_H
#define SPLIT_CONFIG_FALLBACK_H

#include "base/err.h"
#include "config/config.h"

#include <stddef.h>

/* Check the fallbacks of a filter. -1 with `err`, and the index of the wrong value in *index_out.
 */
int config_fallback_check(const struct config *c, const struct config_filter *f, size_t *index_out,
                          struct err *err) __attribute__((nonnull, warn_unused_result));

#endif
