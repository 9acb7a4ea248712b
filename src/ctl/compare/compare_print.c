/* SPDX-License-Identifier: ISC */
#include "ctl/columns.h"
#include "ctl/compare/compare.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/terminal.h"

#include <inttypes.h>
#include <stdio.h>

static const char usual[] = "yes, true or 1";

/* --- text --- */

static void add_count(struct columns *t, enum terminal_style style, const char *name,
                      uint64_t count)
{
    columns_add(t, style, "%s", name);
    columns_add(t, count == 0 ? TERMINAL_FAINT : style, "%" PRIu64, count);
}

static void print_counts(const struct compare *c)
{
    static const int widths[] = {40, 9};
    const uint64_t *n = c->counts;
    const uint64_t agree = n[COMPARE_BOTH] + n[COMPARE_NEITHER];
    const uint64_t disagree = n[COMPARE_ONLY_A] + n[COMPARE_ONLY_B];
    const uint64_t apart = n[COMPARE_DIFFERS] + n[COMPARE_MISSING_A] + n[COMPARE_MISSING_B];
    struct columns *t = columns_new(widths, 2, false);
    char share[32];

    columns_add(t, TERMINAL_PLAIN, "%s", "");
    columns_add(t, TERMINAL_HEAD, "MESSAGES");
    add_count(t, TERMINAL_HEAD, "agree", agree);
    if (agree + disagree > 0) {
        /* rounded down: 100 % only if there is no disagreement */
        uint64_t thousandth = agree * 1000 / (agree + disagree);
        snprintf(share, sizeof share, "  %" PRIu64 ".%" PRIu64 " %%", thousandth / 10,
                 thousandth % 10);
        columns_note(t, TERMINAL_FAINT, share);
    }
    add_count(t, TERMINAL_PLAIN, "  both flagged", n[COMPARE_BOTH]);
    add_count(t, TERMINAL_PLAIN, "  neither flagged", n[COMPARE_NEITHER]);
    add_count(t, TERMINAL_HEAD, "disagree", disagree);
    add_count(t, TERMINAL_PLAIN, "  only A flagged", n[COMPARE_ONLY_A]);
    add_count(t, TERMINAL_PLAIN, "  only B flagged", n[COMPARE_ONLY_B]);
    add_count(t, TERMINAL_HEAD, "no comparison", apart);
    add_count(t, TERMINAL_PLAIN, "  missing in A", n[COMPARE_MISSING_A]);
    add_count(t, TERMINAL_PLAIN, "  missing in B", n[COMPARE_MISSING_B]);
    add_count(t, TERMINAL_PLAIN, "  differs within A or B", n[COMPARE_DIFFERS]);
    columns_print(t);
    columns_free(t);
}

static void add_files(struct columns *t, const char *name, uint64_t a, uint64_t b)
{
    columns_add(t, TERMINAL_PLAIN, "%s", name);
    columns_add(t, a == 0 ? TERMINAL_FAINT : TERMINAL_PLAIN, "%" PRIu64, a);
    columns_add(t, b == 0 ? TERMINAL_FAINT : TERMINAL_PLAIN, "%" PRIu64, b);
}

static void print_files(const struct compare *c)
{
    static const int widths[] = {40, 9, 9};
    const struct compare_place *a = &c->places[COMPARE_A], *b = &c->places[COMPARE_B];
    struct columns *t = columns_new(widths, 3, false);

    columns_add(t, TERMINAL_PLAIN, "%s", "");
    columns_add(t, TERMINAL_HEAD, "A");
    columns_add(t, TERMINAL_HEAD, "B");
    add_files(t, "Maildirs", a->maildirs, b->maildirs);
    add_files(t, "files", a->files, b->files);
    add_files(t, "  without the field", a->without_field, b->without_field);
    add_files(t, "  a further one with its Message-ID", a->repeated, b->repeated);
    add_files(t, "  not compared: no Message-ID", a->without_id, b->without_id);
    add_files(t, "  not compared: header too large", a->large, b->large);
    add_files(t, "  not compared: cannot be read", a->unreadable, b->unreadable);
    columns_print(t);
    columns_free(t);
}

static const char *shown_value(const struct compare_listed *l, enum compare_side side)
{
    if (l->entry->seen[side] == 0)
        return "(missing)";
    return l->values[side] == NULL ? "(none)" : l->values[side];
}

static void print_side(const struct compare_listed *l, enum compare_side side)
{
    ctl_printf("  %c: %.60s%s", side == COMPARE_A ? 'A' : 'B', shown_value(l, side),
               compare_entry_differs(l->entry, side) ? " (and the opposite)" : "");
}

