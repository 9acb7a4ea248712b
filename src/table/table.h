/* SPDX-License-Identifier: ISC */
/*
 * table: one lookup table, of any type of splitmilter.conf(5), behind one interface. A table is
 * immutable once open, has a reference count, and may be searched by any number of threads at a
 * time; the working memory of a look-up is in the caller's table_scratch. lookup.h decides which
 * keys are tried for an address.
 */
#ifndef SPLIT_TABLE_H
#define SPLIT_TABLE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct table;

/* Working memory of one connection (pcre2 match data and the like). One thread at a time. */
struct table_scratch;

enum table_result {
    TABLE_FOUND,
    TABLE_NOT_FOUND,
    TABLE_FAILED, /* the table cannot be read now, or its answer is invalid; see on_failure */
    /* This key exceeds a limit of the look-up, as it will each time. The client has chosen the key,
     * so its command is refused, whatever on_failure is. */
    TABLE_LIMIT,
};

/* Did the look-up fail (TABLE_FAILED or TABLE_LIMIT)? */
bool table_has_failed(enum table_result result);

/* The result of a look-up, and the entry that decided (for `splitctl explain`). */
struct table_match {
    struct buf value;          /* the result, with substitutions made */
    struct buf key;            /* the key that was found; for pcre and regexp the pattern's text */
    const struct table *table; /* borrowed; table_spec() names it */
    unsigned line;             /* line of the source file, 0 where the type has no lines */
    struct buf host, query;    /* of a type that asks servers by a query; "" otherwise */
};

/* Make an empty match, which may be used for many look-ups. _clear() frees what the match owns. */
void table_match_init(struct table_match *m) __attribute__((nonnull));
void table_match_clear(struct table_match *m) __attribute__((nonnull));

/* Memory for look-ups in all tables. table_scratch_free(NULL) is legal. */
struct table_scratch *table_scratch_new(void) __attribute__((returns_nonnull, warn_unused_result));
void table_scratch_free(struct table_scratch *s);
/* A decision begins: all look-ups with this scratch, until the next call, have one time limit
 * together, which begins with the first of them that asks a server. Without this call each look-up
 * has a limit of its own. */
void table_scratch_begin(struct table_scratch *s) __attribute__((nonnull));

/*
 * Open "type:argument": inline:{ key=value, { key = text } }, static:value, texthash:/path,
 * pcre:/path, regexp:/path, lmdb:/path, cdb:/path (the last two only if they were built in),
 * socketmap:inet:host:port:name, socketmap:unix:/path:name, and mysql:/path, pgsql:/path,
 * ldap:/path, sqlite:/path with the path of a parameter file of Postfix (their modules are loaded
 * here). "proxy:" before a type has no meaning. This call reads files completely, so that later
 * changes of a file have no effect on look-ups; a table that asks servers connects at its first
 * look-up. hash:/path and btree:/path are read as lmdb:/path or cdb:/path, with a warning, if one
 * of these two files exists and /path.db does not: that is what a Postfix without Berkeley DB may
 * do. The caller has one reference. NULL with `err`: an unknown type (with the list of known ones;
 * for other hash: and btree: tables with the advice to use texthash: with the same source, or
 * lmdb:), or a fault in a file as "PATH:LINE: what is wrong". Lines that Postfix skips with a
 * warning (a line without value, a duplicate key) are skipped too, and logged as warnings with
 * PATH:LINE. A byte order mark before the first line is skipped with a warning, too, but the line
 * itself is read. A texthash takes no more memory than the size of its file plus 64 bytes a line.
 */
