/* SPDX-License-Identifier: ISC */
/* status: the state of the daemons, of the destinations and of the Postfix instances, and the two
 * formats in which it is printed. Private to status*.c. A *way* is where mail in the queue of a
 * Postfix instance goes next: "filter NAME", "copy NAME", or a domain. */
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

/* When the list of an instance has this number of groups, the mail of a further domain goes into
 * the group "others". A filter or destination that is configured always gets its own group. */
#define STATUS_WAYS_MAX 200

/* The levels of monitoring plug-ins. The values are the exit codes. */
enum status_level { STATUS_OK, STATUS_WARNING, STATUS_CRITICAL };

/* What a recipient in the queue of a Postfix instance waits for. */
enum status_way { STATUS_TO_FILTER, STATUS_TO_COPY, STATUS_TO_OTHER, STATUS_WAYS };
extern const char *const status_way_names[STATUS_WAYS]; /* "filter", "copy", "other" */

/* The mail that waits for one destination of splitrelay, or on one way of a Postfix instance. */
struct status_group {
    char *name; /* of the destination; of a way: "filter primary", "copy archive", a domain */
    enum status_way way; /* STATUS_TO_OTHER also for a destination of splitrelay */
    const char *target;  /* the end of `name` that is the name of the filter or destination */
    /* Numbers of copies. waiting: copies that are due, but are not tried, because their destination
     * is suspended or splitrelay does not run. active: other copies that are due.
     * A way has numbers of recipients. deferred: those that Postfix has tried. active: those that
     * it has not tried yet; only a way to a filter or to splitrelay has them. */
    uint64_t active, waiting, deferred, held, dead;
    time_t oldest;                            /* arrival of the oldest; 0: the group is empty */
    time_t oldest_waiting;                    /* of the oldest due or deferred one; 0: none */
    struct destination_suspension suspension; /* because of its faults */
    struct queue_suspension order;            /* by an administrator; since 0: none */
    char *error;                              /* reason of the youngest that has one, or "" */
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
    bool belongs_here; /* it is meant to run on this machine */
    uint64_t messages[STATUS_QUEUES];
    time_t oldest;
    struct status_groups ways; /* those on which recipients wait */
    struct err problem;        /* "" or why the queue cannot be read */
};

struct status {
    const struct config *config;
    struct service *milters; /* as config_of_milter() counts them */
    struct service relay;
    struct status_groups destinations;
    struct queue_nodes nodes; /* those that share the database, if it is PostgreSQL */
    struct err spool_problem;
    struct err refusal; /* "" or why splitrelay takes no copies */
    struct status_instance *instances;
    size_t instance_count;
    struct err postfix_problem; /* "" or why there are no instances */

    uint64_t warn_dead;  /* this number of dead letters is a warning; 0: none is */
    unsigned warn_age_s; /* mail that has waited for this time is a warning; 0: none is */
    enum status_level level;
    struct buf reasons; /* "", or why the level is not STATUS_OK */
};

/* Return the group with this name, or NULL. */
struct status_group *status_find(const struct status_groups *groups, const char *name)
    __attribute__((nonnull));
/* Return the group with this name, after adding it if the list does not have it. */
struct status_group *status_group(struct status_groups *groups, const char *name)
    __attribute__((nonnull, returns_nonnull));
/* Count a copy or recipient in the times of the group, and keep its reason if no younger one has a
 * reason. arrival: of its message. error: the last reason, "" for none. */
void status_note(struct status_group *g, time_t arrival, const char *error)
    __attribute__((nonnull));
/* Return false if splitrelay does not belong to this machine and there is no spool directory: then
 * it is no problem that the spool cannot be read. */
bool status_needs_spool(const struct status *s) __attribute__((nonnull));
void status_groups_clear(struct status_groups *groups) __attribute__((nonnull));

/* Read the queues of all Postfix instances (status_postfix.c): first the default instance, or the
 * one with the configuration directory `directory` if that is not ""; then those in its
 * multi_instance_directories. */
void status_read_postfix(struct status *s, const char *directory) __attribute__((nonnull));

/* Set level and reasons (status_judge.c). */
void status_judge(struct status *s) __attribute__((nonnull));

/* Print the status to stdout, as text or as JSON (status_print.c). */
void status_print_human(const struct status *s) __attribute__((nonnull));
void status_print_json(const struct status *s) __attribute__((nonnull));

/* Write the state of the Postfix instances as metrics for Prometheus (status_metrics.c) to a file,
 * which is replaced in one step; path "-": to stdout. -1 with `err`. */
int status_write_metrics(const struct status *s, const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
