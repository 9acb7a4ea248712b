/* SPDX-License-Identifier: ISC */
#include "config/config_queue.h"
#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/status.h"
#include "ctl/terminal.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define DETAIL_INDENT 24
#define RUN_WIDTH 25 /* of the output of print_run() */

static const char *const run_words[] = {
    [SERVICE_STOPPED] = "STOPPED", [SERVICE_RUNS] = "runs", [SERVICE_UNKNOWN] = "?"};

/* Return the word for the state. A stopped service that does not belong to this machine is "off",
 * not "STOPPED". */
static const char *run_word(enum service_run run, bool belongs_here)
{
    return run == SERVICE_STOPPED && !belongs_here ? "off" : run_words[run];
}

/* Append the age in the largest unit in which it is at least 2, or else in seconds. */
static void add_age(struct buf *out, time_t since)
{
    long long age = (long long)(time(NULL) - since);

    if (since == 0)
        return;
    if (age >= 2LL * 86400)
        buf_addf(out, ", oldest %lldd", age / 86400);
    else if (age >= 2LL * 3600)
        buf_addf(out, ", oldest %lldh", age / 3600);
    else if (age >= 2LL * 60)
        buf_addf(out, ", oldest %lldm", age / 60);
    else
        buf_addf(out, ", oldest %llds", age < 0 ? 0 : age);
}

static void print_age(time_t since)
{
    struct buf text = {0};

    add_age(&text, since);
    ctl_print(buf_str(&text));
    buf_clear(&text);
}

static void print_error(const char *error)
{
    if (error[0] == '\0')
        return;
    char *text = mem_printf("(%s)", error);
    putchar('\n');
    terminal_print_wrapped(TERMINAL_FAINT, 0, DETAIL_INDENT, text);
    free(text);
}

/* Print the name of a service or instance, and whether it runs. */
static void print_run(const char *name, enum service_run run, bool belongs_here)
{
    static const enum terminal_style styles[] = {[SERVICE_STOPPED] = TERMINAL_BAD,
                                                 [SERVICE_RUNS] = TERMINAL_GOOD,
                                                 [SERVICE_UNKNOWN] = TERMINAL_NOTICE};
    bool is_off = run == SERVICE_STOPPED && !belongs_here;

    ctl_printf("%-14s  ", name);
    terminal_print_cell(is_off ? TERMINAL_FAINT : styles[run], run_word(run, belongs_here), 7);
    ctl_printf("  ");
}

static void print_service(const struct service *s, const char *where)
{
    struct buf text = {0};

    print_run(s->name, s->run, s->belongs_here);
    if (s->pid > 0)
        buf_addf(&text, "process %ld, ", (long)s->pid);
    if (s->run == SERVICE_STOPPED && !s->belongs_here)
        buf_addf(&text, "not of this machine: %s", s->why_not);
    else
        buf_adds(&text, where);
    terminal_print_wrapped(TERMINAL_PLAIN, RUN_WIDTH, RUN_WIDTH, buf_str(&text));
    putchar('\n');
    buf_clear(&text);
}

static void print_suspension(const struct destination_suspension *suspension)
{
    char since[32], until[32];
    struct tm tm;

    if (suspension->since == 0 || localtime_r(&suspension->since, &tm) == NULL ||
        strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &tm) == 0 ||
        localtime_r(&suspension->until, &tm) == NULL ||
        strftime(until, sizeof until, "%H:%M:%S", &tm) == 0)
        return;
    char *text = mem_printf("suspended since %s, next attempt %s", since, until);
    putchar('\n');
    terminal_print_wrapped(TERMINAL_NOTICE, 0, DETAIL_INDENT, text);
    free(text);
    print_error(suspension->reason);
}

