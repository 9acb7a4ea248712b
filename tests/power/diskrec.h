/* SPDX-License-Identifier: ISC */
/*
 * diskrec: a library for LD_PRELOAD that records what a program does to the files below a directory
 * (record.h), and makes calls fail. Files whose name ends in "-shm" are left out of the record:
 * SQLite makes them anew after a crash. Without DISKREC_ROOT it does nothing.
 *
 *     DISKREC_ROOT    the directory, an absolute path without a trailing slash
 *     DISKREC_OUT     the record; appended to. Unset: nothing is recorded
 *     DISKREC_FAIL    CALL:N:ERRNO  the N-th CALL below the directory fails with that error number;
 *                     CALL: sync write open link rename unlink mkdir truncate
 *                     ERRNO 0: the process is killed before that call
 *                     random:SEED:MILLE:MAX  each call fails with this chance, at most MAX of them
 *                     while:PATH:ERRNO  all that changes something fails while PATH is there
 *     DISKREC_COUNTS  a file to which the numbers of calls are written at the end
 */
#ifndef SPLIT_POWER_DISKREC_H
#define SPLIT_POWER_DISKREC_H

#include <stddef.h>

/* Write a mark. Found with dlsym(RTLD_DEFAULT, "diskrec_mark"), if the library is loaded. */
void diskrec_mark(const char *text, size_t len);

#endif
