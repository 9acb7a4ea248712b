/* SPDX-License-Identifier: ISC */
/*
 * trace_way: the way of one mail for one recipient, through all messages that trace_join has
 * connected: steps in the order of time, where the mail and each copy ended or wait, and which
 * pieces are missing in the logs. Nothing is guessed: what no line says is named as missing. One
 * thread.
 *
 * A root is a message that came from none of the others. Its recipients are those that the client
 * gave.
 */
#ifndef SPLIT_CTL_TRACE_WAY_H
#define SPLIT_CTL_TRACE_WAY_H

#include "ctl/trace/trace_log.h"
#include "ctl/trace/trace_word.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* What the queue and its history say of a copy for a recipient. */
enum trace_copy_place {
    TRACE_COPY_NOT_ASKED, /* the queue cannot be read */
    TRACE_COPY_NOWHERE,   /* neither in the queue nor in the history */
    TRACE_COPY_IN_QUEUE,
    TRACE_COPY_HELD,
    TRACE_COPY_DEAD,
    TRACE_COPY_SENT,
    TRACE_COPY_DELETED,
    TRACE_COPY_SKIPPED
};

struct trace_copy {
    enum trace_copy_place place;
    char *destination; /* "" if not known. Strings are owned, and never NULL after a look-up. */
    char *why;         /* the last reason or reply, or why nothing is sent now */
    char *relay;
    time_t next; /* in the queue: the next attempt; 0: not before an administrator acts */
    time_t when; /* sent, deleted, skipped: the time of the event */
};

/* Looks a copy up. names: addresses, one of which is the recipient if the copy is for it. */
typedef void trace_copy_find(void *ctx, struct slice id, const struct slice *names,
                             size_t name_count, struct trace_copy *out);

/* Free the strings. */
void trace_copy_clear(struct trace_copy *c) __attribute__((nonnull));

enum trace_end_state {
    TRACE_END_SENT,
    TRACE_END_WAITS,
    TRACE_END_HELD,
    TRACE_END_DEAD,
    TRACE_END_BOUNCED,
    TRACE_END_REFUSED,
    TRACE_END_DELETED,
    TRACE_END_SKIPPED,
    TRACE_END_UNKNOWN
};

struct trace_end {
    enum trace_end_state state;
    bool is_copy;
    int64_t us;             /* 0: unknown */
    uint32_t message;       /* where the line about the end is; TRACE_NONE: none */
    char *name;             /* destination of the copy, or the filter; "" if there is none */
    char *address;          /* the final recipient, "" if unknown */
    char *relay, *why, *id; /* next hop, its reply, queue id or id of the copy; "" if unknown */
    time_t next;            /* the next attempt; 0: unknown */
};

struct trace_step {
    int64_t us;
    bool is_undated;          /* us is only a guess from the line before */
    uint32_t message, serial; /* of the event; serial TRACE_NONE: a remark */
    uint32_t system;          /* that wrote the line */
    uint32_t order;           /* among steps with the same time */
    enum trace_kind kind;
    char *text;
};

struct trace_way {
    char *recipient; /* as the client gave it; "": unknown */
    struct trace_step *steps;
    struct trace_end *ends;
    char **missing;
    size_t step_count, end_count, missing_count;
    bool is_wanted; /* the words select it */
};

struct trace_way_options {
    struct trace_log *log;
    const struct trace_words *words;
    const char *tag_domain;
    trace_copy_find *find; /* NULL: the queue is not asked */
    void *ctx;
    const char *host;    /* whose queue it is; NULL: all hosts of the logs have this queue */
    char *const *unread; /* what could not be read: missing in each way */
    size_t unread_count;
};

/* Set the roots of all messages that the words select. The array is for the caller to free. */
size_t trace_way_roots(const struct trace_way_options *o, uint32_t **out) __attribute__((nonnull));

/* Follow the mail of a root for each of its recipients, in the order in which the log has them. The
 * caller frees the array with trace_ways_free(). */
size_t trace_ways(const struct trace_way_options *o, uint32_t root, struct trace_way **out)
    __attribute__((nonnull));
void trace_ways_free(struct trace_way *ways, size_t count);

#endif
