/* SPDX-License-Identifier: ISC */
/*
 * table_rules: the rules of a pcre: or regexp: table. The parser (table_rules.c) knows the format,
 * which both types share; an engine knows the regular expressions. Only table_*.c include this.
 */
#ifndef SPLIT_TABLE_RULES_H
#define SPLIT_TABLE_RULES_H

#include "table/table_private.h"

enum { RULES_NO_ENDIF = -1, RULES_GROUP_MAX = 65535 };

enum rule_op { RULE_MATCH, RULE_IF, RULE_ENDIF };

/* A part of a replacement: the text of a group, or (group 0) `len` bytes of the rule's literal
 * text, from the offset `at` on. */
struct rule_part {
    unsigned group;
    size_t at, len;
};

/* Two sets of hashes: the pairs and triples of letters that a pattern needs in a key, or that a key
 * has. Empty: the pattern needs nothing. */
struct rule_needs {
    uint64_t pairs, triples;
};

/* One compiled expression; code is NULL where there is none. */
struct rule_pattern {
    void *code;
    struct rule_needs needs;
    bool is_negated;
};

struct rule {
    enum rule_op op;
    unsigned line;
    struct rule_pattern first, second; /* second: of /pattern1/!/pattern2/ */
    char *text;                        /* the patterns as written, with delimiters and flags */
    char *literal;                     /* the literal text of the replacement, "$$" made "$" */
    struct rule_part *parts;
    size_t part_count;
    unsigned max_group; /* the largest group number in the replacement */
    long endif;         /* of a RULE_IF: index of its endif, or RULES_NO_ENDIF */
};

struct rule_flag {
    char flag; /* '\0' ends the list */
    int option;
    bool is_obsolete;
};

struct rule_engine {
    const struct rule_flag *flags; /* each toggles its option */
    int default_options;
    bool has_second; /* a second pattern may follow a '!' */
    /* Compile a regular expression. Returns NULL, with the reason in `why`, if it is not valid.
     * needs_groups: the caller will ask for the text that parentheses matched. */
    void *(*compile)(const char *regex, int options, bool needs_groups, struct err *why);
    /* What the regular expression needs in a key. The member may be NULL. */
    struct rule_needs (*needs)(const char *regex, int options);
    unsigned (*groups)(const void *code); /* number of groups, if compiled with needs_groups */
    void (*release)(void *code);          /* NULL is legal */
};

/* The outcome of one pattern for a key. FAILS: the match reached a limit of the engine. */
enum rule_outcome { RULE_MATCHES, RULE_MATCHES_NOT, RULE_FAILS };

struct rules {
    const struct rule_engine *engine;
    struct rule *items;
    size_t count;
    unsigned max_group;
};

/* Read the rules of a table. text, faults: as for table_lines_of(); `text` is borrowed and changed
 * in place. -1 with `err`: *rules_out holds nothing that has to be freed. */
int rules_parse(const struct rule_engine *engine, const char *path, char *text, size_t size,
                const struct table_faults *faults, struct rules *rules_out, struct err *err)
    __attribute__((nonnull(1, 2, 3, 6, 7), warn_unused_result));
/* Free the rules, and empty the struct. */
void rules_clear(struct rules *rules) __attribute__((nonnull));

/*
 * One look-up. match: a function of the engine, called for one pattern after the other; it keeps in
 * `ctx` what the groups matched. group: returns the length of the text that a group of the deciding
 * rule's first pattern matched, 0 if the group matched nothing; *text_out points into the key. path
 * is for `err`.
 */
struct rules_search {
    const char *path, *key;
    struct rule_needs has; /* the pairs and triples of the key; not used by engines without needs */
    void *ctx;
    enum rule_outcome (*match)(void *ctx, const char *key, const struct rule *r,
                               const struct rule_pattern *p, struct err *err);
    size_t (*group)(void *ctx, const char *key, unsigned group, const char **text_out);
};

/* Find the first rule that applies to the key, and put its result into *m. */
enum table_result rules_find(const struct rules *rules, const struct rules_search *search,
                             struct table_match *m, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* table_type.each_value for types with rules: calls fn for the results without substitutions. */
int rules_each(const struct rules *rules,
               int (*fn)(const char *key, const char *value, unsigned line, void *ctx), void *ctx)
    __attribute__((nonnull(1, 2)));

#endif