static void print_order(const struct queue_suspension *order)
{
    char since[32], until[40] = "until it is resumed";
    struct tm tm;

    if (order->since == 0 || localtime_r(&order->since, &tm) == NULL ||
        strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        return;
    if (order->until != 0 && localtime_r(&order->until, &tm) != NULL)
        (void)strftime(until, sizeof until, "until %Y-%m-%d %H:%M:%S", &tm);
    char *text = mem_printf("suspended by an administrator since %s, %s", since, until);
    putchar('\n');
    terminal_print_wrapped(TERMINAL_NOTICE, 0, DETAIL_INDENT, text);
    free(text);
    print_error(order->reason);
}

static void print_destination(const struct status_group *g)
{
    uint64_t all = g->active + g->waiting + g->deferred + g->held + g->dead;

    ctl_printf("  copy %-15s  ", g->name);
    if (all == 0)
        ctl_printf("empty");
    if (g->waiting > 0)
        ctl_printf("%" PRIu64 " waiting, ", g->waiting);
    if (all > 0 && (g->active > 0 || g->waiting == 0))
        ctl_printf("%" PRIu64 " active, ", g->active);
    if (all > 0)
        ctl_printf("%" PRIu64 " deferred, ", g->deferred);
    if (g->held > 0)
        ctl_printf("%" PRIu64 " held, ", g->held);
    if (all > 0)
        terminal_printf(g->dead > 0 ? TERMINAL_BAD : TERMINAL_PLAIN, "%" PRIu64 " dead", g->dead);
    print_age(g->oldest);
    print_order(&g->order);
    print_suspension(&g->suspension);
    if (g->suspension.since == 0)
        print_error(g->error);
    putchar('\n');
}

/* Print what is known of a database that several splitrelays share. */
static void print_nodes(const struct status *s)
{
    const struct db_replication *r = &s->nodes.replication;
    struct buf queue = {0};

    if (!config_queue_is_postgresql(s->config->relay.queue))
        return;
    config_queue_show(s->config->relay.queue, &queue);
    ctl_printf("  %-20s  %s\n", "queue", buf_str(&queue));
    buf_clear(&queue);
    if (!s->nodes.is_shared)
        return;
    ctl_printf("  %-20s  ", "replication");
    if (r->problem[0] != '\0')
        ctl_printf("NONE: %s, from %s\n", r->problem, r->server);
    else
        ctl_printf("%u of %u standbys synchronous, from %s, %.1f ms behind\n", r->synchronous,
                   r->standbys, r->server, r->lag_s * 1000);
    for (size_t i = 0; i < s->nodes.count; i++) {
        const struct queue_node_row *n = &s->nodes.items[i];
        ctl_printf("  node %-15s  %s, %" PRIu64 " cop%s, version %s", n->name,
                   n->is_alive     ? "alive"
                   : n->until == 0 ? "stopped"
                                   : "SILENT",
                   n->copies, n->copies == 1 ? "y" : "ies", n->version);
        if (n->until != 0 && !n->is_alive)
            ctl_printf(", its lease ended %llds ago", (long long)(time(NULL) - n->until));
        putchar('\n');
    }
    if (s->nodes.ordered > 0)
        ctl_printf("  %-20s  %lld wait until no worker has their copies\n", "orders",
                   (long long)s->nodes.ordered);
}

static void print_way(const struct status_group *g)
{
    ctl_printf("  ");
    ctl_print(g->name);
    ctl_printf(": ");
    if (g->active > 0)
        ctl_printf("%" PRIu64 " recipient%s active%s", g->active, g->active == 1 ? "" : "s",
                   g->deferred > 0 ? ", " : "");
    if (g->deferred > 0)
        ctl_printf("%" PRIu64 " recipient%s deferred", g->deferred, g->deferred == 1 ? "" : "s");
    print_age(g->oldest);
    print_error(g->error);
    putchar('\n');
}

static void print_instance(const struct status_instance *i)
{
    struct buf text = {0};
    uint64_t all = 0;

    print_run(i->name, i->run, i->belongs_here);
    buf_adds(&text, i->directory);
    for (int q = 0; q < STATUS_QUEUES; q++)
        all += i->messages[q];
    if (all > 0 || i->problem.text[0] == '\0')
        buf_adds(&text, all == 0 ? ": empty" : ":");
    for (int q = 0, n = 0; q < STATUS_QUEUES; q++)
        if (i->messages[q] > 0)
            buf_addf(&text, "%s %" PRIu64 " %s", n++ == 0 ? "" : ",", i->messages[q],
                     status_queue_names[q]);
    add_age(&text, i->oldest);
    terminal_print_wrapped(TERMINAL_PLAIN, RUN_WIDTH, RUN_WIDTH, buf_str(&text));
    buf_clear(&text);
    print_error(i->problem.text);
    putchar('\n');
    for (size_t k = 0; k < i->ways.count; k++)
        print_way(&i->ways.items[k]);
}

static const char *const level_words[] = {
    [STATUS_OK] = "ok", [STATUS_WARNING] = "warning", [STATUS_CRITICAL] = "critical"};

void status_print_human(const struct status *s)
{
    static const char *const heads[] = {
        [STATUS_OK] = "OK", [STATUS_WARNING] = "WARNING", [STATUS_CRITICAL] = "CRITICAL"};
    static const enum terminal_style styles[] = {[STATUS_OK] = TERMINAL_GOOD,
                                                 [STATUS_WARNING] = TERMINAL_NOTICE,
                                                 [STATUS_CRITICAL] = TERMINAL_BAD};

    /* The first line is what monitoring shows. */
    terminal_print(styles[s->level], heads[s->level]);
    ctl_printf("%s%s\n", s->reasons.len == 0 ? "" : ": ", buf_str(&s->reasons));
    for (size_t i = 0; i <= s->config->other_milter_count; i++) {
        struct config view = config_of_milter(s->config, i);
        print_service(&s->milters[i], view.milter.socket_text);
    }
    print_service(&s->relay, s->config->relay.spool_directory);
    if (s->refusal.text[0] != '\0') {
        terminal_print_wrapped(TERMINAL_BAD, 0, 2, s->refusal.text);
        putchar('\n');
    }
    if (s->spool_problem.text[0] != '\0' && status_needs_spool(s)) {
        ctl_printf("  copies: ");
        terminal_print_wrapped(TERMINAL_BAD, 10, 10, s->spool_problem.text);
        putchar('\n');
    }
    print_nodes(s);
    for (size_t i = 0; i < s->destinations.count; i++)
        print_destination(&s->destinations.items[i]);
    for (size_t i = 0; i < s->instance_count; i++)
        print_instance(&s->instances[i]);
    if (s->postfix_problem.text[0] != '\0') {
        ctl_printf("%-14s  none     ", "postfix");
        terminal_print_wrapped(TERMINAL_PLAIN, RUN_WIDTH, RUN_WIDTH, s->postfix_problem.text);
        putchar('\n');
    }
}

static json_t *json_run(enum service_run run)
{
    return run == SERVICE_UNKNOWN ? json_null() : json_boolean(run == SERVICE_RUNS);
}

static json_t *json_time(time_t t)
{
    return t == 0 ? json_null() : json_integer(t);
}

static json_t *json_service(const struct service *s)
{
    json_t *o = json_object();

    ctl_json_set(o, "running", json_run(s->run));
    ctl_json_set(o, "pid", s->pid > 0 ? json_integer(s->pid) : json_null());
    ctl_json_set(o, "belongs_here", json_boolean(s->belongs_here));
    return o;
}

static json_t *json_suspension(time_t since, time_t until, const char *reason)
{
    if (since == 0)
        return json_null();
    json_t *o = json_object();
    ctl_json_set(o, "since", json_time(since));
    ctl_json_set(o, "until", json_time(until));
    ctl_json_set(o, "reason", ctl_json_text(reason));
    return o;
}

static void append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) < 0)
        abort();
}

