/* SPDX-License-Identifier: ISC */
/*
 * What table.c and the table types share. A type is one `struct table_type`; its state begins with
 * `struct table`. Only table*.c include this.
 */
#ifndef SPLIT_TABLE_PRIVATE_H
#define SPLIT_TABLE_PRIVATE_H

#include "table.h"

struct table_type {
    const char *name; /* "texthash" */
    bool takes_whole_address;
    /* argument: the text behind "type:". Returns the state (table.type and table.spec are filled in
     * by table.c) or NULL. */
    struct table *(*open)(const char *argument, struct err *err);
    void (*close)(struct table *t); /* releases the whole state, struct table included */
    enum table_result (*find)(const struct table *t, struct table_scratch *s, const char *key,
                              struct table_match *m, struct err *err);
    int (*each_value)(const struct table *t,
                      int (*fn)(const char *key, const char *value, unsigned line, void *ctx),
                      void *ctx); /* NULL: nothing can be seen */
};

struct table {
    const struct table_type *type;
    char *spec; /* owned by table.c */
    char *path; /* owned by table.c; NULL where there is no file */
};

extern const struct table_type table_inline, table_static, table_texthash, table_pcre;

#endif
