/* SPDX-License-Identifier: ISC */
/*
 * table_query SPEC: looks up every line of standard input and prints "KEY TAB VALUE" for those that
 * are found, as `postmap -q - SPEC` does. Exit code 0 when anything was found, else 1; 2 when the
 * table cannot be opened or asked.
 *
 * table_query -a [-t SECONDS] SPEC: prints one line for each line of standard input, at once:
 * "=VALUE" (found), "-" (not found), "!REASON" (failed) or "#REASON" (limit), with \n and \\ for
 * line ends and backslashes. Exit code 0 at the end of the input. -t: the time limit of a look-up.
 */
#include "base/buf.h"
#include "base/casefold.h"
#include "base/log.h"
#include "table/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Fold a key, as callers of table_find() do, and postmap with smtputf8_enable. Tables of patterns
 * get the line unchanged, as from postmap. */
static void fold(const struct table *t, const char *line, struct buf *key)
{
    buf_reset(key);
    if (table_takes_whole_address(t))
        buf_adds(key, line);
    else
        casefold_add(key, line, strlen(line));
}

static void print_escaped(char kind, const char *text)
{
    putchar(kind);
    for (; *text != '\0'; text++)
        if (*text == '\n')
            fputs("\\n", stdout);
        else if (*text == '\\')
            fputs("\\\\", stdout);
        else
            putchar(*text);
    putchar('\n');
    fflush(stdout);
}

static void print_answer(enum table_result result, const struct table_match *m,
                         const struct err *err)
{
    switch (result) {
    case TABLE_FOUND:
        print_escaped('=', buf_str(&m->value));
        break;
    case TABLE_NOT_FOUND:
        print_escaped('-', "");
        break;
    case TABLE_FAILED:
        print_escaped('!', err->text);
        break;
    case TABLE_LIMIT:
        print_escaped('#', err->text);
        break;
    }
}

/* As postmap. Returns 0 if the key was found, 1 if not, 2 if the look-up failed. */
static int print_found(enum table_result result, const char *line, const struct table_match *m,
                       const struct err *err)
{
    if (result == TABLE_FOUND)
        printf("%s\t%s\n", line, buf_str(&m->value));
    else if (table_has_failed(result))
        log_error("%s", err->text);
    return table_has_failed(result) ? 2 : result == TABLE_FOUND ? 0 : 1;
}

/* Look up all lines of standard input. Returns the exit code. */
static int query_all(const struct table *t, bool wants_all)
{
    struct table_scratch *s = table_scratch_new();
    struct table_match m;
    struct buf key = {0};
    struct err err;
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    int code = wants_all ? 0 : 1;

    table_match_init(&m);
    while (code != 2 && (len = getline(&line, &size, stdin)) > 0) {
        if (line[len - 1] == '\n')
            line[len - 1] = '\0';
        fold(t, line, &key);
        enum table_result result = table_find(t, s, buf_str(&key), &m, &err);
        if (wants_all) {
            print_answer(result, &m, &err);
            continue;
        }
        int one = print_found(result, line, &m, &err);
        if (one != 1)
            code = one;
    }
    free(line);
    buf_clear(&key);
    table_match_clear(&m);
    table_scratch_free(s);
    return code;
}

int main(int argc, char **argv)
{
    struct err err;
    bool wants_all = false;
    unsigned timeout_ms = TABLE_TIMEOUT_MS;
    int option;

    while ((option = getopt(argc, argv, "at:")) != -1)
        if (option == 'a')
            wants_all = true;
        else if (option == 't')
            timeout_ms = (unsigned)strtoul(optarg, NULL, 10) * 1000;
        else
            argc = 0;
    if (argc != optind + 1) {
        fputs("usage: table_query [-a] [-t SECONDS] TYPE:ARGUMENT < KEYS\n", stderr);
        return 2;
    }
    struct table *t = table_open(argv[optind], &err);
    if (t == NULL) {
        log_error("%s", err.text);
        return 2;
    }
    table_set_timeout(t, timeout_ms);
    int code = query_all(t, wants_all);
    table_close(t);
    return code;
}
