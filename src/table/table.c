/* SPDX-License-Identifier: ISC */
#include "table/table_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct table_type *const types[] = {
#ifdef HAVE_CDB
    &table_cdb,
#endif
    &table_inline,    &table_ldap,
#ifdef HAVE_LMDB
    &table_lmdb,
#endif
    &table_mysql,     &table_pcre,   &table_pgsql,  &table_regexp,
    &table_socketmap, &table_sqlite, &table_static, &table_texthash};

enum { TYPE_COUNT = sizeof types / sizeof types[0] };

void table_match_init(struct table_match *m)
{
    memset(m, 0, sizeof *m);
}

void table_match_clear(struct table_match *m)
{
    buf_clear(&m->value);
    buf_clear(&m->key);
    buf_clear(&m->host);
    buf_clear(&m->query);
    table_match_init(m);
}

struct table_scratch *table_scratch_new(void)
{
    return mem_zalloc(sizeof(struct table_scratch));
}

void table_scratch_free(struct table_scratch *s)
{
    if (s == NULL)
        return;
    table_pcre_scratch_free(s->pcre);
    buf_clear(&s->groups);
    free(s);
}

void table_scratch_begin(struct table_scratch *s)
{
    s->is_limited = true;
    s->deadline_ms = 0;
}

int64_t table_deadline_ms(const struct table *t, struct table_scratch *s,
                          enum table_result *failure_out)
{
    int64_t deadline_ms = clock_now_ms() + t->timeout_ms;

    *failure_out = TABLE_FAILED;
    if (!s->is_limited)
        return deadline_ms;
    if (s->deadline_ms == 0)
        s->deadline_ms = deadline_ms;
    if (s->deadline_ms < deadline_ms - t->timeout_ms / 2)
        *failure_out = TABLE_LIMIT;
    return s->deadline_ms < deadline_ms ? s->deadline_ms : deadline_ms;
}

static const struct table_type *find_type(const char *name, size_t len)
{
    for (size_t i = 0; i < TYPE_COUNT; i++)
        if (strlen(types[i]->name) == len && memcmp(types[i]->name, name, len) == 0)
            return types[i];
    return NULL;
}

static bool is_berkeley_db(const char *spec, size_t name_len)
{
    return (name_len == 4 && memcmp(spec, "hash", 4) == 0) ||
           (name_len == 5 && memcmp(spec, "btree", 5) == 0);
}

static bool has_file(const char *path, const char *suffix)
{
    char *full = mem_printf("%s%s", path, suffix);
    bool exists = table_stamp_of(full).exists;

    free(full);
    return exists;
}

/* A Postfix without Berkeley DB may read hash:PATH and btree:PATH from PATH.lmdb or PATH.cdb
 * (3.11, NON_BERKELEYDB_README). Return the type of that file; NULL if there is none, if both
 * exist, or if there is a Berkeley DB. */
static const struct table_type *find_substitute(const char *path)
{
    const struct table_type *lmdb = find_type("lmdb", 4), *cdb = find_type("cdb", 3);
    bool has_lmdb = has_file(path, ".lmdb"), has_cdb = has_file(path, ".cdb");

    if (has_lmdb == has_cdb || has_file(path, ".db"))
        return NULL;
    return has_lmdb ? lmdb : cdb;
}

static void set_unknown_type(const char *spec, size_t name_len, struct err *err)
{
    struct buf known = {0};

    if (is_berkeley_db(spec, name_len)) {
        err_set(err, "%s: Berkeley DB tables are not read: use texthash:%s (the source text)%s%s",
                spec, spec + name_len + 1, find_type("lmdb", 4) == NULL ? "" : ", or lmdb:",
                find_type("lmdb", 4) == NULL ? "" : spec + name_len + 1);
        return;
    }
    for (size_t i = 0; i < TYPE_COUNT; i++)
        buf_addf(&known, "%s%s", i == 0 ? "" : ", ", types[i]->name);
    err_set(err, "%s: unknown table type \"%.*s\", known are: %s", spec, (int)name_len, spec,
            buf_str(&known));
    buf_clear(&known);
}

/* A specification without "proxy:". Postfix reaches a table through its proxymap(8) then. */
static const char *without_proxy(const char *spec)
{
    static const char proxy[] = "proxy:";

    return strncmp(spec, proxy, sizeof proxy - 1) == 0 ? spec + sizeof proxy - 1 : spec;
}

/* Complete the struct table that a type has made, with one reference. t: NULL if the type has
 * failed; NULL is then returned. path: NULL if there is no file. */
static struct table *adopt(struct table *t, const struct table_type *type, const char *spec,
                           const char *path, const struct table_stamp *stamp)
{
    if (t == NULL)
        return NULL;
    t->type = type;
    t->refs = 1;
    t->timeout_ms = TABLE_TIMEOUT_MS;
    t->spec = mem_strdup(spec);
    t->path = path == NULL ? NULL : mem_strdup(path);
    t->stamp = *stamp;
    return t;
}

static struct table *load(const struct table_type *type, const char *spec, const char *argument,
                          struct err *err)
{
    char *path = mem_printf("%s%s", argument, type->suffix);
    struct table_stamp stamp;
    struct table *t = NULL;
    size_t size;
    int fd = table_copy_file(path, type->file_max, &size, &stamp, err);

