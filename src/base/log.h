/* SPDX-License-Identifier: ISC */
/*
 * log: one line per event, to syslog or stderr, in Postfix's format ("splitrelay[PID]: ..."), or as
 * a JSON object. With log_use_journal() lines for syslog go to systemd's journal, and the fields of
 * log_event() become fields of the journal (log_format.h).
 *
 * main() calls log_open() before the first thread; afterwards any thread may log. A line is written
 * with one write(2) or one syslog(3), and is cut at LOG_LINE_MAX bytes. Control characters (C0,
 * DEL, C1), U+2028, U+2029, characters that set the direction of text (U+061C, U+200E, U+200F,
 * U+202A to U+202E, U+2066 to U+2069) and bytes that are not valid UTF-8 become '?', byte for byte,
 * so that no remote text can forge a line or show its parts in another order. Warnings begin with
 * "warning: ", errors with "error: ". An event is logged once, where the decision is made. No
 * function here changes errno.
 */
#ifndef SPLIT_LOG_H
#define SPLIT_LOG_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define LOG_LINE_MAX 2000

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/*
 * Choose where lines go, and which lines. ident: program name, borrowed for the life of the
 * process. target: "syslog" or "stderr". facility: "mail", "daemon", "local0" to "local7", "user"
 * (for syslog only). level: "error", "warning", "info" or "debug"; lines that are less important
 * are dropped. Before the first call lines go to stderr at level info. Returns 0. For an unknown
 * word it returns -1 with the allowed words in `err`, and changes nothing. May be called again
 * after a reload, while other threads log.
 */
int log_open(const char *ident, const char *target, const char *facility, const char *level,
             struct err *err) __attribute__((nonnull, warn_unused_result));

/* From now on, send lines for syslog to systemd's journal, if `device` (/dev/log) is the journal's
 * socket in `directory`. */
void log_use_journal(const char *device, const char *directory) __attribute__((nonnull));
#define LOG_JOURNAL_DEVICE "/dev/log"
#define LOG_JOURNAL_DIRECTORY "/run/systemd/journal"

/* Write lines as JSON objects from now on, or not. In the journal the text stays as it is. */
void log_set_json(bool is_json);

/* Do lines go to syslog, not to stderr? */
bool log_is_to_syslog(void);

/* Write a line of the level in the function's name. The format and its arguments are those of
 * printf(3), without a line end. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2), nonnull));
void log_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2), nonnull));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2), nonnull));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2), nonnull));

/* A member of a line about mail, besides its text. name: lower case letters and '_'. text: any
 * text; NULL: the line does not have this member. is_number: the text is a decimal number. */
struct log_field {
    const char *name;
    const char *text;
    bool is_number;
};
// clang-format off
#define LOG_TEXT(name, text) {(name), (text), false}
#define LOG_NUMBER(name, text) {(name), (text), true}
#define LOG_END {NULL, NULL, false}
// clang-format on

/*
 * Write a line with fields. The text of the classic line comes from the format. In JSON the fields
 * take its place, so they have to contain all of it. fields: the last one is LOG_END.
 * service: NULL, or as for log_as().
 */
void log_event(enum log_level level, const char *service, const struct log_field *fields,
               const char *fmt, ...) __attribute__((format(printf, 4, 5), nonnull(3, 4)));

/*
 * Write a line for a service of this process, named as Postfix names its services:
 * "IDENT/SERVICE[PID]: ", on stderr as well as by syslog(3). Unlike log_warning() and log_error(),
 * this function puts no "warning: " or "error: " before the text. service: at most 80 bytes, such
 * as "archive/smtp".
 */
void log_as(enum log_level level, const char *service, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), nonnull));

/* Make text from outside printable, in place: replace by '?' the characters that are replaced in a
 * line, too (see the head of this file). */
void log_sanitize(char *text) __attribute__((nonnull));

/* The length of the text without an incomplete UTF-8 character at its end. */
size_t log_whole_characters(const char *text, size_t len) __attribute__((nonnull));

#endif
