/* SPDX-License-Identifier: ISC */
/*
 * template: values of options in which parts of a recipient stand: addresses, such as
 * "%u-%d@archive.example.com", and paths of Maildirs, such as "/srv/%d/{%Y-%m}".
 *
 *     %u  the local part, without quotes        %d  the domain, ASCII letters in lower case
 *     %a  the address, local part "@" domain    %%  a percent sign
 *     {}  in a path: the date, in UTC, with %Y %m %d %H, %% and any text
 *
 * What is made from an address that others chose is an address that servers read in one way, or a
 * path that stays below its fixed part. Anything else is a failure. Pure functions; any thread.
 */
#ifndef SPLIT_TEMPLATE_H
#define SPLIT_TEMPLATE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define TEMPLATE_LOCAL_MAX 64 /* octets of a local part that is made (RFC 5321 4.5.3.1.1) */

/* Does the text differ from recipient to recipient, or with the date? */
bool template_varies(const char *text) __attribute__((nonnull));

/*
 * Append the address that the template makes of this recipient. %u, %d and %a may stand in the
 * local part, %d in the domain, and "%a" may be the whole template. The local part is quoted if it
 * has to be. -1 with `err`, and nothing appended, if the result is no address by RFC 5321 and 6531,
 * if its local part is longer than TEMPLATE_LOCAL_MAX or its domain than ADDRESS_DOMAIN_MAX, or if
 * the recipient has no domain and the template asks for it.
 */
int template_address(const char *text, const char *recipient, struct buf *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Check a template of addresses, as the configuration has it. -1 with `err`: what is wrong, what is
 * allowed. */
int template_check_address(const char *text, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * Append the path that the template makes of the domain of this recipient, and of this time
 * (seconds since 1970). *made_at_out: where in the result the first component begins that varies;
 * the last component if none varies. -1 with `err`, and nothing appended, if the template needs the
 * domain and the recipient has no domain by the rules of DNS (labels of 1 to 63 letters, digits and
 * '-', 253 octets; names with other letters only as A-labels); or if a component that varies is too
 * long for a file system, or has the name of a directory in a Maildir.
 */
int template_path(const char *text, const char *recipient, time_t when, struct buf *out,
                  size_t *made_at_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* As template_check_address(), for a path. No part of a path may be made from a local part. */
int template_check_path(const char *text, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Append the directory that the first component that varies is in; of a path that does not vary the
 * directory that the path is in. text: template_check_path() accepts it. */
void template_base(const char *text, struct buf *out) __attribute__((nonnull));

/* Can the template make the path `top`, or a path below it? text: template_check_path() accepts
 * it. */
bool template_may_be_below(const char *text, const char *top) __attribute__((nonnull));

#endif
