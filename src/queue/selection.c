/* SPDX-License-Identifier: ISC */
#include "queue/selection.h"

#include "base/ascii.h"
#include "base/mem.h"
#include "queue/queue_id.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    unsigned place;
    const char *state;
} places[] = {{QUEUE_IN_QUEUE, "'queued'"}, {QUEUE_IN_HOLD, "'held'"}, {QUEUE_IN_DEAD, "'dead'"}};

static void add_value(struct selection_sql *s, struct db_value value)
{
    s->values[s->count++] = value;
}

/* Begin another condition. Returns the number of its parameter. */
static unsigned begin(struct selection_sql *s, unsigned first)
{
    if (s->condition.len > 0)
        buf_adds(&s->condition, " AND ");
    return first + (unsigned)s->count;
}

static const char *own(struct selection_sql *s, char *text)
{
    s->texts[s->text_count++] = text;
    return text;
}

/* Make a pattern for LIKE: `*` becomes `%`, characters that mean something in LIKE are escaped, and
 * "@domain" becomes "%@domain". Successive `*` become one `%`. before and after are added as they
 * are. */
static char *like_pattern(const char *pattern, const char *before, const char *after)
{
    struct buf out = {0};

    buf_adds(&out, before);
    if (pattern[0] == '@')
        buf_addc(&out, '%');
    for (const char *p = pattern; *p != '\0'; p++) {
        if (*p == '*' && p[1] == '*')
            continue;
        if (*p == '%' || *p == '_' || *p == '!')
            buf_addc(&out, '!');
        buf_addc(&out, *p == '*' ? '%' : ascii_to_lower(*p));
    }
    buf_adds(&out, after);
    return buf_take(&out);
}

/* Add: the column matches the pattern. "<>" is the null sender. */
static void add_pattern(struct selection_sql *s, const char *column, const char *pattern,
                        unsigned number)
{
    if (strcmp(pattern, "<>") == 0) {
        buf_addf(&s->condition, "%s = $%u", column, number);
        add_value(s, db_text(""));
        return;
    }
    buf_addf(&s->condition, "lower(%s) LIKE $%u ESCAPE '!'", column, number);
    add_value(s, db_text(own(s, like_pattern(pattern, "", ""))));
}

/* Add: the column has the text in it. */
static void add_text(struct selection_sql *s, const char *column, const char *text, unsigned number)
{
    struct buf escaped = {0};

    for (const char *p = text; *p != '\0'; p++) { /* `*` and '@' mean nothing here */
        if (*p == '%' || *p == '_' || *p == '!')
            buf_addc(&escaped, '!');
        buf_addc(&escaped, ascii_to_lower(*p));
    }
    buf_addf(&s->condition, "lower(%s) LIKE $%u ESCAPE '!'", column, number);
    add_value(s, db_text(own(s, mem_printf("%%%s%%", buf_str(&escaped)))));
    buf_clear(&escaped);
}

static void add_equal(struct selection_sql *s, const char *column, const char *text, unsigned first)
{
    if (text == NULL)
        return;
    unsigned number = begin(s, first);
    buf_addf(&s->condition, "%s = $%u", column, number);
    add_value(s, db_text(text));
}

static const char *with_brackets(struct selection_sql *s, const char *message_id)
{
    if (message_id == NULL || message_id[0] == '<')
        return message_id;
    return own(s, mem_printf("<%s>", message_id));
}

static int add_id(struct selection_sql *s, const char *column, const char *text, unsigned first,
                  struct err *err)
{
    int64_t id;

    if (text == NULL)
        return 0;
    if (!queue_id_parse(text, &id)) {
        err_set(err, "'%s' is not the id of a copy", text);
        return -1;
    }
    unsigned number = begin(s, first);
    buf_addf(&s->condition, "%s = $%u", column, number);
    add_value(s, db_int(id));
    return 0;
}

static void add_times(struct selection_sql *s, const char *column,
                      const struct queue_selection *selection, unsigned first)
{
    if (selection->arrived_before != 0) {
        unsigned number = begin(s, first);
        buf_addf(&s->condition, "%s < $%u", column, number);
        add_value(s, db_int(selection->arrived_before));
    }
    if (selection->arrived_after != 0) {
        unsigned number = begin(s, first);
        buf_addf(&s->condition, "%s >= $%u", column, number);
        add_value(s, db_int(selection->arrived_after));
    }
}

