/* SPDX-License-Identifier: ISC */
/*
 * select: the options that say which copies a command means, the same for queue, show, retry, hold,
 * release, delete, requeue and history. One thread.
 *
 *     --from PATTERN --to PATTERN --reason TEXT --older AGE --newer AGE --larger SIZE --mta-id ID
 *     --message-id ID --limit N --in queue|hold|dead
 */
#ifndef SPLIT_CTL_SELECT_H
#define SPLIT_CTL_SELECT_H

#include "config/config.h"
#include "queue/queue.h"

#include <getopt.h>
#include <stdbool.h>

/* Values of getopt_long() for these options; a command's own are below. */
enum { SELECT_FIRST = 1000, SELECT_LAST = SELECT_FIRST + 9 };

/* For the array of struct option of a command. */
#define SELECT_OPTIONS                                                                             \
    {"from", required_argument, NULL, SELECT_FIRST},                                               \
        {"to", required_argument, NULL, SELECT_FIRST + 1},                                         \
        {"reason", required_argument, NULL, SELECT_FIRST + 2},                                     \
        {"older", required_argument, NULL, SELECT_FIRST + 3},                                      \
        {"newer", required_argument, NULL, SELECT_FIRST + 4},                                      \
        {"larger", required_argument, NULL, SELECT_FIRST + 5},                                     \
        {"mta-id", required_argument, NULL, SELECT_FIRST + 6},                                     \
        {"message-id", required_argument, NULL, SELECT_FIRST + 7},                                 \
        {"limit", required_argument, NULL, SELECT_FIRST + 8},                                      \
    {                                                                                              \
        "in", required_argument, NULL, SELECT_LAST                                                 \
    }

struct select_request {
    struct queue_selection selection; /* borrows from argv */
    bool has_condition;               /* an option of these was given */
};

#define SELECT_TO (SELECT_FIRST + 1)
#define SELECT_IN SELECT_LAST

/* Take an option with its value (getopt's optarg). False: it was complained about. */
bool select_option(struct select_request *s, int option, const char *value)
    __attribute__((nonnull, warn_unused_result));

/* "PATTERN ..." for usage texts. */
#define SELECT_USAGE                                                                               \
    "[--from PATTERN] [--to PATTERN] [--reason TEXT] [--older AGE] [--newer AGE] "                 \
    "[--larger SIZE] [--mta-id ID] [--message-id ID] [--limit N] [--in queue|hold|dead]"

#endif
