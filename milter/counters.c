/* SPDX-License-Identifier: ISC */
#include "counters.h"
#include "table/table.h"
#include "base/clock.h"

#include <stdatomic.h>

enum decision {
    DECIDED_CANONICAL,
    DECIDED_FILTER,
    DECIDED_COPY,
    DECIDED_NONE,
    DECIDED_UNCHANGED, /* a table failed, and on_failure is "accept" */
    DECIDED_REFUSED,
};

static const char *const decision_words[] = {"canonical", "filter",  "copy", "none",
                                             "unchanged", "refused", NULL};
static const char *const fault_words[] = {"lookup", "headers", "changes", NULL};
static const char *const message_words[] = {"accepted", "refused", NULL};
static const char *const reload_words[] = {"ok", "failed", NULL};

static struct metrics_family build = {
    .name = "splitmilter_build_info",
    .help = "Always 1; the label is the version.",
    .type = METRICS_GAUGE,
    .label = "version",
};
static struct metrics_family mtas = {
    .name = "splitmilter_connections",
    .help = "Connections of the MTA that are open now and bring mail.",
    .type = METRICS_GAUGE,
};
static struct metrics_family mtas_total = {
    .name = "splitmilter_connections_total",
    .help = "Connections of the MTA that have brought mail since the start.",
    .type = METRICS_COUNTER,
};
static struct metrics_family messages = {
    .name = "splitmilter_messages_total",
    .help = "Complete messages, by the reply to the MTA.",
    .type = METRICS_COUNTER,
    .kind_label = "result",
    .kinds = message_words,
};
static struct metrics_family recipients = {
    .name = "splitmilter_recipients_total",
    .help = "Recipients that the MTA asked about.",
    .type = METRICS_COUNTER,
};
static struct metrics_family decisions = {
    .name = "splitmilter_decisions_total",
    .help = "Recipients, by decision; one recipient may count as canonical, filter and copy.",
    .type = METRICS_COUNTER,
    .kind_label = "kind",
    .kinds = decision_words,
};
static struct metrics_family filters = {
    .name = "splitmilter_filter_recipients_total",
    .help = "Recipients that go through this filter.",
    .type = METRICS_COUNTER,
    .label = "filter",
};
static struct metrics_family copies = {
    .name = "splitmilter_copy_recipients_total",
    .help = "Recipients for whom this destination gets a copy.",
    .type = METRICS_COUNTER,
    .label = "destination",
};
static struct metrics_family skips = {
    .name = "splitmilter_skip_recipients_total",
    .help = "Recipients for whom this destination gets no copy because of the direction.",
    .type = METRICS_COUNTER,
    .label = "destination",
};
static struct metrics_family failures = {
    .name = "splitmilter_failures_total",
    .help = "Tables that failed for a recipient or a header, and messages whose changes the MTA "
            "did not accept.",
    .type = METRICS_COUNTER,
    .kind_label = "kind",
    .kinds = fault_words,
};
static struct metrics_family lookup_time = {
    .name = "splitmilter_lookup_seconds",
    .help = "Time to decide about a recipient, with all look-ups.",
    .type = METRICS_HISTOGRAM,
    .bounds_us = metrics_short_us,
};
static struct metrics_family reloads = {
    .name = "splitmilter_reloads_total",
    .help = "Reloads of the configuration, by result.",
    .type = METRICS_COUNTER,
    .kind_label = "result",
    .kinds = reload_words,
};
static struct metrics_family reload_ok = {
    .name = "splitmilter_config_last_reload_successful",
    .help = "0 if the last reload failed and an older configuration is in use, otherwise 1.",
    .type = METRICS_GAUGE,
};
static struct metrics_family loaded = {
    .name = "splitmilter_config_loaded_timestamp_seconds",
    .help = "Time at which the configuration in use was loaded, in seconds since 1970.",
    .type = METRICS_GAUGE,
    .is_micro = true,
};
static struct metrics_family table_reloads = {
    .name = "splitmilter_table_reloads_total",
    .help = "Tables that were read again because their file had changed, by result.",
    .type = METRICS_COUNTER,
    .kind_label = "result",
    .kinds = reload_words,
};
static struct metrics_family table_sizes = {
    .name = "splitmilter_table_file_bytes",
    .help = "Present size of the file of a table.",
    .type = METRICS_GAUGE,
    .label = "table",
};
static struct metrics_family table_times = {
    .name = "splitmilter_table_file_modified_timestamp_seconds",
    .help = "Time of the last change of the file of a table, in seconds since 1970.",
    .type = METRICS_GAUGE,
    .is_micro = true,
    .label = "table",
};