static json_t *json_groups(const struct status_groups *groups, bool are_destinations)
{
    json_t *array = json_array();

    for (size_t i = 0; i < groups->count; i++) {
        const struct status_group *g = &groups->items[i];
        json_t *o = json_object();
        ctl_json_set(o, "name", ctl_json_text(g->name));
        ctl_json_set(o, "active", json_integer((json_int_t)g->active));
        if (are_destinations)
            ctl_json_set(o, "waiting", json_integer((json_int_t)g->waiting));
        ctl_json_set(o, "deferred", json_integer((json_int_t)g->deferred));
        if (are_destinations) {
            ctl_json_set(o, "held", json_integer((json_int_t)g->held));
            ctl_json_set(o, "dead", json_integer((json_int_t)g->dead));
            ctl_json_set(
                o, "suspended",
                json_suspension(g->suspension.since, g->suspension.until, g->suspension.reason));
            ctl_json_set(o, "suspended_by_administrator",
                         json_suspension(g->order.since, g->order.until, g->order.reason));
        }
        ctl_json_set(o, "oldest", json_time(g->oldest));
        ctl_json_set(o, "last_error", ctl_json_text(g->error));
        append(array, o);
    }
    return array;
}

static json_t *json_instance(const struct status_instance *i)
{
    json_t *o = json_object(), *queues = json_object();

    for (int q = 0; q < STATUS_QUEUES; q++)
        ctl_json_set(queues, status_queue_names[q], json_integer((json_int_t)i->messages[q]));
    ctl_json_set(o, "name", ctl_json_text(i->name));
    ctl_json_set(o, "directory", ctl_json_text(i->directory));
    ctl_json_set(o, "running", json_run(i->run));
    ctl_json_set(o, "belongs_here", json_boolean(i->belongs_here));
    ctl_json_set(o, "queues", queues);
    ctl_json_set(o, "oldest", json_time(i->oldest));
    ctl_json_set(o, "deferred", json_groups(&i->ways, false));
    ctl_json_set(o, "problem", ctl_json_text(i->problem.text));
    return o;
}

