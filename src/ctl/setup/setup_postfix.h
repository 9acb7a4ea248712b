/* SPDX-License-Identifier: ISC */
/*
 * setup_postfix: the settings with which Postfix works with splitmilter, computed from this
 * configuration and the present settings of Postfix. Private to setup_postfix*.c. Everything is
 * computed from the instance without our part (postfix.h), so a second call gives the same result.
 *
 *     setup_postfix.c      the command: options, plan, then the list of steps or their execution
 *     ..._options.c        options, also those of the last run (first line of our part)
 *     ..._check.c          refuses configurations of Postfix that the plans cannot handle
 *     ..._single.c, ..._multi.c, ..._remove.c    the three plans, each of which adds steps
 *     ..._role.c           all settings of one instance in its role: a setup_edit. It calls
 *     ..._milters.c          smtpd_milters, non_smtpd_milters
 *     ..._services.c         lines of master.cf: to filters, to splitrelay, from filters
 *     ..._fallback.c         other hosts for a filter that takes no mail
 *     ..._local.c            the tag domain is closed to local users
 *     ..._after.c            copies behind the filters: what the configuration needs for that
 *     ..._bounces.c          reports to senders without suffixes
 *     ..._edit.c           a setup_edit as texts of main.cf and master.cf, and as files
 *     ..._instances.c, ..._units.c    secondary instances that exist; their systemd units
 *
 * In this folder also: postfix.h reads an instance; postfix_review.h judges it, for `splitctl
 * check`; steps.h carries out and undoes; marked_text.h puts our part into a file and takes it out;
 * files.h, command.h and diff.h are tools; setup_sendmail.c is a command of its own.
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
#define SETUP_AFTER "after" /* the section milter whose splitmilter is asked behind the filters */
#define SETUP_FILE_HEAD "# Made by splitctl setup-postfix, which writes it anew: do not edit.\n"

enum setup_role {
    SETUP_SINGLE, /* the one instance that does everything */
    SETUP_CLIENT, /* the default instance: local submission only, all of which goes to IN */
    SETUP_IN,     /* accepts mail, asks splitmilter, sends to filters, splitrelay and OUT */
    SETUP_OUT     /* accepts mail from filters and IN, delivers it */
};

struct setup_options {
    char *directory;          /* configuration directory of the default instance */
    struct endpoint reinject; /* where filters give mail back */
    char *relay;              /* nexthop of splitrelay; "": relay.listen of the configuration */
    char *networks;           /* networks of filters besides this machine: ", NET..." or "" */
    struct endpoint local;    /* where IN accepts mail from the default instance; not port 25, where
                                 Postfix would see a loop */
    struct endpoint submission;       /* port 0: none */
    char *in_hostname, *out_hostname; /* "": made from the present name */
    char *user;                       /* of splitmilter: owns the socket's directory */
    bool copies_after_filter;         /* the port `reinject' asks splitmilter@SETUP_AFTER */
    bool is_forced;                   /* overwrite our part even if it was edited */
};

/* What was set up, by the first line of our part in the default instance. */
enum setup_found { SETUP_FOUND_NONE, SETUP_FOUND_SINGLE, SETUP_FOUND_MULTI };

/* What the command line asks for. */
struct setup_request {
    enum setup_found form; /* NONE: not given */
    bool is_apply, is_remove;
    struct setup_options options;
};

struct setup {
    const struct config *config;
    const struct setup_options *options;
    struct steps *steps;
    bool is_multi;
    bool makes_instances; /* the steps make and start instances */
    bool is_comparison;   /* the steps are not carried out, only compared with the present state */
};

