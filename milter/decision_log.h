/* SPDX-License-Identifier: ISC */
/*
 * decision_log: splitmilter's log lines about mail, with their fields (log_event()). id: the queue
 * id of the message, or "NOQUEUE". Any thread.
 */
#ifndef SPLIT_DECISION_LOG_H
#define SPLIT_DECISION_LOG_H

#include "base/log.h"
#include "policy/policy.h"

/* Log the decision for a recipient, unless nothing is changed. */
void decision_log_applied(const char *id, const struct policy_decision *d) __attribute__((nonnull));

/* Log that a recipient was refused, or that its decision failed. */
void decision_log_refused(const char *id, const struct policy_decision *d,
                          const struct policy_reply *reply) __attribute__((nonnull));

/* Log what became of a whole message: "ID: WHATstatus (reason)". what: "", "status=", or "headers,
 * status=". */
void decision_log_message(enum log_level level, const char *id, const char *what,
                          const char *status, const char *reason) __attribute__((nonnull));

/* The same for a message that is refused with this reply. */
void decision_log_reply(const char *id, const struct policy_reply *reply) __attribute__((nonnull));

#endif
