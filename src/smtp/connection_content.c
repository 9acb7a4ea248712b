/* SPDX-License-Identifier: ISC */
#include "smtp/connection_private.h"

#include <string.h>

static enum connection_line_state state_after(const char *data, size_t len,
                                              enum connection_line_state before)
{
    if (len == 0)
        return before;
    if (data[len - 1] == '\r')
        return CONNECTION_AFTER_CR;
    if (data[len - 1] != '\n')
        return CONNECTION_IN_LINE;
    bool has_cr = len > 1 ? data[len - 2] == '\r' : before == CONNECTION_AFTER_CR;
    return has_cr ? CONNECTION_AT_LINE_START : CONNECTION_IN_LINE;
}

/* Write data with the dots at line starts doubled. The search goes from dot to dot and not from
 * line to line, because most content has few dots. */
static enum stream_status write_stuffed(struct stream *s, const char *data, size_t len,
                                        enum connection_line_state *state)
{
    size_t done = 0; /* bytes that were written */
    size_t seen = 0; /* bytes that were searched for dots */

    while (seen < len) {
        const char *dot = memchr(data + seen, '.', len - seen);
        if (dot == NULL)
            break;
        size_t at = (size_t)(dot - data);
        if (state_after(data, at, *state) == CONNECTION_AT_LINE_START) {
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

int connection_begin_content(struct connection *c)
{
    c->content = (struct connection_content){.step = CONNECTION_BODY,
                                             .line_state = CONNECTION_AT_LINE_START};
    if (!stream_has_input(c->link.stream))
        return 0;
    return connection_fail(c, "4.5.0", "host %s said more than its reply to DATA", c->link.peer);
}

void connection_write_content(struct connection *c, const char *data, size_t len)
{
    struct connection_content *content = &c->content;

    if (content->status != STREAM_OK)
        return;
    connection_begin_wait(c);
    content->status = write_stuffed(c->link.stream, data, len, &content->line_state);
}

void connection_end_content(struct connection *c)
{
    struct connection_content *content = &c->content;
    const char *end = content->line_state == CONNECTION_AT_LINE_START ? ".\r\n" : "\r\n.\r\n";

    if (content->status != STREAM_OK)
        return;
    content->step = CONNECTION_DOT;
    content->is_answered_early = stream_input_is_here(c->link.stream);
    connection_begin_wait(c);
    content->status = stream_write(c->link.stream, end, strlen(end));
    if (content->status == STREAM_OK)
        content->status = stream_flush(c->link.stream);
}

bool connection_is_cut_short(const struct connection *c)
{
    return c->content.status != STREAM_OK;
}

enum connection_step connection_content_step(const struct connection *c)
{
    return c->content.step;
}
