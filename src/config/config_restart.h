/* SPDX-License-Identifier: ISC */
/*
 * config_restart: the options that take effect only at a restart, and that differ between the
 * configuration with which a daemon was started and a new one. Pure functions; any thread.
 */
#ifndef SPLIT_CONFIG_RESTART_H
#define SPLIT_CONFIG_RESTART_H

#include "base/buf.h"
#include "config/config.h"

/* Append the names of these options: "relay.listen, relay.spool_directory". Appends nothing if
 * there are none. */
void config_restart_relay(const struct config *started, const struct config *next, struct buf *out)
    __attribute__((nonnull));
void config_restart_milter(const struct config *started, const struct config *next, struct buf *out)
    __attribute__((nonnull));

#endif
