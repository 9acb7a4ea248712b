/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_kind.h"
#include "base/ascii.h"
#include "ctl/trace/trace_facts.h"

#include <string.h>

#define ID_MIN 6
#define ID_MAX 40

void trace_kind_origin(struct slice tag, struct trace_origin *out)
{
    const char *slash = memchr(tag.at, '/', tag.len), *end = tag.at + tag.len;

    memset(out, 0, sizeof *out);
    out->system = tag;
    out->middle = out->service = (struct slice){end, 0};
    if (slash != NULL) {
        const char *last = memrchr(tag.at, '/', tag.len);
        out->system.len = (size_t)(slash - tag.at);
        out->service = (struct slice){last + 1, (size_t)(end - last) - 1};
        if (last > slash)
            out->middle = (struct slice){slash + 1, (size_t)(last - slash) - 1};
    }
    if (slice_begins(tag, "amavis") ||
        slice_begins(out->service, "amavis")) /* also "/usr/sbin/amavisd" */
        out->program = TRACE_PROGRAM_AMAVIS;
    else if (slice_is(out->system, "splitrelay"))
        out->program = TRACE_PROGRAM_SPLITRELAY;
    else if (slice_begins(out->system, "splitmilter"))
        out->program = TRACE_PROGRAM_SPLITMILTER;
    else if (slash != NULL)
        out->program = TRACE_PROGRAM_POSTFIX;
    else if (slice_begins(tag, "sendmail") || slice_begins(tag, "sm-"))
        out->program = TRACE_PROGRAM_SENDMAIL;
}

/* Is this a queue id of Postfix? Short ids are upper-case hexadecimal; long ids have neither
 * vowels nor punctuation, so that words such as "warning" and "statistics" are no ids. */
static bool is_postfix_id(struct slice id)
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

static bool is_sendmail_id(struct slice id)
{
    bool has_digit = false;

    for (size_t i = 0; i < id.len; i++)
        has_digit |= ascii_is_digit(id.at[i]);
    return has_digit && id.len >= 8;
}

static bool is_copy_id(struct slice id)
{
    for (size_t i = 0; i < id.len; i++)
        if (!ascii_is_digit(id.at[i]) && (id.at[i] < 'A' || id.at[i] > 'F'))
            return false;
    return true;
}

size_t trace_kind_id(enum trace_program program, struct slice *text)
{
    static const char *const levels[] = {"warning: ", "error: "};
    size_t n = 0;

    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (program != TRACE_PROGRAM_POSTFIX && slice_begins(*text, levels[i])) {
            text->at += strlen(levels[i]);
            text->len -= strlen(levels[i]);
        }
    while (n < text->len && n <= ID_MAX && ascii_is_alnum(text->at[n]))
        n++;
    if (n < ID_MIN || n > ID_MAX || n + 2 > text->len || text->at[n] != ':' ||
        text->at[n + 1] != ' ')
        return 0;
    struct slice id = {text->at, n};
    if (slice_is(id, "NOQUEUE"))
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
static bool is_expiry(struct slice body)
{
    struct trace_facts f;

    if (slice_find(body, "expired") == NULL)
        return false;
    trace_facts_read(body.at, body.len, &f);
    return f.status == TRACE_STATUS_EXPIRED;
}

/* What the filters of smtpd(8) and cleanup(8) have done; TRACE_KIND_OTHER: none of it. */
static enum trace_kind of_action(struct slice body)
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
        if (slice_begins(body, actions[i].prefix))
            return actions[i].kind;
    return TRACE_KIND_OTHER;
}

static enum trace_kind of_postfix(struct slice service, struct slice body)
{
    if (slice_begins(body, "to=<"))
        return TRACE_KIND_DELIVERY;
    if (slice_begins(body, "client=") || slice_begins(body, "uid="))
        return TRACE_KIND_ARRIVED;
    if (slice_begins(body, "message-id=") || slice_begins(body, "resent-message-id="))
        return TRACE_KIND_MESSAGE_ID;
    if (slice_begins(body, "from=<"))
        return is_expiry(body) ? TRACE_KIND_EXPIRED : TRACE_KIND_SENDER;
    if (slice_is(body, "removed"))
        return TRACE_KIND_REMOVED;
    if (slice_begins(service, "bounce") && slice_find(body, "notification: ") != NULL)
        return TRACE_KIND_NOTIFIED;
    if (slice_is(service, "postsuper"))
        return slice_is(body, "requeued") ? TRACE_KIND_REQUEUED : TRACE_KIND_ORDER;
    return of_action(body);
}

static enum trace_kind of_sendmail(struct slice body)
{
    if (slice_begins(body, "to="))
        return TRACE_KIND_DELIVERY;
    if (slice_begins(body, "from="))
        return TRACE_KIND_ARRIVED;
    if (slice_begins(body, "ruleset=") && slice_find(body, "reject=") != NULL)
        return TRACE_KIND_REFUSED;
    if (trace_kind_id(TRACE_PROGRAM_SENDMAIL, &body) > 0 && slice_find(body, ": clone") == NULL)
        return TRACE_KIND_NOTIFIED;
    return TRACE_KIND_OTHER;
}

static enum trace_kind of_splitrelay(struct slice body)
{
    if (slice_begins(body, "to=<"))
        return TRACE_KIND_DELIVERY;
    if (slice_begins(body, "client="))
        return TRACE_KIND_ARRIVED;
    if (slice_begins(body, "from=<"))
        return TRACE_KIND_SENDER;
    if (slice_begins(body, "message-id="))
        return TRACE_KIND_MESSAGE_ID;
    if (slice_begins(body, "reject: "))
        return TRACE_KIND_REFUSED;
    if (slice_begins(body, "dest=") && slice_find(body, " by an administrator") != NULL)
        return TRACE_KIND_ORDER;
    return TRACE_KIND_OTHER;
}

/* amavis: "(12345-01) Passed CLEAN ...", "(12345-01) Blocked SPAM ..." */
static bool is_verdict(struct slice body)
{
    const char *close = slice_find(body, ") ");

    if (close == NULL || body.at[0] != '(')
        return false;
    struct slice rest = slice_from(body, close + 2);
    return slice_begins(rest, "Passed ") || slice_begins(rest, "Blocked ");
}

enum trace_kind trace_kind_of(const struct trace_origin *origin, struct slice body)
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
