/* SPDX-License-Identifier: ISC */
/*
 * config_option: the table of all options of splitmilter.conf. It drives parsing, defaults and
 * checks (config_file.c); tests compare it with conf/ and the man page. Private to config_file.c
 * and the tests. Pure; any thread.
 */
#ifndef SPLIT_CONFIG_OPTION_H
#define SPLIT_CONFIG_OPTION_H

#include "config/config.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the value of an option is, and the type of the field at `offset`. */
enum config_option_type {
    CONFIG_OPT_NUMBER,       /* unsigned */
    CONFIG_OPT_MODE,         /* unsigned, written in octal */
    CONFIG_OPT_SECONDS,      /* unsigned */
    CONFIG_OPT_MILLISECONDS, /* unsigned, written like seconds */
    CONFIG_OPT_SIZE,         /* uint64_t */
    CONFIG_OPT_RATE,         /* struct config_rate, "COUNT/TIME" or "" */
    CONFIG_OPT_SWITCH,       /* bool, "no" or "yes" */
    CONFIG_OPT_WORD,         /* an enum: the number of the word in `words` */
    CONFIG_OPT_WORD_TEXT,    /* char *, one of `words` */
    CONFIG_OPT_DOMAIN,       /* char *, a host name in lower case */
    CONFIG_OPT_HOSTNAME,     /* char *, a host name or "" */
    CONFIG_OPT_DELIMITER,    /* char *, a set of punctuation characters or "" */
    CONFIG_OPT_PATH,         /* char *, absolute */
    CONFIG_OPT_PATH_OR_NONE, /* char *, absolute or "" */
    CONFIG_OPT_GROUP,        /* char *, a group's name or "" */
    CONFIG_OPT_HEADER,       /* char *, a header field's name */
    CONFIG_OPT_TRANSPORT,    /* char *, "transport:nexthop" */
    CONFIG_OPT_MAILBOX,      /* char *, an ASCII address with a domain, or "" */
    CONFIG_OPT_USER,         /* char *, a name for authentication, or "" */
    CONFIG_OPT_QUEUE,        /* char *, see config_queue.h */
    CONFIG_OPT_ADDRESS,      /* enum config_address; the text of FIXED and TEMPLATE: char * at
                                `companion` */
    CONFIG_OPT_SOCKET, /* struct endpoint; its text for libmilter in the char * at `companion` */
    /* lists: each value is appended; the size_t at `companion` is their number */
    CONFIG_OPT_WORDS,        /* struct string_list, each one of `words` */
    CONFIG_OPT_TABLES,       /* struct string_list, "type:argument" */
    CONFIG_OPT_NAMES,        /* struct string_list, names as of sections with a title */
    CONFIG_OPT_HOSTNAMES,    /* struct string_list, host names, or ".domain" */
    CONFIG_OPT_DOMAINS,      /* struct string_list, domains of addresses, or ".domain" */
    CONFIG_OPT_TRANSPORTS,   /* struct string_list, values of transport(5) */
    CONFIG_OPT_CONDITIONS,   /* struct string_list, "NAME: VALUE" (mail/header_condition.h) */
    CONFIG_OPT_FINGERPRINTS, /* struct string_list, "AB:CD:...": SHA-256 */
    CONFIG_OPT_SOCKETS,      /* struct endpoint * */
    CONFIG_OPT_NEXTHOPS,     /* struct endpoint * */
    CONFIG_OPT_TARGETS,      /* struct endpoint *, nexthops or Maildirs */
    CONFIG_OPT_DNS_SERVERS,  /* struct endpoint * */
    CONFIG_OPT_NETWORKS,     /* struct endpoint_network * */
};

/* The sections; CONFIG_SECTION_TOP is the file itself, outside of all sections. */
enum config_section {
    CONFIG_SECTION_TOP,
    CONFIG_SECTION_LOG,
    CONFIG_SECTION_MILTER,
    CONFIG_SECTION_FILTER,
    CONFIG_SECTION_RELAY,
    CONFIG_SECTION_DESTINATION,
    CONFIG_SECTION_LISTENER,
    CONFIG_SECTION_COUNT
};

struct config_option {
    enum config_section section;
    const char *name;
    enum config_option_type type;
    size_t offset;            /* in the section's struct (struct config for TOP) */
    size_t companion;         /* a second field, see the types */
    const char *default_text; /* as in the file, without quotes; lists separated by ", "; NULL: the
                                 option must be given */
    uint64_t min, max;        /* limits of a number, or of the length of a list (max 0: none) */
    const char *const *words; /* NULL-terminated; for SWITCH, WORD, WORD_TEXT, WORDS, ADDRESS */
};

/* Ends with an entry whose name is NULL. The options of a section stand together. */
extern const struct config_option config_options[];

/* The name of a section, as in the file: "milter"; "" for TOP. */
const char *config_section_name(enum config_section section) __attribute__((returns_nonnull));

/* Return true if this is a kind of section with a title, of which there may be many (filter,
 * destination, listener). */
bool config_section_has_title(enum config_section section);
/* As config_section_has_title(); also true for milter, of which there is one section without a
 * title besides those with titles. */
bool config_section_may_have_title(enum config_section section);

/* Return true if the option takes a list of values. */
bool config_option_is_list(const struct config_option *o) __attribute__((nonnull));

/*
 * Check one value and store it in the section's struct at `base`. The value of a list is appended,
 * any other value replaces the present one. -1: nothing has changed, and `err` says what is wrong
 * and what is allowed.
 */
int config_option_store(const struct config_option *o, void *base, const char *text,
                        struct err *err) __attribute__((nonnull, warn_unused_result));

/* The present number of values of a list. */
size_t config_option_count(const struct config_option *o, const void *base)
    __attribute__((nonnull));

#endif
