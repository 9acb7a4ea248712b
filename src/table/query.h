/* SPDX-License-Identifier: ISC */
/*
 * query: what the external tables (mysql, pgsql, ldap, sqlite) have in common: which keys are
 * asked for, the text of a query for a key, and the result that the values of the answer make. All
 * of it is as in Postfix (mysql_table(5), ldap_table(5)):
 *
 *   - in a query: %s and %S are the key; %u and %U its local part, or the key without '@'; %d and
 *     %D its domain; %1 to %9 a label of the domain, counted from the right
 *   - in result_format: %s is the value, %u and %d are its parts; upper case and digits as in a
 *     query
 *   - in both: %% is a percent sign
 *
 * The last '@' divides an address. Nothing is asked for a key that lacks a part that a template
 * needs: the domain, the local part before an '@', or so many labels (all templates of a table
 * count, also result_format); nor for a key outside of `domain`, an empty key, and a key that is
 * not UTF-8. It is not found. A value that is empty, or lacks a part that result_format needs, is
 * skipped.
 *
 * What reaches a server is a string of valid UTF-8 without NUL, in which every expansion went
 * through the quoting function of the driver. A value with a NUL, or that is not UTF-8, makes the
 * look-up fail (Postfix ends the value at the NUL, and refuses a result that is not UTF-8).
 *
 * A struct query is immutable; any thread. A struct query_result is used by one thread.
 */
#ifndef SPLIT_QUERY_H
#define SPLIT_QUERY_H

#include "base/buf.h"
#include "base/err.h"
#include "table/cf.h"

#include <stdbool.h>
#include <stddef.h>

#define QUERY_TEMPLATES_MAX 4
#define QUERY_RESULT_MAX 100000 /* bytes of a result; as for socketmap */

struct query;

/* What became of a question to a server. */
enum table_answer {
    ANSWER_OK,     /* the answer is complete: no value or several */
    ANSWER_BROKEN, /* the connection is closed; the next host may have the answer */
    ANSWER_FAILED, /* the key, the query or its answer is at fault; the connection stays usable */
    ANSWER_LIMIT,  /* this key exceeds a limit, as it will each time (TABLE_LIMIT) */
};

/*
 * Read the templates, result_format, domain and expansion_limit of a file. templates: the names of
 * the parameters (CF_TEXT) that are templates of queries, at most QUERY_TEMPLATES_MAX, then NULL:
 * {"query", NULL}, {"search_base", "query_filter", NULL}. A template without value is legal.
 * NULL with `err` as "PATH:LINE: ...": a % that is followed by another character than those above,
 * or a word of `domain` that is not a domain (files and tables are not supported there).
 */
struct query *query_open(const struct cf *cf, const char *const *templates, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* NULL is legal. */
void query_free(struct query *q);

/* Does the template contain an expansion that depends on the key? */
bool query_is_dynamic(const struct query *q, const char *name) __attribute__((nonnull));

/* For templates of SQL: the first expansion that is not inside '...', or NULL. There, and inside
 * E'...', its text could change the statement, because the drivers quote for plain string
 * constants. */
const char *query_unquoted(const struct query *q, const char *name) __attribute__((nonnull));

/* Is there anything to ask for this key? False: the key is not found, and no server is asked. */
bool query_applies(const struct query *q, const char *key) __attribute__((nonnull));

/* Append a key for which query_applies(), for a check: in the first domain of `domain` that can be
 * asked for, with the labels that the templates need. False: nothing is asked for any key. */
bool query_add_sample(const struct query *q, struct buf *key) __attribute__((nonnull));

/* Append the text of the key, or of a part of it, to `out`, such that it has no meaning in the
 * language of the query but its own. text: valid UTF-8 of len bytes, followed by no NUL. -1 with
 * `err`: the text cannot be quoted. */
typedef int query_quote(void *ctx, const char *text, size_t len, struct buf *out, struct err *err);

/*
 * Append the template `name`, expanded for a key for which query_applies(), to `out`. quote(ctx,
 * ...) is called for every expansion; NULL: nothing is quoted (for parameters that are bound, not
 * for text of a query). -1 with `err`: quote() has failed; `out` has then no meaning.
 */
int query_expand(const struct query *q, const char *name, const char *key, query_quote *quote,
                 void *ctx, struct buf *out, struct err *err)
    __attribute__((nonnull(1, 2, 3, 6, 7), warn_unused_result));

/* The answer to a look-up. All zero but query and key is empty. */
struct query_result {
    const struct query *query; /* borrowed */
    const char *key;           /* borrowed */
    struct buf value;          /* the values, formatted and joined by commas; "" : not found */
    struct buf asked;          /* query_result_asked() */
    size_t count;              /* values in `value` */
    bool is_lost; /* set by the driver: the connection is not to be used for another question */
    bool is_late; /* set by the driver, with ANSWER_BROKEN: a time limit of its own was over */
};

/* Empty the result for the same key (before another host is asked); release its memory. */
void query_result_reset(struct query_result *r) __attribute__((nonnull));
void query_result_clear(struct query_result *r) __attribute__((nonnull));

/*
 * Add one value (a column of a row, a value of an attribute). value: len bytes; NULL (SQL's NULL)
 * is skipped. ANSWER_OK: added or skipped. ANSWER_FAILED with `err`: the value is not valid.
 * ANSWER_LIMIT with `err`: the result is longer than QUERY_RESULT_MAX, or has more than
 * expansion_limit values, which a client can reach by the choice of a key, such as "%@example.com"
 * for a query with LIKE. The driver then stops reading, and leaves the connection usable.
 */
enum table_answer query_result_add(struct query_result *r, const char *value, size_t len,
                                   struct err *err)
    __attribute__((nonnull(1, 4), warn_unused_result));

/* State what was asked, for `splitctl explain`: the statement, or the base and the filter. Never
 * with a password. The last text counts; longer texts are cut. */
void query_result_asked(struct query_result *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull));

#endif
