/* SPDX-License-Identifier: ISC */
/*
 * disk: a model of a disk, fed with a record (record.h). At each place in the record it knows what
 * is on the disk for certain, and which changes may be there or not:
 *
 *   - Data of a file (and its size) is safe after a sync of the file that began after the write.
 *   - A name is safe after a sync of its directory. A name says nothing of the file's data, nor the
 *     other way round; the parent directories need syncs of their own.
 *   - All other changes may be there or not, each by itself, in any order. A write may be there in
 *     part, in sectors of 512 bytes, or as zeros (the size came to the disk, the data did not).
 *   - A rename is a new name and a removed one, each by itself.
 *   - After a sync that failed, the changes before it are never safe, whatever syncs follow: the
 *     kernel takes them for written. The same bytes written again, and synced, are safe. A
 * directory is one block: any further change of a name, when synced, brings all names along.
 */
#ifndef SPLIT_POWER_DISK_H
#define SPLIT_POWER_DISK_H

#include "record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_SECTOR 512

struct disk;

/* A fault of the program that is recorded, planted into the record. */
struct disk_plant {
    const char *lost_syncs;    /* syncs of files and directories whose path ends so; NULL */
    const char *early_removes; /* files in a directory whose path ends so are removed before the
                                  mark that precedes; NULL */
};

/* One entry of the record. */
struct disk_entry {
    enum record_type type;
    size_t object, directory; /* numbers of objects */
    const char *name;         /* with a NUL */
    const char *data;
    size_t len;
    uint64_t offset, from;
    size_t number; /* of the entry in the record as written */
};

/* Ends the process if the record is damaged. plant NULL: as it was recorded. */
struct disk *disk_load(const char *path, const struct disk_plant *plant);
void disk_free(struct disk *d);

size_t disk_entry_count(const struct disk *d);
/* Back to the empty disk. */
void disk_rewind(struct disk *d);
/* Let the next entry happen; NULL at the end. */
const struct disk_entry *disk_advance(struct disk *d);

/* A change that may be on the disk or not. */
struct disk_change {
    size_t object;
    const struct disk_entry *entry;
};

enum disk_fate { DISK_THERE, DISK_MISSING, DISK_HEAD, DISK_TAIL, DISK_ZERO };

/* What becomes of a change. */
struct disk_choice {
    enum disk_fate fate;
    uint64_t
        cut; /* HEAD: the write's bytes before this offset of the file; TAIL: those from it on */
};

/* All that may be there or not at present, by object, in order. Valid until disk_advance(). */
const struct disk_change *disk_changes(struct disk *d, size_t *count_out);

/* A file or a directory of a state. */
struct disk_node {
    char *path; /* below the root: "/spool/queue.db" */
    bool is_directory;
    char *data;
    size_t len;
};

struct disk_state {
    struct disk_node *nodes; /* directories before what is in them */
    size_t count;
    uint64_t hash;
};

/* choices: as many as disk_changes() says. */
void disk_build(struct disk *d, const struct disk_choice *choices, struct disk_state *out);
void disk_state_clear(struct disk_state *s);
/* Make it in a directory that is there and empty. */
void disk_state_write(const struct disk_state *s, const char *directory);

/* For people. */
void disk_describe(const struct disk *d, const struct disk_entry *e, char *out, size_t size);

#endif
