/* SPDX-License-Identifier: ISC */
/*
 * milter_list: values of smtpd_milters and non_smtpd_milters (MILTER_README). Pure functions but
 * for milter_is_at(), which may look at a socket. Grammar:
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
    char *name; /* "unix:splitmilter/milter.sock" */
};

struct milter_list {
    struct milter_entry *items;
    size_t count;
};

/* Parse a list of milters as Postfix has it (smtpd_milters). _clear() frees what the list owns. */
void milter_list_parse(const char *value, struct milter_list *out) __attribute__((nonnull));
void milter_list_clear(struct milter_list *l) __attribute__((nonnull));

/* The value of this option among those of the entry, for the caller to free; NULL: it has none. */
char *milter_option(const struct milter_entry *entry, const char *option)
    __attribute__((nonnull, warn_unused_result));

/* Where a process of Postfix looks for the unix socket of this name: relative paths are below the
 * queue directory, in a chroot jail all are. For the caller to free; NULL: it is no unix socket. */
char *milter_path(const char *name, const char *queue_directory, bool is_chrooted)
    __attribute__((nonnull, warn_unused_result));

/* Is the milter of this name the one that listens there, for some process of Postfix? */
bool milter_is_at(const char *name, const struct endpoint *socket, const char *queue_directory)
    __attribute__((nonnull));

#endif
