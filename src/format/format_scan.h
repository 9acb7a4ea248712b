/* SPDX-License-Identifier: ISC */
/*
 * format_scan: finds out what a journal report needs to know about the bytes of a message: the
 * encoding to be declared for them (RFC 2045 6.2), and the fields of its header. The content is
 * read block by block; only its header is kept, up to a limit. Pure; one struct per message.
 *
 *     header = *( name *WSP ":" body CRLF *( WSP text CRLF ) )
 *
 * A line ends in CRLF and in nothing else. The header ends with the first line that neither begins
 * a field nor continues one.
 */
#ifndef SPLIT_FORMAT_SCAN_H
#define SPLIT_FORMAT_SCAN_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define FORMAT_SCAN_HEADER_MAX (256 * 1024) /* bytes of a header that are looked at */
#define FORMAT_SCAN_LINE_MAX 998            /* without CRLF: RFC 5322 2.1.1 */

/* All zero before the first byte. Released with format_scan_clear(). */
struct format_scan {
    /* the first FORMAT_SCAN_HEADER_MAX bytes of the content, which may reach beyond its header */
    struct buf header;
    bool is_8bit;    /* bytes above 127 */
    bool is_binary;  /* NUL, CR or LF alone, or a line over FORMAT_SCAN_LINE_MAX */
    size_t line_len; /* bytes so far of the present line, without CRLF */
    bool after_cr;
    /* A text that is searched for in the content, borrowed; its first character does not come again
     * in it. NULL: none. Set before the first byte. */
    const char *wanted;
    size_t wanted_len; /* characters of it that the last bytes are */
    bool has_wanted;
};

/* Free what it owns. */
void format_scan_clear(struct format_scan *s) __attribute__((nonnull));

/* Take the next bytes of the content. */
void format_scan_feed(struct format_scan *s, const char *data, size_t len) __attribute__((nonnull));

/* Note that the content is over: if its last byte is a CR, that is a CR alone. */
void format_scan_end(struct format_scan *s) __attribute__((nonnull));

/* The value of Content-Transfer-Encoding: "7bit", "8bit" or "binary". */
const char *format_scan_encoding(bool is_8bit, bool is_binary) __attribute__((returns_nonnull));

struct format_field {
    const char *name;
    size_t name_len;
    const char *body; /* behind the colon, with folds, without the last CRLF */
    size_t body_len;
};

/* Read the field at offset *at (0: the first one), and move *at behind it. A field that is cut off
 * by the limit does not count. False: there are no more. */
bool format_scan_next(const struct format_scan *s, size_t *at, struct format_field *out)
    __attribute__((nonnull));

/* Does the field have this name, whatever the case of its letters? */
bool format_field_is(const struct format_field *f, const char *name) __attribute__((nonnull));

/*
 * Append the body as one line: unfolded, white space at both ends removed, tabs replaced by blanks
 * and NULs by '?'. All other characters stay, also a bare CR or LF and control characters.
 */
void format_field_text(const struct format_field *f, struct buf *out) __attribute__((nonnull));

/* Append the text of the first field with this name, as format_field_text() does. False: there is
 * no such field. */
bool format_scan_text(const struct format_scan *s, const char *name, struct buf *out)
    __attribute__((nonnull));

#endif
