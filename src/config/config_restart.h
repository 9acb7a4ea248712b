/* SPDX-License-Identifier: ISC */
/*
 * config_restart: the options that differ between the configuration at the start of a daemon and a
 * new one, and take effect only by a restart. Pure functions; any thread.
 */
#ifndef SPLIT_CONFIG_RESTART_H
#define SPLIT_CONFIG_RESTART_H

#include "base/buf.h"
#include "config/config.h"

/* Append the names of such options, "relay.listen, relay.spool_directory"; nothing if there are
 * none. */
void config_restart_relay(const struct config *started, const struct config *next, struct buf *out)
    __attribute__((nonnull));
void config_restart_milter(const struct config *started, const struct config *next, struct buf *out)
    __attribute__((nonnull));

#endif
