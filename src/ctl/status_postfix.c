/* SPDX-License-Identifier: ISC */
#include "mail/address.h"
#include "base/mem.h"
#include "ctl/setup/command.h"
#include "ctl/setup/postfix.h"
#include "ctl/status.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const status_queue_names[STATUS_QUEUES] = {"maildrop", "incoming", "active", "deferred",
                                                       "hold"};

/* Return the value of a parameter of the instance, for the caller to free. NULL with `err`. */
static char *ask(const char *directory, const char *name, struct err *err)
{
    const char *argv[] = {"postconf", "-c", directory, "-hx", name, NULL};
    struct buf out = {0};
    int rc = command_need(argv, &out, err);

    while (out.len > 0 && out.data[out.len - 1] == '\n')
        buf_truncate(&out, out.len - 1);
    if (rc == 0)
        return buf_take(&out);
    buf_clear(&out);
    return NULL;
}

const char *const status_way_names[STATUS_WAYS] = {
    [STATUS_TO_FILTER] = "filter", [STATUS_TO_COPY] = "copy", [STATUS_TO_OTHER] = "other"};

struct way {
    enum status_way kind;
    struct buf name; /* of the filter or destination; the domain; "others": no address with one */
    bool is_configured; /* it leads to a filter or destination of the configuration */
};

/* Find the way of this recipient. The caller clears out->name. */
static void find_way(const struct config *config, const char *recipient, struct way *out)
{
    struct address a, plain;
    struct err err;

    *out = (struct way){.kind = STATUS_TO_OTHER};
    if (address_parse(recipient, strlen(recipient), ADDRESS_LENIENT, &a, &err) < 0) {
        buf_adds(&out->name, "others");
        return;
    }
    if (address_untag(&a, status_way_names[STATUS_TO_FILTER], config->tag_domain, &plain,
                      &out->name)) {
        out->kind = STATUS_TO_FILTER;
        out->is_configured = config_find_filter(config, buf_str(&out->name)) != NULL;
    } else if (address_untag(&a, status_way_names[STATUS_TO_COPY], config->tag_domain, &plain,
                             &out->name)) {
        out->kind = STATUS_TO_COPY;
        out->is_configured = config_find_destination(config, buf_str(&out->name)) != NULL;
    } else {
        buf_adds(&out->name, a.text[a.domain_at] == '\0' ? "others" : a.text + a.domain_at);
    }
}

struct reading {
    const struct config *config;
    struct status_instance *instance;
};

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text == NULL ? "" : text;
}

/* Return the group of a way. A way for which the list has no room is in the group "others". */
static struct status_group *group_of(struct status_groups *ways, const struct way *way)
{
    struct buf name = {0};

    if (way->kind != STATUS_TO_OTHER)
        buf_addf(&name, "%s ", status_way_names[way->kind]);
    const size_t target_at = name.len;
    buf_adds(&name, buf_str(&way->name));
    const bool has_room = way->is_configured || ways->count < STATUS_WAYS_MAX ||
                          status_find(ways, buf_str(&name)) != NULL;
    struct status_group *g = status_group(ways, has_room ? buf_str(&name) : "others");
    if (has_room) {
        g->way = way->kind;
        g->target = g->name + target_at;
    }
    buf_clear(&name);
    return g;
}

/* Recipients without a reason are sent already, or were never tried. In the queues "incoming" and
 * "active" the latter wait for a connection: a filter that hangs has many of them. */
static void read_recipients(const struct reading *r, const json_t *message, time_t arrival)
{
    const json_t *recipients = json_object_get(message, "recipients"), *recipient;
    const char *queue = text_of(message, "queue_name");
    bool is_in_work = strcmp(queue, status_queue_names[STATUS_ACTIVE]) == 0 ||
                      strcmp(queue, status_queue_names[STATUS_INCOMING]) == 0;
    size_t i;

    json_array_foreach(recipients, i, recipient)
    {
        struct way way;
        const char *reason = text_of(recipient, "delay_reason");
        if (reason[0] == '\0' && !is_in_work)
            continue;
        find_way(r->config, text_of(recipient, "address"), &way);
        if (reason[0] != '\0' || way.is_configured) {
            struct status_group *g = group_of(&r->instance->ways, &way);
            g->deferred += reason[0] != '\0';
            g->active += reason[0] == '\0';
            status_note(g, arrival, reason);
        }
        buf_clear(&way.name);
    }
}

