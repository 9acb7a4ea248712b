/* SPDX-License-Identifier: ISC */
/*
 * config_units: times and sizes as they are written in the configuration. Pure functions.
 */
#ifndef SPLIT_CONFIG_UNITS_H
#define SPLIT_CONFIG_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* "30s", "5m", "1h", "5d", or plain seconds -> seconds. -1 on anything else or overflow. */
int config_units_parse_time(const char *text, unsigned *seconds_out)
    __attribute__((nonnull, warn_unused_result));

/* "64k", "50M", "2G", or plain bytes -> bytes; powers of 1024; the letter in any case. -1 on
 * anything else or overflow. */
int config_units_parse_size(const char *text, uint64_t *bytes_out)
    __attribute__((nonnull, warn_unused_result));

/* Write a value with the largest unit that divides it: "90s", "2m", "50M". size: the size of `out`,
 * at least 24. */
void config_units_format_time(unsigned seconds, char *out, size_t size) __attribute__((nonnull));
void config_units_format_size(uint64_t bytes, char *out, size_t size) __attribute__((nonnull));

#endif
