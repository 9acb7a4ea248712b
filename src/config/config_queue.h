/* SPDX-License-Identifier: ISC */
/*
 * config_queue: the value of relay.queue, which is "sqlite" or the URI of a PostgreSQL database as
 * libpq has it:
 *
 *     uri  = "postgresql://" [ user [ ":" password ] "@" ] hosts [ "/" database ] [ "?" options ]
 *
 * In a URI that passes config_queue_check(), the places of all passwords are certain, so that
 * messages can leave them out. Pure functions; any thread.
 */
#ifndef SPLIT_CONFIG_QUEUE_H
#define SPLIT_CONFIG_QUEUE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

/* Check the value. -1 with `err`, which quotes no part of the value, because there may be a
 * password in it. */
int config_queue_check(const char *queue, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Return true if it is the URI of a PostgreSQL database. */
bool config_queue_is_postgresql(const char *queue) __attribute__((nonnull));

/* Return true if the value has a password. */
bool config_queue_has_password(const char *queue) __attribute__((nonnull));

/* Append the value without passwords. */
void config_queue_show(const char *queue, struct buf *out) __attribute__((nonnull));

/* Append the value of an option of the URI ("sslmode"), decoded; nothing if it is not there. */
void config_queue_option(const char *queue, const char *name, struct buf *out)
    __attribute__((nonnull));

#endif
