/* SPDX-License-Identifier: ISC */
/*
 * content_reader: reads the content of one message from the client (mail/content.h finds its end)
 * and writes it to sinks: the queue and, with a listener, the primary. It applies the minimum data
 * rate, and it drops the sinks as soon as the message cannot be accepted. It decides nothing else:
 * the caller gets what was found, and then commits, refuses and replies.
 */
#ifndef SPLIT_CONTENT_READER_H
#define SPLIT_CONTENT_READER_H

#include "mail/content.h"
#include "net/stream.h"
#include "queue/queue.h"
#include "receive/primary.h"

#include <stdatomic.h>
#include <stdint.h>

/* Where the content comes from, and how long it may take. */
struct content_source {
    struct stream *stream;
    unsigned timeout_ms; /* for each block */
    unsigned min_rate;   /* bytes per second, measured over the time spent waiting for the client
                            beyond timeout_ms; 0: no minimum */
    atomic_llong *idle_since_ms; /* session.h */
};

struct content_sinks {
    struct queue *queue;
    struct queue_put **put;  /* *put NULL: no copies. A dropped put is aborted and set to NULL */
    struct primary *primary; /* NULL: none. primary_abandon() when it is dropped */
    struct buf *trace;       /* with a primary: header fields that it gets before the content */
    struct buf *block;       /* scratch memory */
    uint64_t size_limit_bytes;
};

struct content_found {
    uint64_t size_bytes;              /* without stuffed dots and without the final dot */
    enum queue_put_status put_status; /* not QUEUE_PUT_OK: put_data failed, *put was dropped */
};

/*
 * Read up to the final dot. STREAM_OK: the content is complete, and `content` and *out tell what it
 * is like. Otherwise the connection failed, and all sinks were dropped. All sinks are also dropped
 * at a bare LF and beyond size_limit_bytes; such content is still read to its end, because only
 * then the reply may be sent. If only put_data fails, the primary gets the rest. detail: why
 * put_data failed.
 */
enum stream_status content_read(struct content *content, const struct content_source *source,
                                const struct content_sinks *sinks, struct content_found *out,
                                struct err *detail) __attribute__((nonnull, warn_unused_result));

#endif
