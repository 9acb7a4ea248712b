/* SPDX-License-Identifier: ISC */
/*
 * change: what retry, hold, release, delete and requeue do with copies: by splitrelay, through its
 * control socket; when it does not run, by this process, with the lock of the spool. Each function
 * prints what came of it and returns the exit code. One thread.
 */
#ifndef SPLIT_CTL_CHANGE_H
#define SPLIT_CTL_CHANGE_H

#include "config/config.h"
#include "ctl/progress.h"
#include "relay/control_line.h"

#include <stdbool.h>

struct change {
    const struct config *config;
    struct queue *offline;    /* NULL: splitrelay does it */
    struct control_line line; /* CONTROL_CHANGE; its strings are borrowed */
    struct progress progress;
    bool is_all; /* --all: not without a question */
    bool is_json, is_dry_run, is_yes;
};

/* The copies with these ids, one after the other. */
int change_ids(struct change *c, int id_count, char **ids) __attribute__((nonnull));
/* All copies of line.change.selection. */
int change_selected(struct change *c) __attribute__((nonnull));

/* Have SIGINT and SIGTERM stop a change between two batches; the second one ends the process. */
void change_catch_signals(void);
bool change_is_interrupted(void);

/* Print what has been done, or with is_dry_run would be. False: nothing was, and why was said. */
bool change_tell(const struct change *c, const struct queue_changed *done) __attribute__((nonnull));
void change_tell_json(const struct change *c, const struct queue_changed *done,
                      const struct err *err) __attribute__((nonnull));

/* --- change_preview.c: what would be done --- */

/* "held", "deleted", ...; what a copy is after the action. */
const char *change_word(enum queue_action action) __attribute__((returns_nonnull));
/* Print the copies that would be changed, as the queue is now; nothing is changed. */
int change_dry_run(struct change *c, int id_count, char **ids) __attribute__((nonnull(1)));
/* How many copies the selection means now. -1 with `err`. */
int64_t change_count(struct change *c, struct err *err) __attribute__((nonnull));
/* Ask, if there is a terminal to ask at, before copies are deleted or all of them changed. count:
 * how many there are. */
bool change_is_agreed(const struct change *c, int64_t count) __attribute__((nonnull));
/* Will change_is_agreed() ask? */
bool change_needs_question(const struct change *c) __attribute__((nonnull));

#endif
