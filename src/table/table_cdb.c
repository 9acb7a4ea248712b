/* SPDX-License-Identifier: ISC */
/*
 * cdb: a constant database as postmap(1) makes it. tinycdb maps a copy of the file into memory,
 * because no other process can truncate a copy. Keys may end in a NUL.
 */
#include "base/mem.h"
#include "table/table_private.h"

#include <cdb.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct cdb_table {
    struct table table;
    struct cdb cdb;
    char *path; /* for messages of look-ups */
};

static void cdb_table_close(struct table *t)
{
    struct cdb_table *ct = (struct cdb_table *)t;

    cdb_free(&ct->cdb);
    free(ct->path);
    free(ct);
}

#define HEAD_ENTRIES 256
/* The head has 8 bytes for each hash table: its position, and its number of slots. A slot has 8
 * bytes, too. */
#define HEAD_SIZE (HEAD_ENTRIES * 8)

/* Are all hash tables inside the file? They are at its end, so a file that is cut off lacks some of
 * them. tinycdb checks the position of a hash table only when a look-up needs that table. */
static bool is_whole(const struct cdb *cdb, size_t size)
{
    for (unsigned i = 0; i < HEAD_ENTRIES; i++) {
        const unsigned char *entry = cdb->cdb_mem + (size_t)i * 8;
        uint64_t at = cdb_unpack(entry), slots = cdb_unpack(entry + 4);
        if (slots > 0 && (at < HEAD_SIZE || at + slots * 8 > size))
            return false;
    }
    return true;
}

static struct table *cdb_load(const char *path, int fd, size_t size, struct err *err)
{
    struct cdb cdb;

    int rc = cdb_init(&cdb, fd);
    bool is_fit = rc == 0 && is_whole(&cdb, size);
    if (!is_fit) {
        err_set(err, "%s is not a constant database, or is cut off", path);
        if (rc == 0)
            cdb_free(&cdb);
        close(fd);
        return NULL;
    }
    struct cdb_table *t = mem_zalloc(sizeof *t);
    t->cdb = cdb;
    t->path = mem_strdup(path);
    close(fd); /* the mapping of the copy stays */
    return &t->table;
}

static enum table_result cdb_table_find(const struct table *table, struct table_scratch *s,
                                        const char *key, struct table_match *m, struct err *err)
{
    const struct cdb_table *t = (const struct cdb_table *)table;
    struct cdb cdb = t->cdb; /* a look-up stores its position in the struct */
    size_t len = strlen(key);
    const void *value = NULL;

    (void)s;
    if (len >= UINT32_MAX)
        return TABLE_NOT_FOUND;
    int rc = cdb_find(&cdb, key, (unsigned)len + 1);
    if (rc == 0)
        rc = cdb_find(&cdb, key, (unsigned)len);
    if (rc == 0)
        return TABLE_NOT_FOUND;
    if (rc > 0)
        value = cdb_getdata(&cdb);
    if (value == NULL) {
        err_set(err, "cannot read %s: it is broken", t->path);
        return TABLE_FAILED;
    }
    return table_compiled_match(t->path, key, value, cdb_datalen(&cdb), m, err);
}

static int cdb_each_value(const struct table *table,
                          int (*fn)(const char *key, const char *value, unsigned line, void *ctx),
                          void *ctx)
{
    struct cdb cdb = ((const struct cdb_table *)table)->cdb;
    unsigned position;
    int rc = 0;

    cdb_seqinit(&position, &cdb);
    while (rc == 0 && cdb_seqnext(&position, &cdb) > 0) {
        const void *key = cdb_getkey(&cdb), *value = cdb_getdata(&cdb);
        if (key == NULL || value == NULL)
            break;
        rc = table_compiled_visit(key, cdb_keylen(&cdb), value, cdb_datalen(&cdb), fn, ctx);
    }
    return rc;
}

const struct table_type table_cdb = {
    .name = "cdb",
    .load = cdb_load,
    .suffix = ".cdb",
    .file_max = UINT32_MAX,
    .close = cdb_table_close,
    .find = cdb_table_find,
    .each_value = cdb_each_value,
};
