/* SPDX-License-Identifier: ISC */
#include "metrics/counters.h"
#include "metrics/metrics.h"
#include "base/clock.h"

#include <string.h>

enum refusal {
    REFUSED_ACCESS,
    REFUSED_COMMAND,
    REFUSED_CONNECTIONS,
    REFUSED_CONTENT,
    REFUSED_DESTINATION,
    REFUSED_FAULT,
    REFUSED_LOOP,
    REFUSED_PRIMARY,
    REFUSED_RECIPIENTS,
    REFUSED_RELAY,
    REFUSED_SIZE,
    REFUSED_SPACE,
    REFUSED_OTHER,
};

static const char *const refusal_words[] = {
    "access",  "command",    "connections", "content", "destination", "fault", "loop",
    "primary", "recipients", "relay",       "size",    "space",       "other", NULL};
static const char *const result_words[] = {"sent", "deferred", "dead", NULL};
static const char *const condition_words[] = {
    [COUNTERS_UNLESS_HEADER] = "unless_header", [COUNTERS_MAX_SIZE] = "max_size", NULL};
static const char *const reload_words[] = {"ok", "failed", NULL};

#define COUNTER(variable, family_name, family_help)                                                \
    static struct metrics_family variable = {                                                      \
        .name = (family_name), .help = (family_help), .type = METRICS_COUNTER}
#define DESTINATION_FAMILY(variable, family_type, family_name, family_help)                        \
    static struct metrics_family variable = {.name = (family_name),                                \
                                             .help = (family_help),                                \
                                             .type = (family_type),                                \
                                             .label = "destination"}

static struct metrics_family build = {
    .name = "splitrelay_build_info",
    .help = "Always 1; the label is the version.",
    .type = METRICS_GAUGE,
    .label = "version",
};
static struct metrics_family clients = {
    .name = "splitrelay_connections",
    .help = "SMTP and LMTP clients that are connected now.",
    .type = METRICS_GAUGE,
};
COUNTER(clients_total, "splitrelay_connections_total",
        "SMTP and LMTP clients that have connected since the start.");
COUNTER(messages, "splitrelay_messages_total", "Messages whose copies are on stable storage.");
COUNTER(bytes, "splitrelay_message_bytes_total",
        "Size of the messages whose copies are on stable storage.");
COUNTER(missing, "splitrelay_messages_without_copies_total",
        "Messages that a primary accepted although their copies could not be stored.");
static struct metrics_family refusals = {
    .name = "splitrelay_refusals_total",
    .help = "Connections, commands, recipients and messages that were refused.",
    .type = METRICS_COUNTER,
    .kind_label = "kind",
    .kinds = refusal_words,
};
DESTINATION_FAMILY(copies, METRICS_COUNTER, "splitrelay_copies_total",
                   "Copies that were stored for the destination.");
DESTINATION_FAMILY(copy_bytes, METRICS_COUNTER, "splitrelay_copy_bytes_total",
                   "Size of the copies that were stored for the destination.");
static struct metrics_family skipped = {
    .name = "splitrelay_copies_skipped_total",
    .help = "Copies that were not stored because of a condition of the destination.",
    .type = METRICS_COUNTER,
    .label = "destination",
    .kind_label = "condition",
    .kinds = condition_words,
};
static struct metrics_family to_disk = {
    .name = "splitrelay_copy_disk_seconds",
    .help = "Time from the end of a message's content until its copy is on stable storage.",
    .type = METRICS_HISTOGRAM,
    .label = "destination",
    .bounds_us = metrics_short_us,
};
static struct metrics_family outcomes = {
    .name = "splitrelay_deliveries_total",
    .help = "Outcomes of delivery attempts, one for each recipient, as status in the log.",
    .type = METRICS_COUNTER,
    .label = "destination",
    .kind_label = "result",
    .kinds = result_words,
};
static struct metrics_family to_delivery = {
    .name = "splitrelay_delivery_seconds",
    .help = "Time from MAIL until the destination accepts a recipient, as delay in the log.",
    .type = METRICS_HISTOGRAM,
    .label = "destination",
    .bounds_us = metrics_long_us,
};
DESTINATION_FAMILY(suspended, METRICS_GAUGE, "splitrelay_destination_suspended",
                   "1 while the destination is suspended because of its faults, otherwise 0.");
DESTINATION_FAMILY(suspensions, METRICS_COUNTER, "splitrelay_destination_suspensions_total",
                   "Number of times that the destination was suspended because of its faults.");
DESTINATION_FAMILY(in_progress, METRICS_GAUGE, "splitrelay_deliveries_in_progress",
                   "Copies that are being delivered.");
DESTINATION_FAMILY(connections, METRICS_GAUGE, "splitrelay_destination_connections",
                   "Connections that were kept open after a delivery, idle or in use again.");
DESTINATION_FAMILY(connection_limit, METRICS_GAUGE, "splitrelay_destination_connection_limit",
                   "Number of connections that are allowed at a time now.");
DESTINATION_FAMILY(connections_total, METRICS_COUNTER, "splitrelay_destination_connections_total",
                   "Connections over which a delivery was tried.");
static struct metrics_family reloads = {
    .name = "splitrelay_reloads_total",
    .help = "Reloads of the configuration, by result.",
    .type = METRICS_COUNTER,
    .kind_label = "result",
    .kinds = reload_words,
};
static struct metrics_family table_reloads = {
    .name = "splitrelay_table_reloads_total",
    .help = "Tables of listeners that were read again because their file had changed, by result.",
    .type = METRICS_COUNTER,
    .kind_label = "result",
    .kinds = reload_words,
};
static struct metrics_family reload_ok = {
    .name = "splitrelay_config_last_reload_successful",
    .help = "0 if the last reload failed and an older configuration is in use, otherwise 1.",
    .type = METRICS_GAUGE,
};
static struct metrics_family loaded = {
    .name = "splitrelay_config_loaded_timestamp_seconds",
    .help = "Time at which the configuration in use was loaded, in seconds since 1970.",
    .type = METRICS_GAUGE,
    .is_micro = true,
};