    if (fd >= 0)
        t = adopt(type->load(path, fd, size, err), type, spec, path, &stamp);
    free(path);
    return t;
}

/* Report that `spec`, a table of Berkeley DB, is read as one of this type. */
static void note_substitute(const char *spec, const struct table_type *type, const char *argument,
                            const struct table_faults *faults)
{
    char *path = mem_printf("%s%s", argument, type->suffix);
    char *text = mem_printf("is read for %s: write %s:%s", spec, type->name, argument);

    if (faults != NULL)
        faults->each(faults->ctx, path, 0, text);
    else
        log_warning("%s: %s", path, text);
    free(text);
    free(path);
}

static struct table *read_and_parse(const struct table_type *type, const char *spec,
                                    const char *path, const struct table_faults *faults,
                                    struct err *err)
{
    struct table_stamp stamp;
    size_t size;
    char *text = table_read_file(path, type->file_max, &size, &stamp, err);

    if (text == NULL)
        return NULL;
    return adopt(type->parse(path, text, size, faults, err), type, spec, path, &stamp);
}

struct table *table_open_reporting(const char *spec, const struct table_faults *faults,
                                   struct err *err)
{
    struct table_stamp stamp = {0};
    const char *bare = without_proxy(spec), *colon = strchr(bare, ':');

    if (colon == NULL || colon == bare || colon[1] == '\0') {
        err_set(err, "\"%s\" is no table: expected type:argument, e.g. texthash:/path", spec);
        return NULL;
    }
    const char *argument = colon + 1;
    size_t name_len = (size_t)(colon - bare);
    const struct table_type *type = find_type(bare, name_len);
    if (type == NULL && is_berkeley_db(bare, name_len)) {
        type = find_substitute(argument);
        if (type != NULL)
            note_substitute(spec, type, argument, faults);
    }
    if (type == NULL) {
        set_unknown_type(bare, name_len, err);
        return NULL;
    }
    if (type->open != NULL)
        return adopt(type->open(argument, err), type, spec, NULL, &stamp);
    if (type->load != NULL)
        return load(type, spec, argument, err);
    if (type->parse != NULL)
        return read_and_parse(type, spec, argument, faults, err);
    struct table *t = type->open_parameters(type, argument, faults, &stamp, err);
    return adopt(t, type, spec, argument, &stamp);
}

struct table *table_open(const char *spec, struct err *err)
{
    return table_open_reporting(spec, NULL, err);
}

struct table *table_open_text(const struct table_type *type, const char *path, const char *text,
                              size_t size, struct err *err)
{
    struct table_stamp stamp = {0};
    char *copy = mem_zalloc(size + 1), *spec = mem_printf("%s:%s", type->name, path);

    memcpy(copy, text, size);
    struct table *t = adopt(type->parse(path, copy, size, NULL, err), type, spec, path, &stamp);
    free(spec);
    return t;
}

void table_set_timeout(struct table *t, unsigned timeout_ms)
{
    t->timeout_ms = timeout_ms;
}

struct table *table_ref(struct table *t)
{
    __atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
    return t;
}

void table_close(struct table *t)
{
    if (t == NULL || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free(t->spec);
    free(t->path);
    t->type->close(t);
}

bool table_is_current(const struct table *t, const struct table_stamp *now)
{
    return t->path == NULL || table_stamp_equal(&t->stamp, now);
}

char *table_source_path(const struct table *t)
{
    return t->type->load == NULL ? NULL : mem_strdup(strchr(without_proxy(t->spec), ':') + 1);
}

const char *table_spec(const struct table *t)
{
    return t->spec;
}

const char *table_path(const struct table *t)
{
    return t->path;
}

bool table_asks_server(const struct table *t)
{
    return t->type->asks_server;
}

bool table_may_take_long(const struct table *t)
{
    return t->type->may_take_long;
}

bool table_takes_whole_address(const struct table *t)
{
    return t->type->takes_whole_address;
}

bool table_has_failed(enum table_result result)
{
    switch (result) {
    case TABLE_FOUND:
    case TABLE_NOT_FOUND:
        return false;
    case TABLE_FAILED:
    case TABLE_LIMIT:
        break;
    }
    return true;
}

enum table_result table_find(const struct table *t, struct table_scratch *s, const char *key,
                             struct table_match *m, struct err *err)
{
    err_clear(err);
    buf_reset(&m->host);
    buf_reset(&m->query);
    enum table_result result = t->type->find(t, s, key, m, err);

    assert(table_has_failed(result) == (err->text[0] != '\0'));
    if (result == TABLE_FOUND)
        m->table = t;
    return result;
}

void table_try_hosts(const struct table *t, const char *key, const struct table_faults *faults)
{
    struct table_match match;
    struct err err;

    if (t->type->try_hosts != NULL) {
        t->type->try_hosts(t, key, faults);
    } else if (t->type->asks_server) {
        struct table_scratch *scratch = table_scratch_new();
        table_match_init(&match);
        if (table_has_failed(table_find(t, scratch, key, &match, &err)))
            faults->each(faults->ctx, "", 0, err.text);
        table_match_clear(&match);
        table_scratch_free(scratch);
    }
}

int table_each_value(const struct table *t,
                     int (*fn)(const char *key, const char *value, unsigned line, void *ctx),
                     void *ctx)
{
    return t->type->each_value == NULL ? 0 : t->type->each_value(t, fn, ctx);
}
