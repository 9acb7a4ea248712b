/* SPDX-License-Identifier: ISC */
/*
 * change: carry out retry, hold, release, delete and requeue. If splitrelay runs, it is asked
 * through its control socket to make the change. Otherwise this process takes the lock of the spool
 * and makes the change itself. A function that returns int prints the result and returns the exit
 * code. One thread.
 */
#ifndef SPLIT_CTL_CHANGE_H
#define SPLIT_CTL_CHANGE_H

#include "config/config.h"
#include "ctl/progress.h"
#include "relay/control_line.h"

#include <stdbool.h>

struct change {
    const struct config *config;
    struct queue *offline;    /* NULL: splitrelay is asked to make the change */
    struct control_line line; /* its verb is CONTROL_CHANGE; its strings are borrowed */
    struct progress progress;
    bool is_all; /* --all was given */
    bool is_json, is_dry_run, is_yes;
};

/* Change the copies with these ids, one after the other. */
int change_ids(struct change *c, int id_count, char **ids) __attribute__((nonnull));
/* Change all copies of line.change.selection. */
int change_selected(struct change *c) __attribute__((nonnull));

/* Have SIGINT and SIGTERM stop a change between two batches of copies. The same signal a second
 * time ends the process. */
void change_catch_signals(void);
/* Return true after the first of these signals. */
bool change_is_interrupted(void);

/* Print what has been done, or with is_dry_run what would be done. Returns false if the copy with
 * the given id was not changed; the reason is printed here, unless done->failed counts that
 * copy. */
bool change_tell(const struct change *c, const struct queue_changed *done) __attribute__((nonnull));
/* Print a JSON object with what change_tell() prints, and with `err` as the reason of a failure
 * ("": none). */
void change_tell_json(const struct change *c, const struct queue_changed *done,
                      const struct err *err) __attribute__((nonnull));

/* --- change_preview.c: the effect of a change before it is made --- */

/* Return the participle of an action: "held", "deleted", ... */
const char *change_word(enum queue_action action) __attribute__((returns_nonnull));
/* Print the copies that the change would affect now: those with these ids, or (ids NULL) those of
 * the selection. Nothing is changed. */
int change_dry_run(struct change *c, int id_count, char **ids) __attribute__((nonnull(1)));
/* Return the number of copies that the change would affect now, or -1 with `err`. */
int64_t change_count(struct change *c, struct err *err) __attribute__((nonnull));
/* Ask the user, if change_needs_question() is true. count: the number of copies in the question.
 * False: the user declines. */
bool change_is_agreed(const struct change *c, int64_t count) __attribute__((nonnull));
/* Return true if change_is_agreed() has to ask: standard input is a terminal, --yes was not given,
 * and the change deletes copies or was given --all. */
bool change_needs_question(const struct change *c) __attribute__((nonnull));

#endif
