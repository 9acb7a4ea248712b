/* SPDX-License-Identifier: ISC */
#include "decision_log.h"
#include "base/buf.h"
#include "base/mem.h"

#include <stdlib.h>

void decision_log_applied(const char *id, const struct policy_decision *d)
{
    struct buf line = {0}, copies = {0}, skips = {0};

    policy_log_line(d, &line);
    for (size_t i = 0; i < d->copy_count; i++)
        buf_addf(&copies, "%s%s", i == 0 ? "" : ",", d->copies[i]->name);
    policy_add_skips(d, &skips);
    const struct log_field fields[] = {
        LOG_TEXT("queue_id", id),
        LOG_TEXT("mta_queue_id", id),
        LOG_TEXT("filter", d->filter == NULL ? NULL : d->filter->name),
        LOG_TEXT("copy", d->copy_count == 0 ? NULL : buf_str(&copies)),
        LOG_TEXT("skip", d->skip_count == 0 ? NULL : buf_str(&skips)),
        LOG_TEXT("to", d->original),
        LOG_TEXT("canonical", d->is_rewritten ? d->final : NULL),
        LOG_END,
    };
    if (line.len > 0)
        log_event(LOG_LEVEL_INFO, NULL, fields, "%s: %s", id, buf_str(&line));
    buf_clear(&line);
    buf_clear(&copies);
    buf_clear(&skips);
}

static char *reply_text(const struct policy_reply *reply)
{
    return mem_printf("%d %s %s", reply->code, reply->enhanced, reply->text);
}

void decision_log_refused(const char *id, const struct policy_decision *d,
                          const struct policy_reply *reply)
{
    bool has_failed = d->failed != POLICY_OK;
    const char *status = !has_failed ? "refused" : reply->code == 0 ? "unchanged" : "tempfail";
    char *text = reply_text(reply);
    const char *reason = has_failed ? d->failure.text : text;
    const struct log_field fields[] = {
        LOG_TEXT("queue_id", id),   LOG_TEXT("mta_queue_id", id), LOG_TEXT("status", status),
        LOG_TEXT("reason", reason), LOG_TEXT("to", d->original),  LOG_END,
    };

    log_event(has_failed ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, NULL, fields,
              "%s: to=<%s>, status=%s (%s)", id, d->original, status, reason);
    free(text);
}

void decision_log_message(enum log_level level, const char *id, const char *what,
                          const char *status, const char *reason)
{
    const struct log_field fields[] = {
        LOG_TEXT("queue_id", id),
        LOG_TEXT("mta_queue_id", id),
        LOG_TEXT("status", status),
        LOG_TEXT("reason", reason),
        LOG_END,
    };

    log_event(level, NULL, fields, "%s: %s%s (%s)", id, what, status, reason);
}

void decision_log_reply(const char *id, const struct policy_reply *reply)
{
    char *text = reply_text(reply);

    decision_log_message(LOG_LEVEL_INFO, id, "", "refused", text);
    free(text);
}