static json_t *json_replication(const struct db_replication *r)
{
    json_t *o = json_object();

    ctl_json_set(o, "problem", ctl_json_text(r->problem));
    ctl_json_set(o, "primary", ctl_json_text(r->server));
    ctl_json_set(o, "server_version", json_integer(r->version));
    ctl_json_set(o, "standbys", json_integer(r->standbys));
    ctl_json_set(o, "synchronous", json_integer(r->synchronous));
    ctl_json_set(o, "lag_bytes", json_integer((json_int_t)r->lag_bytes));
    ctl_json_set(o, "lag_seconds", json_real(r->lag_s));
    return o;
}

static json_t *json_nodes(const struct queue_nodes *nodes)
{
    json_t *array = json_array();

    for (size_t i = 0; i < nodes->count; i++) {
        const struct queue_node_row *n = &nodes->items[i];
        json_t *o = json_object();
        ctl_json_set(o, "name", ctl_json_text(n->name));
        ctl_json_set(o, "number", json_integer(n->number));
        ctl_json_set(o, "version", ctl_json_text(n->version));
        ctl_json_set(o, "alive", json_boolean(n->is_alive));
        ctl_json_set(o, "since", json_time(n->since));
        ctl_json_set(o, "until", json_time(n->until));
        ctl_json_set(o, "copies", json_integer((json_int_t)n->copies));
        append(array, o);
    }
    return array;
}

/* Add what is known of the database. */
static void json_database(const struct status *s, json_t *relay)
{
    struct buf queue = {0};

    config_queue_show(s->config->relay.queue, &queue);
    ctl_json_set(relay, "queue", ctl_json_text(buf_str(&queue)));
    buf_clear(&queue);
    ctl_json_set(relay, "nodes", json_nodes(&s->nodes));
    ctl_json_set(relay, "ordered", json_integer(s->nodes.ordered));
    ctl_json_set(relay, "replication",
                 s->nodes.is_shared ? json_replication(&s->nodes.replication) : json_null());
}

void status_print_json(const struct status *s)
{
    json_t *o = json_object(), *relay = json_service(&s->relay), *list = json_array();

    ctl_json_set(relay, "destinations", json_groups(&s->destinations, true));
    json_database(s, relay);
    ctl_json_set(relay, "problem", ctl_json_text(s->spool_problem.text));
    ctl_json_set(relay, "refusal", ctl_json_text(s->refusal.text));
    for (size_t i = 0; i < s->instance_count; i++)
        append(list, json_instance(&s->instances[i]));
    ctl_json_set(o, "state", ctl_json_text(level_words[s->level]));
    ctl_json_set(o, "reason", ctl_json_text(buf_str(&s->reasons)));
    for (size_t i = 0; i <= s->config->other_milter_count; i++)
        ctl_json_set(o, s->milters[i].name, json_service(&s->milters[i]));
    ctl_json_set(o, "splitrelay", relay);
    ctl_json_set(o, "postfix", list);
    ctl_json_line(o);
}
