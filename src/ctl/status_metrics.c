/* SPDX-License-Identifier: ISC */
/* The queues of Postfix as metrics for Prometheus, in a file for the textfile collector of
 * node_exporter. The values of labels are names from the configurations of splitmilter and Postfix,
 * never data from mail. */
#include "base/fdio.h"
#include "base/mem.h"
#include "ctl/status.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void add_head(struct buf *out, const char *name, const char *help)
{
    buf_addf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

/* Append LABEL="value", with the separator before it. */
static void add_label(struct buf *out, const char *separator, const char *label, const char *value)
{
    buf_addf(out, "%s%s=\"", separator, label);
    for (; *value != '\0'; value++) {
        if (*value == '\n')
            buf_adds(out, "\\n");
        else if (*value == '\\' || *value == '"')
            buf_addf(out, "\\%c", *value);
        else
            buf_addc(out, *value);
    }
    buf_addc(out, '"');
}

/* The mail that waits in the queue of an instance for one filter, for one destination of copies, or
 * for anything else (name ""). */
struct waiting {
    const char *instance, *name;
    enum status_way way;
    uint64_t active, deferred;
    time_t oldest;
};

struct waitings {
    struct waiting *items;
    size_t count;
};

static struct waiting *add_waiting(struct waitings *list, const char *instance, enum status_way way,
                                   const char *name)
{
    list->items = mem_grow(list->items, list->count + 1, sizeof *list->items);
    struct waiting *w = &list->items[list->count++];
    *w = (struct waiting){.instance = instance, .way = way, .name = name};
    return w;
}

/* Return the row in which a group is counted: its own, or the last one, which is for all others.
 * rows: those of the instance. */
static struct waiting *row_of(struct waiting *rows, size_t count, const struct status_group *g)
{
    for (size_t i = 0; i + 1 < count; i++)
        if (rows[i].way == g->way && strcasecmp(rows[i].name, g->target) == 0)
            return &rows[i];
    return &rows[count - 1];
}

/* Add the rows of an instance. Each filter and each destination of the configuration has a row,
 * also without mail. */
static void count_instance(const struct config *c, const struct status_instance *instance,
                           struct waitings *list)
{
    size_t first = list->count;

    for (size_t i = 0; i < c->filter_count; i++)
        add_waiting(list, instance->name, STATUS_TO_FILTER, c->filters[i].name);
    for (size_t i = 0; i < c->destination_count; i++)
        add_waiting(list, instance->name, STATUS_TO_COPY, c->destinations[i].name);
    add_waiting(list, instance->name, STATUS_TO_OTHER, "");
    for (size_t i = 0; i < instance->ways.count; i++) {
        const struct status_group *g = &instance->ways.items[i];
        struct waiting *w = row_of(list->items + first, list->count - first, g);
        w->active += g->active;
        w->deferred += g->deferred;
        if (g->oldest != 0 && (w->oldest == 0 || g->oldest < w->oldest))
            w->oldest = g->oldest;
    }
}

static void add_waiting_labels(struct buf *out, const struct waiting *w)
{
    add_label(out, "{", "postfix", w->instance);
    add_label(out, ",", "kind", status_way_names[w->way]);
    add_label(out, ",", "name", w->name);
}

static void render_waiting(const struct waitings *list, time_t now, struct buf *out)
{
    static const char recipients[] = "splitctl_postfix_waiting_recipients";
    static const char age[] = "splitctl_postfix_waiting_oldest_age_seconds";

    add_head(
        out, recipients,
        "Recipients in the queue of a Postfix instance, by where they go: a filter, a copy for "
        "a destination, or anything else.");
    for (size_t i = 0; i < list->count; i++) {
        const struct waiting *w = &list->items[i];
        const uint64_t counts[] = {w->active, w->deferred};
        static const char *const states[] = {"active", "deferred"};
        for (size_t k = 0; k < 2; k++) {
            buf_adds(out, recipients);
            add_waiting_labels(out, w);
            add_label(out, ",", "state", states[k]);
            buf_addf(out, "} %" PRIu64 "\n", counts[k]);
        }
    }
    add_head(out, age, "Age of the oldest message that has such recipients, 0 if there is none.");
    for (size_t i = 0; i < list->count; i++) {
        const struct waiting *w = &list->items[i];
        long long seconds = w->oldest == 0 || w->oldest > now ? 0 : (long long)(now - w->oldest);
        buf_adds(out, age);
        add_waiting_labels(out, w);
        buf_addf(out, "} %lld\n", seconds);
    }
}

/* Postfix alone knows whether an instance runs, and tells root only. */
static void render_instances(const struct status *s, struct buf *out)
{
    static const char up[] = "splitctl_postfix_up", messages[] = "splitctl_postfix_queue_messages";

    add_head(out, up, "1 if the Postfix instance runs, 0 if it should but does not.");
    for (size_t i = 0; i < s->instance_count; i++) {
        const struct status_instance *instance = &s->instances[i];
        if (instance->run == SERVICE_UNKNOWN || !instance->belongs_here)
            continue;
        buf_adds(out, up);
        add_label(out, "{", "postfix", instance->name);
        buf_addf(out, "} %d\n", instance->run == SERVICE_RUNS);
    }
    add_head(out, messages, "Messages in the queues of a Postfix instance.");
    for (size_t i = 0; i < s->instance_count; i++)
        for (int q = 0; q < STATUS_QUEUES && s->instances[i].problem.text[0] == '\0'; q++) {
            buf_adds(out, messages);
            add_label(out, "{", "postfix", s->instances[i].name);
            add_label(out, ",", "queue", status_queue_names[q]);
            buf_addf(out, "} %" PRIu64 "\n", s->instances[i].messages[q]);
        }
}

static void render(const struct status *s, struct buf *out)
{
    time_t now = time(NULL);
    struct waitings list = {0};

    for (size_t i = 0; i < s->instance_count; i++)
        if (s->instances[i].problem.text[0] == '\0')
            count_instance(s->config, &s->instances[i], &list);
    add_head(out, "splitctl_status_level", "The exit code of splitctl status: 0, 1 or 2.");
    buf_addf(out, "splitctl_status_level %d\n", (int)s->level);
    add_head(out, "splitctl_status_timestamp_seconds", "When these metrics were made.");
    buf_addf(out, "splitctl_status_timestamp_seconds %lld\n", (long long)now);
    render_instances(s, out);
    render_waiting(&list, now, out);
    free(list.items);
}

/* Write a new file and rename it, so that a reader never sees a part of it. -1 with `err`. */
static int replace(const char *path, const struct buf *text, struct err *err)
{
    char *fresh = mem_printf("%s.new", path);
    int fd = -1, rc = -1;

    if (unlink(fresh) == 0 || errno == ENOENT)
        fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        err_set_errno(err, "%s", fresh);
        free(fresh);
        return -1;
    }
    if (fchmod(fd, 0644) == 0 && fdio_write_all(fd, text->data, text->len) == 0)
        rc = 0;
    if (close(fd) != 0)
        rc = -1;
    if (rc == 0)
        rc = rename(fresh, path);
    if (rc != 0) {
        err_set_errno(err, "%s", path);
        (void)unlink(fresh);
    }
    free(fresh);
    return rc;
}

int status_write_metrics(const struct status *s, const char *path, struct err *err)
{
    struct buf text = {0};
    int rc = 0;

    render(s, &text);
    if (strcmp(path, "-") == 0)
        (void)fwrite(text.data, 1, text.len, stdout);
    else
        rc = replace(path, &text, err);
    buf_clear(&text);
    return rc;
}
