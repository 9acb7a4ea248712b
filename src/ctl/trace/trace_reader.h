/* SPDX-License-Identifier: ISC */
/*
 * trace_reader: reads the lines of one log: a file, a compressed file, or the journal of systemd.
 * Files that begin as gzip, xz, zstd or bzip2 files do are read through the program of that name,
 * the journal through journalctl(1), both without a shell. One thread.
 */
#ifndef SPLIT_CTL_TRACE_READER_H
#define SPLIT_CTL_TRACE_READER_H

#include "base/err.h"
#include "ctl/trace/trace_log.h"

#include <stdbool.h>
#include <stdint.h>

struct trace_reader;

/* Open a file; "-" is the standard input. NULL with `err`. */
struct trace_reader *trace_reader_open(const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Start journalctl(1) for the lines of the mail system. since_us, until_us: 0: no limit. facility:
 * that of our daemons, besides "mail". NULL with `err`. */
struct trace_reader *trace_reader_journal(int64_t since_us, int64_t until_us, const char *facility,
                                          struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Start it for the lines after those that `former` has read, and for those that come later. former:
 * a reader of the journal that was read to its end. NULL with `err`. */
struct trace_reader *trace_reader_journal_follow(const struct trace_reader *former,
                                                 int64_t since_us, const char *facility,
                                                 struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The file, or "of systemd". */
const char *trace_reader_name(const struct trace_reader *r)
    __attribute__((nonnull, returns_nonnull));

/* Is it a file, which can be read again? */
bool trace_reader_is_file(const struct trace_reader *r) __attribute__((nonnull));

/* End the program, if there is one, and close the file. */
void trace_reader_close(struct trace_reader *r);

/* Add all lines up to the end to the log. is_followed: a last line without its line end waits for
 * the rest of it. -1 with `err`: the complete lines before the fault were added, or the log is
 * full. */
int trace_reader_all(struct trace_reader *r, struct trace_log *log, bool is_followed,
                     struct err *err) __attribute__((nonnull, warn_unused_result));

/* Add the complete lines that have come since the last call, without waiting. A file that was
 * rotated is read to its end, and then its successor is opened. Returns 0; 1: there can be no
 * further lines (a compressed file, the end of journalctl); -1 with `err`. */
int trace_reader_more(struct trace_reader *r, struct trace_log *log, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