static void print_list(const struct compare *c, enum compare_class class, const char *head)
{
    uint64_t shown = 0, gone = 0;

    if (c->counts[class] == 0 || !compare_is_listed(c, class))
        return;
    putchar('\n');
    terminal_printf(TERMINAL_HEAD, "%s: %" PRIu64, head, c->counts[class]);
    putchar('\n');
    for (size_t i = 0; i < c->listed_count; i++) {
        const struct compare_listed *l = &c->listed[i];
        if (l->class != class)
            continue;
        shown++;
        gone += l->id == NULL;
        if (l->id == NULL)
            continue;
        ctl_printf("  %s", l->id);
        print_side(l, COMPARE_A);
        print_side(l, COMPARE_B);
        ctl_printf("  Subject: %s\n", l->subject);
    }
    if (gone > 0)
        ctl_printf("  (%" PRIu64 " were removed before they could be listed)\n", gone);
    if (shown < c->counts[class])
        ctl_printf("  (%" PRIu64 " more; --limit 0 lists all)\n", c->counts[class] - shown);
}

static const char *shown_path(const struct compare_place *p)
{
    return p->pattern != NULL ? p->pattern : p->path;
}

void compare_print(const struct compare *c)
{
    for (int side = COMPARE_A; side < COMPARE_SIDES; side++) {
        const struct compare_place *p = &c->places[side];
        const char letter = side == COMPARE_A ? 'A' : 'B';
        if (compare_is_path(p->given))
            ctl_printf("%c: %s\n", letter, p->given);
        else
            ctl_printf("%c: destination %s, maildir:%s\n", letter, p->given, shown_path(p));
    }
    ctl_printf("flagged: %s is %s\n", c->field, c->wanted != NULL ? c->wanted : usual);
    putchar('\n');
    print_counts(c);
    putchar('\n');
    print_files(c);
    print_list(c, COMPARE_ONLY_A, "only A flagged");
    print_list(c, COMPARE_ONLY_B, "only B flagged");
    print_list(c, COMPARE_DIFFERS, "differs within A or B");
    print_list(c, COMPARE_MISSING_A, "missing in A");
    print_list(c, COMPARE_MISSING_B, "missing in B");
}

/* --- JSON --- */

static const char *class_name(enum compare_class class)
{
    static const char *const names[COMPARE_CLASSES] = {
        [COMPARE_BOTH] = "both",
        [COMPARE_NEITHER] = "neither",
        [COMPARE_ONLY_A] = "only_a",
        [COMPARE_ONLY_B] = "only_b",
        [COMPARE_DIFFERS] = "differs",
        [COMPARE_MISSING_A] = "missing_in_a",
        [COMPARE_MISSING_B] = "missing_in_b",
    };

    return names[class];
}

static void set_count(json_t *o, const char *name, uint64_t count)
{
    ctl_json_set(o, name, json_integer((json_int_t)count));
}

static json_t *place_json(const struct compare_place *p)
{
    json_t *o = json_object();

    ctl_json_set(o, "name", ctl_json_text(p->given));
    ctl_json_set(o, "path", ctl_json_text(shown_path(p)));
    set_count(o, "maildirs", p->maildirs);
    set_count(o, "files", p->files);
    set_count(o, "without_field", p->without_field);
    set_count(o, "repeated", p->repeated);
    set_count(o, "without_message_id", p->without_id);
    set_count(o, "large", p->large);
    set_count(o, "unreadable", p->unreadable);
    return o;
}

static json_t *text_or_null(const char *text)
{
    return text == NULL ? json_null() : ctl_json_text(text);
}

static void print_json_listed(const struct compare_listed *l)
{
    json_t *o = json_object();

    ctl_json_set(o, "class", ctl_json_text(class_name(l->class)));
    ctl_json_set(o, "message_id", ctl_json_text(l->id));
    ctl_json_set(o, "a", text_or_null(l->values[COMPARE_A]));
    ctl_json_set(o, "b", text_or_null(l->values[COMPARE_B]));
    ctl_json_set(o, "a_differs", json_boolean(compare_entry_differs(l->entry, COMPARE_A)));
    ctl_json_set(o, "b_differs", json_boolean(compare_entry_differs(l->entry, COMPARE_B)));
    ctl_json_set(o, "subject", ctl_json_text(l->subject));
    ctl_json_line(o);
}

void compare_print_json(const struct compare *c)
{
    json_t *o = json_object();

    ctl_json_set(o, "class", ctl_json_text("summary"));
    ctl_json_set(o, "header", ctl_json_text(c->field));
    ctl_json_set(o, "value", text_or_null(c->wanted));
    for (int class = 0; class < COMPARE_CLASSES; class ++)
        set_count(o, class_name((enum compare_class) class), c->counts[class]);
    ctl_json_set(o, "a", place_json(&c->places[COMPARE_A]));
    ctl_json_set(o, "b", place_json(&c->places[COMPARE_B]));
    ctl_json_line(o);
    for (size_t i = 0; i < c->listed_count; i++)
        if (c->listed[i].id != NULL)
            print_json_listed(&c->listed[i]);
}
