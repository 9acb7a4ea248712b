/* SPDX-License-Identifier: ISC */
/*
 * table_query SPEC: looks up every line of standard input and prints "KEY TAB VALUE" for those that
 * are found, as `postmap -q - SPEC` does. Exit code 0 when anything was found, else 1; 2 when the
 * table cannot be opened or asked.
 */
#include "base/buf.h"
#include "base/log.h"
#include "table/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fold a key, as callers of table_find() do. Tables of patterns get the line unchanged, as from
 * postmap. */
static void fold(const struct table *t, const char *line, struct buf *key)
{
    buf_reset(key);
    buf_adds(key, line);
    if (table_takes_whole_address(t))
        return;
    for (size_t i = 0; i < key->len; i++)
        if (key->data[i] >= 'A' && key->data[i] <= 'Z')
            key->data[i] = (char)(key->data[i] - 'A' + 'a');
}

/* Returns 0 if the key was found, 1 if not, 2 if the look-up failed. */
static int query(const struct table *t, struct table_scratch *s, const char *line,
                 struct table_match *m, struct buf *key)
{
    struct err err;

    fold(t, line, key);
    switch (table_find(t, s, buf_str(key), m, &err)) {
    case TABLE_FOUND:
        printf("%s\t%s\n", line, buf_str(&m->value));
        return 0;
    case TABLE_NOT_FOUND:
        return 1;
    case TABLE_FAILED:
    case TABLE_LIMIT:
        break;
    }
    log_error("%s", err.text);
    return 2;
}

int main(int argc, char **argv)
{
    struct err err;
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    int result = 1;

    if (argc != 2) {
        fputs("usage: table_query TYPE:ARGUMENT < KEYS\n", stderr);
        return 2;
    }
    struct table *t = table_open(argv[1], &err);
    if (t == NULL) {
        log_error("%s", err.text);
        return 2;
    }
    struct table_scratch *s = table_scratch_new();
    struct table_match m;
    struct buf key = {0};
    table_match_init(&m);
    while (result != 2 && (len = getline(&line, &size, stdin)) > 0) {
        if (line[len - 1] == '\n')
            line[len - 1] = '\0';
        int rc = query(t, s, line, &m, &key);
        if (rc != 1)
            result = rc;
    }
    free(line);
    buf_clear(&key);
    table_match_clear(&m);
    table_scratch_free(s);
    table_close(t);
    return result;
}
