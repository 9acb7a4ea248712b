/* SPDX-License-Identifier: ISC */
#include "mail/smtp_reply.h"
#include "base/ascii.h"

#include <stdio.h>
#include <string.h>

#define ONE_LINE_MAX 300 /* bytes that smtp_reply_one_line() appends at most */

void smtp_reply_init(struct smtp_reply *r)
{
    memset(r, 0, sizeof *r);
}

void smtp_reply_clear(struct smtp_reply *r)
{
    buf_clear(&r->text);
    smtp_reply_init(r);
}

void smtp_reply_reset(struct smtp_reply *r)
{
    r->code = 0;
    r->enhanced[0] = '\0';
    r->lines = 0;
    r->bytes = 0;
    r->is_mixed = r->is_complete = false;
    buf_reset(&r->text);
}

/* The length of a number of one to three digits at s; 0 if there is none. */
static size_t number_len(const char *s, size_t len)
{
    size_t n = 0;

    while (n < len && n < 4 && ascii_is_digit(s[n]))
        n++;
    return n <= 3 ? n : 0;
}

/*
 * The length of the enhanced status code at s, which a blank or the end follows; 0 if there is
 * none. Its class must be the first digit of the reply code (RFC 2034 section 4).
 *
 *     status-code = class "." subject "." detail        (RFC 3463 section 2)
 */
static size_t enhanced_len(const char *s, size_t len, int code)
{
    if (len < 5 || s[0] != '0' + code / 100 || s[0] == '3' || s[1] != '.')
        return 0;
    size_t subject = number_len(s + 2, len - 2);
    size_t at = 2 + subject;
    if (subject == 0 || at >= len || s[at] != '.')
        return 0;
    size_t detail = number_len(s + at + 1, len - at - 1);
    size_t end = at + 1 + detail;
    if (detail == 0 || (end < len && s[end] != ' ' && s[end] != '\t'))
        return 0;
    return end;
}

static void keep_text(struct smtp_reply *r, const char *text, size_t len)
{
    if (r->text.len + len + 1 > SMTP_REPLY_TEXT_MAX)
        return;
    if (r->lines > 0)
        buf_addc(&r->text, '\n');
    buf_add(&r->text, text, len);
    size_t n = enhanced_len(text, len, r->code);
    if (n > 0 && r->enhanced[0] == '\0') {
        memcpy(r->enhanced, text, n);
        r->enhanced[n] = '\0';
    }
}

int smtp_reply_skip(struct smtp_reply *r, size_t len, struct err *err)
{
    if (len <= SMTP_REPLY_BYTES_MAX - r->bytes) {
        r->bytes += len;
        return 0;
    }
    err_set(err, "reply too long");
    return -1;
}

int smtp_reply_add_line(struct smtp_reply *r, const char *line, size_t len, struct err *err)
{
    if (r->is_complete) {
        err_set(err, "reply with too many lines");
        return -1;
    }
    if (smtp_reply_skip(r, len, err) != 0)
        return -1;
    if (len > SMTP_REPLY_LINE_MAX)
        len = SMTP_REPLY_LINE_MAX;
    if (len > 0 && line[len - 1] == '\n')
        len--;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    if (len < 3 || line[0] < '2' || line[0] > '5' || !ascii_is_digit(line[1]) ||
        !ascii_is_digit(line[2]) || (len > 3 && line[3] != ' ' && line[3] != '-')) {
        err_set(err, "not a reply line");
        return -1;
    }
    int code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
    if (r->lines > 0 && code != r->code) {
        r->is_mixed = true;
        r->enhanced[0] = '\0'; /* it belongs to the code of earlier lines */
    }
    r->code = code;
    keep_text(r, len > 4 ? line + 4 : "", len > 4 ? len - 4 : 0);
    r->lines++;
    r->is_complete = len == 3 || line[3] == ' ';
    return 0;
}

void smtp_reply_one_line(const struct smtp_reply *r, struct buf *out)
{
    size_t start = out->len;

    buf_addf(out, "%d", r->code);
    if (r->text.len > 0)
        buf_addc(out, ' ');
    for (size_t i = 0; i < r->text.len && out->len - start < ONE_LINE_MAX; i++) {
        char c = r->text.data[i];
        if (c == '\n' || c == '\t')
            c = ' ';
        buf_addc(out, c >= ' ' && c <= '~' ? c : '?');
    }
}

const char *smtp_reply_dsn(const struct smtp_reply *r, char out[16])
{
    if (r->enhanced[0] != '\0')
        memcpy(out, r->enhanced, sizeof r->enhanced);
    else
        snprintf(out, 16, "%c.0.0", '0' + (char)(r->code / 100));
    return out;
}
