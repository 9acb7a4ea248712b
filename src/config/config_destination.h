/* SPDX-License-Identifier: ISC */
/*
 * config_destination: the checks of destination sections, and of the primary of a listener: which
 * values may be combined. Private to config.c and config_file.c. Pure; any thread.
 */
#ifndef SPLIT_CONFIG_DESTINATION_H
#define SPLIT_CONFIG_DESTINATION_H

#include "config/config.h"
#include "base/err.h"

/* The option at fault. The message has the line of this option. */
struct config_blame {
    const char *option;
    const char *otherwise; /* blamed instead if `option` was not given; NULL: none */
    unsigned index;        /* of the value at fault in a list */
};

/* Check that the values of a destination may be combined. -1 with `err`, and the option at fault in
 * *blame. */
int config_destination_check(const struct config_destination *d, struct config_blame *blame,
                             struct err *err) __attribute__((nonnull, warn_unused_result));

/* As config_destination_check(), for the primary and the TLS of a listener. */
int config_primary_check(const struct config_listener *l, struct config_blame *blame,
                         struct err *err) __attribute__((nonnull, warn_unused_result));

/* Check that the Maildirs of the destination are outside of splitrelay's spool_directory. -1 with
 * `err`, and the option at fault in *blame. */
int config_places_check(const struct config *c, const struct config_destination *d,
                        struct config_blame *blame, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Check that the primary of this listener does not lead back to the listener, directly or through
 * other listeners. Otherwise each session would open another session. Addresses are compared as
 * written; names are not resolved. -1 with `err`, and the option at fault in *blame. */
int config_loop_check(const struct config *c, const struct config_listener *l,
                      struct config_blame *blame, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Free what the destination owns, but not the struct. */
void config_destination_clear(struct config_destination *d) __attribute__((nonnull));

#endif
