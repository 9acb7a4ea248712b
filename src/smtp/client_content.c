/* SPDX-License-Identifier: ISC */
#include "smtp/client_private.h"

#include "base/mem.h"

#define BLOCK_SIZE 65536 /* bytes of content read at a time */

/* Send the content from the queue, block by block. -1 in the middle of the content is safe, because
 * a server drops a message without its final dot. */
static int send_blocks(struct client *c)
{
    const struct queue_copy *copy = c->format.copy;
    uint64_t size = copy->message.size_bytes;
    struct err err;

    if (c->block == NULL && copy->content == NULL)
        c->block = mem_grow(NULL, BLOCK_SIZE, 1);
    for (uint64_t offset = 0; offset < size && !connection_is_cut_short(c->connection);) {
        size_t len = size - offset < BLOCK_SIZE ? (size_t)(size - offset) : BLOCK_SIZE;
        const char *data = format_read(copy, c->block, offset, len, &err);
        if (data == NULL)
            return connection_fail(c->connection, "4.3.0", "%s", err.text);
        connection_write_content(c->connection, data, len);
        offset += len;
    }
    return 0;
}

int client_send_content(struct client *c)
{
    const struct format *f = &c->format;

    connection_write_content(c->connection, buf_str(&f->head), f->head.len);
    if (send_blocks(c) != 0)
        return -1;
    connection_write_content(c->connection, buf_str(&f->tail), f->tail.len);
    connection_end_content(c->connection);
    return 0;
}
