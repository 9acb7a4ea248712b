/* SPDX-License-Identifier: ISC */
/*
 * select: the command-line arguments that select copies. They are the same for queue, show, retry,
 * hold, release, delete, requeue and history: IDs, or --all, or conditions (criterion.h). A
 * destination may be given with --all and with conditions. One thread.
 *
 *     --from PATTERN --to PATTERN --reason TEXT --older AGE --newer AGE --larger SIZE --mta-id ID
 *     --message-id ID --limit N --in queue|hold|dead
 */
#ifndef SPLIT_CTL_SELECT_H
#define SPLIT_CTL_SELECT_H

#include "config/config.h"
#include "queue/queue.h"
#include "relay/criterion.h"

#include <getopt.h>
#include <stdbool.h>

/* Values that getopt_long() returns for these options. The values of a command's own options are
 * letters, which are smaller. */
enum select_word {
    SELECT_FROM = 1000 + CRITERION_FROM,
    SELECT_TO = 1000 + CRITERION_TO,
    SELECT_REASON = 1000 + CRITERION_REASON,
    SELECT_OLDER = 1000 + CRITERION_OLDER,
    SELECT_NEWER = 1000 + CRITERION_NEWER,
    SELECT_LARGER = 1000 + CRITERION_LARGER,
    SELECT_MTA_ID = 1000 + CRITERION_MTA_ID,
    SELECT_MESSAGE_ID = 1000 + CRITERION_MESSAGE_ID,
    SELECT_LIMIT = 1000 + CRITERION_LIMIT,
    SELECT_IN = 1000 + CRITERION_IN,
    SELECT_ALL = 1000 + CRITERION_COUNT,
};

/* The entries of these options in a command's array of struct option (getopt_long(3)). */
/* clang-format off */
#define SELECT_OPTIONS                                                                             \
    {"from", required_argument, NULL, SELECT_FROM},                                                \
    {"to", required_argument, NULL, SELECT_TO},                                                    \
    {"reason", required_argument, NULL, SELECT_REASON},                                            \
    {"older", required_argument, NULL, SELECT_OLDER},                                              \
    {"newer", required_argument, NULL, SELECT_NEWER},                                              \
    {"larger", required_argument, NULL, SELECT_LARGER},                                            \
    {"mta-id", required_argument, NULL, SELECT_MTA_ID},                                            \
    {"message-id", required_argument, NULL, SELECT_MESSAGE_ID},                                    \
    {"limit", required_argument, NULL, SELECT_LIMIT},                                              \
    {"in", required_argument, NULL, SELECT_IN},                                                    \
    {"all", no_argument, NULL, SELECT_ALL}
/* clang-format on */

struct select_request {
    struct queue_selection selection; /* borrows from argv */
    bool is_all;                      /* --all */
    bool has_condition;               /* a condition was given; --in and --limit do not count */
    int id_count;                     /* of `ids`; with ids there is no condition */
    char **ids;
};

/* Take an option (SELECT_...) with its value (getopt's optarg). False: a message was printed. */
bool select_option(struct select_request *s, int option, const char *value)
    __attribute__((nonnull(1), warn_unused_result));

/* Take the arguments after the options: IDs, or one destination. is_all_usual: a destination alone
 * selects all of its copies, and no argument at all selects all copies; otherwise both are errors.
 * False: the command line is not valid; a message may have been printed. */
bool select_words(struct select_request *s, bool is_all_usual, int count, char **words)
    __attribute__((nonnull(1), warn_unused_result));

/* Replace the name of the destination by the name in the configuration, which may differ in upper
 * and lower case. The name of a destination that is not configured stays as it is. `config` must
 * exist as long as the selection is used. */
void select_destination(struct select_request *s, const struct config *config)
    __attribute__((nonnull));

/* Usage texts: what SELECTION stands for, and the meaning of the words in it. */
#define SELECT_USAGE                                                                               \
    "[--from PATTERN] [--to PATTERN] [--reason TEXT] [--older AGE] [--newer AGE]\n"                \
    "    [--larger SIZE] [--mta-id ID] [--message-id ID] [--limit N] [--in queue|hold|dead]"
#define SELECT_HELP                                                                                \
    "  PATTERN  an address, @domain, <> (the null sender), or a text with * for any characters\n"  \
    "  TEXT     part of the last reason for which a recipient has not got the copy\n"              \
    "  AGE      since the copy arrived: 90s, 5m, 2h, 7d\n"                                         \
    "  SIZE     of the content: 500k, 10M, 1G\n"                                                   \
    "  ID       the MTA's queue id; the Message-ID, with or without brackets\n"                    \
    "  N        no more than so many copies, the oldest first\n"                                   \
    "All conditions have to hold. --in takes several places, too: queue,hold."

#endif
