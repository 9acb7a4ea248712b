/* SPDX-License-Identifier: ISC */
#include "queue/spool_private.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CHUNK (64 * 1024)

static void revive_recipients(struct queue_copy *c)
{
    for (size_t i = 0; i < c->recipient_count; i++)
        if (c->recipients[i].state == QUEUE_DEAD)
            c->recipients[i].state = QUEUE_PENDING;
    c->attempts = 0;
}

enum spool_result spool_revive(struct spool *s, const struct spool_place *place, const char *id,
                               struct err *err)
{
    struct spool_copy *c;
    enum spool_result result = spool_copy_open_at(s, place, id, &c, err);

    if (result != SPOOL_OK)
        return result;
    revive_recipients(&c->copy);
    if (spool_copy_mark(c, err) < 0)
        result = SPOOL_FAULT;
    if (result == SPOOL_OK && fdatasync(c->copy.content_fd) < 0) {
        err_set_errno(err, "%s: cannot sync", id);
        result = SPOOL_FAULT;
    }
    spool_copy_close(c);
    return result;
}

static enum queue_put_status put_content(struct spool_put *p, const struct queue_copy *c,
                                         struct err *err)
{
    char *chunk = mem_zalloc(CHUNK);
    uint64_t at = 0, size = c->message.size_bytes;
    enum queue_put_status status = QUEUE_PUT_OK;

    while (at < size && status == QUEUE_PUT_OK) {
        size_t want = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        ssize_t n = pread(c->content_fd, chunk, want, (off_t)(c->content_offset + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            err_set_errno(err, "%s: cannot read", c->id);
            status = QUEUE_PUT_FAULT;
            break;
        }
        status = spool_put_data(p, chunk, (size_t)n, err);
        at += (uint64_t)n;
    }
    free(chunk);
    return status;
}

enum spool_result spool_duplicate(struct spool *s, const struct spool_place *place, const char *id,
                                  const char *destination, const struct spool_due *due,
                                  uint64_t min_free_bytes, struct err *err)
{
    struct queue_new_copy copy = {.destination = destination};
    struct spool_copy *c;
    struct spool_put *p;
    enum spool_result result = spool_copy_open_at(s, place, id, &c, err);

    if (result != SPOOL_OK)
        return result;
    revive_recipients(&c->copy);
    copy.recipients = c->copy.recipients;
    copy.recipient_count = c->copy.recipient_count;
    mem_copy_string(copy.id, sizeof copy.id, id);
    enum queue_put_status status =
        spool_has_room(s, c->copy.message.size_bytes, min_free_bytes, err);
    if (status == QUEUE_PUT_OK)
        status = spool_put_begin_again(s, &c->copy.message, &copy, 1, min_free_bytes, &p, err);
    if (status == QUEUE_PUT_OK) {
        status = put_content(p, &c->copy, err);
        if (status == QUEUE_PUT_OK)
            status = spool_put_commit(p, due, err);
        else
            spool_put_abort(p);
    }
    spool_copy_close(c);
    return status == QUEUE_PUT_OK ? SPOOL_OK : SPOOL_FAULT;
}
