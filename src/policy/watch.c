/* SPDX-License-Identifier: ISC */
#include "policy/watch.h"
#include "base/log.h"
#include "base/mem.h"
#include "table/table.h"

#include <stdlib.h>
#include <string.h>

/* A file that has changed since the table in use was read from it. */
struct change {
    char *path;
    struct table_stamp stamp; /* the state of the file now */
    int64_t since_ms;
    bool is_done;      /* a reload of this state of the file was tried */
    bool is_confirmed; /* seen in this poll */
};

struct watch {
    struct change *changes;
    size_t count;
    unsigned ok, failed; /* in the last poll */
};

struct watch *watch_new(void)
{
    return mem_zalloc(sizeof(struct watch));
}

void watch_free(struct watch *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < w->count; i++)
        free(w->changes[i].path);
    free(w->changes);
    free(w);
}

static struct change *find(const struct watch *w, const char *path)
{
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->changes[i].path, path) == 0)
            return &w->changes[i];
    return NULL;
}

static void note(struct watch *w, const char *path, const struct table_stamp *stamp, int64_t now_ms)
{
    struct change *c = find(w, path);

    if (c == NULL) {
        w->changes = mem_grow(w->changes, w->count + 1, sizeof *w->changes);
        c = &w->changes[w->count++];
        *c = (struct change){.path = mem_strdup(path), .stamp = *stamp, .since_ms = now_ms};
    } else if (!table_stamp_equal(&c->stamp, stamp)) {
        c->stamp = *stamp;
        c->since_ms = now_ms;
        c->is_done = false;
    }
    c->is_confirmed = true;
}

/* Compare all files with the tables that were read from them, and update the list of changes. */
static void look(struct watch *w, const struct snapshot *s, int64_t now_ms)
{
    const struct table *t;
    size_t kept = 0;

    for (size_t i = 0; i < w->count; i++)
        w->changes[i].is_confirmed = false;
    for (size_t i = 0; (t = snapshot_table(s, i)) != NULL; i++) {
        if (table_path(t) == NULL)
            continue;
        struct table_stamp stamp = table_stamp_of(table_path(t));
        if (!table_is_current(t, &stamp))
            note(w, table_path(t), &stamp, now_ms);
    }
    for (size_t i = 0; i < w->count; i++) {
        if (w->changes[i].is_confirmed)
            w->changes[kept++] = w->changes[i];
        else
            free(w->changes[i].path);
    }
    w->count = kept;
}

struct snapshot *watch_poll(struct watch *w, struct snapshot *current, int64_t now_ms)
{
    struct snapshot *latest = NULL;
    struct err err;

    w->ok = w->failed = 0;
    look(w, current, now_ms);
    for (size_t i = 0; i < w->count; i++) {
        struct change *c = &w->changes[i];
        if (c->is_done || now_ms - c->since_ms < WATCH_QUIET_MS)
            continue;
        c->is_done = true;
        struct snapshot *next = snapshot_replace(latest == NULL ? current : latest, c->path, &err);
        if (next == NULL) {
            log_error("table not reloaded, what was read before stays: %s", err.text);
            w->failed++;
            continue;
        }
        log_info("table reloaded: %s", c->path);
        w->ok++;
        snapshot_unref(latest);
        latest = next;
    }
    return latest;
}

void watch_tried(const struct watch *w, unsigned *ok_out, unsigned *failed_out)
{
    *ok_out = w->ok;
    *failed_out = w->failed;
}
