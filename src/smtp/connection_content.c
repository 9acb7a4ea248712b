/* SPDX-License-Identifier: ISC */
#include "smtp/connection_private.h"

#include "base/mem.h"

#include <string.h>

static enum client_line_state state_after(const char *data, size_t len,
                                          enum client_line_state before)
{
    if (len == 0)
        return before;
    if (data[len - 1] == '\r')
        return CLIENT_AFTER_CR;
    if (data[len - 1] != '\n')
        return CLIENT_IN_LINE;
    bool has_cr = len > 1 ? data[len - 2] == '\r' : before == CLIENT_AFTER_CR;
    return has_cr ? CLIENT_AT_LINE_START : CLIENT_IN_LINE;
}

/* Jumps from dot to dot; most content has few. */
enum stream_status client_write_stuffed(struct stream *s, const char *data, size_t len,
                                        enum client_line_state *state)
{
    size_t done = 0; /* written */
    size_t seen = 0; /* searched */

    while (seen < len) {
        const char *dot = memchr(data + seen, '.', len - seen);
        if (dot == NULL)
            break;
        size_t at = (size_t)(dot - data);
        if (state_after(data, at, *state) == CLIENT_AT_LINE_START) {
            enum stream_status status = stream_write(s, data + done, at - done);
            if (status == STREAM_OK)
                status = stream_write(s, ".", 1);
            if (status != STREAM_OK)
                return status;
            done = at;
        }
        seen = at + 1;
    }
    *state = state_after(data, len, *state);
    return stream_write(s, data + done, len - done);
}

/* -1 with `fault`, connection closed: without the final dot the server drops what it got so far. */
static int read_block(struct client *c, uint64_t offset, size_t len)
{
    struct err err;

    if (format_read(c->format.copy, c->block, offset, len, &err) == 0)
        return 0;
    client_outcome(&c->fault, OUTCOME_RETRY, "4.3.0", "%s", err.text);
    client_close(c);
    return -1;
}

/* The content from the spool. */
static enum client_content_status send_spooled(struct client *c, enum client_line_state *state,
                                               enum stream_status *status)
{
    uint64_t size = c->format.copy->message.size_bytes;

    if (c->block == NULL)
        c->block = mem_grow(NULL, CLIENT_BLOCK_SIZE, 1);
    for (uint64_t offset = 0; *status == STREAM_OK && offset < size;) {
        size_t len =
            size - offset < CLIENT_BLOCK_SIZE ? (size_t)(size - offset) : CLIENT_BLOCK_SIZE;
        if (read_block(c, offset, len) != 0)
            return CLIENT_CONTENT_UNREAD;
        client_begin_wait(c);
        *status = client_write_stuffed(c->stream, c->block, len, state);
        offset += len;
    }
    return CLIENT_CONTENT_SENT;
}

enum stream_status client_write_dot(struct client *c, enum client_line_state state,
                                    bool *is_answered_early)
{
    const char *end = state == CLIENT_AT_LINE_START ? ".\r\n" : "\r\n.\r\n";

    *is_answered_early = stream_input_is_here(c->stream);
    client_begin_wait(c);
    enum stream_status status = stream_write(c->stream, end, strlen(end));
    return status == STREAM_OK ? stream_flush(c->stream) : status;
}

enum client_content_status client_send_content(struct client *c, struct client_content *out)
{
    const struct format *f = &c->format;
    enum client_line_state state = CLIENT_AT_LINE_START;

    *out = (struct client_content){.step = CLIENT_BODY};
    client_begin_wait(c);
    out->status = client_write_stuffed(c->stream, buf_str(&f->head), f->head.len, &state);
    if (send_spooled(c, &state, &out->status) != CLIENT_CONTENT_SENT)
        return CLIENT_CONTENT_UNREAD;
    if (out->status == STREAM_OK)
        out->status = client_write_stuffed(c->stream, buf_str(&f->tail), f->tail.len, &state);
    if (out->status == STREAM_OK) {
        out->step = CLIENT_DOT;
        out->status = client_write_dot(c, state, &out->is_answered_early);
    }
    return out->status == STREAM_OK ? CLIENT_CONTENT_SENT : CLIENT_CONTENT_LOST;
}
