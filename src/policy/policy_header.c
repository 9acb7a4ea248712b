/* SPDX-License-Identifier: ISC */
#include "base/clock.h"
#include "mail/hdr_address.h"
#include "policy/policy_private.h"

#include <assert.h>
#include <string.h>

/* A field has many addresses. Each has lookup_timeout (29 s at most), and all of them have this
 * many times that: Postfix waits 300 seconds (milter_content_timeout). */
#define FIELD_TIMEOUTS 10

struct header {
    const struct policy *policy;
    struct table_scratch *scratch;
    struct table_match match;
    int64_t deadline_ms; /* for beginning with an address */
    enum policy_failed failed;
    struct err *err;
};

static int map_address(const char *address, struct buf *out, void *ctx)
{
    struct header *h = ctx;
    struct address from, to;
    struct err ignored;

    if (address_parse(address, strlen(address), ADDRESS_LENIENT, &from, &ignored) != 0)
        return 0;
    if (clock_now_ms() >= h->deadline_ms) {
        err_set(h->err, "the look-ups for the addresses of a header field take too long");
        h->failed = POLICY_LIMIT;
        return -1;
    }
    table_scratch_begin(h->scratch);
    enum table_result r =
        lookup_canonical(&h->policy->maps[POLICY_CANONICAL], h->scratch, &from,
                         h->policy->config->recipient_delimiter, &to, &h->match, h->err);
    h->failed = policy_failed_of(r);
    if (h->failed != POLICY_OK)
        return -1;
    if (r == TABLE_NOT_FOUND || strcmp(from.text, to.text) == 0)
        return 0;
    buf_adds(out, to.text);
    return 1;
}

enum policy_failed policy_rewrite_header(const struct policy *p, struct table_scratch *s,
                                         const char *body, struct buf *out, size_t *replaced_out,
                                         struct err *err)
{
    int64_t field_ms = (int64_t)FIELD_TIMEOUTS * p->config->milter.lookup_timeout_ms;
    struct header h = {
        .policy = p, .scratch = s, .deadline_ms = clock_now_ms() + field_ms, .err = err};

    table_match_init(&h.match);
    int rc = hdr_address_rewrite(body, map_address, &h, out);
    table_match_clear(&h.match);
    assert((rc < 0) == (h.failed != POLICY_OK));
    *replaced_out = rc < 0 ? 0 : (size_t)rc;
    return h.failed;
}
