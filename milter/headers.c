/* SPDX-License-Identifier: ISC */
#include "headers.h"
#include "base/mem.h"
#include "base/ascii.h"

#include <stdlib.h>
#include <string.h>

#define BYTES_MAX (4 << 20) /* of all changed bodies of a message */

void headers_clear(struct headers *h)
{
    for (size_t i = 0; i < h->count; i++)
        free(h->changes[i].body);
    free(h->changes);
    memset(h, 0, sizeof *h);
}

void headers_see(struct headers *h, const struct policy *p, struct table_scratch *s,
                 const char *name, const char *body)
{
    bool is_to = ascii_equal(name, "To");
    struct buf changed = {0};
    size_t replaced;

    if (!is_to && !ascii_equal(name, "Cc"))
        return;
    int index = is_to ? ++h->to_count : ++h->cc_count;
    if (h->failed != POLICY_OK)
        return;
    h->failed = policy_rewrite_header(p, s, body, &changed, &replaced, &h->failure);
    if (h->failed == POLICY_OK && replaced > 0) {
        h->bytes += changed.len;
        if (h->bytes > BYTES_MAX) {
            h->failed = POLICY_LIMIT;
            err_set(&h->failure, "more than %d bytes of headers to change", BYTES_MAX);
        } else {
            h->changes = mem_grow(h->changes, h->count + 1, sizeof *h->changes);
            h->changes[h->count++] =
                (struct header_change){is_to ? "To" : "Cc", index, buf_take(&changed)};
        }
    }
    buf_clear(&changed);
}

int headers_apply(const struct headers *h, SMFICTX *ctx)
{
    for (size_t i = 0; i < h->count; i++) {
        const struct header_change *c = &h->changes[i];
        if (smfi_chgheader(ctx, (char *)c->name, c->index, c->body) != MI_SUCCESS)
            return -1;
    }
    return 0;
}
