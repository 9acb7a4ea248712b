/* SPDX-License-Identifier: ISC */
/*
 * driver_copies: what the driver knows of its copies, and what it has promised of them. Each change
 * of a promise is a mark in the record (promises.h). What a call may do is announced before it,
 * what it has done is promised after it. Any thread.
 */
#ifndef SPLIT_POWER_DRIVER_COPIES_H
#define SPLIT_POWER_DRIVER_COPIES_H

#include "promises.h"

/* A new copy, with what is promised now (a copy of it is kept). */
void copies_add(const struct promise *promise);
/* What is promised of it; dies if it is not known. */
struct promise copies_get(const char *id);
bool copies_is_known(const char *id);

/* The copy may be in one more place, for one more destination, each recipient in one more state
 * (NULL: nothing more; states: a letter for each recipient). */
void copies_may(const char *id, const char *places, const char *destination, const char *states);
/* The copy is in one of these places, for this destination, the recipients in these states (NULL:
 * as it is promised now). */
void copies_must(const char *id, const char *places, const char *destination, const char *states);
/* The same, when the queue was closed. */
void copies_must_later(const char *id, const char *places, const char *destination,
                       const char *states);
/* The queue was closed. */
void copies_closed(void);

/* A mark for people. */
void copies_note(const char *text);

#endif