static struct metrics_family *const families[] = {
    &build,   &mtas,        &mtas_total,    &messages,    &recipients,  &decisions,
    &filters, &copies,      &skips,         &failures,    &reloads,     &reload_ok,
    &loaded,  &lookup_time, &table_reloads, &table_sizes, &table_times, NULL};

static atomic_bool is_listening;

static void note_loaded(void)
{
    metrics_set(&loaded, "", 0, clock_realtime_us());
    metrics_set(&reload_ok, "", 0, 1);
}

void counters_declare(const struct config *config)
{
    metrics_set(&build, PACKAGE_VERSION, 0, 1);
    note_loaded();
    for (size_t i = 0; i < config->filter_count; i++)
        metrics_declare(&filters, config->filters[i].name);
    for (size_t i = 0; i < config->destination_count; i++) {
        metrics_declare(&copies, config->destinations[i].name);
        if (!config_destination_takes_all(&config->destinations[i]))
            metrics_declare(&skips, config->destinations[i].name);
    }
}

void counters_mta_entered(void)
{
    metrics_add(&mtas, "", 0, 1);
    metrics_add(&mtas_total, "", 0, 1);
}

void counters_mta_left(void)
{
    metrics_add(&mtas, "", 0, -1);
}

static void count_parts(const struct policy_decision *d)
{
    if (d->is_rewritten)
        metrics_add(&decisions, "", DECIDED_CANONICAL, 1);
    if (d->filter != NULL) {
        metrics_add(&decisions, "", DECIDED_FILTER, 1);
        metrics_add(&filters, d->filter->name, 0, 1);
    }
    if (d->copy_count > 0)
        metrics_add(&decisions, "", DECIDED_COPY, 1);
    for (size_t i = 0; i < d->copy_count; i++)
        metrics_add(&copies, d->copies[i]->name, 0, 1);
    for (size_t i = 0; i < d->skip_count; i++)
        metrics_add(&skips, d->skips[i]->name, 0, 1);
    if (!d->is_rewritten && d->filter == NULL && d->copy_count == 0)
        metrics_add(&decisions, "", DECIDED_NONE, 1);
}

void counters_decision(const struct policy_decision *d, const struct policy_reply *reply,
                       int64_t begin_us)
{
    if (!metrics_is_on())
        return;
    metrics_observe(&lookup_time, "", metrics_now_us() - begin_us);
    if (d->failed != POLICY_OK)
        counters_failure(COUNTERS_LOOKUP);
    if (reply->code != 0)
        return;
    metrics_add(&recipients, "", 0, 1);
    if (d->failed != POLICY_OK)
        metrics_add(&decisions, "", DECIDED_UNCHANGED, 1);
    else
        count_parts(d);
}

void counters_refused(void)
{
    metrics_add(&recipients, "", 0, 1);
    metrics_add(&decisions, "", DECIDED_REFUSED, 1);
}

void counters_message(bool is_accepted)
{
    metrics_add(&messages, "", is_accepted ? 0 : 1, 1);
}

void counters_failure(enum counters_fault fault)
{
    metrics_add(&failures, "", fault, 1);
}

void counters_reloaded(bool is_ok)
{
    metrics_add(&reloads, "", is_ok ? 0 : 1, 1);
    if (is_ok)
        note_loaded();
    else
        metrics_set(&reload_ok, "", 0, 0);
}

void counters_tables_reloaded(unsigned ok, unsigned failed)
{
    metrics_add(&table_reloads, "", 0, ok);
    metrics_add(&table_reloads, "", 1, failed);
}

/* Set the figures of all tables. The tables of a former configuration are hidden. */
static void look_at_tables(const struct policy *policy)
{
    const struct table *t;

    metrics_hide(&table_sizes);
    metrics_hide(&table_times);
    for (size_t i = 0; (t = policy_table(policy, i)) != NULL; i++) {
        if (table_path(t) == NULL)
            continue;
        struct table_stamp stamp = table_stamp_of(table_path(t));
        if (!stamp.exists)
            continue;
        metrics_set(&table_sizes, table_spec(t), 0, stamp.size);
        metrics_set(&table_times, table_spec(t), 0, clock_us_of(&stamp.mtime));
    }
}

void counters_page(void *ctx, struct buf *out)
{
    struct snapshot *s = snapshot_slot_get(ctx);

    look_at_tables(s->policy);
    snapshot_unref(s);
    metrics_render(families, out);
    metrics_render_process(out);
}

bool counters_is_ready(void *ctx, struct err *why)
{
    (void)ctx; /* not used: a daemon that runs always has a configuration */
    bool is_ready = atomic_load(&is_listening);
    if (!is_ready)
        err_set(why, "splitmilter does not listen: it is starting or stopping");
    return is_ready;
}

void counters_set_listening(bool is)
{
    atomic_store(&is_listening, is);
}
