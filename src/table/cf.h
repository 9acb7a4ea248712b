/* SPDX-License-Identifier: ISC */
/*
 * cf: a parameter file of Postfix's external tables (mysql_table(5), pgsql_table(5), ldap_table(5),
 * sqlite_table(5)). The grammar is that of main.cf, without expansion of $name, as in Postfix:
 *
 *   logical line = NAME *WSP "=" *WSP VALUE *WSP      VALUE may be empty; lines that begin with
 *                                                     white space continue the line before
 *   skipped      = empty lines, and lines whose first byte other than white space is "#"
 *
 * The caller's list of parameters says which names a file may have, and what their values are.
 * cf_open() checks all values against it, so the getters cannot fail. A getter aborts if its
 * parameter is not in the list, or has another kind, because that is a bug. Immutable once open;
 * any thread.
 *
 * No message of this module contains a value of a parameter that is marked as secret.
 */
#ifndef SPLIT_CF_H
#define SPLIT_CF_H

#include "base/err.h"
#include "table/table.h"

#include <stdbool.h>
#include <stddef.h>

#define CF_FILE_MAX 1000000 /* bytes */

struct cf;

enum cf_kind {
    CF_TEXT,    /* cf_text() */
    CF_SECRET,  /* cf_text(): as CF_TEXT, but no message may contain the value */
    CF_BOOL,    /* cf_bool(): "yes" or "no", in any case of letters */
    CF_NUMBER,  /* cf_number(): a decimal number between min and max; seconds, for times */
    CF_LIST,    /* cf_list(): words separated by white space and commas */
    CF_IGNORED, /* Postfix ignores it, and so do we: a fault that does not prevent the use */
    /* Postfix has it, but it is not supported: cf_open() fails, unless the value is the default
     * value. */
    CF_REFUSED,
};

struct cf_parameter {
    const char *name; /* NULL ends the list */
    enum cf_kind kind;
    /* The value of a parameter that the file does not have, written as in a file. NULL: the getter
     * returns NULL, false, 0 or no words. */
    const char *default_value;
    /* An empty value is refused. So is a file without the parameter, if it has no default value. */
    bool is_required;
    long min, max; /* CF_NUMBER; max 0: INT_MAX */
    /* CF_IGNORED, CF_REFUSED: the reason, and what to write instead, as the end of a sentence:
     * "PATH:LINE: NAME is not supported: REASON". */
    const char *reason;
};

/* Entries of the list for tables with a result: what query_open() reads besides the templates. */
#define CF_RESULT_PARAMETERS                                                                       \
    {.name = "result_format", .kind = CF_TEXT, .default_value = "%s", .is_required = true},        \
        {.name = "domain", .kind = CF_LIST},                                                       \
    {                                                                                              \
        .name = "expansion_limit", .kind = CF_NUMBER, .default_value = "0"                         \
    }

/* Entries of the list for SQL: `query`, what it yields, and the interface before Postfix 2.2, which
 * is refused. */
#define CF_SQL_OLD                                                                                 \
    "write the statement as query = SELECT select_field FROM table WHERE "                         \
    "where_field = '%s' additional_conditions"
#define CF_SQL_PARAMETERS                                                                          \
    {.name = "query", .kind = CF_TEXT, .is_required = true}, CF_RESULT_PARAMETERS,                 \
        {.name = "table", .kind = CF_REFUSED, .reason = CF_SQL_OLD},                               \
        {.name = "select_field", .kind = CF_REFUSED, .reason = CF_SQL_OLD},                        \
        {.name = "where_field", .kind = CF_REFUSED, .reason = CF_SQL_OLD},                         \
        {.name = "additional_conditions", .kind = CF_REFUSED, .reason = CF_SQL_OLD},               \
    {                                                                                              \
        .name = "select_function", .kind = CF_REFUSED,                                             \
        .reason = "write the call as query = SELECT select_function('%s')"                         \
    }

/*
 * Read a file. parameters: borrowed as long as the struct cf; ends with a NULL name. faults: as for
 * table_open_reporting(). As in Postfix, the last of several lines with the same name counts.
 * NULL with `err`, which begins with "PATH:LINE: " where a line is at fault: the file cannot be
 * read, is longer than CF_FILE_MAX, has a NUL, a byte order mark, white space before the first
 * parameter, a line without "=", a parameter that is not in the list, or a value that is not valid.
 *
 * A parameter that is set twice is reported to `faults`, or logged if that is NULL. Only `faults`
 * receives parameters that are ignored, and the fault that others than owner and group can read a
 * file with a secret.
 */
struct cf *cf_open(const char *path, const struct cf_parameter *parameters,
                   const struct table_faults *faults, struct err *err)
    __attribute__((nonnull(1, 2, 4), warn_unused_result));

/* As cf_open(), with `size` bytes of `text`, which is copied, as the content of the file. */
struct cf *cf_open_text(const char *path, const char *text, size_t size,
                        const struct cf_parameter *parameters, const struct table_faults *faults,
                        struct err *err) __attribute__((nonnull(1, 2, 4, 6), warn_unused_result));

/* Overwrite the content of the file in memory, and free it. NULL is legal. */
void cf_close(struct cf *cf);

/* The path that the file was opened with, and its state when it was read. */
const char *cf_path(const struct cf *cf) __attribute__((nonnull, returns_nonnull));
struct table_stamp cf_stamp(const struct cf *cf) __attribute__((nonnull));

/* Is the parameter in the list of parameters? Is it in the file? */
bool cf_takes(const struct cf *cf, const char *name) __attribute__((nonnull));
bool cf_is_set(const struct cf *cf, const char *name) __attribute__((nonnull));

/* The line of the parameter in the file, from 1; 0 if it is not there. */
unsigned cf_line(const struct cf *cf, const char *name) __attribute__((nonnull));

/* The value, or the default value, borrowed. cf_text(): NULL if there is neither; "" if the file
 * has the parameter with an empty value. */
const char *cf_text(const struct cf *cf, const char *name) __attribute__((nonnull));
bool cf_bool(const struct cf *cf, const char *name) __attribute__((nonnull));
long cf_number(const struct cf *cf, const char *name) __attribute__((nonnull));

/* The words of a list, borrowed. Returns their number. */
size_t cf_list(const struct cf *cf, const char *name, const char *const **words_out)
    __attribute__((nonnull));

/* Set `err` to "PATH:LINE: NAME: text" (without ":LINE" if the parameter is not in the file), for
 * a fault in a value that the caller has found. Never with the value of a secret. */
void cf_fault(const struct cf *cf, const char *name, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5), nonnull));

#endif
