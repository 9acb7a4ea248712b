/* SPDX-License-Identifier: ISC */
/*
 * log_journal: the socket of systemd's journal, which takes lines with fields. Private to log*.c.
 * Any thread.
 */
#ifndef SPLIT_LOG_JOURNAL_H
#define SPLIT_LOG_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

/* Does the journal take the lines of syslog(3) on this machine, that is: is `device` (/dev/log) the
 * journal's socket in `directory` (/run/systemd/journal)? True: log_journal_send() sends to the
 * journal from now on. False: another program has /dev/log, or the journal does not run. */
bool log_journal_open(const char *device, const char *directory)
    __attribute__((nonnull, warn_unused_result));

/* Send a datagram of log_format_journal(). It may block, as syslog(3) does. False: the journal does
 * not take it, and the line is lost. */
bool log_journal_send(const char *data, size_t len) __attribute__((nonnull, warn_unused_result));

#endif