/* The changes of one instance. */
struct setup_edit {
    struct buf main_part, master_part;
    char **parameters; /* names that main_part sets */
    size_t parameter_count;
    char **services; /* "name/type" of services that are commented out */
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
/* Add options to the request, which may already have some; an empty value is the default. -1: an
 * option is wrong, and the error was written to stderr. */
int setup_request_parse(struct setup_request *r, int argc, char **argv)
    __attribute__((nonnull, warn_unused_result));
/* Add the options of the last call for this instance, which are in the first line of our part of
 * its main.cf. Without that part or without main.cf nothing is added. -1 with `err`: the line
 * cannot be parsed. */
int setup_request_recall(struct setup_request *r, const char *directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Return the text for the first line of our part (WHO in marked_text.h), with the options of `s`.
 * The caller frees it. */
char *setup_who(const struct setup *s)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* --- setup_postfix_milters.c --- */

/* Set smtpd_milters: the present milters, then splitmilter with settings of its own. */
void setup_set_milter(const struct setup *s, const struct postfix *p, const char *queue_directory,
                      struct setup_edit *e) __attribute__((nonnull));
/* The name in smtpd_milters of the splitmilter at this socket, for the caller to free. */
char *setup_milter_name(const struct endpoint *socket, const char *queue_directory)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
/* The entry of smtpd_milters, with its settings, for the same splitmilter. */
char *setup_milter_entry(const struct endpoint *socket, const char *queue_directory)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
/* The section of the splitmilter behind the filters; NULL without copies_after_filter.
 * setup_check() has made sure that it is there. */
const struct config_milter *setup_after(const struct setup *s)
    __attribute__((nonnull, warn_unused_result));
/* Remove splitmilter from non_smtpd_milters, which may refer to smtpd_milters, and add a note.
 * more: a text to append to the list, or "". */
void setup_keep_from_non_smtpd(const struct setup *s, const struct postfix *p,
                               const char *queue_directory, const char *more, struct setup_edit *e)
    __attribute__((nonnull));
/* Add the findings of postfix_review.h for the planned instance as notes. -1 with `err`: Postfix
 * could not connect to splitmilter. */
int setup_review(const struct setup *s, const struct postfix *p, const struct setup_edit *e,
                 struct err *err) __attribute__((nonnull, warn_unused_result));

/* --- setup_postfix_edit.c --- */

/* Set a parameter of main.cf to formatted text. */
void setup_set(struct setup_edit *e, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), nonnull));
/* Set a parameter to `first`, followed by its present value. */
void setup_join(struct setup_edit *e, const struct postfix *p, const char *name, const char *first)
    __attribute__((nonnull));
/* Comment out a service in master.cf. */
void setup_switch_off(struct setup_edit *e, const struct postfix_service *s)
    __attribute__((nonnull));
/* Add a table with SETUP_FILE_HEAD and this content, which is taken over. name: static. */
void setup_file(struct setup_edit *e, const char *name, char *content) __attribute__((nonnull));
/* Free what the edit owns. */
void setup_edit_clear(struct setup_edit *e) __attribute__((nonnull));

/* The texts of main.cf and master.cf that the instance is to have, for the caller to free. */
char *setup_main_cf(const struct setup *s, const struct postfix *p, const struct setup_edit *e)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
char *setup_master_cf(const struct setup *s, const struct postfix *p, const struct setup_edit *e)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* Add steps that write the tables of the instance and remove those that are no longer needed. */
void setup_write_files(const struct setup *s, const char *directory, const struct setup_edit *e)
    __attribute__((nonnull));
