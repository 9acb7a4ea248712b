/* SPDX-License-Identifier: ISC */
/*
 * log_format: the forms of a log line that has members: a JSON object, and a datagram for the
 * journal of systemd. Private to log.c. Any thread.
 *
 * A member is a field of log_event(). Its text is made printable (log_sanitize()) and is cut at
 * LOG_VALUE_MAX bytes, or at LOG_VALUE_SHORT bytes if there is no room for all members of an object
 * otherwise.
 */
#ifndef SPLIT_LOG_FORMAT_H
#define SPLIT_LOG_FORMAT_H

#include "base/buf.h"
#include "base/log.h"

#include <time.h>

#define LOG_VALUE_MAX 1000
#define LOG_VALUE_SHORT 300

/* A JSON object is written with one write(2). On a pipe it stays in one piece up to PIPE_BUF (4096)
 * bytes, and servers of syslog take it. */
#define LOG_JSON_MAX 4000

struct log_line {
    enum log_level level;
    const char *program;
    const char *tag; /* the program, or PROGRAM/SERVICE; tag_len bytes */
    size_t tag_len;
    long pid;
    const char *text;               /* of the classic line, printable */
    const char *message;            /* the same without "warning: " or "error: " */
    const struct log_field *fields; /* NULL: the line has no members */
};

/*
 * Append a JSON object of at most LOG_JSON_MAX bytes, without a line end:
 *
 *     {"time":"2026-11-29T12:00:00.123456Z","program":"splitrelay","pid":7,"level":"info",MEMBERS}
 *
 * MEMBERS are the fields, or "message" if there are none. If a member was cut or left out for lack
 * of room, "truncated":true follows.
 */
void log_format_json(const struct log_line *l, const struct timespec *now, struct buf *out)
    __attribute__((nonnull));

/*
 * Append a datagram for the journal's socket (systemd.io/JOURNAL_NATIVE_PROTOCOL): PRIORITY,
 * SYSLOG_FACILITY, SYSLOG_IDENTIFIER, SYSLOG_PID, MESSAGE (the text), and each field as
 * SPLIT_NAME=value. priority, facility: those of syslog(3).
 */
void log_format_journal(const struct log_line *l, int priority, int facility, struct buf *out)
    __attribute__((nonnull));

#endif
