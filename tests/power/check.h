/* SPDX-License-Identifier: ISC */
/*
 * check: opens the queue on a state of a disk, and compares with what was promised: each copy is
 * where it may be, with its content and its recipients; nothing else is there; it is handed out;
 * the files of the Maildir are whole; a new message is taken.
 */
#ifndef SPLIT_POWER_CHECK_H
#define SPLIT_POWER_CHECK_H

#include "base/buf.h"
#include "promises.h"

#define CHECK_MAILDIR_DESTINATION "maildir"

/* directory: with spool/ and box/ in it. False: `why` says what is wrong. */
bool check_state(const char *directory, struct promises *promises, struct buf *why);

#endif
