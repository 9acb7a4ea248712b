/* SPDX-License-Identifier: ISC */
/*
 * record: what diskrec writes down of a program, and disk.c reads: one entry for each change below
 * the recorded directory, in the order in which the calls returned. An entry is this structure, the
 * name, and the data. Files and directories are called by their inode number, which means the file
 * that was created last with it.
 *
 * The driver writes marks among them: what was promised to the outside at that moment.
 */
#ifndef SPLIT_POWER_RECORD_H
#define SPLIT_POWER_RECORD_H

#include <stdint.h>

enum record_type {
    RECORD_CREATE_FILE = 1,  /* file, in directory, with name */
    RECORD_CREATE_DIRECTORY, /* directory 0: the one that is recorded, in the first entry */
    RECORD_LINK,             /* file gets another name in directory */
    RECORD_UNLINK,
    RECORD_WRITE,       /* file, offset, data */
    RECORD_TRUNCATE,    /* file, offset: the new size */
    RECORD_SYNC,        /* file: all entries of it before `from` are on the disk */
    RECORD_SYNC_FAILED, /* file: the entries before `from` may never come to the disk */
    RECORD_MARK,        /* data */
};

/* What can be made to fail: DISKREC_FAIL. */
enum record_call {
    RECORD_CALL_SYNC,
    RECORD_CALL_WRITE,
    RECORD_CALL_OPEN,
    RECORD_CALL_LINK,
    RECORD_CALL_RENAME,
    RECORD_CALL_UNLINK,
    RECORD_CALL_MKDIR,
    RECORD_CALL_TRUNCATE,
    RECORD_CALLS,
};

struct record_entry {
    uint32_t type;
    uint32_t name_len;
    uint32_t data_len;
    uint32_t unused;
    uint64_t file;
    uint64_t directory;
    uint64_t offset;
    uint64_t from; /* number of an entry */
};

#endif
