/* SPDX-License-Identifier: ISC */
/*
 * spool_private: what the files of the module spool share (spool.c, spool_dir.c, spool_put.c,
 * spool_copy.c, spool_move.c, spool_scan.c, spool_walk.c). Nobody else includes it.
 */
#ifndef SPLIT_SPOOL_PRIVATE_H
#define SPLIT_SPOOL_PRIVATE_H

#include "task/task.h"
#include "queue/spool.h"

#include <pthread.h>
#include <stdatomic.h>

#define SPOOL_PATH_SIZE 192 /* DEST/DUE/ID, each within its limits */
#define SPOOL_ID_RANDOM 5   /* random characters of an id */

#define SPOOL_GROUP_LINE "splitrelay-spool-group 1\n" /* a group's file begins with it */
#define SPOOL_GROUP_UNIT 512          /* bytes; messages in a group begin at multiples of it ... */
#define SPOOL_GROUP_MAX (1024 * 1024) /* ... up to here; two digits could say 1.9 MB */

#define SPOOL_POOL_MAX 256               /* files kept for reuse */
#define SPOOL_POOL_FILE_MAX (256 * 1024) /* bytes of each at most */

struct spool_dir;
struct spool_sync;
struct spool_batch_file;
struct spool_batch_member;

/* A file in free/, and what must be on disk before it may be overwritten: see spool_pool.c. */
struct spool_pool_file {
    char name[QUEUE_ID_SIZE];
    char destination[SPOOL_DESTINATION_MAX + 1];
    uint64_t dir_serial; /* of the directory that it came from */
    uint64_t came;       /* pool_clock */
};

struct spool {
    char *directory;
    int root_fd, tmp_fd, free_fd, queue_fd, hold_fd, dead_fd, quarantine_fd, lock_fd;

    pthread_mutex_t id_lock;
    uint64_t last_us; /* time in the last id */
    char id_random[SPOOL_ID_RANDOM + 1];

    pthread_mutex_t dir_lock;
    struct spool_dir *dirs; /* cache: the latest directory of each destination */

    pthread_mutex_t sync_lock;
    struct spool_sync *sync_waiting; /* requests that no leader has taken yet */
    bool has_sync_leader;
    uint64_t sync_round;

    pthread_mutex_t batch_lock;
    struct spool_batch_member *batch_waiting; /* in order; no group has them yet */
    bool has_batch_leader;                    /* somebody takes whatever waits */

    pthread_mutex_t pool_lock;
    unsigned pool_count, pool_coming; /* coming: places given to files that are being moved */
    struct spool_pool_file pool[SPOOL_POOL_MAX];
    atomic_uint_fast64_t pool_clock; /* counts the files that came */
    atomic_bool is_pool_closed;      /* a name may come back: spool_move.c */
    uint64_t dir_serial;             /* of the youngest spool_dir; dir_lock */
};

/* A new id: time in microseconds, larger than that of any id before it in this process, and the
 * random characters of the process. */
void spool_new_id(struct spool *s, char out[QUEUE_ID_SIZE]);

/* Was it made by this process? */
bool spool_id_is_own(const struct spool *s, const char *id);

/* Where in the file the message of a copy begins, in units of SPOOL_GROUP_UNIT: as its id says,
 * which must be one that spool_new_id() made (there it is 0). */
unsigned spool_id_unit(const char *id);
void spool_id_set_unit(char *id, unsigned unit);

/* Of queue/, hold/, dead/. */
int spool_base_fd(const struct spool *s, enum spool_base base);

/* Below the base: "DEST/DUE/NAME" or "DEST/NAME"; name NULL: the directory. */
void spool_place_path(const struct spool_place *place, const char *name, char out[SPOOL_PATH_SIZE]);

/* "DEST/DUE/NAME"; due and name may be NULL from the right. */
void spool_path(char out[SPOOL_PATH_SIZE], const char *destination, const char *due,
                const char *name);

/* errno -> FULL or FAULT. */
enum queue_put_status spool_put_status(int error);

/* --- directories that are synced (spool_dir.c) --- */

/* Commits and moves go to different times; each keep their latest directory of a destination. */
enum spool_dir_use { SPOOL_DIR_COMMIT, SPOOL_DIR_MOVE };

/* A directory below queue/ or dead/ that exists durably. Reference counted. */
struct spool_dir {
    struct spool_dir *next; /* in the cache */
    unsigned refs;
    enum spool_dir_use use;
    int base_fd; /* queue_fd or dead_fd */
    char destination[SPOOL_DESTINATION_MAX + 1];
    char due[SPOOL_DUE_NAME_SIZE]; /* "" in dead/ */
    int fd;
    uint64_t serial;                /* never used twice */
    atomic_uint_fast64_t synced_to; /* pool_clock before the last sync that succeeded */
    uint64_t sync_round;            /* of the last sync, and what came of it; the leader's */
    int sync_error;
};

