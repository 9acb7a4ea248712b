/* SPDX-License-Identifier: ISC */
/* trace_facts_text: texts that are not lists of fields: refusals, lines of amavis, replies. */
#include "base/ascii.h"
#include "ctl/trace/trace_facts_private.h"

#include <arpa/inet.h>
#include <string.h>

/* --- refusals --- */

/* Take "<address>". False: its end is missing. */
static bool take_path(struct slice *rest, struct slice *out)
{
    size_t n = rest->len > 0 && rest->at[0] == '<' ? trace_facts_path_len(rest->at, rest->len) : 0;

    if (n == 0)
        return false;
    *out = (struct slice){rest->at + 1, n - 2};
    slice_skip(rest, n);
    return true;
}

/* Is this "[,] NAME=VALUE ..." up to the end? A value in brackets has no brackets and no quotes,
 * which Postfix replaces. Syslog may have cut the end. */
static bool is_tail(struct slice s, bool has_text)
{
    while (s.len > 0) {
        if (has_text && slice_begins(s, ": "))
            return true;
        slice_skip(&s, s.at[0] == ',');
        if (s.len == 0 || s.at[0] != ' ')
            return s.len == 0;
        slice_skip(&s, 1);
        while (s.len > 0 && (ascii_is_alnum(s.at[0]) || s.at[0] == '_'))
            slice_skip(&s, 1);
        if (s.len == 0 || s.at[0] != '=')
            return s.len == 0;
        slice_skip(&s, 1);
        bool has_brackets = s.len > 0 && s.at[0] == '<';
        slice_skip(&s, has_brackets);
        while (s.len > 0 && s.at[0] != (has_brackets ? '>' : ' ') && s.at[0] != '<' &&
               s.at[0] != '"' && (has_brackets || s.at[0] != ','))
            slice_skip(&s, 1);
        if (has_brackets && s.len > 0 && s.at[0] != '>')
            return false;
        slice_skip(&s, has_brackets && s.len > 0);
    }
    return true;
}

/* Read the addresses at "; from=<". False: the rest is something else. */
static bool read_addresses(struct slice rest, bool has_text, struct trace_facts *out)
{
    struct slice sender, to = {0};

    slice_skip(&rest, strlen("; from="));
    if (!take_path(&rest, &sender))
        return false;
    struct slice next = rest;
    slice_skip(&next, next.len > 0 && next.at[0] == ',');
    if (slice_begins(next, " to=<")) {
        slice_skip(&next, strlen(" to="));
        if (!take_path(&next, &to))
            return false;
        rest = next;
    }
    if (!is_tail(rest, has_text))
        return false;
    out->from = sender;
    out->to = to;
    return true;
}

void trace_facts_read_reject(const char *text, size_t len, struct trace_facts *out)
{
    static const char mark[] = "; from=<";
    struct slice all = {text, len};
    const char *colon = slice_find(all, ": ");

    memset(out, 0, sizeof *out);
    out->status = TRACE_STATUS_REFUSED;
    out->reply = all;
    struct slice stage = colon == NULL ? (struct slice){text, 0} : slice_from(all, colon + 2);
    bool has_text = slice_begins(stage, "header ") || slice_begins(stage, "body ") ||
                    slice_begins(stage, "content ");
    for (const char *at = slice_find(all, mark); at != NULL;
         at = slice_find(slice_from(all, at + 1), mark)) {
        if (!read_addresses(slice_from(all, at), has_text, out))
            continue;
        out->reply.len = (size_t)(at - text);
        out->is_whole = true;
        if (!has_text)
            return;
    }
}

/* --- amavis --- */

/* The word after `name`, which is in the text once, up to a comma, space or '>'. */
static struct slice word_after(struct slice s, const char *name)
{
    const char *at = slice_find(s, name);

    if (at == NULL || slice_find_last(s, name) != at)
        return (struct slice){0};
    struct slice word = slice_from(s, at + strlen(name));
    size_t n = 0;
    while (n < word.len && word.at[n] != ',' && word.at[n] != ' ' && word.at[n] != '>')
        n++;
    return (struct slice){word.at, n};
}

/* Skip "<sender> -> <a>,<b>". False: they are not there. */
static bool skip_envelope(struct slice *rest)
{
    static const char arrow[] = " -> ";
    struct slice sender;
    const char *open = slice_find(*rest, " <");

    if (open == NULL)
        return false;
    *rest = slice_from(*rest, open + 1);
    if (!take_path(rest, &sender) || !slice_begins(*rest, arrow))
        return false;
    slice_skip(rest, sizeof arrow - 1);
    size_t n = rest->len > 0 && rest->at[0] == '<' ? trace_facts_paths_len(rest->at, rest->len) : 0;
    slice_skip(rest, n);
    return n > 0;
}

