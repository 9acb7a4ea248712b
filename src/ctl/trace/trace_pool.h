/* SPDX-License-Identifier: ISC */
/* trace_pool: events with their texts. One thread. */
#ifndef SPLIT_CTL_TRACE_POOL_H
#define SPLIT_CTL_TRACE_POOL_H

#include "base/slice.h"
#include "ctl/trace/trace_select.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trace_event {
    int64_t us;       /* since 1970 */
    const char *text; /* "ID: ...", with a NUL at its end */
    struct trace_noted noted;
    uint32_t len;
    uint32_t serial;        /* order in which the lines were read; does not change */
    uint32_t tag;           /* index */
    uint32_t file;          /* number of the file, in the order in which they were read */
    uint32_t rank;          /* of the file, by its first stamp */
    uint32_t edge;          /* of a delivery: the first one of its edges (trace_log.h) */
    uint32_t message, next; /* its message; the next event of this message */
    uint16_t line_len;      /* of the whole line */
    uint8_t id_len;         /* 0: a line of amavis */
    uint8_t kind;           /* enum trace_kind */
    bool is_undated;        /* us is that of the line before */
};

/* All zero: empty. */
struct trace_pool {
    struct trace_event *events;
    uint32_t count, cap;
    char **blocks; /* memory of the texts */
    size_t block_count, used, size;
    size_t bytes; /* that all takes */
};

/* Add an event with a copy of its text. */
void trace_pool_add(struct trace_pool *p, const struct trace_event *e) __attribute__((nonnull));

/* Free all. */
void trace_pool_clear(struct trace_pool *p) __attribute__((nonnull));

#endif
