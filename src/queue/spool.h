/* SPDX-License-Identifier: ISC */
/*
 * spool: the spool directory on disk (docs/queue.md, "The spool"): writing a message so that it
 * survives a crash, opening, marking, moving and removing copies, and walking through all of them.
 * Which copy is next is not known here; that is spool_queue.c's business. Any thread may call any
 * function; an object that was handed out (put, copy, scan, walk) belongs to one thread at a time.
 *
 * No path is made from anything but ids, destination names and times that were checked.
 */
#ifndef SPLIT_SPOOL_H
#define SPLIT_SPOOL_H

#include "base/err.h"
#include "queue/queue.h"
#include "queue/spool_envelope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct spool;

/* A directory below queue/DEST: copies that are to be tried at `seconds` (since 1970) or later.
 * number makes room for several with one time (".N" in the name; 0 is without). */
struct spool_due {
    int64_t seconds;
    unsigned number;
};

#define SPOOL_DUE_NAME_SIZE 32

/* The name of the directory of this time. */
void spool_due_name(const struct spool_due *due, char out[SPOOL_DUE_NAME_SIZE])
    __attribute__((nonnull));
/* False if the name is not exactly what spool_due_name() makes of a time. */
bool spool_due_parse(const char *name, struct spool_due *out) __attribute__((nonnull));
/* By time, then number: <0, 0, >0. */
int spool_due_compare(const struct spool_due *a, const struct spool_due *b)
    __attribute__((nonnull));

/* A directory of copies: queue/DEST/DUE, hold/DEST or dead/DEST. */
enum spool_base { SPOOL_QUEUE, SPOOL_HOLD, SPOOL_DEAD, SPOOL_BASES };
struct spool_place {
    enum spool_base base;
    char destination[SPOOL_DESTINATION_MAX + 1];
    struct spool_due due; /* with SPOOL_QUEUE */
};
struct spool_place spool_place_queue(const char *destination, const struct spool_due *due)
    __attribute__((nonnull));
/* hold or dead */
struct spool_place spool_place_other(enum spool_base base, const char *destination)
    __attribute__((nonnull));
/* "queue", "hold", "dead" */
const char *spool_base_name(enum spool_base base) __attribute__((returns_nonnull));

/* When an id that spool_new_id() made was made. False if it is none. */
bool spool_id_time(const char *id, time_t *out) __attribute__((nonnull));

/*
 * Create what is missing (directories of mode 0700), take the lock, empty tmp/. NULL with `err`,
 * also when another process has the spool. One spool_open() per directory and process: POSIX locks
 * do not keep a process from itself.
 */
