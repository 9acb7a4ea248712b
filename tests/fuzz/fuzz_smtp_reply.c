/* SPDX-License-Identifier: ISC */
/* Bytes from a server, cut into lines, and read as one reply after the other; also the texts that
 * are made of a reply. */
#include "mail/smtp_reply.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct smtp_reply *r)
{
    struct buf line = {0};
    char dsn[16];

    if (r->code < 200 || r->code > 599 || r->text.len > SMTP_REPLY_TEXT_MAX)
        abort();
    smtp_reply_dsn(r, dsn);
    if (dsn[0] != '0' + r->code / 100 || strlen(dsn) < 5 || strlen(dsn) >= sizeof dsn)
        abort();
    smtp_reply_one_line(r, &line);
    if (line.len < 3 || line.len > 300)
        abort();
    for (size_t i = 0; i < line.len; i++) {
        if (line.data[i] < ' ' || line.data[i] > '~')
            abort();
    }
    buf_clear(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data;
    struct smtp_reply r;
    struct err err;

    smtp_reply_init(&r);
    while (size > 0) {
        const char *lf = memchr(at, '\n', size);
        size_t len = lf == NULL ? size : (size_t)(lf - at) + 1;
        if (smtp_reply_add_line(&r, at, len, &err) != 0 || r.is_complete) {
            if (r.is_complete)
                look_at(&r);
            smtp_reply_reset(&r);
        }
        at += len;
        size -= len;
    }
    smtp_reply_clear(&r);
    return 0;
}
