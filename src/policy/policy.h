/* SPDX-License-Identifier: ISC */
/*
 * policy: decides what happens to the recipients of a message. The module looks recipients and
 * senders up in tables, and returns changes of the envelope. It does no other I/O, uses no clock,
 * and keeps no state between messages. milter/callbacks.c translates the result for libmilter,
 * `splitctl explain` prints it. A policy is immutable; any number of threads may use it, each with
 * its own table_scratch.
 */
#ifndef SPLIT_POLICY_H
#define SPLIT_POLICY_H

#include "config/config.h"
#include "mail/dsn.h"
#include "table/lookup.h"

#include <stdbool.h>
#include <sys/socket.h>

#define POLICY_RECIPIENTS_MAX 50000 /* per message; further recipients get 452 4.5.3 */

struct policy;

/*
 * Open the tables that `config` names; `config` is borrowed for the life of the policy. NULL with
 * `err`: a table cannot be opened, or has an invalid result, such as the name of a filter that is
 * not declared. `err` begins with the place ("PATH:LINE: "), where there is one.
 */
struct policy *policy_open(const struct config *config, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Close the tables and free the policy. NULL is legal. */
void policy_close(struct policy *p);

/*
 * Make a new policy from `p`, in which every table that was read from `path` (table_path()) is
 * opened again. The two policies share all other tables; the caller closes both. NULL with `err`:
 * as policy_open().
 */
struct policy *policy_replace(const struct policy *p, const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* A fault that policy_review() finds. */
struct policy_fault {
    bool is_warning;
    const char *path; /* the table's file, or ""; `line` is a line of this file, or 0 */
    unsigned line;
    const char *text; /* the message, which begins with the place */
};

/* What policy_review() reports besides faults. */
struct policy_review {
    size_t tables; /* number of tables that could be opened */
    /* by the index in config->filters and config->destinations: does a result that was read name
     * this filter or destination? The arrays are owned */
    bool *filter_is_used, *destination_is_used;
    /* false: a table could not be read, or may have results that only a look-up shows */
    bool sees_all;
};

/*
 * For `splitctl check`: open all tables of the milter (listener NULL) or of this listener and check
 * all their results, without stopping at a fault. `fault` is called for each error, at most 100
 * times for one table, and for each warning; what it gets is valid during the call. Errors are a
 * table that cannot be opened, an invalid result, and an address whose canonical mapping does not
 * end. Warnings are a line that is skipped, a result that only Postfix acts on, a compiled table
 * that is older than its source, and servers of tables that do not answer. The caller frees the
 * content of *out with policy_review_clear().
 */
void policy_review(const struct config *config, const struct config_listener *listener,
                   void (*fault)(const struct policy_fault *fault, void *ctx), void *ctx,
                   struct policy_review *out) __attribute__((nonnull(1, 3, 5)));
void policy_review_clear(struct policy_review *r) __attribute__((nonnull));

/* Return the table with this index, which counts the tables of all options (canonical_maps,
 * filter_maps ...). NULL after the last one. Borrowed. */
const struct table *policy_table(const struct policy *p, size_t index) __attribute__((nonnull));

/* An SMTP reply. code 0: no reply, the recipient or message is not refused. */
struct policy_reply {
    int code;             /* such as 250, 451 or 550 */
    const char *enhanced; /* "5.7.1" */
    const char *text;     /* a static text */
};

/* The table entry that decided, for `splitctl explain`. If there is none, all strings are NULL. */
struct policy_reason {
    char *table, *key, *value; /* owned */
    char *path;                /* "" for tables without file; owned */
    unsigned line;
    char *host, *query; /* of a table that asks servers by a query; "" otherwise; owned */
};

/* Whether a decision failed. This value alone says so: the text in `failure` beside it only
 * explains. */
enum policy_failed {
    POLICY_OK,
    POLICY_FAILED, /* a table cannot be read or its result is invalid: on_failure decides */
    POLICY_LIMIT,  /* the address exceeds a limit of a look-up (TABLE_LIMIT): always refused */
};

/* What is known of the client that sent the message. */
struct policy_client {
    const struct sockaddr *address; /* NULL: not known */
    bool is_authenticated;          /* to the MTA, by a user name */
};

/* What is decided for all recipients of a message at once. The caller owns it and frees its content
 * with policy_message_clear(). All zeros is a message whose sender and client are not known. */
struct policy_message {
    bool is_bypassed;                /* the client is in bypass_clients */
    bool is_outbound;                /* the client is authenticated, or in local_networks */
    bool is_from_tag_domain;         /* the sender is in the tag domain; a bounce would go there */
    char *filter_value, *copy_value; /* results of the sender's tables, NULL for none; owned */
    struct policy_reason filter_reason, copy_reason;
    /* whether the look-up of the sender failed; if so, the decision about each recipient fails,
     * too */
    enum policy_failed failed;
    struct err failure; /* the reason for `failed` */
};

/* Decide what depends on sender and client alone. sender: the path of MAIL FROM. Always fills
 * *out. */
void policy_begin(const struct policy *p, struct table_scratch *s, const char *sender,
                  const struct policy_client *client, struct policy_message *out)
    __attribute__((nonnull));
void policy_message_clear(struct policy_message *m) __attribute__((nonnull));

/* The decision about one recipient. Owned by the caller: policy_decision_clear(). */
struct policy_decision {
    char *rcpt;     /* RCPT TO exactly as the client sent it, <> included: the string to delete */
    char *original; /* `rcpt` as an address, with a domain, as the MTA reads it */
    char *written;  /* `rcpt` as an address, without source route; NULL: as `original` */
    char *final;    /* the canonical address of the recipient; `original` if there is none */
    struct dsn dsn;
    bool is_rewritten;  /* final differs from original */
    bool is_from_orcpt; /* `original` is from ORCPT, and `final` is the recipient, which stays */
    const struct config_filter *filter; /* NULL: no filter */
    const struct config_destination *
        *copies; /* in the order of the table; owned array, borrowed items */
    size_t copy_count;
    /* From inside (is_outbound) to local_domains: internal; `original` decides, not `final`. */
    enum config_direction direction;
    /* The copies that the tables ask for, but whose destination does not take this direction. In
     * the order of the table; owned array, borrowed items. */
    const struct config_destination **skips;
    size_t skip_count;
    struct policy_reply reply; /* code != 0: refuse this recipient with it */
    /* not POLICY_OK: `reply` is 451 4.3.0, or the recipient is not changed (on_failure = accept) */
    enum policy_failed failed;
    struct err failure; /* the reason for `failed` */
    struct policy_reason canonical_reason, filter_reason, copy_reason;
    struct policy_reason sender_copy_reason; /* for copies that the sender's tables add */
};

/*
 * Add a domain to a path that has none ("<postmaster>"). mta_says: the address that the MTA makes
 * of the path, "" if that address is not known. The domain is that of mta_says if it can carry a
 * tag, else the first of `domains` (NULL-terminated) that can. The local part stays as the client
 * wrote it, except where the MTA has found the domain in the local part (user%host, host!user).
 * NULL: the path has a domain, the path is no address, or none of the domains can carry a tag. The
 * caller frees.
 */
char *policy_complete(const char *path, const char *mta_says, const char *const *domains)
    __attribute__((nonnull, warn_unused_result));

/*
 * The address to which the MTA delivers a path that is routed by its local part: "<sam%b.test@mta>"
 * is sam@b.test if "mta" is a domain of the MTA. NULL: the MTA delivers to the path as it is, or
 * mta_says is not known. Without this function, a client could write a recipient in a form that is
 * in no table. mta_says: as for policy_complete(). The caller frees.
 */
char *policy_rerouted(const char *path, const char *mta_says)
    __attribute__((nonnull, warn_unused_result));

/* Can policy_rerouted() return an address for this path? If not, the caller need not ask the MTA
 * how it reads the path. */
bool policy_may_be_rerouted(const char *path) __attribute__((nonnull));

/*
 * Decide about one recipient. rcpt: the path of RCPT TO. completed: the result of policy_complete()
 * or policy_rerouted(), which is looked up and tagged instead of `rcpt`; NULL: none. words: the
 * ESMTP words of RCPT TO (NULL-terminated list, or NULL). message: filled by policy_begin(),
 * borrowed for the call. Always fills *out. If the recipient is refused, its reply is one of
 *
 *     550 5.7.1  the recipient or the sender is inside the tag domain
 *     550 5.1.3  the path is no address, or needs a tag and cannot carry one
 *     451 4.3.0  a table failed, and policy_refuses() is true
 */
void policy_decide(const struct policy *p, struct table_scratch *s,
                   const struct policy_message *message, const char *rcpt, const char *completed,
                   char *const *words, struct policy_decision *out)
    __attribute__((nonnull(1, 2, 3, 4, 7)));

/* Free what the decision owns. */
void policy_decision_clear(struct policy_decision *d) __attribute__((nonnull));

/* Must the recipient or message be refused because of this failure? After POLICY_FAILED it must,
 * unless on_failure = accept; after POLICY_LIMIT always. */
bool policy_refuses(const struct policy *p, enum policy_failed failed) __attribute__((nonnull));

/*
 * May this recipient be accepted, regardless of the other recipients? False if the decision refuses
 * the recipient, or has failed and policy_refuses() is true for the failure.
 */
bool policy_may_accept(const struct policy *p, const struct policy_decision *d)
    __attribute__((nonnull));

/*
 * May the recipient `next` be accepted after these recipients? The code of the result is 0 if so.
 * Otherwise the result is the reply of the decision about `next`, if that has one; 451 4.3.0 if
 * policy_may_accept() is false; or, with mixed_filters = "defer", 451 4.5.3 if the filter of `next`
 * differs from that of the accepted recipients.
 */
struct policy_reply policy_admit(const struct policy *p, const struct policy_decision *accepted,
                                 size_t count, const struct policy_decision *next)
    __attribute__((nonnull(1, 4)));

/*
 * Append the body of a To or Cc header in which every address that has a canonical address is
 * replaced by it. *replaced_out: the number of replaced addresses; 0 after a failure. If the result
 * is not POLICY_OK, a table failed: `err` is set and the content of `out` is not defined. Only for
 * configurations with class header_recipient.
 */
enum policy_failed policy_rewrite_header(const struct policy *p, struct table_scratch *s,
                                         const char *body, struct buf *out, size_t *replaced_out,
                                         struct err *err)
    __attribute__((nonnull, warn_unused_result));

struct policy_add {
    char *address; /* without <> */
    char *words;   /* ESMTP words, "" for none; only NOTIFY and ORCPT */
};

/* The envelope changes of one message, to be made in this order: all additions, the header, all
 * deletions. */
struct policy_plan {
    struct policy_add *adds;
    size_t add_count;
    const char **deletes; /* sorted; of each deleted recipient the exact string of RCPT TO, and its
                             address where that differs; borrowed from the decisions */
    size_t delete_count;
    const char *header_name; /* NULL: no header is added; borrowed from the configuration */
    const char *header_value;
    struct policy_reply reply; /* code != 0: refuse the message with it, change nothing */
};

/* How a recipient that is rewritten and goes through no filter is added to the envelope. */
enum policy_rewritten {
    POLICY_REWRITTEN_PLAIN, /* with the new address alone */
    /*
     * With its new address and the suffix ".rewritten.back.TAG_DOMAIN", so that the MTA sends the
     * message to itself. Sendmail needs this, because it silently drops an added recipient to which
     * it cannot deliver. An address in the tag domain always has a route, so an address that cannot
     * be delivered to is refused in the reply to RCPT of the second session.
     */
    POLICY_REWRITTEN_BACK,
};

/* With POLICY_REWRITTEN_BACK: may `next` be accepted after policy_admit()? The reply is 550 5.1.3
 * if its new address cannot carry the suffix, else its code is 0. */
struct policy_reply policy_admit_back(const struct policy *p, const struct policy_decision *next)
    __attribute__((nonnull));

/* Compute the changes for the recipients that policy_admit() accepted. If another recipient is
 * among them, the process aborts, because that is a bug. A recipient whose decision failed stays as
 * it is. The caller frees the content of *out with policy_plan_clear(). The plan borrows from the
 * decisions. */
void policy_plan(const struct policy *p, const struct policy_decision *decisions, size_t count,
                 enum policy_rewritten rewritten, struct policy_plan *out)
    __attribute__((nonnull(1, 5)));
void policy_plan_clear(struct policy_plan *plan) __attribute__((nonnull));

/* Append the copies that are skipped, with the reason: "archive(direction=inbound),..." */
void policy_add_skips(const struct policy_decision *d, struct buf *out) __attribute__((nonnull));

/* Append the part of the log line of one recipient that follows the queue id: "to=<a@b>,
 * canonical=<c@d>, filter=secondary, copy=newmail, skip=archive(direction=inbound)". Members that
 * do not apply are left out. Appends nothing when nothing is decided about the recipient. */
void policy_log_line(const struct policy_decision *d, struct buf *out) __attribute__((nonnull));

#endif
