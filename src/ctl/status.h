/* SPDX-License-Identifier: ISC */
/* status: the state of the daemons, of the destinations and of the Postfix instances, and the two
 * formats in which it is printed. Private to status*.c. A *way* is a destination of mail in the
 * queue of a Postfix instance: "filter NAME", "copy NAME", or a domain. */
#ifndef SPLIT_CTL_STATUS_H
#define SPLIT_CTL_STATUS_H

#include "base/buf.h"
#include "config/config.h"
#include "base/err.h"
#include "ctl/health.h"
#include "ctl/service.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define STATUS_GROUPS_MAX 200 /* ways of an instance that are told apart; the rest is one */

/* The levels of monitoring plug-ins. The values are the exit codes. */
enum status_level { STATUS_OK, STATUS_WARNING, STATUS_CRITICAL };

/* The mail that waits for one destination of splitrelay, or on one way of a Postfix instance. */
struct status_group {
    char *name;
    /* Copies, or (deferred) recipients. waiting: due, but the destination is suspended, or
     * splitrelay does not run. */
    uint64_t active, waiting, deferred, held, dead;
    time_t oldest;                            /* arrival; 0: nothing there */
    time_t oldest_waiting;                    /* of those that are to be delivered */
    struct destination_suspension suspension; /* by its faults */
    struct queue_suspension order;            /* by an administrator; since 0: none */
    char *error;                              /* of the youngest one that has any */
    time_t error_arrival;
};

struct status_groups {
    struct status_group *items;
    size_t count;
};

enum {
    STATUS_MAILDROP,
    STATUS_INCOMING,
    STATUS_ACTIVE,
    STATUS_DEFERRED,
    STATUS_HOLD,
    STATUS_QUEUES
};
extern const char *const status_queue_names[STATUS_QUEUES];

struct status_instance {
    char *name, *directory;
    enum service_run run;
    bool belongs_here; /* if not: it may be stopped */
    uint64_t messages[STATUS_QUEUES];
    time_t oldest;
    struct status_groups ways; /* with deferred recipients */
    struct err problem;        /* "" or why the queue cannot be read */
};

struct status {
    const struct config *config;
    struct service milter, relay;
    struct status_groups destinations;
    struct queue_nodes nodes; /* at the database */
    struct err spool_problem;
    struct err refusal; /* "" or why splitrelay takes no copies */
    struct status_instance *instances;
    size_t instance_count;
    struct err postfix_problem; /* "" or why there are no instances */

    uint64_t warn_dead;  /* 0: any number of dead letters is fine */
    unsigned warn_age_s; /* 0: any age of what waits is fine */
    enum status_level level;
    struct buf reasons; /* "" or why it is not OK */
};

/* Return the group of that name. It is added if it is missing. */
struct status_group *status_group(struct status_groups *groups, const char *name)
    __attribute__((nonnull, returns_nonnull));
/* Count a copy or recipient in the times of the group, and keep the reason of the youngest one.
 * arrival: of its message. error: the last reason, "" for none. */
void status_note(struct status_group *g, time_t arrival, const char *error)
    __attribute__((nonnull));
/* Is the spool to be readable? Where splitrelay does not belong, only one that is there. */
bool status_needs_spool(const struct status *s) __attribute__((nonnull));
void status_groups_clear(struct status_groups *groups) __attribute__((nonnull));

/* Read the queues of all Postfix instances, the default one (or that in `directory`, if not "")
 * first (status_postfix.c). */
void status_read_postfix(struct status *s, const char *directory) __attribute__((nonnull));

/* Set level and reasons (status_judge.c). */
void status_judge(struct status *s) __attribute__((nonnull));

/* Print the status to stdout, as text or as JSON (status_print.c). */
void status_print_human(const struct status *s) __attribute__((nonnull));
void status_print_json(const struct status *s) __attribute__((nonnull));

#endif
