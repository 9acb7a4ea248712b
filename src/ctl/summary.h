/* SPDX-License-Identifier: ISC */
/* summary: `splitctl queue --summary`: the numbers of copies by destination, reason and age, like
 * qshape(1). */
#ifndef SPLIT_CTL_SUMMARY_H
#define SPLIT_CTL_SUMMARY_H

#include "queue/queue_reader.h"

/* Read the selected copies and print the summary. Returns the exit code. */
int summary(struct queue_reader *reader, const struct queue_selection *selection, bool is_json)
    __attribute__((nonnull));

#endif
