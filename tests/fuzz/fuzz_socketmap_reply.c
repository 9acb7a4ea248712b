/* SPDX-License-Identifier: ISC */
/* Bytes from a socketmap server, read as one reply after the other. The replies are the same for
 * two pieces, whose sizes the first byte sets, and byte by byte. */
#include "table/socketmap_reply.h"
#include "base/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct socketmap_reply *r)
{
    const char *value = NULL;
    struct err err = {""};

    if (!r->has_length || r->text.len != r->length || r->length > SOCKETMAP_REPLY_MAX)
        abort();
    switch (socketmap_reply_answer(r, &value, &err)) {
    case SOCKETMAP_FOUND:
        if (!utf8_is_valid(value, strlen(value)))
            abort();
        break;
    case SOCKETMAP_NOT_FOUND:
        break;
    case SOCKETMAP_FAILED:
        if (err.text[0] == '\0')
            abort();
        break;
    }
}

/* Returns the number of complete replies; -1 minus that number if a fault ended the reading. */
static long read_all(const char *data, size_t size, size_t step)
{
    struct socketmap_reply r = {0};
    struct err err;
    long count = 0;
    int rc = 0;

    for (size_t at = 0, used; at < size && rc == 0; at += used) {
        size_t len = step < size - at ? step : size - at;
        rc = socketmap_reply_add(&r, data + at, len, &used, &err);
        if (rc != 0)
            break;
        if (used > len || (used < len && !r.is_complete))
            abort();
        if (r.is_complete) {
            look_at(&r);
            count++;
            socketmap_reply_reset(&r);
        }
    }
    socketmap_reply_clear(&r);
    return rc == 0 ? count : -1 - count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t step = (size_t)data[0] + 1;
    const char *text = (const char *)data + 1;

    if (read_all(text, size - 1, step) != read_all(text, size - 1, 1))
        abort();
    return 0;
}
