/* SPDX-License-Identifier: ISC */
/*
 * milter_list: values of smtpd_milters and non_smtpd_milters (MILTER_README). Pure functions,
 * except that milter_is_at() may stat(2) a socket. Grammar:
 *
 *     list  = [entry *(separator entry)]       separator: white space or comma
 *     entry = name / "{" name *("," option "=" value) "}"
 *     name  = "unix:" path / "local:" path / "inet:" host ":" port
 */
#ifndef SPLIT_CTL_MILTER_LIST_H
#define SPLIT_CTL_MILTER_LIST_H

#include "net/endpoint.h"

#include <stdbool.h>
#include <stddef.h>

struct milter_entry {
    char *text; /* as written, with braces */
    char *name; /* without braces and options: "unix:splitmilter/milter.sock" */
};

struct milter_list {
    struct milter_entry *items;
    size_t count;
};

/* Parse a list of milters as in smtpd_milters of Postfix. _clear() frees what the list owns. */
void milter_list_parse(const char *value, struct milter_list *out) __attribute__((nonnull));
void milter_list_clear(struct milter_list *l) __attribute__((nonnull));

/* The value of this option of the entry (the last one, if it is there twice), for the caller to
 * free; NULL: the entry does not have the option. */
char *milter_option(const struct milter_entry *entry, const char *option)
    __attribute__((nonnull, warn_unused_result));

/* The path where a process of Postfix looks for the unix socket with this name, for the caller to
 * free. A relative path is below the queue directory; for a process in a chroot jail an absolute
 * path is below it, too. NULL: the name is not that of a unix socket. */
char *milter_path(const char *name, const char *queue_directory, bool is_chrooted)
    __attribute__((nonnull, warn_unused_result));

/* Return true if this name leads a process of Postfix, chrooted or not, to the milter that listens
 * on `socket`. */
bool milter_is_at(const char *name, const struct endpoint *socket, const char *queue_directory)
    __attribute__((nonnull));

#endif
