/* SPDX-License-Identifier: ISC */
/*
 * table_pcre: the rules of a pcre: table, between the parser (table_pcre_parse.c) and the look-up
 * (table_pcre.c). Only these two include this.
 */
#ifndef SPLIT_TABLE_PCRE_H
#define SPLIT_TABLE_PCRE_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

enum { PCRE_NO_ENDIF = -1, PCRE_GROUP_MAX = 65535 };

enum pcre_rule_op { PCRE_RULE_MATCH, PCRE_RULE_IF, PCRE_RULE_ENDIF };

/* A part of a replacement: a group's text, or (group 0) len bytes of the rule's literal text. */
struct pcre_part {
    unsigned group;
    size_t at, len;
};

struct pcre_rule {
    enum pcre_rule_op op;
    bool is_negated;
    unsigned line;
    pcre2_code *code;
    char *pattern; /* as written, with delimiters and flags */
    char *literal; /* the literal text of the replacement, "$$" made "$" */
    struct pcre_part *parts;
    size_t part_count;
    unsigned max_group; /* the largest one used in the replacement */
    long endif;         /* of an if: index of its endif, or PCRE_NO_ENDIF */
};

struct pcre_rules {
    struct pcre_rule *items;
    size_t count;
    unsigned max_group;
};

/* Read the rules of a table. text: as for table_lines_of(), changed in place, borrowed. -1: nothing
 * is left in *rules_out. */
int pcre_rules_parse(const char *path, char *text, size_t size, struct pcre_rules *rules_out,
                     struct err *err) __attribute__((nonnull, warn_unused_result));
void pcre_rules_clear(struct pcre_rules *rules) __attribute__((nonnull));

#endif
