/* SPDX-License-Identifier: ISC */
/*
 * What table.c and the table types share. A type is one `struct table_type`; the state of each
 * table begins with `struct table`. Only src/table/ and tests of it include this.
 *
 * What a new type NAME needs:
 *
 *     table_NAME.c                 its struct table_type, table_NAME
 *     table_private.h              its declaration, below
 *     table.c                      an entry of types[], in alphabetical order
 *     table.h                      the comment of table_open(), which names all types
 *     local.mk                     table_NAME.c
 *     configure.ac                 for a library: HAVE_NAME, --without-NAME, a line of the summary
 *     Makefile.am                  for a library: AM_CFLAGS, TABLE_LIBS
 *     dev, debian/control, packaging/rpm/splitmilter.spec      for a library: its package
 *     tests/unit/test_table.c      KNOWN, the list in the message about an unknown type
 *     tests/unit/test_table_files.c, tests/fuzz/fuzz_table.c   for a type that reads files
 *     tests/it/it_postmap.py       its lists of kinds, if postmap(1) has such a type
 *     docs/splitmilter.conf.5, docs/tables.md, CHANGELOG.md    what users see
 *     docs/ARCHITECTURE.md         for a library: a row of its table
 *
 * A type whose library not everybody shall install is a module: module_NAME.c (table_module.h)
 * instead of table_NAME.c, EXTERNAL(NAME) in table_external.c, types[] in module.c, and
 * SPLIT_MODULE in configure.ac.
 */
#ifndef SPLIT_TABLE_PRIVATE_H
#define SPLIT_TABLE_PRIVATE_H

#include "table/table.h"

#include <stdint.h>

#define TABLE_LINE_MAX 65536  /* bytes of one logical line of a table file */
#define TABLE_WARNINGS_MAX 50 /* warnings logged per file; further ones are only counted */

/* isspace(3) of the C locale, by which Postfix's table formats are defined. */
static inline bool table_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A type has one of four functions: open (the argument names no file), parse or load (the argument
 * names a file), or open_parameters (the argument names a parameter file of Postfix). */
struct table_type {
    const char *name;         /* "texthash" */
    bool asks_server;         /* table_asks_server() */
    bool may_take_long;       /* table_may_take_long() */
    bool takes_whole_address; /* table_takes_whole_address() */
    /* argument: the text after "type:". Returns the state or NULL with `err`; table.c fills in
     * type, spec and path. */
    struct table *(*open)(const char *argument, struct err *err);
    /* text: the content of the file, `size` bytes followed by a NUL. The function owns the text
     * from then on: it frees or keeps it, also on failure. path is for messages; `faults` is passed
     * on to table_lines_of(). */
    struct table *(*parse)(const char *path, char *text, size_t size,
                           const struct table_faults *faults, struct err *err);
    /* The argument followed by `suffix` names a file. fd: a copy of this file, `size` bytes in an
     * anonymous file. The function owns the descriptor from then on: it keeps or closes it, also on
     * failure. */
    struct table *(*load)(const char *path, int fd, size_t size, struct err *err);
    /* Sets *stamp_out to the state in which the file was read. */
    struct table *(*open_parameters)(const struct table_type *type, const char *path,
                                     const struct table_faults *faults,
                                     struct table_stamp *stamp_out, struct err *err);
    const char *suffix;             /* with load: ".lmdb" */
    uint64_t file_max;              /* bytes, with parse and load */
    void (*close)(struct table *t); /* releases the whole state, struct table included */
    enum table_result (*find)(const struct table *t, struct table_scratch *s, const char *key,
                              struct table_match *m, struct err *err);
    int (*each_value)(const struct table *t,
                      int (*fn)(const char *key, const char *value, unsigned line, void *ctx),
                      void *ctx); /* NULL: results are only seen in a look-up */
    /* table_try_hosts(); NULL: table_find() is called. */
    void (*try_hosts)(const struct table *t, const char *key, const struct table_faults *faults);
};

struct table {
    const struct table_type *type;
    char *spec;               /* owned by table.c */
    char *path;               /* owned by table.c; NULL where there is no file */
    struct table_stamp stamp; /* of the file when it was read */
    unsigned timeout_ms;      /* for one look-up, of types that ask a server */
    unsigned refs;            /* atomic */
};

extern const struct table_type table_inline, table_static, table_texthash, table_pcre, table_regexp,
    table_socketmap, table_ldap, table_mysql, table_pgsql, table_sqlite;
#ifdef HAVE_LMDB
extern const struct table_type table_lmdb;
#endif
#ifdef HAVE_CDB
extern const struct table_type table_cdb;
#endif

/* Open a table of a type with parse from memory: as table_open("TYPE:PATH"), with `size` bytes of
 * `text`, which is copied, as the file's content. */
struct table *table_open_text(const struct table_type *type, const char *path, const char *text,
                              size_t size, struct err *err)
    __attribute__((nonnull, warn_unused_result));

struct table_scratch {
    struct pcre_scratch *pcre; /* NULL until the first look-up in a pcre table */
    struct buf groups;         /* room for the groups of regexec(3) */
    bool is_limited;           /* table_scratch_begin(): the look-ups share one time limit */
    int64_t deadline_ms;       /* of all of them; 0: no server was asked yet */
};
/*
 * The deadline of a look-up in a table that asks a server, which begins now. *failure_out: what it
 * results in if it fails. That is TABLE_LIMIT if other look-ups of the decision have used up more
 * than half of the time: the address is the reason then, because it has so many keys.
 */
int64_t table_deadline_ms(const struct table *t, struct table_scratch *s,
                          enum table_result *failure_out) __attribute__((nonnull));
/* Free the part of a scratch that pcre tables use. NULL is legal. */
void table_pcre_scratch_free(struct pcre_scratch *p);