void trace_facts_read_amavis(const char *text, size_t len, struct trace_facts *out)
{
    static const char id_mark[] = ", Message-ID: ";
    struct slice all = {text, len};
    const char *close = memmem(text, len, ") ", 2);

    memset(out, 0, sizeof *out);
    out->is_whole = true;
    if (len == 0 || text[0] != '(' || close == NULL)
        return;
    struct slice verdict = slice_from(all, close + 2);
    size_t n = 0;
    while (n < verdict.len && strchr(",{(", verdict.at[n]) == NULL)
        n++;
    while (n > 0 && verdict.at[n - 1] == ' ')
        n--;
    out->status_text = (struct slice){verdict.at, n};
    struct slice rest = verdict;
    if (!skip_envelope(&rest))
        return;
    const char *id = slice_find(rest, id_mark);
    struct slice before = {rest.at, id == NULL ? rest.len : (size_t)(id - rest.at)};
    out->queue_id = word_after(before, ", Queue-ID: ");
    if (id != NULL) {
        rest = slice_from(rest, id + sizeof id_mark - 1);
        if (!take_path(&rest, &out->message_id))
            return;
    }
    if (slice_begins(out->status_text, "Passed"))
        out->reply = word_after(rest, ", queued_as: ");
    const char *last = slice_find_last(rest, ", ");
    if (last != NULL && len > 3 && memcmp(text + len - 3, " ms", 3) == 0)
        out->delay = slice_from(all, last + 2);
}

/* --- replies --- */

/* The length of the queue id at the beginning of the text. */
static size_t id_len(struct slice s)
{
    size_t n = 0;

    while (n < s.len && (ascii_is_alnum(s.at[n]) || s.at[n] == '-'))
        n++;
    return n;
}

static const char forwarded[] = "forwarded as ";

bool trace_facts_is_forwarded(const struct trace_facts *f)
{
    return slice_begins(f->reply, forwarded);
}

/* "ID Message accepted for delivery" */
static bool accepted_as(struct slice reply, struct slice *out)
{
    const char *end = slice_find_last(reply, " Message accepted for delivery");
    size_t len = 0;

    if (end == NULL)
        return false;
    while (len < (size_t)(end - reply.at) && *(end - len - 1) != ' ')
        len++;
    *out = (struct slice){end - len, len};
    return len > 0;
}

bool trace_facts_queued_as(const struct trace_facts *f, size_t *at, struct slice *out)
{
    static const char queued[] = "queued as ";
    struct slice s = f->reply;

    if (s.at == NULL || *at > s.len)
        return false;
    if (*at == 0 && trace_facts_is_forwarded(f)) {
        *at = sizeof forwarded - 1;
    } else if (*at == 0) {
        const char *found = slice_find_last(s, queued);
        if (found == NULL) {
            *at = s.len + 1;
            return accepted_as(s, out);
        }
        *at = (size_t)(found - s.at) + sizeof queued - 1;
    }
    while (*at < s.len && (s.at[*at] == ' ' || s.at[*at] == '/'))
        ++*at;
    *out = (struct slice){s.at + *at, s.len - *at};
    out->len = id_len(*out);
    *at += out->len;
    return out->len >= 5 && (*at < s.len || f->is_whole);
}

static bool is_near_v4(const unsigned char a[4])
{
    return a[0] == 127 || a[0] == 10 || (a[0] == 172 && (a[1] & 0xf0) == 16) ||
           (a[0] == 192 && a[1] == 168) || (a[0] == 169 && a[1] == 254) ||
           (a[0] == 100 && (a[1] & 0xc0) == 64);
}

bool trace_facts_is_near(const struct trace_facts *f)
{
    const char *open = f->relay.at == NULL ? NULL : slice_find_last(f->relay, "[");
    unsigned char a[16];
    char text[64];

    if (open == NULL) /* a transport without a server, such as "local" */
        return true;
    struct slice inside = slice_from(f->relay, open + 1);
    size_t n = 0;
    while (n < inside.len && inside.at[n] != ']')
        n++;
    if (n >= sizeof text || memchr(inside.at, '/', n) != NULL)
        return n < sizeof text || inside.at[0] == '/'; /* a socket of this machine */
    memcpy(text, inside.at, n);
    text[n] = '\0';
    if (inet_pton(AF_INET, text, a) == 1)
        return is_near_v4(a);
    if (inet_pton(AF_INET6, strncmp(text, "IPv6:", 5) == 0 ? text + 5 : text, a) != 1)
        return false;
    static const unsigned char loopback[16] = {[15] = 1}, mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (memcmp(a, mapped, sizeof mapped) == 0)
        return is_near_v4(a + 12);
    return memcmp(a, loopback, sizeof a) == 0 || (a[0] & 0xfe) == 0xfc ||
           (a[0] == 0xfe && (a[1] & 0xc0) == 0x80);
}
