/* SPDX-License-Identifier: ISC */
/* The first walk: the messages of both sides, and their counts. */
#include "base/process.h"
#include "ctl/compare/compare.h"
#include "ctl/compare/compare_maildir.h"
#include "ctl/compare/compare_message.h"
#include "ctl/ctl.h"
#include "ctl/progress.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_EVERY 1024 /* files between two states of the bar */

struct reading {
    struct compare *compare;
    enum compare_side side;
    struct compare_message message;
    struct progress progress;
    uint64_t done; /* files of both sides */
};

static void count_unreadable(struct compare_place *p, const struct compare_file *f)
{
    if (p->unreadable++ == 0)
        ctl_complain("%s/%s: %s", f->folder_path, f->name, strerror(errno));
}

static bool is_in_time(const struct compare *c, const struct stat *st)
{
    return st->st_mtime >= c->since && (c->until == 0 || st->st_mtime <= c->until);
}

/* Count a message that was read. */
static void add_message(struct reading *r, bool is_counted, uint64_t file)
{
    struct compare *c = r->compare;
    struct compare_place *p = &c->places[r->side];
    const struct compare_message *m = &r->message;
    const bool is_flagged = m->has_field && compare_value_is_flagged(buf_str(&m->value), c->wanted);
    const struct compare_found found = {.side = r->side,
                                        .id = buf_str(&m->id),
                                        .id_len = m->id.len,
                                        .file = file,
                                        .is_flagged = is_flagged,
                                        .is_in_time = is_counted};

    p->without_field += is_counted && !m->has_field;
    if (m->id.len == 0)
        p->without_id += is_counted;
    else if (!compare_table_add(&c->table, &found))
        p->repeated += is_counted;
}

/* compare_walk.take */
static bool take(void *ctx, const struct compare_file *f)
{
    struct reading *r = ctx;
    struct compare_place *p = &r->compare->places[r->side];
    struct stat st;
    int fd = -1;

    if (r->done++ % SHOWN_EVERY == 0)
        progress_show(&r->progress, r->done);
    enum compare_open opened = compare_maildir_open(f, &fd, &st);
    if (opened == COMPARE_UNREADABLE)
        count_unreadable(p, f);
    if (opened != COMPARE_OPENED)
        return opened != COMPARE_GONE;
    bool is_counted = is_in_time(r->compare, &st);
    p->files += is_counted;
    switch (compare_message_read(&r->message, fd, r->compare->field)) {
    case COMPARE_READ_DONE:
        add_message(r, is_counted, f->key);
        break;
    case COMPARE_READ_LARGE:
        p->large += is_counted;
        break;
    case COMPARE_READ_FAILED:
        count_unreadable(p, f);
        break;
    }
    close(fd);
    return true;
}

static int read_place(struct reading *r, struct trace_keys *own, const struct trace_keys *other)
{
    struct compare_place *p = &r->compare->places[r->side];
    struct compare_walk walk = {
        .path = p->path, .pattern = p->pattern, .take = take, .ctx = r, .own = own, .other = other};
    struct err err;

    int rc = compare_maildir_walk(&walk, &err);
    p->maildirs = walk.maildir_count;
    progress_end(&r->progress);
    if (rc == 0)
        return EXIT_OK;
    ctl_complain("%s", err.text);
    return walk.has_other ? EXIT_USAGE : EXIT_UNAVAILABLE;
}

int compare_read_all(struct compare *c)
{
    struct reading r = {.compare = c, .side = COMPARE_A};
    struct trace_keys maildirs = {0};

    progress_begin(&r.progress, "reading", 0);
    int code = read_place(&r, &maildirs, NULL);
    r.side = COMPARE_B;
    if (code == EXIT_OK)
        code = read_place(&r, NULL, &maildirs);
    trace_keys_clear(&maildirs);
    compare_message_clear(&r.message);
    for (size_t i = 0; i < c->table.count; i++)
        if (c->table.entries[i].is_in_time)
            c->counts[compare_entry_class(&c->table.entries[i])]++;
    return code;
}
