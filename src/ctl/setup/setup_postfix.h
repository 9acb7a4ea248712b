/* SPDX-License-Identifier: ISC */
/*
 * setup_postfix: what Postfix needs to know to work with splitmilter, computed from this
 * configuration and from what Postfix has now. Private to setup_postfix*.c. Everything is first
 * computed from the instance as it would be without us (postfix.h), so doing it again gives the
 * same.
 */
#ifndef SPLIT_CTL_SETUP_POSTFIX_H
#define SPLIT_CTL_SETUP_POSTFIX_H

#include "base/buf.h"
#include "config/config.h"
#include "base/err.h"
#include "ctl/setup/postfix.h"
#include "ctl/setup/steps.h"

#include <stdbool.h>
#include <stddef.h>

#define SETUP_GROUP "split"
#define SETUP_WHO_SINGLE "splitctl setup-postfix --single"
#define SETUP_WHO_MULTI "splitctl setup-postfix --multi"
#define SETUP_FILE_HEAD "# Made by splitctl setup-postfix, which writes it anew: do not edit.\n"

enum setup_role {
    SETUP_SINGLE, /* the one instance that does everything */
    SETUP_CLIENT, /* the default instance: local submission only, all goes to IN */
    SETUP_IN,     /* takes mail, asks splitmilter, sends to filters, splitrelay and OUT */
    SETUP_OUT     /* takes mail from filters and IN, delivers it */
};

struct setup_options {
    char *directory;          /* configuration directory of the default instance */
    struct endpoint reinject; /* where filters give mail back */
    char *relay;              /* nexthop of splitrelay; "": where the configuration listens */
    char *networks;           /* further networks that may do so: ", NET..." or "" */
    struct endpoint local; /* where IN takes mail from the default instance: not port 25, at which
                              Postfix sees loops */
    struct endpoint submission;       /* port 0: none */
    char *in_hostname, *out_hostname; /* "": made of the present name */
    char *user;                       /* of splitmilter: owner of the socket's directory */
    bool is_forced;                   /* overwrite what was edited in our part */
};

/* What was set up, as the mark in the default instance says. */
enum setup_found { SETUP_FOUND_NONE, SETUP_FOUND_SINGLE, SETUP_FOUND_MULTI };

/* What is to be done. */
struct setup_request {
    enum setup_found form; /* NONE: not said */
    bool is_apply, is_remove;
    struct setup_options options;
};

struct setup {
    const struct config *config;
    const struct setup_options *options;
    struct steps *steps;
    bool is_multi;
    bool makes_instances; /* the steps make instances, and start them */
    bool is_comparison;   /* nothing will be done: only what differs is of interest */
};

/* What one instance gets. */
struct setup_edit {
    struct buf main_part, master_part;
    char **parameters; /* names that main_part sets */
    size_t parameter_count;
    char **services; /* "name/type" of entries that are switched off */
    size_t service_count;
    struct setup_file {
        const char *name;
        char *content;
    } files[8];
    size_t file_count;
};

/* --- setup_postfix_options.c --- */

/* An empty request. _clear() frees what it owns. */
void setup_request_init(struct setup_request *r) __attribute__((nonnull));
void setup_request_clear(struct setup_request *r) __attribute__((nonnull));
/* Add options to the request, which may have some by now; an empty value stands for the default.
 * -1: they are wrong, which was complained of. */
int setup_request_parse(struct setup_request *r, int argc, char **argv)
    __attribute__((nonnull, warn_unused_result));
/* The same with those that the instance was set up with the last time, as the first line of our
 * part of its main.cf has them. Without such a part, or without main.cf, nothing is added. */
int setup_request_recall(struct setup_request *r, const char *directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* What that line says: for the caller to free. */
char *setup_who(const struct setup *s)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* --- setup_postfix_milters.c --- */

/* Set smtpd_milters: splitmilter behind those that are there. The settings are for this milter
 * alone. */
void setup_set_milter(const struct setup *s, const struct postfix *p, const char *queue_directory,
                      struct setup_edit *e) __attribute__((nonnull));
/* Its name there, for the caller to free. */
char *setup_milter_name(const struct setup *s, const char *queue_directory)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
/* Keep splitmilter out of non_smtpd_milters, which may name smtpd_milters, and say so. more: what
 * comes behind the others, or "". */
void setup_keep_from_non_smtpd(const struct setup *s, const struct postfix *p,
                               const char *queue_directory, const char *more, struct setup_edit *e)
    __attribute__((nonnull));
/* What postfix_review.h finds in the instance as it will be, as notes. -1: Postfix could not
 * connect to splitmilter. */
int setup_review(const struct setup *s, const struct postfix *p, const struct setup_edit *e,
                 struct err *err) __attribute__((nonnull, warn_unused_result));

/* --- setup_postfix_edit.c --- */

/* Set a parameter of main.cf to formatted text. */
void setup_set(struct setup_edit *e, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), nonnull));
/* Set a parameter to `first`, and behind it what it is now. */
void setup_join(struct setup_edit *e, const struct postfix *p, const char *name, const char *first)
    __attribute__((nonnull));
