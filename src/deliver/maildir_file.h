/* SPDX-License-Identifier: ISC */
/*
 * maildir_file: writes the content of a file in a Maildir: CRLF becomes LF, all other bytes stay.
 * The original content can be restored from the file: each LF was CRLF, because splitrelay accepts
 * no LF without CR. One thread.
 */
#ifndef SPLIT_MAILDIR_FILE_H
#define SPLIT_MAILDIR_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct maildir_file;

/* Make a writer for the file fd, which is borrowed. */
struct maildir_file *maildir_file_new(int fd) __attribute__((returns_nonnull, warn_unused_result));
void maildir_file_free(struct maildir_file *f);

/* Append bytes. -1 with errno. */
int maildir_file_write(struct maildir_file *f, const char *data, size_t len)
    __attribute__((nonnull, warn_unused_result));

/* Write the bytes that are still in memory, and sync the file. -1 with errno. */
int maildir_file_finish(struct maildir_file *f) __attribute__((nonnull, warn_unused_result));

/* Bytes in the file; after maildir_file_finish(). */
uint64_t maildir_file_size(const struct maildir_file *f) __attribute__((nonnull));

/* Do the two files have the same bytes? False also if one of them cannot be read. a, b:
 * descriptors, which are read from offset 0. */
bool maildir_file_is_same(int a, int b);

#endif
