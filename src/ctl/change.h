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
    bool is_json, is_dry_run, is_yes;
};

/* The copies with these ids, one after the other. */
int change_ids(struct change *c, int id_count, char **ids) __attribute__((nonnull));
/* All copies of line.change.selection. is_all: without any other condition than a destination. */
int change_selected(struct change *c, bool is_all) __attribute__((nonnull));
/* What would be done, as the queue is now. */
int change_tell_dry_run(struct change *c) __attribute__((nonnull));

/* A signal handler: stop between two batches. */
void change_interrupt(int signal_number);

#endif