static struct metrics_family *const families[] = {
    &build,         &clients,           &clients_total,    &messages,
    &bytes,         &missing,           &refusals,         &copies,
    &copy_bytes,    &skipped,           &to_disk,          &outcomes,
    &to_delivery,   &suspended,         &suspensions,      &in_progress,
    &connections,   &connections_total, &connection_limit, &reloads,
    &table_reloads, &reload_ok,         &loaded,           NULL};

static void note_loaded(void)
{
    metrics_set(&loaded, "", 0, clock_realtime_us());
    metrics_set(&reload_ok, "", 0, 1);
}

void counters_loaded(void)
{
    metrics_set(&build, PACKAGE_VERSION, 0, 1);
    note_loaded();
}

void counters_declare(const char *destination)
{
    for (size_t i = 0; families[i] != NULL; i++) {
        struct metrics_family *f = families[i];
        if (f->label != NULL && strcmp(f->label, "destination") == 0)
            metrics_declare(f, destination);
    }
}

void counters_client_entered(void)
{
    metrics_add(&clients, "", 0, 1);
    metrics_add(&clients_total, "", 0, 1);
}

void counters_client_left(void)
{
    metrics_add(&clients, "", 0, -1);
}

void counters_refused(const char *reply)
{
    static const struct {
        const char *begin;
        enum refusal refusal;
    } kinds[] = {
        {"554 5.7.1", REFUSED_ACCESS},      {"421 4.3.2", REFUSED_CONNECTIONS},
        {"421 4.7.", REFUSED_ACCESS},       {"550 5.7.1", REFUSED_RELAY},
        {"451 4.3.5", REFUSED_DESTINATION}, {"452 4.5.3", REFUSED_RECIPIENTS},
        {"452 4.3.1", REFUSED_SPACE},       {"451 4.3.0", REFUSED_FAULT},
        {"452 4.3.4", REFUSED_SIZE},        {"552 5.3.4", REFUSED_SIZE},
        {"554 5.4.6", REFUSED_LOOP},        {"550 5.5.2", REFUSED_CONTENT},
        {"500", REFUSED_COMMAND},           {"501", REFUSED_COMMAND},
        {"502", REFUSED_COMMAND},           {"503", REFUSED_COMMAND},
        {"554 5.5.1", REFUSED_COMMAND},     {"555", REFUSED_COMMAND},
        {"530 5.7.10", REFUSED_ACCESS},     {"451 4.6.3", REFUSED_PRIMARY},
        {"451 4.6.7", REFUSED_PRIMARY},     {"553 5.6.7", REFUSED_PRIMARY},
        {"451 4.3.3", REFUSED_PRIMARY},     {"451 4.7.30", REFUSED_PRIMARY},
        {"550 5.7.30", REFUSED_PRIMARY},
    };
    enum refusal refusal = REFUSED_OTHER;

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strncmp(reply, kinds[i].begin, strlen(kinds[i].begin)) == 0)
            refusal = kinds[i].refusal;
    }
    metrics_add(&refusals, "", refusal, 1);
}

void counters_refused_by_primary(void)
{
    metrics_add(&refusals, "", REFUSED_PRIMARY, 1);
}

void counters_message(uint64_t size_bytes)
{
    metrics_add(&messages, "", 0, 1);
    metrics_add(&bytes, "", 0, (int64_t)size_bytes);
}

void counters_copy(const char *destination, uint64_t size_bytes)
{
    metrics_add(&copies, destination, 0, 1);
    metrics_add(&copy_bytes, destination, 0, (int64_t)size_bytes);
}

void counters_skipped(const char *destination, enum counters_condition condition)
{
    metrics_add(&skipped, destination, condition, 1);
}

void counters_to_disk(const char *destination, int64_t us)
{
    metrics_observe(&to_disk, destination, us);
}

void counters_copies_missing(void)
{
    metrics_add(&missing, "", 0, 1);
}

void counters_outcome(const char *destination, enum counters_outcome outcome, int64_t age_ms)
{
    switch (outcome) {
    case COUNTERS_SENT:
        metrics_add(&outcomes, destination, 0, 1);
        metrics_observe(&to_delivery, destination, age_ms * 1000);
        return;
    case COUNTERS_DEFERRED:
        metrics_add(&outcomes, destination, 1, 1);
        return;
    case COUNTERS_DEAD:
        metrics_add(&outcomes, destination, 2, 1);
        return;
    }
}

void counters_suspended(const char *destination, bool is_suspended)
{
    metrics_set(&suspended, destination, 0, is_suspended);
    if (is_suspended)
        metrics_add(&suspensions, destination, 0, 1);
}

void counters_in_progress(const char *destination, int change)
{
    metrics_add(&in_progress, destination, 0, change);
}

void counters_connections(const char *destination, int change)
{
    metrics_add(&connections, destination, 0, change);
}

void counters_connection_limit(const char *destination, unsigned limit)
{
    metrics_set(&connection_limit, destination, 0, limit);
}

void counters_connected(const char *destination)
{
    metrics_add(&connections_total, destination, 0, 1);
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

void counters_get(const char *destination, struct counters_totals *out)
{
    out->copies = metrics_value(&copies, destination, 0);
    out->sent = metrics_value(&outcomes, destination, COUNTERS_SENT);
}

void counters_render(struct buf *out)
{
    metrics_render(families, out);
}
