/* SPDX-License-Identifier: ISC */
/*
 * fake_queue: a queue in memory, for tests of code that puts messages into a queue. It records
 * committed messages as text, and fails at the step that the test sets. One thread.
 */
#ifndef SPLIT_TESTS_FAKE_QUEUE_H
#define SPLIT_TESTS_FAKE_QUEUE_H

#include "base/buf.h"
#include "queue/queue.h"

struct fake_queue {
    struct queue queue; /* first: is a struct queue */
    enum queue_put_status has_room_status, begin_status, data_status, prepare_status, commit_status;
    uint64_t asked_size; /* of the last has_room */
    unsigned begun, prepared, committed, aborted;
    /* What was committed: "[message-id=I ]from=S client=NAME[ADDR] helo=H proto=P ident=I
     * flags=8u\n", for each copy "ID DEST[!][~(SKIPPED)] ADDRESS(ORCPT) ...\n" ("!": dead;
     * recipients without those that are QUEUE_SENT), "content:" and the content. */
    struct buf text;
};

void fake_queue_init(struct fake_queue *f);
void fake_queue_clear(struct fake_queue *f);

#endif
