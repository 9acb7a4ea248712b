/* SPDX-License-Identifier: ISC */
#include "receive/content_reader.h"

#include "format/trace.h"
#include "task/task.h"

struct reader {
    const struct content_source *source;
    struct content_sinks sinks; /* primary: NULL after it was dropped */
    struct content_found *found;
    struct err *detail;
    bool has_trace;    /* the primary got the trace */
    int64_t waited_ms; /* time spent so far waiting for the client */
};

/* Wait for the next block until the timeout, or until the client falls below the minimum rate. */
static enum stream_status wait_for_block(struct reader *r, const char **data_out, size_t *len_out)
{
    const struct content_source *source = r->source;
    int64_t begin_ms = task_now_ms(), timeout_ms = source->timeout_ms;

    if (source->min_rate > 0) {
        int64_t earned_ms = (int64_t)(r->found->size_bytes * 1000 / source->min_rate);
        int64_t left_ms = timeout_ms + earned_ms - r->waited_ms;
        timeout_ms = left_ms < 0 ? 0 : left_ms < timeout_ms ? left_ms : timeout_ms;
    }
    stream_set_deadline(source->stream, (unsigned)timeout_ms);
    atomic_store(source->idle_since_ms, begin_ms);
    enum stream_status status = stream_peek(source->stream, data_out, len_out);
    atomic_store(source->idle_since_ms, 0);
    r->waited_ms += task_now_ms() - begin_ms;
    return status;
}

static void drop_put(struct reader *r)
{
    if (*r->sinks.put != NULL)
        r->sinks.queue->ops->put_abort(*r->sinks.put);
    *r->sinks.put = NULL;
}

static void drop_sinks(struct reader *r)
{
    drop_put(r);
    if (r->sinks.primary != NULL)
        primary_abandon(r->sinks.primary);
    r->sinks.primary = NULL;
}

/* Write a block, and before the first one the trace, whose end depends on the beginning of the
 * content. */
static void write_to_primary(struct reader *r, const char *data, size_t len)
{
    if (!r->has_trace) {
        trace_end(data, len, r->sinks.trace);
        primary_write(r->sinks.primary, buf_str(r->sinks.trace), r->sinks.trace->len);
        r->has_trace = true;
    }
    primary_write(r->sinks.primary, data, len);
}

static void write_to_put(struct reader *r, const char *data, size_t len)
{
    r->found->put_status = r->sinks.queue->ops->put_data(*r->sinks.put, data, len, r->detail);
    if (r->found->put_status != QUEUE_PUT_OK)
        drop_put(r);
}

static void write_block(struct reader *r, const char *data, size_t len)
{
    if (len > 0 && r->sinks.primary != NULL)
        write_to_primary(r, data, len);
    if (len > 0 && *r->sinks.put != NULL)
        write_to_put(r, data, len);
}

enum stream_status content_read(struct content *content, const struct content_source *source,
                                const struct content_sinks *sinks, struct content_found *out,
                                struct err *detail)
{
    struct reader r = {.source = source, .sinks = *sinks, .found = out, .detail = detail};
    struct buf *block = sinks->block;

    *out = (struct content_found){.put_status = QUEUE_PUT_OK};
    while (!content_is_complete(content)) {
        const char *data;
        size_t len;
        enum stream_status status = wait_for_block(&r, &data, &len);
        if (status != STREAM_OK) {
            drop_sinks(&r);
            return status;
        }
        buf_reset(block);
        stream_consume(source->stream, content_feed(content, data, len, block));
        out->size_bytes += block->len;
        if (out->size_bytes > sinks->size_limit_bytes || content_has_bare_lf(content))
            drop_sinks(&r);
        write_block(&r, block->data, block->len);
    }
    if (r.sinks.primary != NULL && !r.has_trace) /* empty content */
        write_to_primary(&r, "", 0);
    return STREAM_OK;
}
