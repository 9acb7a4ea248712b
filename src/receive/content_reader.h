/* SPDX-License-Identifier: ISC */
/*
 * content_reader: reads the content of one message from the client (mail/content.h finds its end)
 * and writes it to sinks: the queue and, with a listener, the primary. The reader applies the
 * minimum data rate, and drops the sinks as soon as the message cannot be accepted. The caller
 * makes all other decisions: it gets what the reader found, and then commits, refuses and replies.
 */
#ifndef SPLIT_CONTENT_READER_H
#define SPLIT_CONTENT_READER_H

#include "mail/content.h"
#include "net/stream.h"
#include "queue/queue.h"
#include "receive/primary.h"

#include <stdatomic.h>
#include <stdint.h>

/* Where the content comes from, and how long the client may take. */
struct content_source {
    struct stream *stream;
    unsigned timeout_ms; /* for each block */
    /* bytes per second; in all, the reader waits for the client at most for timeout_ms plus the
     * time that the content so far takes at this rate. 0: no minimum */
    unsigned min_rate;
    atomic_llong *idle_since_ms; /* struct session_presence */
};

struct content_sinks {
    struct queue *queue;
    /* *put NULL: no copies. Dropped with put_abort, after which *put is NULL */
    struct queue_put **put;
    struct primary *primary; /* NULL: none. Dropped with primary_abandon() */
    struct buf *trace;       /* with a primary: header fields that it gets before the content */
    struct buf *block;       /* scratch memory */
    uint64_t size_limit_bytes;
};

struct content_found {
    uint64_t size_bytes;              /* without stuffed dots and without the final dot */
    enum queue_put_status put_status; /* not QUEUE_PUT_OK: put_data failed, *put was dropped */
};

/*
 * Read up to the final dot. STREAM_OK: the content is complete, and `content` and *out describe it.
 * Otherwise the connection failed, and all sinks were dropped. All sinks are also dropped at a bare
 * LF and beyond size_limit_bytes; such content is still read to its end, because the reply may not
 * be sent before. If put_data fails, only *put is dropped, and the primary still gets the whole
 * content. detail: why put_data failed.
 */
enum stream_status content_read(struct content *content, const struct content_source *source,
                                const struct content_sinks *sinks, struct content_found *out,
                                struct err *detail) __attribute__((nonnull, warn_unused_result));

#endif