struct table *table_open(const char *spec, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Receives the faults in a file that do not prevent its use. line: 0 for a fault of the whole
 * file. */
struct table_faults {
    void (*each)(void *ctx, const char *path, unsigned line, const char *text);
    void *ctx;
};

/* As table_open(), but faults that do not prevent the use of the file are passed to `faults`, if
 * that is not NULL, and not logged. */
struct table *table_open_reporting(const char *spec, const struct table_faults *faults,
                                   struct err *err)
    __attribute__((nonnull(1, 3), warn_unused_result));

/* Take one more reference, which is released by table_close(). Returns t. */
struct table *table_ref(struct table *t)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

#define TABLE_TIMEOUT_MS 10000 /* the time limit of a table until table_set_timeout() */

/* Limit the time of one look-up in a table that asks servers, over all of them. Before the table is
 * used by several threads. No effect on other types. */
void table_set_timeout(struct table *t, unsigned timeout_ms) __attribute__((nonnull));

/* Release a reference; the last one closes the table. NULL is legal. */
void table_close(struct table *t);

/* The specification that the table was opened with. Valid as long as the table. */
const char *table_spec(const struct table *t) __attribute__((nonnull));

/* The file that was read (for lmdb: and cdb: with the suffix), or NULL. table_match.line is a line
 * of this file. */
const char *table_path(const struct table *t) __attribute__((nonnull));

/* The source file from which postmap(1) makes a compiled table (lmdb, cdb), for the caller to
 * free(); NULL for other types. */
char *table_source_path(const struct table *t) __attribute__((nonnull, warn_unused_result));

/* The state of a file, by which a change of its content is noticed. */
struct table_stamp {
    bool exists;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec mtime, ctime;
};

/* The present state of a file, and whether two states are the same. A file that cannot be examined
 * counts as one that does not exist. */
struct table_stamp table_stamp_of(const char *path) __attribute__((nonnull));
bool table_stamp_equal(const struct table_stamp *a, const struct table_stamp *b)
    __attribute__((nonnull));

/* Was the table read from a file in this state? False, too, when the file was written so shortly
 * before it was read that a later write might not change its state. Always true for tables without
 * file. */
bool table_is_current(const struct table *t, const struct table_stamp *now)
    __attribute__((nonnull));

/* True for types that are asked once, for the whole address and not for its parts (pcre, regexp,
 * socketmap). */
bool table_takes_whole_address(const struct table *t) __attribute__((nonnull));

/* True if a look-up asks a server, or a database file, and may wait for it (socketmap, mysql,
 * pgsql, ldap, sqlite). */
bool table_asks_server(const struct table *t) __attribute__((nonnull));

/* True if a look-up may wait for a server, or may compute for long (regexp: unlike pcre2,
 * regexec(3) has no limit). */
bool table_may_take_long(const struct table *t) __attribute__((nonnull));

/*
 * Look up one key, which the caller has folded (lookup.h). In a pcre or regexp table the flags of
 * each pattern decide about case. On TABLE_FOUND `m` is filled (its buffers are overwritten). If
 * table_has_failed(), `err` is set; otherwise it is empty, even if it was set before. If a table
 * type sets `err` with FOUND or NOT_FOUND, or does not set it with another result, the process
 * aborts, because that is a bug.
 */
enum table_result table_find(const struct table *t, struct table_scratch *s, const char *key,
                             struct table_match *m, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* For a table that asks servers: connect to each of them and ask for the key; `faults` receives a
 * fault for each one that does not answer, without path and line. Nothing is done for other types.
 * The state of the pool of connections, and so the look-ups, are not affected. */
void table_try_hosts(const struct table *t, const char *key, const struct table_faults *faults)
    __attribute__((nonnull));

/*
 * Call fn for every result that can be seen without a look-up (all values of inline, static,
 * texthash, lmdb, cdb; those of pcre and regexp that have no substitutions), until fn returns
 * non-zero. line is 0 where there are no lines. Returns what fn returned last; 0 if fn was not
 * called.
 */
int table_each_value(const struct table *t,
                     int (*fn)(const char *key, const char *value, unsigned line, void *ctx),
                     void *ctx) __attribute__((nonnull(1, 2)));

#endif