/* The directory, made durably if need be. due: NULL in dead/. 0, or an errno with `err`. */
int spool_dir_get(struct spool *s, int base_fd, const char *destination,
                  const struct spool_due *due, enum spool_dir_use use, struct spool_dir **out,
                  struct err *err);
void spool_dir_release(struct spool *s, struct spool_dir *d);
/* It turned out to be removed: not to be found in the cache any more. */
void spool_dir_forget(struct spool *s, struct spool_dir *d);
/* The same for all directories of a destination: after one was renamed. */
void spool_dir_drop(struct spool *s, int base_fd, const char *destination);
/* The serial of queue/DESTINATION/DUE if it is in the cache, else 0. */
uint64_t spool_dir_serial(struct spool *s, const char *destination, const struct spool_due *due);
/* Whether the directory that the file came from was synced since. GONE: it is not in the cache any
 * more, and will not be. */
enum spool_dir_state { SPOOL_DIR_GONE, SPOOL_DIR_UNSYNCED, SPOOL_DIR_SYNCED };
enum spool_dir_state spool_dir_state(struct spool *s, const struct spool_pool_file *f);
void spool_dirs_clear(struct spool *s);

/* fsync each of these directories once, together with those of all threads that wait here at the
 * same time. 0 or an errno. */
int spool_dirs_sync(struct spool *s, struct spool_dir **dirs, size_t count);

/* --- group commit (spool_batch.c) --- */

/* A message, and what becomes of it. */
struct spool_batch_member {
    char *data; /* the whole of it, head and content; its place is put into the ids in it */
    size_t len;
    struct queue_new_copy *copies; /* none of them dead; their ids get it, too */
    size_t copy_count;
    const size_t *id_at; /* of each copy's id in data */
    struct spool_due due;
    struct spool_batch_file *file; /* when it is written, and until it is placed or dropped */
    uint64_t begin;                /* of the message in it, bytes */

    struct spool_batch_member *next; /* spool_batch.c's own, from here on */
    bool is_to_write, is_to_place;
    size_t dirs_at, placed;
    const char **names;
    struct task_event ended; /* well or not, as is_done says */
    bool is_done;
};

/* Write it, together with what others bring meanwhile. True: it is on stable storage, in m->file,
 * without a name in the queue. False: nothing of it is left. */
bool spool_batch_write(struct spool *s, struct spool_batch_member *m);

/* Make the names below queue/DESTINATION/m->due of the copies that are not to be left out. True:
 * they are on stable storage. False: there are none. Either way m->file is given up. */
bool spool_batch_place(struct spool *s, struct spool_batch_member *m);

/* Both at once. */
bool spool_batch_commit(struct spool *s, struct spool_batch_member *m);

/* Give m->file up, if there is one. */
void spool_batch_drop(struct spool_batch_member *m);

/* m->file, to be written; -1 with errno. */
int spool_batch_open(const struct spool_batch_member *m);

/* --- files for reuse (spool_pool.c) --- */

/* The file of a group has this mode when not all its names were in one directory all the time: it
 * is not used again. */
#define SPOOL_MOVED_MODE 0100

/* Remove the name of a copy that is done with. The file is kept in free/ if that was the only name
 * it ever had and there is room. As unlinkat(2). */
int spool_pool_put(struct spool *s, const struct spool_copy *c);

/* A kept file, open for writing, with its old length and content, of which not even a power failure
 * will bring back the former name; its name in free/ in name_out. -1: there is none. */
int spool_pool_take(struct spool *s, char name_out[QUEUE_ID_SIZE]);

/* --- reading (spool_copy.c, spool_scan.c) --- */

/* As spool_quarantine(), for base/path anywhere in the spool. -1: it is still there. */
int spool_quarantine_file(struct spool *s, int base_fd, const char *base, const char *path,
                          const char *reason);

/* Open base_fd/path for reading (flags: O_RDONLY, O_RDWR) and parse the head for `id`. *fd_out is
 * open on OK only. */
enum spool_result spool_head_open(int base_fd, const char *path, int flags, const char *id,
                                  int *fd_out, struct spool_envelope *out, struct err *err);

/* Names in a directory but "." and "..", sorted, at most SPOOL_NAMES_MAX; to release with
 * spool_names_free(). A missing directory has none. -1 with `err`. */
#define SPOOL_NAMES_MAX 100000
int spool_names_read(int base_fd, const char *path, char ***out, size_t *count_out,
                     struct err *err);
void spool_names_free(char **names, size_t count);

/* The valid DUE names among these, sorted by time; *out to free(). */
void spool_names_due(char **names, size_t count, struct spool_due **out, size_t *count_out);

#endif