/* --- text of inline: and static: ----------------------------------------------------------- */

/* Set *inner_out and *inner_len_out to the part of `text` between the braces that it begins and
 * ends with, without white space at either end. -1: `text` is not enclosed in one pair of
 * braces. */
int table_strip_braces(const char *text, size_t len, const char **inner_out, size_t *inner_len_out)
    __attribute__((nonnull, warn_unused_result));

/* --- table files: table_file.c, table_lines.c ----------------------------------------------- */

/* Read a whole regular file, and put a NUL after its content. NULL with `err`: the file cannot be
 * read, is longer than `max`, or keeps changing while it is read. *stamp_out: the state that was
 * read. The caller frees the content. */
char *table_read_file(const char *path, uint64_t max, size_t *size_out,
                      struct table_stamp *stamp_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* As table_read_file(), but into an anonymous file (memfd_create(2)), under a shared lock that
 * postmap(1) respects. Returns the descriptor of the anonymous file, which the caller closes, or
 * -1. */
int table_copy_file(const char *path, uint64_t max, size_t *size_out, struct table_stamp *stamp_out,
                    struct err *err) __attribute__((nonnull, warn_unused_result));

/* --- compiled tables: table_compiled.c ----------------------------------------------------- */

/* Put the value of a record into the match: `len` bytes, which may end in a NUL that postmap(1)
 * appended. TABLE_FAILED: the value is not UTF-8. */
enum table_result table_compiled_match(const char *path, const char *key, const void *value,
                                       size_t len, struct table_match *m, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Call fn for one record, for table_type.each_value, and return its result. Bytes after a NUL are
 * ignored. */
int table_compiled_visit(const void *key, size_t key_len, const void *value, size_t value_len,
                         int (*fn)(const char *key, const char *value, unsigned line, void *ctx),
                         void *ctx) __attribute__((nonnull(1, 3, 5)));

/*
 * Iterator over the logical lines of a Postfix table file: a logical line begins with a byte that
 * is not white space; lines that begin with white space continue it. Empty lines, lines of white
 * space, and lines whose first byte other than white space is '#' are skipped, also between
 * continuations. The iterator works in place: it moves the pieces of a logical line together.
 */
struct table_lines {
    const char *path; /* for messages */
    char *in, *end;   /* the part that is not read yet */
    unsigned number;  /* physical lines read */
    unsigned warnings;
    const struct table_faults *faults; /* receives the warnings; NULL: they are logged */
};

struct table_line {
    char *text; /* NUL-terminated, no NUL inside; white space at its end is cut */
    size_t len;
    unsigned number; /* of its first physical line, from 1 */
};

/* text: as for table_type.parse, but borrowed while the iterator is used. A byte order mark at its
 * beginning is skipped with a warning. faults: receives the warnings; NULL: they are logged. */
struct table_lines table_lines_of(const char *path, char *text, size_t size,
                                  const struct table_faults *faults) __attribute__((nonnull(1, 2)));

/* Read the next logical line. Returns 1 with the line in *line_out; 0 at the end; -1 with `err` for
 * a line that is too long. A line with a NUL, and a first line that begins with white space, are
 * skipped with a warning. */
int table_lines_next(struct table_lines *lines, struct table_line *line_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Report a fault in this line. After TABLE_WARNINGS_MAX reports, faults are only counted. */
void table_lines_warn(struct table_lines *lines, unsigned number, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), nonnull));

/* At the end: report the number of faults beyond TABLE_WARNINGS_MAX. */
void table_lines_finish(struct table_lines *lines) __attribute__((nonnull));

/* --- keys and values in memory: table_index.c ---------------------------------------------- */

/* One entry. In the block the key begins at `at`; after it come a NUL, unused white space, the
 * value and a NUL. */
struct table_entry {
    uint32_t at;
    uint32_t line;
};

/* An open-addressing hash index over a block of text, with 32-bit offsets. */
struct table_index {
    char *block;                 /* owned */
    struct table_entry *entries; /* in the order of addition */
    size_t count, cap;
    struct table_slot *slots;
    size_t slot_count;
};

/* Make an index. block: less than 4 GB, allocated by malloc(3); the index owns it from now on.
 * capacity: the largest number of entries that will be added. */
void table_index_init(struct table_index *ix, char *block, size_t capacity)
    __attribute__((nonnull));
void table_index_clear(struct table_index *ix) __attribute__((nonnull));

/* Add an entry for the key at offset `at` of the block. Keys are compared folded; in the block only
 * ASCII letters are changed to lower case. Returns NULL. If there is an entry with the same key
 * already, returns that entry, and adds nothing. */
struct table_entry *table_index_add(struct table_index *ix, size_t at, unsigned line)
    __attribute__((nonnull, warn_unused_result));

/* Free the memory of the capacity that was not used. */
void table_index_shrink(struct table_index *ix) __attribute__((nonnull));

/* table_index_find() returns the entry of a folded key (casefold.h), or NULL. The other two return
 * the key and the value of an entry, as they are in the block. */
const struct table_entry *table_index_find(const struct table_index *ix, const char *key)
    __attribute__((nonnull));
const char *table_index_key(const struct table_index *ix, const struct table_entry *e)
    __attribute__((nonnull, returns_nonnull));
const char *table_index_value(const struct table_index *ix, const struct table_entry *e)
    __attribute__((nonnull, returns_nonnull));

/* table_type.find and table_type.each_value, for types whose entries are in an index. */
enum table_result table_index_lookup(const struct table_index *ix, const char *key,
                                     struct table_match *m) __attribute__((nonnull));
int table_index_each(const struct table_index *ix,
                     int (*fn)(const char *key, const char *value, unsigned line, void *ctx),
                     void *ctx) __attribute__((nonnull(1, 2)));

#endif
