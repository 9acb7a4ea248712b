/* SPDX-License-Identifier: ISC */
/* summary: `splitctl queue --summary`: copies by destination and reason, and by age, in the way of
 * qshape(1). */
#ifndef SPLIT_CTL_SUMMARY_H
#define SPLIT_CTL_SUMMARY_H

#include "queue/queue_reader.h"

/* Read and print. Returns the exit code. */
int summary(struct queue_reader *reader, const struct queue_selection *selection, bool is_json)
    __attribute__((nonnull));

#endif