/* Comment out a service in master.cf. */
void setup_switch_off(struct setup_edit *e, const struct postfix_service *s)
    __attribute__((nonnull));
/* Takes over content; the common head is put before it. name: static. */
void setup_file(struct setup_edit *e, const char *name, char *content) __attribute__((nonnull));
/* Free what the edit owns. */
void setup_edit_clear(struct setup_edit *e) __attribute__((nonnull));

/* The texts of main.cf and master.cf that the instance is to have, for the caller to free. */
char *setup_main_cf(const struct setup *s, const struct postfix *p, const struct setup_edit *e)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
char *setup_master_cf(const struct setup *s, const struct postfix *p, const struct setup_edit *e)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* Steps that write the tables of the instance and remove those that are needed no more. */
void setup_write_files(const struct setup *s, const char *directory, const struct setup_edit *e)
    __attribute__((nonnull));
/* Steps that remove all tables of ours. -1: one is not ours. */
int setup_check_files(const char *directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* --- setup_postfix_check.c: what we do not understand is refused --- */

/* -1: `err` says why not, and what to do. */
int setup_check(const struct setup *s, enum setup_role role, const struct postfix *p,
                struct err *err) __attribute__((nonnull, warn_unused_result));
/* Notes about settings that nobody but the administrator can judge. */
void setup_remarks(const struct setup *s, enum setup_role role, const struct postfix *p)
    __attribute__((nonnull));

/* --- setup_postfix_units.c: instances as systemd starts them --- */

/* Has Debian's package the generator that makes units for all instances (up to Debian 12)? */
bool setup_has_generator(void) __attribute__((warn_unused_result));
/* Stop a secondary instance, at once: by systemd where that runs it, so that its unit is not taken
 * for failed. */
int setup_stop_instance(const char *directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Steps by which systemd, where it runs, restarts the default instance and the secondary ones that
 * are listed (NULL at the end). False: it does not run. */
bool setup_restart_all(const struct setup *s, const char *const *directories)
    __attribute__((nonnull, warn_unused_result));
/* A step by which systemd starts the instance with the machine, or no more, where this has to be
 * said (Debian 13). */
void setup_enable_instance(const struct setup *s, const char *directory, bool is_wanted)
    __attribute__((nonnull));

/* --- setup_postfix_bounces.c: reports to senders do not show suffixes --- */

/* bounce(8) in all its services gives reports to a cleanup(8) that takes suffixes off. more:
 * further lines of options for that, or "". */
void setup_bounce_services(const struct setup *s, const struct postfix *p, const char *more,
                           struct setup_edit *e) __attribute__((nonnull));
/* Its table. tag: the tag domain as part of a regular expression. For the caller to free. */
char *setup_bounce_table(const char *tag)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* --- setup_postfix_services.c: lines of master.cf --- */

/* -1: a filter's nexthop cannot be used. */
int setup_filter_services(const struct setup *s, const struct postfix *p, struct setup_edit *e,
                          struct err *err) __attribute__((nonnull, warn_unused_result));
void setup_copy_service(const struct setup *s, const struct postfix *p, struct setup_edit *e)
    __attribute__((nonnull));
void setup_next_service(const struct postfix *p, struct setup_edit *e) __attribute__((nonnull));
void setup_reinject_service(const struct setup *s, struct setup_edit *e) __attribute__((nonnull));
void setup_local_service(const struct setup *s, struct setup_edit *e) __attribute__((nonnull));
void setup_submission_service(const struct setup *s, struct setup_edit *e) __attribute__((nonnull));

/* How to connect to somebody who listens there: "[host]:port" or "unix:/path", as a nexthop, and
 * "inet:host:port" (inet only), as a milter. */
void setup_format_nexthop(const struct endpoint *e, char *out, size_t size)
    __attribute__((nonnull));
/* The nexthop of splitrelay. */
void setup_format_relay(const struct setup *s, char *out, size_t size) __attribute__((nonnull));
void setup_format_milter(const struct endpoint *e, char *out, size_t size) __attribute__((nonnull));

/* May the text stand in main.cf, in master.cf and in a table as it is? */
bool setup_is_harmless(const char *text) __attribute__((nonnull, warn_unused_result));

/* --- setup_postfix_local.c: local users and the tag domain, with one instance --- */

/* What closes a cleanup service. */
#define SETUP_CLOSED_OPTION "    -o split_local_maps=regexp:$config_directory/split_local\n"

/* Is Postfix as it has to be for that: with the usual cleanup service? */
bool setup_can_close_local(const struct postfix *p) __attribute__((nonnull));
/* The line of split_transport, for the caller to free. tag: the tag domain, escaped. */
char *setup_local_route(const char *tag)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
/* Close the tag domain to local users, or say that it stays open. milter: setup_milter_name(). Sets
 * recipient_canonical_maps, whatever it is; non_smtpd_milters has to have $split_local_milters. */
void setup_close_local(const struct setup *s, const struct postfix *p, const char *milter,
                       struct setup_edit *e) __attribute__((nonnull));

/* --- setup_postfix_role.c --- */

/* Lines of split_transport, for the caller to free. */
char *setup_filter_route(const struct setup *s, const struct config_filter *f)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
char *setup_copy_route(const struct setup *s)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/*
 * Fill in what the instance gets. queue_directory: where it will be. next: the nexthop of all mail
 * that is not ours (SETUP_CLIENT, SETUP_IN), else "".
 */
int setup_role(const struct setup *s, enum setup_role role, const struct postfix *p,
               const char *queue_directory, const char *next, struct setup_edit *e, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The directory of splitmilter's socket, when it lies below this queue directory: a step that makes
 * it. */
int setup_socket_directory(const struct setup *s, const char *queue_directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Text of `s` with all characters that mean something in a regular expression escaped, appended. */
void setup_escape(const char *s, struct buf *out) __attribute__((nonnull));

/* --- the three things that can be done: they add the steps --- */

/* Add the steps of one instance, or of several, to setup.steps. -1 with `err`. */
int setup_plan_single(struct setup *s, struct err *err)
    __attribute__((nonnull, warn_unused_result));
int setup_plan_multi(struct setup *s, struct err *err) __attribute__((nonnull, warn_unused_result));
/* The way back from either. is_drained: setup_drain() was called; else it is only shown. */
int setup_plan_remove(struct setup *s, bool is_drained, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* What is set up in the default instance `p`. */
enum setup_found setup_find(const struct postfix *p) __attribute__((nonnull));

/* Whose is the configuration directory of a secondary instance? NONE: it is not there, or empty.
 * WE: its main.cf has our part. UNFINISHED: nothing but the default instance `p`, which has our
 * part, speaks for us. -1 with `err`: it cannot be read. */
enum setup_owner { SETUP_OWNER_NONE, SETUP_OWNER_WE, SETUP_OWNER_UNFINISHED, SETUP_OWNER_OTHER };
int setup_find_owner(const struct postfix *p, const char *directory, enum setup_owner *out,
                     struct err *err) __attribute__((nonnull, warn_unused_result));

/* Before what --multi made is removed, or undone: stop the secondary instances and see that their
 * queues are empty. -1: they are not, and the instances run again. */
int setup_drain(const struct setup_options *options, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Steps that set the default instance's files back, and remove its tables and the backup. */
void setup_restore(const struct setup *s, const struct postfix *p) __attribute__((nonnull));

/* Steps that write main.cf, master.cf, their first backup and the tables of an instance. */
void setup_write_instance(const struct setup *s, const struct postfix *p,
                          const struct setup_edit *e) __attribute__((nonnull));

/* A step "postfix -c DIRECTORY VERB". */
void setup_postfix_command(const struct setup *s, const char *directory, const char *verb)
    __attribute__((nonnull));

/* The instances that postmulti(1) knows beside the default one, as its main.cf on disk has them,
 * for the caller to free. NULL with `err`. */
char *setup_known_instances(const char *directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Is the directory in such a list (separated by white space or commas)? */
bool setup_is_known(const char *known, const char *directory)
    __attribute__((nonnull, warn_unused_result));

/* Names of an instance: /etc/postfix -> /etc/postfix-in; for the caller to free. */
char *setup_sibling(const char *directory, const char *suffix)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

#endif
