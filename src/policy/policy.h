/* SPDX-License-Identifier: ISC */
/*
 * policy: what happens to the recipients of a message. Pure: recipients and tables in, envelope
 * changes out; no I/O but that of the tables, no clock, no state between messages.
 * milter/callbacks.c only translates the outcome for libmilter, `splitctl explain` prints it. A
 * policy is immutable and may be used by any number of threads, each with its own table_scratch.
 */
#ifndef SPLIT_POLICY_H
#define SPLIT_POLICY_H

#include "config/config.h"
#include "mail/dsn.h"
#include "table/lookup.h"

#include <stdbool.h>
#include <sys/socket.h>

#define POLICY_RECIPIENTS_MAX 50000 /* per message; further ones get 452 4.5.3 */

struct policy;

/*
 * Open the tables that `config` names; config is borrowed for the policy's life. NULL with `err`: a
 * table that cannot be opened, or a result in it that names nothing declared, as "PATH:LINE: ...".
 */
struct policy *policy_open(const struct config *config, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* NULL is legal. */
void policy_close(struct policy *p);

/*
 * The same policy, except that every table which was read from `path` (table_path()) is opened
 * anew. Tables are shared between the two. NULL with `err`: as policy_open().
 */
struct policy *policy_replace(const struct policy *p, const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* A fault that policy_review() finds. */
struct policy_fault {
    bool is_warning;
    const char *path; /* the table's file, or ""; line: in it, 0 where there is none */
    unsigned line;
    const char *text; /* with its place */
};

/* What policy_review() has seen besides faults. */
struct policy_review {
    size_t tables;                              /* that could be opened */
    bool *filter_is_used, *destination_is_used; /* by a result that can be seen; owned */
    bool sees_all; /* false: a table may have results that are only seen in a look-up */
};

/*
 * For `splitctl check`: open all tables of the milter (listener NULL) or of this listener, look at
 * all results, and go on behind a fault. fault: called for each (at most 100 in one table): tables
 * that cannot be used, lines that are skipped, results that name nothing, addresses whose canonical
 * mapping does not end.
 */
void policy_review(const struct config *config, const struct config_listener *listener,
                   void (*fault)(const struct policy_fault *fault, void *ctx), void *ctx,
                   struct policy_review *out) __attribute__((nonnull(1, 3, 5)));
void policy_review_clear(struct policy_review *r) __attribute__((nonnull));

/* Its tables, one after the other; NULL behind the last one. Borrowed. */
const struct table *policy_table(const struct policy *p, size_t index) __attribute__((nonnull));

/* An SMTP answer. code 0: go on. */
struct policy_reply {
    int code;             /* 250.., 450.., 550.. */
    const char *enhanced; /* "5.7.1" */
    const char *text;     /* static */
};

/* Which table decided, for explain; empty strings and 0 if none did. */
struct policy_reason {
    char *table, *key, *value; /* owned */
    char *path;                /* owned, "" for tables without file */
    unsigned line;
};

/* Did a decision fail? This alone says so; the text beside it only explains. */
enum policy_failed {
    POLICY_OK,
    POLICY_FAILED, /* a table cannot be asked, or its answer is none: on_failure decides */
    POLICY_LIMIT,  /* the address exceeds a limit of a look-up (TABLE_LIMIT): it is refused */
};

/* What is decided for all recipients of a message at once. Owned by the caller:
 * policy_message_clear(); all zero is a message of which nothing is known. */
struct policy_message {
    bool is_bypassed;                /* its client is one of bypass_clients */
    bool is_from_tag_domain;         /* its bounce would go where only we send mail */
    char *filter_value, *copy_value; /* results of the sender's tables, NULL for none; owned */
    struct policy_reason filter_reason, copy_reason;
    enum policy_failed failed; /* of a table of the sender: then each recipient fails so */
    struct err failure;        /* why it failed */
};

/* sender: the path of MAIL FROM. client: its address, NULL if that is not known. Always fills *out.
 */
void policy_begin(const struct policy *p, struct table_scratch *s, const char *sender,
                  const struct sockaddr *client, struct policy_message *out)
    __attribute__((nonnull(1, 2, 3, 5)));
void policy_message_clear(struct policy_message *m) __attribute__((nonnull));

/* The decision about one recipient. Owned by the caller: policy_decision_clear(). */
struct policy_decision {
    char *rcpt;     /* RCPT TO exactly as the client sent it, <> included: the string to delete */
    char *original; /* the same as address, with a domain, and as the MTA reads it */
    char *written; /* the same as address, without source route, where that is not original; NULL */
    char *final;   /* where it ends: the canonical address, or original */
    struct dsn dsn;
    bool is_rewritten;                  /* final differs from original */
    const struct config_filter *filter; /* NULL: none */
    const struct config_destination *
        *copies; /* in the order of the table; owned array, borrowed items */
    size_t copy_count;
    struct policy_reply reply; /* code != 0: refuse this recipient with it */
    enum policy_failed failed; /* then reply is 451 4.3.0, or (accept) the recipient stays */
    struct err failure;        /* why it failed */
    struct policy_reason canonical_reason, filter_reason, copy_reason;
    struct policy_reason sender_copy_reason; /* copies that the sender's tables add */
};

/*
 * The address that a path without domain ("<postmaster>") stands for; NULL if it has
 * one, or is no address. mta_says: what the MTA makes of it, "" if that is not known; where it has
 * no domain that can carry a tag, the first of `domains` (NULL-terminated) that can is taken. The
 * local part stays as the client wrote it, except that the MTA may have found the domain in it
 * (user%host, host!user). The caller frees.
 */
char *policy_complete(const char *path, const char *mta_says, const char *const *domains)
    __attribute__((nonnull, warn_unused_result));

/*
 * The address that the MTA reads from a path whose domain is only on its way ("<sam%b.test@mta>"
 * is sam@b.test where "mta" is the MTA itself); NULL if it reads what is written. Without that, a
 * client could write a recipient so that no table knows it. The caller frees.
 */
char *policy_rerouted(const char *path, const char *mta_says)
    __attribute__((nonnull, warn_unused_result));

/* Can the path be one of that kind: does it matter what the MTA says? */
bool policy_may_be_rerouted(const char *path) __attribute__((nonnull));

/*
 * Decide about one recipient. rcpt: the path of RCPT TO; completed: of policy_complete() or
 * policy_rerouted(), or NULL:
 * what is looked up and tagged instead; words: its ESMTP words (NULL-terminated list, or NULL).
 * message: of policy_begin(), borrowed for the call. Always fills *out. reply is
 * 550 5.7.1  it or the sender is inside the tag domain 550 5.1.3  needs a tag and cannot carry one
 * 451 4.3.0  a table failed, and policy_refuses()
 */
void policy_decide(const struct policy *p, struct table_scratch *s,
                   const struct policy_message *message, const char *rcpt, const char *completed,
                   char *const *words, struct policy_decision *out)
    __attribute__((nonnull(1, 2, 3, 4, 7)));

/* Free what the decision owns. */
void policy_decision_clear(struct policy_decision *d) __attribute__((nonnull));

/* Is the recipient, or message, refused after such a failure? */
bool policy_refuses(const struct policy *p, enum policy_failed failed) __attribute__((nonnull));

/*
 * May this recipient be accepted, as far as it alone is concerned? False if it is refused, and for
 * a decision that failed if policy_refuses().
 */
bool policy_may_accept(const struct policy *p, const struct policy_decision *d)
    __attribute__((nonnull));

/*
 * May `next` join the recipients accepted before it? Code 0 if so. Otherwise its own reply, 451
 * 4.3.0 without policy_may_accept(), or with mixed_filters = "defer" 451 4.5.3 when its filter
 * differs from theirs.
 */
struct policy_reply policy_admit(const struct policy *p, const struct policy_decision *accepted,
                                 size_t count, const struct policy_decision *next)
    __attribute__((nonnull(1, 4)));

/*
 * Append the body of a To or Cc header with every address that has a canonical one replaced by it.
 * *replaced_out: how many were. Not POLICY_OK, with `err`: a table failed, and `out` is of no use.
 * Only for configurations with class header_recipient.
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
    const char **deletes; /* sorted: exact strings of RCPT TO, and addresses where these differ;
                             borrowed from the decisions */
    size_t delete_count;
    const char *header_name; /* NULL: no header is added; borrowed from the configuration */
    const char *header_value;
    struct policy_reply reply; /* code != 0: refuse the message with it, change nothing */
};

/* How a recipient enters the envelope that is rewritten, but goes through no filter. */
enum policy_rewritten {
    POLICY_REWRITTEN_PLAIN, /* by its new address */
    /*
     * With the suffix ".rewritten.back.TAG_DOMAIN", by which the MTA sends it to itself. For
     * Sendmail: it drops an added recipient for which it has an error without a word; but what is
     * below the tag domain always has a route, and then the error comes as an answer to RCPT.
     */
    POLICY_REWRITTEN_BACK,
};

/* With POLICY_REWRITTEN_BACK: may `next` join the recipients? 550 5.1.3 if its new address cannot
 * carry the suffix. */
struct policy_reply policy_admit_back(const struct policy *p, const struct policy_decision *next)
    __attribute__((nonnull));

/* Compute the changes for the recipients that policy_admit() let in; others are a bug and abort.
 * Decisions that failed are left alone. */
void policy_plan(const struct policy *p, const struct policy_decision *decisions, size_t count,
                 enum policy_rewritten rewritten, struct policy_plan *out)
    __attribute__((nonnull(1, 5)));
void policy_plan_clear(struct policy_plan *plan) __attribute__((nonnull));

/* Append the log line of one recipient behind its queue id: "to=<a@b>, canonical=<c@d>,
 * filter=secondary, copy=archive,newmail"; parts that do not apply are left out. Appends nothing
 * when nothing was decided. */
void policy_log_line(const struct policy_decision *d, struct buf *out) __attribute__((nonnull));

#endif
