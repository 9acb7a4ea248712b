/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_line.h"
#include "base/ascii.h"

#include <stdbool.h>
#include <string.h>

/* Skip "<22>", the priority in a datagram of syslog. True: "1 " came after it, so the line has the
 * form of RFC 5424. */
static bool skip_priority(struct slice *rest)
{
    size_t n = 1;

    if (rest->len == 0 || rest->at[0] != '<')
        return false;
    while (n < rest->len && n < 4 && ascii_is_digit(rest->at[n]))
        n++;
    if (n == 1 || n >= rest->len || rest->at[n] != '>')
        return false;
    slice_skip(rest, n + 1);
    if (!slice_begins(*rest, "1 "))
        return false;
    slice_skip(rest, 2);
    return true;
}

/* Take the text up to the next space. False: there is no space, or nothing before it. */
static bool take_word(struct slice *rest, struct slice *out)
{
    const char *space = memchr(rest->at, ' ', rest->len);

    if (space == NULL || space == rest->at)
        return false;
    *out = (struct slice){rest->at, (size_t)(space - rest->at)};
    slice_skip(rest, out->len + 1);
    return true;
}

/* Skip the structured data of RFC 5424 and the space after it. False: its end is missing. */
static bool skip_data(struct slice *rest)
{
    bool is_quoted = false;

    if (slice_begins(*rest, "-"))
        slice_skip(rest, 1);
    while (slice_begins(*rest, "[")) {
        while (rest->len > 0 && (is_quoted || rest->at[0] != ']')) {
            bool is_escape = is_quoted && rest->at[0] == '\\' && rest->len > 1;
            is_quoted ^= rest->at[0] == '"';
            slice_skip(rest, is_escape ? 2 : 1);
        }
        if (rest->len == 0)
            return false;
        slice_skip(rest, 1);
    }
    if (!slice_begins(*rest, " "))
        return false;
    slice_skip(rest, 1);
    if (slice_begins(*rest, "\xef\xbb\xbf"))
        slice_skip(rest, 3);
    return true;
}

/* Split what follows the stamp of RFC 5424. */
static bool split_5424(struct slice rest, struct trace_line *out)
{
    struct slice word;

    if (!take_word(&rest, &out->host) || !take_word(&rest, &out->tag) || !take_word(&rest, &word) ||
        !take_word(&rest, &word) || !skip_data(&rest))
        return false;
    out->text = rest;
    return true;
}

/* Is this word "TAG:" or "TAG[PID]:"? Then set *out to the tag. */
static bool is_tag(struct slice word, struct slice *out)
{
    if (word.len < 2 || word.at[word.len - 1] != ':')
        return false;
    size_t len = word.len - 1;
    if (word.at[len - 1] == ']') {
        size_t n = len - 1;
        while (n > 0 && ascii_is_digit(word.at[n - 1]))
            n--;
        if (n < 2 || n == len - 1 || word.at[n - 1] != '[')
            return false;
        len = n - 1;
    }
    *out = (struct slice){word.at, len};
    return true;
}

/* Skip what syslog daemons put around the message. */
static void unwrap(struct slice *text)
{
    static const char repeated[] = " times: [ ";

    while (text->len > 0 && (text->at[text->len - 1] == '\r' || text->at[text->len - 1] == ' '))
        text->len--;
    if (slice_begins(*text, "[ID ")) {
        const char *end = memchr(text->at, ']', text->len);
        if (end != NULL && end + 1 < text->at + text->len && end[1] == ' ')
            slice_skip(text, (size_t)(end + 2 - text->at));
    }
    if (!slice_begins(*text, "message repeated ") || text->at[text->len - 1] != ']')
        return;
    const char *at = memmem(text->at, text->len, repeated, sizeof repeated - 1);
    if (at != NULL) {
        slice_skip(text, (size_t)(at - text->at) + sizeof repeated - 1);
        text->len -= text->len > 0;
    }
}

enum trace_line_result trace_line_parse(struct trace_stamp *stamp, const char *line, size_t len,
                                        struct trace_line *out)
{
    struct slice rest = {line, len}, word;

    *out = (struct trace_line){.host = {line, 0}};
    bool is_5424 = skip_priority(&rest);
    size_t n = trace_stamp_parse(stamp, rest.at, rest.len, &out->us);
    if (n == 0 && !slice_begins(rest, "splitmilter") && !slice_begins(rest, "splitrelay"))
        return TRACE_LINE_NO_STAMP;
    if (n > 0 && (n >= rest.len || rest.at[n] != ' '))
        return TRACE_LINE_NO_STAMP;
    slice_skip(&rest, n > 0 ? n + 1 : 0);
    if (is_5424) {
        if (!split_5424(rest, out))
            return TRACE_LINE_NO_TAG;
        unwrap(&out->text);
        return TRACE_LINE_OK;
    }
    if (!take_word(&rest, &word))
        return TRACE_LINE_NO_TAG;
    if (!is_tag(word, &out->tag)) {
        if (n == 0)
            return TRACE_LINE_NO_STAMP;
        out->host = word;
        if (!take_word(&rest, &word) || !is_tag(word, &out->tag))
            return TRACE_LINE_NO_TAG;
    }
    out->text = rest;
    unwrap(&out->text);
    return TRACE_LINE_OK;
}
