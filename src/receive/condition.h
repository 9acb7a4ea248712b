/* SPDX-License-Identifier: ISC */
/*
 * condition: does a destination want a message? The options unless_header and max_size of the
 * destination decide, by the content as it was received. Pure functions; any thread.
 */
#ifndef SPLIT_CONDITION_H
#define SPLIT_CONDITION_H

#include "config/config.h"
#include "mail/content.h"
#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Has the destination such an option? */
bool condition_is_set(const struct config_destination *d) __attribute__((nonnull));

/* Decide about a message. watch: the result of content_watch() with d->unless_header; size_bytes:
 * of the content. QUEUE_WANTED: the destination wants the message; `out` is "". Otherwise the
 * option that keeps the message out; `out` is the condition, such as "unless_header \"X-Spam-Flag:
 * YES\"" or "max_size 10M: 11000000 bytes", cut to out_size. */
enum queue_skip condition_decide(const struct config_destination *d,
                                 const struct content_watch *watch, uint64_t size_bytes, char *out,
                                 size_t out_size) __attribute__((nonnull, warn_unused_result));

#endif
