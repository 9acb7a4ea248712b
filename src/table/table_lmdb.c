/* SPDX-License-Identifier: ISC */
/*
 * lmdb: a database as postmap(1) makes it. liblmdb maps a copy of the file into memory. If it
 * mapped the file itself, truncating the file would end the process (SIGBUS, as in Postfix), and
 * every look-up would need a lock against writers. Keys and values may end in a NUL.
 */
#include "base/mem.h"
#include "table/table_private.h"

#include <lmdb.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A database has a size limit in the head of its file. Limits up to MAP_MAX are accepted, also
 * those far above the size of the file, because they cost only address space. */
#define MAP_MAX ((size_t)1 << 40)
#define HEAD_MAX (1 << 20) /* bytes; more than the two pages of the head can have */

struct lmdb_table {
    struct table table;
    MDB_env *env;
    MDB_dbi dbi;
    char *path; /* for messages of look-ups */
};

static void lmdb_close(struct table *t)
{
    struct lmdb_table *lt = (struct lmdb_table *)t;

    if (lt->env != NULL)
        mdb_env_close(lt->env);
    free(lt->path);
    free(lt);
}

/* Check that the file has every page that is in use, and extend the file to its size limit. */
static int check_size(struct lmdb_table *t, int fd, size_t size, struct err *err)
{
    MDB_envinfo info;
    MDB_stat stat;

    if (mdb_env_info(t->env, &info) != 0 || mdb_env_stat(t->env, &stat) != 0 ||
        stat.ms_psize == 0 || info.me_last_pgno >= size / stat.ms_psize) {
        err_set(err, "%s is cut off: %zu bytes", t->path, size);
        return -1;
    }
    /* The mapping may be longer than the file, and a damaged file may refer to a page behind the
     * end of the file. After ftruncate(2) such a page is all zeros, which liblmdb reports as a
     * fault. Without ftruncate(2) the access would end the process (SIGBUS). */
    if (info.me_mapsize > MAP_MAX || ftruncate(fd, (off_t)info.me_mapsize) < 0) {
        err_set(err, "%s: its size limit of %zu bytes is too large", t->path, info.me_mapsize);
        return -1;
    }
    return 0;
}

static int open_env(struct lmdb_table *t, int fd, size_t size, struct err *err)
{
    char name[64];
    MDB_txn *txn = NULL;
    int rc = mdb_env_create(&t->env);

    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    if (rc == 0 && ftruncate(fd, (off_t)(size + HEAD_MAX)) < 0)
        rc = ENOMEM;
    if (rc == 0)
        rc = mdb_env_open(t->env, name, MDB_NOSUBDIR | MDB_NOLOCK | MDB_RDONLY | MDB_NOTLS, 0600);
    if (rc == 0 && check_size(t, fd, size, err) < 0)
        return -1;
    if (rc == 0)
        rc = mdb_txn_begin(t->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0) {
        rc = mdb_dbi_open(txn, NULL, 0, &t->dbi);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    if (rc == 0)
        return 0;
    err_set(err, "cannot open %s: %s", t->path, mdb_strerror(rc));
    return -1;
}

static struct table *lmdb_load(const char *path, int fd, size_t size, struct err *err)
{
    struct lmdb_table *t = mem_zalloc(sizeof *t);

    t->path = mem_strdup(path);
    int rc = open_env(t, fd, size, err);
    close(fd);
    if (rc == 0)
        return &t->table;
    lmdb_close(&t->table);
    return NULL;
}

/* Get the value of the record whose key is exactly these bytes. Returns a status of liblmdb. */
static int get(const struct lmdb_table *t, MDB_txn *txn, const char *key, size_t len,
               MDB_val *value_out)
{
    MDB_val k = {.mv_data = (void *)key, .mv_size = len};

    if (len == 0 || len > (size_t)mdb_env_get_maxkeysize(t->env))
        return MDB_NOTFOUND;
    return mdb_get(txn, t->dbi, &k, value_out);
}

static enum table_result lmdb_find(const struct table *table, struct table_scratch *s,
                                   const char *key, struct table_match *m, struct err *err)
{
    const struct lmdb_table *t = (const struct lmdb_table *)table;
    enum table_result result = TABLE_FAILED;
    MDB_txn *txn;
    MDB_val value;

    (void)s;
    int rc = mdb_txn_begin(t->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0) {
        rc = get(t, txn, key, strlen(key) + 1, &value);
        if (rc == MDB_NOTFOUND)
            rc = get(t, txn, key, strlen(key), &value);
        if (rc == 0)
            result = table_compiled_match(t->path, key, value.mv_data, value.mv_size, m, err);
        else if (rc == MDB_NOTFOUND)
            result = TABLE_NOT_FOUND;
        mdb_txn_abort(txn);
    }
    if (rc != 0 && rc != MDB_NOTFOUND)
        err_set(err, "cannot read %s: %s", t->path, mdb_strerror(rc));
    return result;
}

static int lmdb_each_value(const struct table *table,
                           int (*fn)(const char *key, const char *value, unsigned line, void *ctx),
                           void *ctx)
{
    const struct lmdb_table *t = (const struct lmdb_table *)table;
    MDB_cursor *cursor;
    MDB_txn *txn;
    MDB_val key, value;
    int rc = 0;

    if (mdb_txn_begin(t->env, NULL, MDB_RDONLY, &txn) != 0)
        return 0;
    if (mdb_cursor_open(txn, t->dbi, &cursor) == 0) {
        while (rc == 0 && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
            rc = table_compiled_visit(key.mv_data, key.mv_size, value.mv_data, value.mv_size, fn,
                                      ctx);
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return rc;
}

const struct table_type table_lmdb = {
    .name = "lmdb",
    .load = lmdb_load,
    .suffix = ".lmdb",
    .file_max = (uint64_t)1 << 40,
    .close = lmdb_close,
    .find = lmdb_find,
    .each_value = lmdb_each_value,
};
