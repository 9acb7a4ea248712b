/* SPDX-License-Identifier: ISC */
/*
 * Content of any bytes, in pieces of any size. The result is the same as that of a plain parser
 * that reads byte by byte as RFC 5321 4.5.2 says. The Message-ID does not depend on the pieces, is
 * printable, and is in the content. The conditions that the header meets do not depend on the
 * pieces either, and there is a line with the name of the field. The first byte of the input sets
 * the sizes of the pieces.
 */
#include "mail/content.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct expected {
    struct buf out;
    size_t used;
    bool is_complete, has_bare_lf;
};

static void reference(const char *data, size_t len, struct expected *x)
{
    bool at_line_start = true;

    for (size_t i = 0; i < len; i++) {
        if (at_line_start && data[i] == '.') {
            if (len - i >= 3 && memcmp(data + i, ".\r\n", 3) == 0) {
                x->used = i + 3;
                x->is_complete = true;
                return;
            }
            at_line_start = false;
            if (i + 2 == len && data[i + 1] == '\r') /* not decided yet, so both are held back */
                break;
            continue;
        }
        if (data[i] == '\n' && (i == 0 || data[i - 1] != '\r'))
            x->has_bare_lf = true;
        at_line_start = data[i] == '\n' && i > 0 && data[i - 1] == '\r';
        buf_addc(&x->out, data[i]);
    }
    x->used = len;
}

static char flag[] = "X: YES", begin[] = "X: y*", middle[] = "y: *a*b c*", any[] = "Message-ID: *";
static char *conditions[] = {flag, begin, middle, any};
enum { CONDITIONS = sizeof conditions / sizeof conditions[0] };

/* Feed it in pieces of `step` bytes. watches: one for each condition. */
static struct content *feed(const char *data, size_t len, size_t step,
                            struct content_watch watches[CONDITIONS], struct buf *out,
                            size_t *used_out)
{
    static struct string_list lists[CONDITIONS];
    struct content *c = content_new("h");
    size_t used = 0;

    for (size_t i = 0; i < CONDITIONS; i++) {
        lists[i] = (struct string_list){.items = &conditions[i], .count = 1};
        watches[i] = (struct content_watch){.conditions = &lists[i]};
    }
    content_watch(c, watches, CONDITIONS);

    while (used < len && !content_is_complete(c)) {
        size_t n = len - used < step ? len - used : step;
        size_t got = content_feed(c, data + used, n, out);
        if (got > n || (got < n && !content_is_complete(c)))
            abort();
        used += got;
    }
    *used_out = used;
    return c;
}

/* Each word of the id is somewhere in the content, but for replaced and folded characters. */
static void check_message_id(const char *id, const struct buf *content)
{
    if (strlen(id) >= CONTENT_MESSAGE_ID_SIZE || id[0] == ' ')
        abort();
    for (const char *p = id; *p != '\0';) {
        size_t n = strcspn(p, "? ");
        if (n > 0 && memmem(content->data, content->len, p, n) == NULL)
            abort();
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)p[i] < ' ' || p[i] == '\x7f')
                abort();
        p += n + (p[n] != '\0');
    }
}

static void check_conditions(const struct content_watch *a, const struct content_watch *b,
                             const struct buf *content)
{
    for (size_t i = 0; i < CONDITIONS; i++) {
        size_t name = strcspn(conditions[i], ":");
        bool is_there = false;
        if (a[i].met != b[i].met || (a[i].met != NULL && a[i].met != conditions[i]))
            abort();
        for (size_t at = 0; a[i].met != NULL && at + name < content->len; at++)
            is_there |= (at == 0 || content->data[at - 1] == '\n') &&
                        strncasecmp(content->data + at, conditions[i], name) == 0;
        if (is_there != (a[i].met != NULL))
            abort();
    }
    if (a[0].met != NULL && a[1].met == NULL) /* what "YES" meets, "y*" meets as well */
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct content_watch watches[CONDITIONS], other_watches[CONDITIONS];
    struct expected x = {0};
    struct buf out = {0}, other_out = {0};
    size_t used, other_used;

    if (size == 0)
        return 0;
    const char *data = (const char *)input + 1;
    size_t len = size - 1, step = input[0] == 0 ? len : input[0];
    reference(data, len, &x);
    struct content *c = feed(data, len, step, watches, &out, &used);
    struct content *other = feed(data, len, 1, other_watches, &other_out, &other_used);
    if (used != x.used || content_is_complete(c) != x.is_complete ||
        content_has_bare_lf(c) != x.has_bare_lf || out.len != x.out.len ||
        (out.len > 0 && memcmp(out.data, x.out.data, out.len) != 0))
        abort();
    (void)content_has_too_many_hops(c);
    (void)content_has_copy_for(c, "d");
    if (content_is_complete(c) && strcmp(content_message_id(c), content_message_id(other)) != 0)
        abort();
    check_message_id(content_message_id(c), &out);
    if (content_is_complete(c))
        check_conditions(watches, other_watches, &out);
    content_free(c);
    content_free(other);
    buf_clear(&out);
    buf_clear(&other_out);
    buf_clear(&x.out);
    return 0;
}