struct spool *spool_open(const char *directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* All that was handed out is given back before. The lock goes with it. */
void spool_close(struct spool *s);
/* The spool directory. */
int spool_root_fd(const struct spool *s) __attribute__((nonnull));

/* Is there room for size_bytes and min_free_bytes besides? FULL or FAULT with `err`. */
enum queue_put_status spool_has_room(struct spool *s, uint64_t size_bytes, uint64_t min_free_bytes,
                                     struct err *err) __attribute__((nonnull, warn_unused_result));

/* --- writing a message (spool_put.c) --- */

struct spool_put;

/* As queue_ops.put_begin and put_data. Up to 64 kB stay in memory, then tmp/ID is made.
 * min_free_bytes is looked at while a long content arrives. */
enum queue_put_status spool_put_begin(struct spool *s, const struct queue_message *message,
                                      struct queue_new_copy *copies, size_t copy_count,
                                      uint64_t min_free_bytes, struct spool_put **out,
                                      struct err *err) __attribute__((nonnull, warn_unused_result));
enum queue_put_status spool_put_data(struct spool_put *p, const void *data, size_t len,
                                     struct err *err) __attribute__((nonnull, warn_unused_result));

/* As queue_ops.put_prepare. */
enum queue_put_status spool_put_prepare(struct spool_put *p, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * Prepare if that was not done, link every copy with a recipient that is not QUEUE_SENT below `due`
 * (or dead/), sync the directories. The copies' ids may change when a name is taken already. On any
 * other result than QUEUE_PUT_OK nothing of the message is left. p is released in each case.
 */
enum queue_put_status spool_put_commit(struct spool_put *p, const struct spool_due *due,
                                       struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Are all its recipients QUEUE_SENT, so that commit makes nothing of this copy? */
bool spool_put_is_left_out(const struct queue_new_copy *copy) __attribute__((nonnull));
void spool_put_abort(struct spool_put *p) __attribute__((nonnull));

/* As spool_put_begin(), but the copies keep the ids that they have; if a name is taken, commit
 * fails. */
enum queue_put_status spool_put_begin_again(struct spool *s, const struct queue_message *message,
                                            struct queue_new_copy *copies, size_t copy_count,
                                            uint64_t min_free_bytes, struct spool_put **out,
                                            struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* --- a copy (spool_copy.c) --- */

enum spool_result {
    SPOOL_OK,
    SPOOL_GONE,    /* no such file (any more) */
    SPOOL_INVALID, /* not a valid copy: belongs into quarantine */
    SPOOL_FAULT    /* the machine's fault (I/O, descriptors, memory, permission): try again later */
};

struct spool_copy {
    struct queue_copy copy;     /* what workers see; content_fd is open for reading and marking */
    struct spool_place place;   /* where it lies */
    struct spool_envelope head; /* owns the strings of `copy`; holds this copy only */
};

/* Open queue/DEST/DUE/ID and parse what concerns this copy. `err` but on OK and GONE. A copy may
 * have been moved below another destination by hand: the directory counts, not the name in the
 * head. */
enum spool_result spool_copy_open(struct spool *s, const char *destination,
                                  const struct spool_due *due, const char *id,
                                  struct spool_copy **out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The same for a copy at any place. */
enum spool_result spool_copy_open_at(struct spool *s, const struct spool_place *place,
                                     const char *id, struct spool_copy **out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* To remove it may take long: its file is given back to the file system, which closing it waits
 * for, and not kept for reuse. (That of a copy from before the start; others mostly are.) */
bool spool_copy_is_slow_to_remove(const struct spool *s, const struct spool_copy *c)
    __attribute__((nonnull));

/* Have the beginning of this copy in memory soon, if the file is there. Blocks for a part of it. */
void spool_warm(struct spool *s, const char *destination, const struct spool_due *due,
                const char *id) __attribute__((nonnull));

/* Write attempts, states and reasons of the copy into the file. Not synced. */
int spool_copy_mark(struct spool_copy *c, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Unlink it, move it to another DUE (made if need be; c->place is changed), to dead/DEST. A file
 * that is gone is no fault. A move syncs the marks first, and at each moment of it a name of the
 * copy is on stable storage; the file must be open. */
int spool_copy_remove(struct spool *s, struct spool_copy *c, struct err *err)
    __attribute__((nonnull, warn_unused_result));
int spool_copy_move(struct spool *s, struct spool_copy *c, const struct spool_due *due,
                    struct err *err) __attribute__((nonnull, warn_unused_result));
int spool_copy_bury(struct spool *s, struct spool_copy *c, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Close the file, forget the copy; the file stays. */
void spool_copy_close(struct spool_copy *c);

/* Close the file but keep the rest; open it again (OK, GONE, FAULT). */
void spool_copy_park(struct spool_copy *c) __attribute__((nonnull));
enum spool_result spool_copy_unpark(struct spool *s, struct spool_copy *c, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Move queue/DEST/DUE/NAME (name NULL: queue/DEST/DUE, destination only: queue/DEST) into
 * quarantine/ under a new name, and log it with the reason. A file that is gone is no fault. */
void spool_quarantine(struct spool *s, const char *destination, const char *due, const char *name,
                      const char *reason) __attribute__((nonnull(1, 2, 5)));

/* --- looking around (spool_scan.c) --- */

/* Names of the destinations that have a queue directory: *names_out (count_out strings) to free().
 * What is no destination, there, in hold/ and in dead/, goes to quarantine. -1 with `err`. */
int spool_list_destinations(struct spool *s, char ***names_out, size_t *count_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The same of those that have a directory in queue/, hold/ or dead/, sorted, each once. */
int spool_list_everywhere(struct spool *s, char ***names_out, size_t *count_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* DUE directories of a destination, sorted; *out to free(). A destination without directory has
 * none. Other files go to quarantine. -1 with `err`. */
int spool_list_due(struct spool *s, const char *destination, struct spool_due **out,
                   size_t *count_out, struct err *err) __attribute__((nonnull, warn_unused_result));

/* Ids in one directory of copies, read little by little, in no order. */
struct spool_scan;
enum spool_result spool_scan_open_at(struct spool *s, const struct spool_place *place,
                                     struct spool_scan **out, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* GONE if there is no such directory. *out is set if, and only if, it returns OK. */
enum spool_result spool_scan_open(struct spool *s, const char *destination,
                                  const struct spool_due *due, struct spool_scan **out,
                                  struct err *err) __attribute__((nonnull, warn_unused_result));
/* 1: id_out is set; 0: the end; -1 with `err`. What is no id goes to quarantine. */
int spool_scan_next(struct spool_scan *scan, char id_out[QUEUE_ID_SIZE], struct err *err)
    __attribute__((nonnull, warn_unused_result));
void spool_scan_close(struct spool_scan *scan);

/* Remove a DUE directory if it is empty. */
void spool_remove_due(struct spool *s, const char *destination, const struct spool_due *due)
    __attribute__((nonnull));

/* Give the DUE directory `from` the name `to`, or the next number that is free; *to says which.
 * GONE if there is none. */
enum spool_result spool_rename_due(struct spool *s, const char *destination,
                                   const struct spool_due *from, struct spool_due *to,
                                   struct err *err) __attribute__((nonnull, warn_unused_result));

/* Sync queue/DEST, after renames in it. */
int spool_sync_due(struct spool *s, const char *destination, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* --- moving without reading (spool_move.c) --- */

/* Move one copy from one DUE directory to another. GONE if it is not there. */
enum spool_result spool_move_id(struct spool *s, const char *destination,
                                const struct spool_due *from, const struct spool_due *to,
                                const char *id, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Is there a copy with this id at this place? */
bool spool_place_has(struct spool *s, const struct spool_place *place, const char *id)
    __attribute__((nonnull));

/* What an administrator does to several copies of one place, by their ids; result is set for each
 * that has SPOOL_OK before (others are left alone). `err`: of the last that is not SPOOL_OK or
 * SPOOL_GONE. What was done is on stable storage. */
struct spool_item {
    char id[QUEUE_ID_SIZE];
    enum spool_result result;
};
void spool_items_move(struct spool *s, const struct spool_place *from, const struct spool_place *to,
                      struct spool_item *items, size_t count, struct err *err)
    __attribute__((nonnull));
void spool_items_remove(struct spool *s, const struct spool_place *from, struct spool_item *items,
                        size_t count, struct err *err) __attribute__((nonnull));

/* --- requeueing (spool_requeue.c) --- */

/* Recipients that were refused are pending again, no attempt was made; synced. The copy stays where
 * it is. */
enum spool_result spool_revive(struct spool *s, const struct spool_place *place, const char *id,
                               struct err *err) __attribute__((nonnull, warn_unused_result));

/* Commit the copy anew, under its id, for another destination: for all recipients that have not got
 * it. The old one stays. */
enum spool_result spool_duplicate(struct spool *s, const struct spool_place *place, const char *id,
                                  const char *destination, const struct spool_due *due,
                                  uint64_t min_free_bytes, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* --- walking, read-only, for splitctl (spool_walk.c): needs no lock, changes nothing --- */

struct spool_walk;

/* Valid until the next call with the same walk. */
struct spool_entry {
    enum spool_base base;
    const char *destination;
    const char *id;                      /* the file's name */
    time_t due;                          /* 0 but with SPOOL_QUEUE */
    const struct queue_message *message; /* NULL when the file is not valid */
    const struct queue_recipient *recipients;
    size_t recipient_count;
    unsigned attempts;
    const char *problem; /* why it is not valid or cannot be read; "" */
};

/* destination NULL: all. Memory does not depend on the number of copies. NULL with `err`. */
struct spool_walk *spool_walk_open(const char *directory, const char *destination, struct err *err)
    __attribute__((nonnull(1, 3), warn_unused_result));

/* Only the copies with this id (several after a crash), wherever they are: what does not have it is
 * not read. */
struct spool_walk *spool_walk_open_id(const char *directory, const char *id, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* With an id: read the content of the copy that was handed out last, from `at` on, into data; up to
 * size bytes, 0 at the end. -1 with `err`, also when the copy is gone by now: its file may be used
 * for another message, so nothing of that is ever returned. */
ssize_t spool_walk_content(struct spool_walk *w, uint64_t at, void *data, size_t size,
                           struct err *err) __attribute__((nonnull, warn_unused_result));

/* Tell of each file in quarantine/: its name, size, and since when it is there. -1 with `err`. */
int spool_walk_quarantine(const char *directory,
                          void (*each)(void *ctx, const char *name, uint64_t size_bytes,
                                       time_t since),
                          void *ctx, struct err *err)
    __attribute__((nonnull(1, 2, 4), warn_unused_result));

/* 1: *out is the next copy; by queue, destination and time, in no order within one DUE. 0: the end.
 * -1 with `err`: a directory cannot be read. A copy that moves meanwhile may be missed or be seen
 * twice. */
int spool_walk_next(struct spool_walk *w, struct spool_entry *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void spool_walk_close(struct spool_walk *w);

#endif
