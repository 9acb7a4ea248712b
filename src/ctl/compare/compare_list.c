/* SPDX-License-Identifier: ISC */
/* The second walk: the texts of the messages that are listed. The table has no texts, so the files
 * of these messages are read once more. */
#include "base/log.h"
#include "base/mem.h"
#include "ctl/compare/compare.h"
#include "ctl/compare/compare_maildir.h"
#include "ctl/compare/compare_message.h"
#include "ctl/ctl.h"
#include "mail/content.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file of a message that is listed. */
struct wanted {
    uint64_t key;
    struct compare_listed *listed;
};

struct listing {
    const struct compare *compare;
    enum compare_side side;
    struct wanted *wanted; /* of this side, by key */
    size_t wanted_count;
    struct compare_message message;
};

bool compare_is_listed(const struct compare *c, enum compare_class class)
{
    switch (class) {
    case COMPARE_ONLY_A:
    case COMPARE_ONLY_B:
    case COMPARE_DIFFERS:
        return true;
    case COMPARE_MISSING_A:
    case COMPARE_MISSING_B:
        return c->has_missing;
    case COMPARE_BOTH:
    case COMPARE_NEITHER:
    case COMPARE_CLASSES:
        break;
    }
    return false;
}

/* Choose the messages of each class. Their order in the table is that of the walk. */
static void choose(struct compare *c)
{
    uint64_t chosen[COMPARE_CLASSES] = {0};
    size_t cap = 0;

    for (size_t i = 0; i < c->table.count; i++) {
        const struct compare_entry *e = &c->table.entries[i];
        enum compare_class class = compare_entry_class(e);
        if (!e->is_in_time || !compare_is_listed(c, class) ||
            (c->limit != 0 && chosen[class] == c->limit))
            continue;
        chosen[class]++;
        if (c->listed_count == cap) {
            cap = cap == 0 ? 64 : cap * 2;
            c->listed = mem_grow(c->listed, cap, sizeof *c->listed);
        }
        c->listed[c->listed_count++] = (struct compare_listed){.class = class, .entry = e};
    }
}

static int by_key(const void *a, const void *b)
{
    const struct wanted *left = a, *right = b;

    return (left->key > right->key) - (left->key < right->key);
}

static void want(struct listing *l)
{
    const struct compare *c = l->compare;

    l->wanted = mem_zalloc((c->listed_count + 1) * sizeof *l->wanted);
    l->wanted_count = 0;
    for (size_t i = 0; i < c->listed_count; i++)
        if (c->listed[i].entry->seen[l->side] != 0)
            l->wanted[l->wanted_count++] =
                (struct wanted){c->listed[i].entry->file[l->side], &c->listed[i]};
    qsort(l->wanted, l->wanted_count, sizeof *l->wanted, by_key);
}

/* A copy of the text with at most `max` bytes; printable. */
static char *printable(const struct buf *text, size_t max)
{
    size_t len = text->len < max ? text->len : log_whole_characters(buf_str(text), max);
    char *copy = mem_strndup(buf_str(text), len);

    log_sanitize(copy);
    return copy;
}

/* Keep the texts of the message, if it is the one that is listed. */
static void keep(const struct listing *l, struct compare_listed *to)
{
    const struct compare_message *m = &l->message;
    uint64_t id[2];
    struct buf subject = {0};

    compare_table_hash(buf_str(&m->id), m->id.len, id);
    if (memcmp(id, to->entry->id, sizeof id) != 0)
        return;
    if (m->has_field && to->values[l->side] == NULL)
        to->values[l->side] = printable(&m->value, COMPARE_TEXT_MAX);
    if (to->id != NULL)
        return;
    to->id = printable(&m->id, CONTENT_MESSAGE_ID_SIZE - 1);
    compare_message_subject(m, &subject);
    to->subject = printable(&subject, COMPARE_TEXT_MAX);
    buf_clear(&subject);
}

/* compare_walk.take */
static bool take(void *ctx, const struct compare_file *f)
{
    struct listing *l = ctx;
    const struct wanted key = {.key = f->key};
    const struct wanted *wanted =
        bsearch(&key, l->wanted, l->wanted_count, sizeof *l->wanted, by_key);
    struct stat st;
    int fd = -1;

    if (wanted == NULL)
        return true;
    enum compare_open opened = compare_maildir_open(f, &fd, &st);
    if (opened != COMPARE_OPENED)
        return opened != COMPARE_GONE;
    if (compare_message_read(&l->message, fd, l->compare->field) == COMPARE_READ_DONE)
        keep(l, wanted->listed);
    close(fd);
    return true;
}

static int by_id(const void *a, const void *b)
{
    const struct compare_listed *left = a, *right = b;

    if (left->class != right->class)
        return left->class < right->class ? -1 : 1;
    return strcmp(left->id == NULL ? "" : left->id, right->id == NULL ? "" : right->id);
}

int compare_list(struct compare *c)
{
    struct listing l = {.compare = c};
    struct err err;
    int rc = 0;

    choose(c);
    for (int side = COMPARE_A; side < COMPARE_SIDES && rc == 0 && c->listed_count > 0; side++) {
        l.side = (enum compare_side)side;
        struct compare_walk walk = {.path = c->places[side].path,
                                    .pattern = c->places[side].pattern,
                                    .take = take,
                                    .ctx = &l};
        want(&l);
        rc = compare_maildir_walk(&walk, &err);
        free(l.wanted);
    }
    if (rc != 0)
        ctl_complain("%s", err.text);
    if (c->listed_count > 0)
        qsort(c->listed, c->listed_count, sizeof *c->listed, by_id);
    compare_message_clear(&l.message);
    return rc;
}