/* Count the message in one line of `postqueue -j'. */
static void read_message(void *ctx, const char *line)
{
    const struct reading *r = ctx;
    struct status_instance *instance = r->instance;
    json_t *message = json_loads(line, 0, NULL);
    time_t arrival = json_integer_value(json_object_get(message, "arrival_time"));

    for (int i = 0; i < STATUS_QUEUES; i++)
        if (strcmp(text_of(message, "queue_name"), status_queue_names[i]) == 0)
            instance->messages[i]++;
    if (arrival > 0 && (instance->oldest == 0 || arrival < instance->oldest))
        instance->oldest = arrival;
    read_recipients(r, message, arrival);
    json_decref(message);
}

/* Count the files in the queues, because postqueue(1) cannot list the queue of an instance that
 * does not run. */
static void count_files(struct status_instance *i)
{
    char *queue_directory = ask(i->directory, "queue_directory", &i->problem);

    for (int q = 0; queue_directory != NULL && q < STATUS_QUEUES; q++)
        i->messages[q] = postfix_count_messages(queue_directory, status_queue_names[q]);
    if (queue_directory != NULL)
        i->problem.text[0] = '\0';
    free(queue_directory);
}

/* Return true if the instance is meant to run: the unit of Postfix is enabled or active, and an
 * instance other than the default one is not switched off by multi_instance_enable. */
static bool belongs_here(const char *directory, bool is_default)
{
    struct err ignored;
    char *enabled = NULL;
    struct unit unit;

    unit_read("postfix", &unit);
    bool is = !unit.is_known || unit.is_enabled || unit.is_active;
    unit_clear(&unit);
    if (is && !is_default) {
        enabled = ask(directory, "multi_instance_enable", &ignored);
        is = enabled == NULL || strcmp(enabled, "no") != 0;
    }
    free(enabled);
    return is;
}

static void read_instance(struct status *s, const char *directory, const char *usual_name)
{
    bool is_default = s->instance_count == 0;

    s->instances = mem_grow(s->instances, s->instance_count + 1, sizeof *s->instances);
    struct status_instance *i = &s->instances[s->instance_count++];
    struct reading reading = {.config = s->config, .instance = i};
    const char *argv[] = {"postqueue", "-c", directory, "-j", NULL};

    memset(i, 0, sizeof *i);
    i->directory = mem_strdup(directory);
    i->name = ask(directory, "multi_instance_name", &i->problem);
    if (i->name == NULL || i->name[0] == '\0') {
        free(i->name);
        i->name = mem_strdup(usual_name);
    }
    if (geteuid() != 0)
        i->run = SERVICE_UNKNOWN; /* `postfix status' works for root only */
    else
        i->run = postfix_is_running(directory) ? SERVICE_RUNS : SERVICE_STOPPED;
    i->belongs_here = i->run == SERVICE_RUNS || belongs_here(directory, is_default);
    if (i->run == SERVICE_STOPPED)
        count_files(i);
    else if (command_each_line(argv, read_message, &reading, &i->problem) == 0)
        i->problem.text[0] = '\0';
}

void status_read_postfix(struct status *s, const char *directory)
{
    char *first = directory[0] != '\0' ? mem_strdup(directory)
                                       : postfix_default_directory(&s->postfix_problem);
    char *others = NULL, *at, *saved = NULL;

    if (first == NULL)
        return;
    others = ask(first, "multi_instance_directories", &s->postfix_problem);
    if (others != NULL) {
        s->postfix_problem.text[0] = '\0';
        read_instance(s, first, "postfix");
        for (at = strtok_r(others, ", \t", &saved); at != NULL; at = strtok_r(NULL, ", \t", &saved))
            read_instance(s, at, at);
    }
    free(first);
    free(others);
}
