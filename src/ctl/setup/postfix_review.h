/* SPDX-License-Identifier: ISC */
/*
 * postfix_review: what is wrong, or doubtful, in the way that the Postfix instances of this machine
 * and this configuration work together. For check, reload and setup-postfix. Reads files and runs
 * postconf(1) and postmap(1); changes nothing. One thread.
 *
 * The result is a list of findings in the order in which they were found. Each is one line of text
 * that begins with the place ("/etc/postfix/main.cf: ..."), and one line that says what to do. Both
 * may repeat values of main.cf and master.cf: print them with ctl_print(). No finding is listed
 * twice.
 *
 *     struct postfix_review review = {0};
 *     if (postfix_review(config, "", &review, &err) < 0)
 *         ... what Postfix has cannot be read: err says why ...
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
    POSTFIX_FINDING_NOTE,    /* may be meant so */
    POSTFIX_FINDING_WARNING, /* some mail passes unfiltered or uncopied, or will */
    POSTFIX_FINDING_ERROR    /* mail waits, is refused, or goes elsewhere */
};

enum postfix_finding_kind {
    POSTFIX_FINDING_MILTERS,   /* who is asked, in which order; content_filter and the like */
    POSTFIX_FINDING_NON_SMTPD, /* splitmilter in non_smtpd_milters, where it can do nothing */
    POSTFIX_FINDING_ACCESS,    /* Postfix may not connect to splitmilter's socket */
    POSTFIX_FINDING_ROUTES,    /* Postfix does not know a filter or the copies, or knows others */
    POSTFIX_FINDING_TLS        /* REQUIRETLS on the way to a filter or to splitrelay */
};

struct postfix_finding {
    enum postfix_finding_level level;
    enum postfix_finding_kind kind;
    char *text;
    char *advice; /* "" if there is none */
};

struct postfix_review {
    struct postfix_finding *items;
    size_t count;
    size_t asking; /* instances that ask splitmilter */
};

/*
 * Add what is found in the instance with this configuration directory ("": the default one) and in
 * those that it knows (multi_instance_directories). A machine without Postfix, or without main.cf,
 * has no findings. -1 with `err`: something cannot be read; the findings so far are there.
 */
int postfix_review(const struct config *config, const char *directory, struct postfix_review *out,
                   struct err *err) __attribute__((nonnull, warn_unused_result));

/*
 * The part of it that a reload needs (POSTFIX_FINDING_ROUTES, POSTFIX_FINDING_TLS): what
 * setup-postfix, with the options that it was given the last time, would change in Postfix for this
 * configuration, or what an instance that was set up by hand lacks. Mail for a filter or a
 * destination that Postfix has not been told of waits in its queue, or bounces.
 */
int postfix_review_routes(const struct config *config, const char *directory,
                          struct postfix_review *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Free the findings. */
void postfix_review_clear(struct postfix_review *r) __attribute__((nonnull));

/* --- for postfix_review*.c and setup-postfix --- */

/* One instance as it is, or as it will be: milters, and access to the socket. */
void postfix_review_instance(const struct config *config, const struct postfix *p,
                             struct postfix_review *out) __attribute__((nonnull));

/* Add a finding, unless it is there. */
void postfix_review_add(struct postfix_review *r, enum postfix_finding_level level,
                        enum postfix_finding_kind kind, const char *advice, const char *fmt, ...)
    __attribute__((format(printf, 5, 6), nonnull));

/* Of an instance that asks splitmilter and has no part of ours: POSTFIX_FINDING_ROUTES and
 * POSTFIX_FINDING_TLS. In postfix_review_by_hand.c. */
void postfix_review_by_hand(const struct config *config, const struct postfix *p,
                            struct postfix_review *out) __attribute__((nonnull));

/* The instances that the default one knows: other_fn() is called for each. -1: one cannot be read.
 */
int postfix_review_others(const struct config *config, const struct postfix *p,
                          void (*other_fn)(const struct config *config, const struct postfix *p,
                                           struct postfix_review *out),
                          struct postfix_review *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* May the MTA's user connect to splitmilter's socket, from this smtpd(8) with this milter's name?
 * In postfix_review_access.c. */
void postfix_review_access(const struct config *config, const struct postfix *p,
                           const struct postfix_service *v, const char *milter,
                           struct postfix_review *out) __attribute__((nonnull));

#endif
