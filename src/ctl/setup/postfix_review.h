/* SPDX-License-Identifier: ISC */
/*
 * postfix_review: finds what is wrong or doubtful in how the Postfix instances of this machine work
 * with this configuration. For check, reload and setup-postfix. It reads files and runs postconf(1)
 * and postmap(1), and changes nothing. One thread.
 *
 * The result is a list of findings in the order in which they were found. Each has one line of text
 * that begins with the place ("/etc/postfix/main.cf: ..."), and one line of advice. Both may
 * contain values of main.cf and master.cf, so they have to be printed with ctl_print(). No finding
 * is listed twice.
 *
 *     struct postfix_review review = {0};
 *     if (postfix_review(config, "", &review, &err) < 0)
 *         ... the settings of Postfix cannot be read, and err has the reason ...
 *     for (size_t i = 0; i < review.count; i++)
 *         ... review.items[i].level, .text, .advice ...
 *     postfix_review_clear(&review);
 */
#ifndef SPLIT_CTL_POSTFIX_REVIEW_H
#define SPLIT_CTL_POSTFIX_REVIEW_H

#include "config/config.h"
#include "base/err.h"
#include "ctl/setup/postfix.h"

#include <stdbool.h>
#include <stddef.h>

enum postfix_finding_level {
    POSTFIX_FINDING_NOTE,    /* perhaps intended */
    POSTFIX_FINDING_WARNING, /* some mail passes unfiltered or uncopied, now or later */
    POSTFIX_FINDING_ERROR    /* mail waits, is refused, or goes elsewhere */
};

enum postfix_finding_kind {
    POSTFIX_FINDING_MILTERS,   /* which milters are asked, and in which order; content_filter */
    POSTFIX_FINDING_NON_SMTPD, /* splitmilter is in non_smtpd_milters, where it has no effect */
    POSTFIX_FINDING_ACCESS,    /* Postfix may not connect to splitmilter's socket */
    POSTFIX_FINDING_ROUTES,    /* the route of a filter or of the copies is missing or differs */
    POSTFIX_FINDING_TLS        /* a message with REQUIRETLS cannot pass to a filter or splitrelay */
};

struct postfix_finding {
    enum postfix_finding_level level;
    enum postfix_finding_kind kind;
    char *text;
    char *advice; /* "": none */
};

struct postfix_review {
    struct postfix_finding *items;
    size_t count;
    size_t asking; /* number of instances that ask splitmilter */
    /* by the index in config->other_milters: does a service ask that splitmilter? NULL: no instance
     * was reviewed */
    bool *is_named_asked;
};

/*
 * Add the findings of the instance with this configuration directory ("": the default one) and of
 * those in its multi_instance_directories. A machine without Postfix, or without main.cf, has no
 * findings. -1 with `err`: something cannot be read; `out` has the findings so far.
 */
int postfix_review(const struct config *config, const char *directory, struct postfix_review *out,
                   struct err *err) __attribute__((nonnull, warn_unused_result));

/*
 * The part of postfix_review() that a reload needs (POSTFIX_FINDING_ROUTES, POSTFIX_FINDING_TLS):
 * what setup-postfix would change for this configuration with the options of its last call, or what
 * an instance that was set up by hand lacks. Mail for a filter or destination without a route in
 * Postfix waits in its queue, or bounces.
 */
int postfix_review_routes(const struct config *config, const char *directory,
                          struct postfix_review *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Free the findings. */
void postfix_review_clear(struct postfix_review *r) __attribute__((nonnull));

/* --- for postfix_review*.c and setup-postfix --- */

/* Review the milters of one present or planned instance, and its access to the socket. */
void postfix_review_instance(const struct config *config, const struct postfix *p,
                             struct postfix_review *out) __attribute__((nonnull));

/* Add a finding, unless one with the same text is in the list. */
void postfix_review_add(struct postfix_review *r, enum postfix_finding_level level,
                        enum postfix_finding_kind kind, const char *advice, const char *fmt, ...)
    __attribute__((format(printf, 5, 6), nonnull));

/* Review an instance that asks splitmilter and does not have our part: POSTFIX_FINDING_ROUTES and
 * POSTFIX_FINDING_TLS. In postfix_review_by_hand.c. */
void postfix_review_by_hand(const struct config *config, const struct postfix *p,
                            struct postfix_review *out) __attribute__((nonnull));

/* Report if the service that sends `what` ("filter NAME of FILE") to its next hop uses other
 * fallbacks than `wanted`, as setup_fallback() writes them. In postfix_review_routes.c. */
void postfix_review_fallback(const struct postfix *p, const struct postfix_service *v,
                             const char *what, const char *wanted, const char *advice,
                             struct postfix_review *out) __attribute__((nonnull));

/* Call other_fn() for each instance in multi_instance_directories of `p`, the default instance. -1
 * with `err`: an instance cannot be read. */
int postfix_review_others(const struct config *config, const struct postfix *p,
                          void (*other_fn)(const struct config *config, const struct postfix *p,
                                           struct postfix_review *out),
                          struct postfix_review *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Report if the MTA's user may not connect to splitmilter's socket (postfix_review_access.c). v:
 * the smtpd(8) that connects; milter: the name of the socket in smtpd_milters. */
void postfix_review_access(const struct config *config, const struct postfix *p,
                           const struct postfix_service *v, const char *milter,
                           struct postfix_review *out) __attribute__((nonnull));

#endif
