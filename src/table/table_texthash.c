/* SPDX-License-Identifier: ISC */
/*
 * texthash: the source text of postmap(1), kept as one block of memory in which a NUL ends each key
 * and value.
 *
 *   logical-line = key 1*white-space value
 *   key          = 1*( quoted-text / "\" any / any but white-space )
 *   quoted-text  = DQUOTE *( "\" any / any but DQUOTE ) DQUOTE
 *
 * Quotes and backslashes stay in the key, because keys are compared with addresses in their quoted
 * form.
 */
#include "table/table_private.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

struct texthash {
    struct table table;
    struct table_index index;
};

static bool is_ascii(const char *text, size_t len)
{
    uint64_t word;

    for (; len >= sizeof word; text += sizeof word, len -= sizeof word) {
        memcpy(&word, text, sizeof word);
        if ((word & 0x8080808080808080U) != 0)
            return false;
    }
    for (; len > 0; text++, len--)
        if ((*text & 0x80) != 0)
            return false;
    return true;
}

/* The end of the key at the start of the line; NULL when its quotes are not balanced. */
static char *find_key_end(char *line)
{
    bool in_quotes = false;
    char *p = line;

    for (; *p != '\0'; p++) {
        if (*p == '\\') {
            if (*++p == '\0')
                break;
        } else if (*p == '"') {
            in_quotes = !in_quotes;
        } else if (!in_quotes && table_is_space(*p)) {
            break;
        }
    }
    return in_quotes ? NULL : p;
}

static void add_line(struct table_index *ix, struct table_lines *lines,
                     const struct table_line *line)
{
    if (!is_ascii(line->text, line->len) && !utf8_is_valid(line->text, line->len)) {
        table_lines_warn(lines, line->number, "non-UTF-8 input: ignoring this line");
        return;
    }
    char *key_end = find_key_end(line->text);
    if (key_end == NULL) {
        table_lines_warn(lines, line->number, "unbalanced '\"': ignoring this line");
        return;
    }
    if (*key_end == '\0') {
        table_lines_warn(lines, line->number,
                         "expected format: key whitespace value: ignoring this line");
        return;
    }
    *key_end = '\0';
    if (key_end[-1] == ':')
        table_lines_warn(lines, line->number,
                         "record is in \"key: value\" format; is this an alias file?");
    const struct table_entry *first =
        table_index_add(ix, (size_t)(line->text - ix->block), line->number);
    if (first != NULL)
        table_lines_warn(lines, line->number,
                         "duplicate entry: \"%s\", line %u counts: ignoring this line", line->text,
                         first->line);
}

/* The largest number of entries that the text can have: one in each line, of at least four bytes
 * ("k v\n"). */
static size_t max_entries(const char *text, size_t size)
{
    const char *end = text + size;
    size_t lines = 1;

    while ((text = memchr(text, '\n', (size_t)(end - text))) != NULL) {
        lines++;
        text++;
    }
    return lines < size / 4 + 1 ? lines : size / 4 + 1;
}

static void texthash_close(struct table *t)
{
    struct texthash *th = (struct texthash *)t;

    table_index_clear(&th->index);
    free(th);
}

static struct table *texthash_parse(const char *path, char *text, size_t size,
                                    const struct table_faults *faults, struct err *err)
{
    struct texthash *th = mem_zalloc(sizeof *th);
    struct table_lines lines = table_lines_of(path, text, size, faults);
    struct table_line line;
    int rc;

    table_index_init(&th->index, text, max_entries(text, size));
    while ((rc = table_lines_next(&lines, &line, err)) > 0)
        add_line(&th->index, &lines, &line);
    table_lines_finish(&lines);
    if (rc < 0) {
        texthash_close(&th->table);
        return NULL;
    }
    table_index_shrink(&th->index);
    return &th->table;
}

static enum table_result texthash_find(const struct table *t, struct table_scratch *s,
                                       const char *key, struct table_match *m, struct err *err)
{
    (void)s;
    (void)err;
    return table_index_lookup(&((const struct texthash *)t)->index, key, m);
}

static int texthash_each_value(const struct table *t,
                               int (*fn)(const char *key, const char *value, unsigned line,
                                         void *ctx),
                               void *ctx)
{
    return table_index_each(&((const struct texthash *)t)->index, fn, ctx);
}

const struct table_type table_texthash = {
    .name = "texthash",
    .parse = texthash_parse,
    .file_max = UINT32_MAX - 1,
    .close = texthash_close,
    .find = texthash_find,
    .each_value = texthash_each_value,
};