static void add_larger(struct selection_sql *s, const char *column, uint64_t bytes, unsigned first)
{
    if (bytes == 0)
        return;
    unsigned number = begin(s, first);
    buf_addf(&s->condition, "%s > $%u", column, number);
    add_value(s, db_int(bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes));
}

static void add_places(struct selection_sql *s, unsigned wanted, unsigned first)
{
    const char *separator = "";

    if (wanted == 0)
        return;
    (void)begin(s, first);
    buf_adds(&s->condition, "c.state IN (");
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if ((wanted & places[i].place) == 0)
            continue;
        buf_addf(&s->condition, "%s%s", separator, places[i].state);
        separator = ", ";
    }
    buf_addc(&s->condition, ')');
}

static void finish(struct selection_sql *s)
{
    if (s->condition.len == 0)
        buf_adds(&s->condition, "1 = 1");
}

int selection_sql_copies(struct selection_sql *s, const struct queue_selection *selection,
                         unsigned first, struct err *err)
{
    memset(s, 0, sizeof *s);
    if (add_id(s, "c.id", selection->id, first, err) != 0)
        return -1;
    add_equal(s, "c.destination", selection->destination, first);
    add_places(s, selection->places, first);
    add_times(s, "m.arrival", selection, first);
    add_larger(s, "m.size", selection->larger_bytes, first);
    add_equal(s, "m.mta_queue_id", selection->mta_id, first);
    add_equal(s, "m.message_id", with_brackets(s, selection->message_id), first);
    if (selection->from != NULL)
        add_pattern(s, "m.sender", selection->from, begin(s, first));
    if (selection->to != NULL) {
        unsigned number = begin(s, first);
        buf_adds(&s->condition, "EXISTS (SELECT 1 FROM recipient r WHERE r.copy = c.id AND "
                                "r.state <> 'sent' AND ");
        add_pattern(s, "r.address", selection->to, number);
        buf_addc(&s->condition, ')');
    }
    if (selection->reason != NULL) {
        unsigned number = begin(s, first);
        buf_adds(&s->condition, "EXISTS (SELECT 1 FROM recipient r WHERE r.copy = c.id AND ");
        add_text(s, "r.reason", selection->reason, number);
        buf_addc(&s->condition, ')');
    }
    if (selection->due_after != 0) {
        unsigned number = begin(s, first);
        buf_addf(&s->condition, "c.due > $%u", number);
        add_value(s, db_int(selection->due_after));
    }
    if (selection->other_than != NULL) {
        unsigned number = begin(s, first);
        buf_addf(&s->condition, "c.destination <> $%u", number);
        add_value(s, db_text(selection->other_than));
    }
    finish(s);
    return 0;
}

int selection_sql_history(struct selection_sql *s, const struct queue_selection *selection,
                          unsigned first, struct err *err)
{
    memset(s, 0, sizeof *s);
    if (add_id(s, "copy", selection->id, first, err) != 0)
        return -1;
    add_equal(s, "destination", selection->destination, first);
    add_times(s, "time", selection, first);
    add_larger(s, "size", selection->larger_bytes, first);
    add_equal(s, "mta_queue_id", selection->mta_id, first);
    add_equal(s, "message_id", with_brackets(s, selection->message_id), first);
    if (selection->from != NULL)
        add_pattern(s, "sender", selection->from, begin(s, first));
    if (selection->to != NULL) { /* one of "a@x, b@x" */
        unsigned number = begin(s, first);
        buf_addf(&s->condition, "lower(', ' || recipients || ', ') LIKE $%u ESCAPE '!'", number);
        add_value(s, db_text(own(s, like_pattern(selection->to,
                                                 selection->to[0] == '@' ? "%" : "%, ", ", %"))));
    }
    if (selection->reason != NULL)
        add_text(s, "reply", selection->reason, begin(s, first));
    finish(s);
    return 0;
}

void selection_sql_clear(struct selection_sql *s)
{
    buf_clear(&s->condition);
    for (size_t i = 0; i < s->text_count; i++)
        free(s->texts[i]);
    s->text_count = s->count = 0;
}
