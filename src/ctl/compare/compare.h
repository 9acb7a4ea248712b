/* SPDX-License-Identifier: ISC */
/*
 * compare: what `splitctl compare` was asked, and what it has found. Two filters got the same
 * messages, and the results are in Maildirs: side A and side B. A message is flagged if the first
 * field with the name `field` has a value that compare_value_is_flagged() accepts. One thread.
 */
#ifndef SPLIT_CTL_COMPARE_H
#define SPLIT_CTL_COMPARE_H

#include "config/config.h"
#include "ctl/compare/compare_table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define COMPARE_TEXT_MAX 250 /* bytes of a value and of a subject that are kept for a list */

struct compare_place {
    const char *given;   /* as it was given: a path or the name of a destination; borrowed */
    char *path;          /* that is searched; owned */
    const char *pattern; /* the template that Maildirs have to fit (compare_maildir.h), or NULL */
    uint64_t maildirs;
    /* files of the time that is looked at */
    uint64_t files, without_field, without_id, repeated, large;
    uint64_t unreadable;
};

/* A message that is listed. All texts are owned; NULL: the file was removed before it was listed;
 * of `values` also: there is no such file, or it has no such field. */
struct compare_listed {
    enum compare_class class;
    const struct compare_entry *entry;
    char *id, *values[COMPARE_SIDES], *subject;
};

struct compare {
    const char *field;
    const char *wanted;  /* --value; NULL: the usual values */
    time_t since, until; /* 0: not given */
    uint64_t limit;      /* lines of each list; 0: any number */
    bool has_missing;    /* list the messages that a side does not have, too */
    bool is_json;
    struct compare_place places[COMPARE_SIDES];
    struct compare_table table;
    uint64_t counts[COMPARE_CLASSES];
    struct compare_listed *listed; /* by class, then by Message-ID */
    size_t listed_count;
};

/* Set path and pattern of a place. config: NULL if both places are paths. Returns EXIT_OK, or the
 * exit code after a message. */
int compare_place_find(struct compare_place *p, const struct config *config)
    __attribute__((nonnull(1), warn_unused_result));

/* Is it a path, not the name of a destination? */
bool compare_is_path(const char *given) __attribute__((nonnull));

/* Read both places into table, counts and listed. Returns EXIT_OK, or the exit code after a
 * message. Files that cannot be read are only counted. */
int compare_read_all(struct compare *c) __attribute__((nonnull, warn_unused_result));

/* Find what is listed: choose the messages, and read their files once more. -1: a message was
 * printed. */
int compare_list(struct compare *c) __attribute__((nonnull, warn_unused_result));

/* Is the class one that is listed? */
bool compare_is_listed(const struct compare *c, enum compare_class class) __attribute__((nonnull));

/* Print counts and lists. */
void compare_print(const struct compare *c) __attribute__((nonnull));
void compare_print_json(const struct compare *c) __attribute__((nonnull));

/* Free all that it owns. */
void compare_clear(struct compare *c) __attribute__((nonnull));

#endif
