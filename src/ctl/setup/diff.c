/* SPDX-License-Identifier: ISC */
#include "ctl/setup/diff.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CELLS_MAX (16U << 20)

struct lines {
    const char **at;
    size_t *len; /* without line end */
    size_t count;
};

static struct lines cut(const char *text)
{
    struct lines l = {0};
    size_t room = 0;

    while (*text != '\0') {
        if (l.count == room) {
            room = room * 2 + 64;
            l.at = mem_grow(l.at, room, sizeof *l.at);
            l.len = mem_grow(l.len, room, sizeof *l.len);
        }
        l.at[l.count] = text;
        l.len[l.count] = strcspn(text, "\n");
        text += l.len[l.count] + (text[l.len[l.count]] == '\n');
        l.count++;
    }
    return l;
}

static bool is_same(const struct lines *a, size_t i, const struct lines *b, size_t k)
{
    return a->len[i] == b->len[k] && memcmp(a->at[i], b->at[k], a->len[i]) == 0;
}

static void put(struct buf *out, char sign, const struct lines *l, size_t i)
{
    char *line = mem_strndup(l->at[i], l->len[i]);

    for (char *tab = line; (tab = strchr(tab, '\t')) != NULL;)
        *tab = ' ';
    log_sanitize(line);
    buf_addf(out, "  %c %s\n", sign, line);
    free(line);
}

/* Return a table with the length of the longest common subsequence of the lines from a[i] and from
 * b[k] on, for each (i, k), in rows of b->count + 1. The caller frees it. */
static uint32_t *measure(const struct lines *a, const struct lines *b)
{
    size_t width = b->count + 1;
    uint32_t *c = mem_zalloc((a->count + 1) * width * sizeof *c);

    for (size_t i = a->count; i-- > 0;)
        for (size_t k = b->count; k-- > 0;) {
            uint32_t down = c[(i + 1) * width + k], right = c[i * width + k + 1];
            uint32_t longer = down > right ? down : right;
            c[i * width + k] = is_same(a, i, b, k) ? c[(i + 1) * width + k + 1] + 1 : longer;
        }
    return c;
}

static void compare(const struct lines *a, const struct lines *b, struct buf *out)
{
    uint32_t *c = measure(a, b);
    size_t i = 0, k = 0, width = b->count + 1;

    while (i < a->count || k < b->count) {
        if (i < a->count && k < b->count && is_same(a, i, b, k)) {
            i++;
            k++;
        } else if (k == b->count ||
                   (i < a->count && c[(i + 1) * width + k] >= c[i * width + k + 1])) {
            put(out, '-', a, i++);
        } else {
            put(out, '+', b, k++);
        }
    }
    free(c);
}

void diff_lines(const char *before, const char *after, struct buf *out)
{
    struct lines a = cut(before), b = cut(after);

    if (b.count + 1 < CELLS_MAX / (a.count + 1)) {
        compare(&a, &b, out);
    } else {
        for (size_t i = 0; i < a.count; i++)
            put(out, '-', &a, i);
        for (size_t i = 0; i < b.count; i++)
            put(out, '+', &b, i);
    }
    free(a.at);
    free(a.len);
    free(b.at);
    free(b.len);
}
