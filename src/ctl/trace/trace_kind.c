/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_kind.h"
#include "base/ascii.h"
#include "ctl/trace/trace_facts.h"

#include <string.h>

#define ID_MIN 6
#define ID_MAX 40

static bool begins(struct trace_slice s, const char *prefix)
{
    size_t len = strlen(prefix);

    return s.len >= len && memcmp(s.at, prefix, len) == 0;
}

static bool is(struct trace_slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

static bool has(struct trace_slice s, const char *text)
{
    return memmem(s.at, s.len, text, strlen(text)) != NULL;
}

void trace_kind_origin(struct trace_slice tag, struct trace_origin *out)
{
    const char *slash = memchr(tag.at, '/', tag.len), *end = tag.at + tag.len;

    memset(out, 0, sizeof *out);
    out->system = tag;
    out->middle = out->service = (struct trace_slice){end, 0};
    if (slash != NULL) {
        const char *last = memrchr(tag.at, '/', tag.len);
        out->system.len = (size_t)(slash - tag.at);
        out->service = (struct trace_slice){last + 1, (size_t)(end - last) - 1};
        if (last > slash)
            out->middle = (struct trace_slice){slash + 1, (size_t)(last - slash) - 1};
    }
    if (begins(tag, "amavis") || begins(out->service, "amavis")) /* also "/usr/sbin/amavisd" */
        out->program = TRACE_PROGRAM_AMAVIS;
    else if (is(out->system, "splitrelay"))
        out->program = TRACE_PROGRAM_SPLITRELAY;
    else if (begins(out->system, "splitmilter"))
        out->program = TRACE_PROGRAM_SPLITMILTER;
    else if (slash != NULL)
        out->program = TRACE_PROGRAM_POSTFIX;
    else if (begins(tag, "sendmail") || begins(tag, "sm-"))
        out->program = TRACE_PROGRAM_SENDMAIL;
}

/* Is this a queue id of Postfix? Short ids are upper-case hexadecimal; long ids have neither
 * vowels nor punctuation, so that words such as "warning" and "statistics" are no ids. */
static bool is_postfix_id(struct trace_slice id)
{
    bool is_short = true, is_long = id.len >= 10, has_digit = false;

    for (size_t i = 0; i < id.len; i++) {
        char c = id.at[i];
        is_short &= ascii_is_digit(c) || (c >= 'A' && c <= 'F');
        is_long &= ascii_is_alnum(c) && strchr("AEIOUaeiou", c) == NULL;
        has_digit |= ascii_is_digit(c);
    }
    return is_short || (is_long && has_digit);
}

static bool is_sendmail_id(struct trace_slice id)
{
    bool has_digit = false;

    for (size_t i = 0; i < id.len; i++)
        has_digit |= ascii_is_digit(id.at[i]);
    return has_digit && id.len >= 8;
}

static bool is_copy_id(struct trace_slice id)
{
    for (size_t i = 0; i < id.len; i++)
        if (!ascii_is_digit(id.at[i]) && (id.at[i] < 'A' || id.at[i] > 'F'))
            return false;
    return true;
}

size_t trace_kind_id(enum trace_program program, struct trace_slice *text)
{
    static const char *const levels[] = {"warning: ", "error: "};
    size_t n = 0;

    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (program != TRACE_PROGRAM_POSTFIX && begins(*text, levels[i])) {
            text->at += strlen(levels[i]);
            text->len -= strlen(levels[i]);
        }
    while (n < text->len && n <= ID_MAX && ascii_is_alnum(text->at[n]))
        n++;
    if (n < ID_MIN || n > ID_MAX || n + 2 > text->len || text->at[n] != ':' ||
        text->at[n + 1] != ' ')
        return 0;
    struct trace_slice id = {text->at, n};
    if (is(id, "NOQUEUE"))
        return n;
    switch (program) {
    case TRACE_PROGRAM_POSTFIX:
        return is_postfix_id(id) ? n : 0;
    case TRACE_PROGRAM_SENDMAIL:
        return is_sendmail_id(id) ? n : 0;
    case TRACE_PROGRAM_SPLITMILTER:
        return is_postfix_id(id) || is_sendmail_id(id) ? n : 0;
    case TRACE_PROGRAM_SPLITRELAY:
        return is_copy_id(id) ? n : 0;
    case TRACE_PROGRAM_AMAVIS:
    case TRACE_PROGRAM_OTHER:
        break;
    }
    return 0;
}

/* qmgr(8): "from=<a>, status=expired, returned to sender", also "force-expired" */
static bool is_expiry(struct trace_slice body)
{
    struct trace_facts f;

    if (!has(body, "expired"))
        return false;
    trace_facts_read(body.at, body.len, &f);
    return f.status == TRACE_STATUS_EXPIRED;
}

/* What the filters of smtpd(8) and cleanup(8) have done; TRACE_KIND_OTHER: none of it. */
static enum trace_kind of_action(struct trace_slice body)
{
    static const struct {
        const char *prefix;
        enum trace_kind kind;
    } actions[] = {
        {"reject: ", TRACE_KIND_REFUSED},           {"milter-reject: ", TRACE_KIND_REFUSED},
        {"proxy-reject: ", TRACE_KIND_REFUSED},     {"discard: ", TRACE_KIND_DISCARDED},
        {"milter-discard: ", TRACE_KIND_DISCARDED}, {"hold: ", TRACE_KIND_HELD},
        {"milter-hold: ", TRACE_KIND_HELD}};

    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (begins(body, actions[i].prefix))
            return actions[i].kind;
    return TRACE_KIND_OTHER;
}

static enum trace_kind of_postfix(struct trace_slice service, struct trace_slice body)
{
    if (begins(body, "to=<"))
        return TRACE_KIND_DELIVERY;
    if (begins(body, "client=") || begins(body, "uid="))
        return TRACE_KIND_ARRIVED;
    if (begins(body, "message-id=") || begins(body, "resent-message-id="))
        return TRACE_KIND_MESSAGE_ID;
    if (begins(body, "from=<"))
        return is_expiry(body) ? TRACE_KIND_EXPIRED : TRACE_KIND_SENDER;
    if (is(body, "removed"))
        return TRACE_KIND_REMOVED;
    if (begins(service, "bounce") && has(body, "notification: "))
        return TRACE_KIND_NOTIFIED;
    if (is(service, "postsuper"))
        return is(body, "requeued") ? TRACE_KIND_REQUEUED : TRACE_KIND_ORDER;
    return of_action(body);
}

static enum trace_kind of_sendmail(struct trace_slice body)
{
    if (begins(body, "to="))
        return TRACE_KIND_DELIVERY;
    if (begins(body, "from="))
        return TRACE_KIND_ARRIVED;
    if (begins(body, "ruleset=") && has(body, "reject="))
        return TRACE_KIND_REFUSED;
    if (trace_kind_id(TRACE_PROGRAM_SENDMAIL, &body) > 0 && !has(body, ": clone"))
        return TRACE_KIND_NOTIFIED;
    return TRACE_KIND_OTHER;
}

static enum trace_kind of_splitrelay(struct trace_slice body)
{
    if (begins(body, "to=<"))
        return TRACE_KIND_DELIVERY;
    if (begins(body, "client="))
        return TRACE_KIND_ARRIVED;
    if (begins(body, "from=<"))
        return TRACE_KIND_SENDER;
    if (begins(body, "message-id="))
        return TRACE_KIND_MESSAGE_ID;
    if (begins(body, "reject: "))
        return TRACE_KIND_REFUSED;
    if (begins(body, "dest=") && has(body, " by an administrator"))
        return TRACE_KIND_ORDER;
    return TRACE_KIND_OTHER;
}

/* amavis: "(12345-01) Passed CLEAN ...", "(12345-01) Blocked SPAM ..." */
static bool is_verdict(struct trace_slice body)
{
    const char *close = memmem(body.at, body.len, ") ", 2);

    if (close == NULL || body.at[0] != '(')
        return false;
    struct trace_slice rest = {close + 2, (size_t)(body.at + body.len - close) - 2};
    return begins(rest, "Passed ") || begins(rest, "Blocked ");
}

enum trace_kind trace_kind_of(const struct trace_origin *origin, struct trace_slice body)
{
    switch (origin->program) {
    case TRACE_PROGRAM_POSTFIX:
        return of_postfix(origin->service, body);
    case TRACE_PROGRAM_SENDMAIL:
        return of_sendmail(body);
    case TRACE_PROGRAM_SPLITRELAY:
        return of_splitrelay(body);
    case TRACE_PROGRAM_SPLITMILTER:
        return TRACE_KIND_DECIDED;
    case TRACE_PROGRAM_AMAVIS:
        return is_verdict(body) ? TRACE_KIND_FILTERED : TRACE_KIND_OTHER;
    case TRACE_PROGRAM_OTHER:
        break;
    }
    return TRACE_KIND_OTHER;
}
