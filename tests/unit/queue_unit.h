/* SPDX-License-Identifier: ISC */
/*
 * queue_unit: what the check programs of the queue's interface share. They run once for each
 * engine, on a fresh queue for each test. Faults end the test.
 */
#ifndef SPLIT_TESTS_QUEUE_UNIT_H
#define SPLIT_TESTS_QUEUE_UNIT_H

#include "queue/db.h"
#include "queue/queue_open.h"

#include <check.h>
#include <stdatomic.h>
#include <stdbool.h>

#define QUEUE_UNIT_DELAY_MAX_S (30 * 86400)

extern struct queue *q;              /* open during a test */
extern char queue_unit_dir[];        /* the spool directory */
extern atomic_long fake_now;         /* the queue's clock; 1700000045 at the start of a test */
extern int64_t queue_unit_history_s; /* for the next open */

/* A test case with the fixture; timeout 60 s. */
TCase *queue_unit_case(const char *name);
/* Run it for each engine. Returns main()'s exit code. make: adds the tests. */
int queue_unit_run(const char *name, TCase *(*make)(void));
int queue_unit_run_on_sqlite(const char *name, TCase *(*make)(void));
/* The same; UNIT_SKIPPED if there is no server. */
int queue_unit_run_on_postgresql(const char *name, TCase *(*make)(void));
#define UNIT_SKIPPED 77

void queue_unit_open(void);
/* NULL, with the reason in `err`. */
struct queue *queue_unit_try_open(struct err *err);
/* Another queue, or another node of the same database. */
struct queue *queue_unit_open_node(const char *node, const char *directory, struct err *err);
/* The present engine is PostgreSQL; also known to make(). */
bool queue_unit_is_shared(void);
extern const char *queue_unit_queue; /* as in struct queue_options */
void queue_unit_reopen(void);
/* All that was given back so far is on disk, and orders for it are carried out. */
void queue_unit_flush(void);

/* What a SELECT says: one number, or one text (until the next call). */
int64_t queue_unit_number(const char *sql);
const char *queue_unit_text(const char *sql);
/* As an administrator with a database shell. */
void queue_unit_execute(const char *sql);

/* A connection that has begun a transaction. */
struct db *queue_unit_begin(void);
/* Another connection that can write. The caller closes it. */
struct db *queue_unit_connect(void);
/* Nothing can be written until the result is given to queue_unit_unblock(). */
struct db *queue_unit_block(void);
void queue_unit_unblock(struct db *db);

struct queue_message queue_unit_message(void);
struct queue_recipient queue_unit_recipient(const char *address);
/* A message with a copy of one recipient (a@b.test) for each of these destinations. ids: of the
 * copies, or NULL. */
void queue_unit_put_to(const char *const *destinations, size_t count, const char *content,
                       size_t len, char (*ids)[QUEUE_ID_SIZE]);
void queue_unit_put(const char *destination, const char *content);

/* The next copy, without waiting; NULL: none. After queue_unit_flush(). */
struct queue_copy *queue_unit_take(const char *destination);
struct queue_copy *queue_unit_must_take(const char *destination);
/* All recipients got it. */
void queue_unit_finish(struct queue_copy *c);
void queue_unit_set_all(struct queue_copy *c, enum queue_recipient_state state, const char *reason);
/* Take and finish all. Returns how many there were. */
unsigned queue_unit_finish_all(const char *destination);

void queue_unit_check_content(const struct queue_copy *c, const char *content, size_t len);
/* Copies in the queue, held, and dead; and no message without a copy. */
void queue_unit_count(int64_t queued, int64_t held, int64_t dead);

#endif
