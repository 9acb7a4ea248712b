/* SPDX-License-Identifier: ISC */
/*
 * Table files. The first line of the input is a key; the rest is the text of a texthash, a pcre and
 * a regexp table. For any input every value is valid UTF-8, and every key of a texthash is found
 * again.
 */
#include "base/log.h"
#include "table/table_private.h"
#include "base/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(int condition)
{
    if (!condition)
        abort();
}

struct probe {
    const struct table *table;
    struct table_scratch *scratch;
};

static int check_value(const char *key, const char *value, unsigned line, void *ctx)
{
    const struct probe *p = ctx;
    struct table_match m;
    struct err err;

    require(line > 0);
    if (table_takes_whole_address(p->table))
        return 0; /* the key is a pattern */
    require(*value != '\0' && utf8_is_valid(value, strlen(value)));
    table_match_init(&m);
    require(table_find(p->table, p->scratch, key, &m, &err) == TABLE_FOUND);
    require(strcmp(buf_str(&m.value), value) == 0 && m.line == line);
    table_match_clear(&m);
    return 0;
}

static void try_table(const struct table_type *type, const char *key, const char *text, size_t size)
{
    struct err err = {""};
    struct table *t = table_open_text(type, "fuzz", text, size, &err);

    if (t == NULL) {
        require(err.text[0] != '\0');
        return;
    }
    struct table_scratch *s = table_scratch_new();
    struct table_match m;
    table_match_init(&m);
    switch (table_find(t, s, key, &m, &err)) {
    case TABLE_FOUND:
        require(m.line > 0 && m.table == t);
        require(utf8_is_valid(buf_str(&m.value), m.value.len));
        break;
    case TABLE_NOT_FOUND:
        break;
    case TABLE_FAILED:
    case TABLE_LIMIT:
        require(err.text[0] != '\0');
        break;
    }
    struct probe probe = {t, s};
    table_each_value(t, check_value, &probe);
    table_match_clear(&m);
    table_scratch_free(s);
    table_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *newline = size == 0 ? NULL : memchr(data, '\n', size);
    size_t key_len = newline == NULL ? size : (size_t)(newline - data);
    size_t text_len = newline == NULL ? 0 : size - key_len - 1;
    const char *text = newline == NULL ? "" : (const char *)newline + 1;
    struct buf key = {0};
    struct err err;

    require(log_open("fuzz_table", "stderr", "mail", "error", &err) == 0);
    buf_add(&key, data, key_len);
    try_table(&table_texthash, buf_str(&key), text, text_len);
    try_table(&table_pcre, buf_str(&key), text, text_len);
    try_table(&table_regexp, buf_str(&key), text, text_len);
    buf_clear(&key);
    return 0;
}