/* Check that every file with the name of one of our tables is ours. -1 with `err`. */
int setup_check_files(const char *directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* --- setup_postfix_check.c: refuses what would not work --- */

/* Check that the instance can get this role. -1 with `err`, which also says what to do. */
int setup_check(const struct setup *s, enum setup_role role, const struct postfix *p,
                struct err *err) __attribute__((nonnull, warn_unused_result));
/* The port in the name of an inet service, as a number or as "smtp"; -1 for other names. */
long setup_listener_port(const char *name) __attribute__((nonnull));
/* Add notes about settings that only the administrator can judge. */
void setup_remarks(const struct setup *s, enum setup_role role, const struct postfix *p)
    __attribute__((nonnull));

/* --- setup_postfix_after.c --- */

/* Check that the configuration has what copies behind the filters need, and that no copy is made
 * twice. -1 with `err`. */
int setup_check_after(const struct setup *s, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Add notes about mail that does not pass the port where filters give mail back. */
void setup_remark_after(const struct setup *s) __attribute__((nonnull));

/* --- setup_postfix_units.c: instances as systemd starts them --- */

/* Return true if Debian's package has the generator that makes units for all instances (up to
 * Debian 12). */
bool setup_has_generator(void) __attribute__((warn_unused_result));
/* Stop a secondary instance now, not as a step: with systemctl(1) if systemd runs it, because its
 * unit would otherwise count as failed. -1 with `err`. */
int setup_stop_instance(const char *directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* If systemd runs, add steps with which it restarts the default instance and these secondary ones
 * (NULL-terminated). False: systemd does not run. */
bool setup_restart_all(const struct setup *s, const char *const *directories)
    __attribute__((nonnull, warn_unused_result));
/* Add a step that enables or disables the unit of the instance, where it has to be enabled (Debian
 * 13). */
void setup_enable_instance(const struct setup *s, const char *directory, bool is_wanted)
    __attribute__((nonnull));

/* --- setup_postfix_bounces.c: reports to senders do not show suffixes --- */

/* Have all services of bounce(8) pass their reports to a cleanup(8) that removes suffixes. more:
 * further lines of options for that cleanup(8), or "". */
void setup_bounce_services(const struct setup *s, const struct postfix *p, const char *more,
                           struct setup_edit *e) __attribute__((nonnull));
/* Return the table with which the cleanup(8) of setup_bounce_services() removes suffixes, for the
 * caller to free. tag: the tag domain, escaped. */
char *setup_bounce_table(const char *tag)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* --- setup_postfix_services.c: lines of master.cf --- */

/* Add services to master.cf: those that send to the filters (-1 with `err`: the nexthop of a filter
 * cannot be used), to splitrelay, and to the next instance; and those that take mail from the
 * filters, from the default instance, and by submission. */
int setup_filter_services(const struct setup *s, const struct postfix *p, struct setup_edit *e,
                          struct err *err) __attribute__((nonnull, warn_unused_result));
void setup_copy_service(const struct setup *s, const struct postfix *p, struct setup_edit *e)
    __attribute__((nonnull));
void setup_next_service(const struct postfix *p, struct setup_edit *e) __attribute__((nonnull));
void setup_reinject_service(const struct setup *s, const struct postfix *p,
                            const char *queue_directory, struct setup_edit *e)
    __attribute__((nonnull));
void setup_local_service(const struct setup *s, struct setup_edit *e) __attribute__((nonnull));
void setup_submission_service(const struct setup *s, struct setup_edit *e) __attribute__((nonnull));

/* Return true if the nexthop ("[host]:port", "host:port", "host", or a unix socket) is on this
 * machine. */
bool setup_is_near(const char *nexthop) __attribute__((nonnull));

/* Format the nexthop with which Postfix connects to a listening endpoint: "[host]:port" or
 * "unix:/path". */
void setup_format_nexthop(const struct endpoint *e, char *out, size_t size)
    __attribute__((nonnull));
/* Format the nexthop of splitrelay. */
void setup_format_relay(const struct setup *s, char *out, size_t size) __attribute__((nonnull));

/* Format the name with which Postfix connects to a milter that listens on an inet endpoint:
 * "inet:host:port". */
void setup_format_milter(const struct endpoint *e, char *out, size_t size) __attribute__((nonnull));

/* Return true if the text can be written into main.cf, master.cf and tables without quoting. */
bool setup_is_harmless(const char *text) __attribute__((nonnull, warn_unused_result));

/* --- setup_postfix_fallback.c: other hosts for a filter that takes no mail --- */

/* Return the value of smtp_fallback_relay or lmtp_fallback_relay in the service of the filter: ""
 * or "[host]:port,[host]:port"; for the caller to free. */
char *setup_fallback(const struct config_filter *f)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
/* Return true if the filter and its fallbacks are on this machine. */
bool setup_is_near_filter(const struct config_filter *f) __attribute__((nonnull));
/* Check that Postfix can use the fallbacks in a copy of the service `base`, and that none of them
 * leads to this Postfix: mail would pass unfiltered or come back. -1 with `err`. */
int setup_check_fallback(const struct setup *s, const struct postfix *p,
                         const struct postfix_service *base, const struct config_filter *f,
                         struct err *err) __attribute__((nonnull, warn_unused_result));
/* Add notes about filters whose mail leaves this machine only by their fallbacks. */
void setup_remark_fallbacks(const struct setup *s, const struct postfix *p)
    __attribute__((nonnull));

/* --- setup_postfix_local.c: closes the tag domain to local users, with one instance --- */

/* The option of a cleanup service that makes recipients in the tag domain undeliverable. */
#define SETUP_CLOSED_OPTION "    -o split_local_maps=regexp:$config_directory/split_local\n"

/* Return true if the tag domain can be closed to local users. That needs Postfix 3.0 and the usual
 * cleanup service. */
bool setup_can_close_local(const struct postfix *p) __attribute__((nonnull));
/* Return the line of split_transport for recipients that a cleanup service with SETUP_CLOSED_OPTION
 * has rewritten. The caller frees it. tag: the tag domain, escaped. */
char *setup_local_route(const char *tag)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
/* Close the tag domain to local users, or add a note that it stays open. milter: the
 * setup_milter_name() of the splitmilter to ask. This function sets recipient_canonical_maps. The
 * caller has to put $split_local_milters into non_smtpd_milters. */
void setup_close_local(const struct setup *s, const struct postfix *p, const char *milter,
                       struct setup_edit *e) __attribute__((nonnull));

/* --- setup_postfix_role.c --- */

/* Return the line of split_transport for one filter, or for all copies. The caller frees it. */
char *setup_filter_route(const struct setup *s, const struct config_filter *f)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
char *setup_copy_route(const struct setup *s)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/*
 * Fill in all changes of the instance for its role. queue_directory: that of the planned instance.
 * next: the nexthop of all mail without suffix (SETUP_CLIENT, SETUP_IN), else "". -1 with `err`.
 */
int setup_role(const struct setup *s, enum setup_role role, const struct postfix *p,
               const char *queue_directory, const char *next, struct setup_edit *e, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Add a step that makes the directory of a milter's socket, if it is below this queue directory. m
 * NULL: do nothing. -1 with `err`. */
int setup_socket_directory(const struct setup *s, const struct config_milter *m,
                           const char *queue_directory, struct err *err)
    __attribute__((nonnull(1, 3, 4), warn_unused_result));

/* Append `s` with the special characters of regular expressions escaped. */
void setup_escape(const char *s, struct buf *out) __attribute__((nonnull));

/* --- the three requests, each of which adds its steps --- */

/* Add the steps for one instance, or for several instances, to setup.steps. -1 with `err`. */
int setup_plan_single(struct setup *s, struct err *err)
    __attribute__((nonnull, warn_unused_result));
int setup_plan_multi(struct setup *s, struct err *err) __attribute__((nonnull, warn_unused_result));
/* Add the steps that remove what --single or --multi has set up. is_drained: setup_drain() was
 * called; if not, the steps are only shown. -1 with `err`. */
int setup_plan_remove(struct setup *s, bool is_drained, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Find what was set up in the default instance `p`. */
enum setup_found setup_find(const struct postfix *p) __attribute__((nonnull));

/* Find the owner of the configuration directory of a secondary instance. NONE: the directory is
 * missing or empty. WE: its main.cf has our part. UNFINISHED: it has other files but no main.cf,
 * and `p`, the default instance, was set up with --multi. OTHER: none of these. -1 with `err`: the
 * directory cannot be read, or our part is damaged. */
enum setup_owner { SETUP_OWNER_NONE, SETUP_OWNER_WE, SETUP_OWNER_UNFINISHED, SETUP_OWNER_OTHER };
int setup_find_owner(const struct postfix *p, const char *directory, enum setup_owner *out,
                     struct err *err) __attribute__((nonnull, warn_unused_result));

/* Before the instances of --multi are removed: stop the secondary instances and check that their
 * queues are empty. -1 with `err`: a queue has mail, or an instance is not ours or cannot be
 * stopped; the instances that ran have been started again. */
int setup_drain(const struct setup_options *options, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Add steps that restore the files of the default instance and remove its tables and the backup. */
void setup_restore(const struct setup *s, const struct postfix *p) __attribute__((nonnull));

/* Add steps that write main.cf, master.cf, their first backup and the tables of an instance. */
void setup_write_instance(const struct setup *s, const struct postfix *p,
                          const struct setup_edit *e) __attribute__((nonnull));

/* Add a step "postfix -c DIRECTORY VERB". */
void setup_postfix_command(const struct setup *s, const char *directory, const char *verb)
    __attribute__((nonnull));

/* The instances that postmulti(1) knows besides the default one, from main.cf on disk, for the
 * caller to free. NULL with `err`. */
char *setup_known_instances(const char *directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Return true if the directory is in the list `known`, which setup_known_instances() has
 * returned. */
bool setup_is_known(const char *known, const char *directory)
    __attribute__((nonnull, warn_unused_result));

/* A name for a secondary instance: /etc/postfix -> /etc/postfix-in. For the caller to free. */
char *setup_sibling(const char *directory, const char *suffix)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

#endif
