/* SPDX-License-Identifier: ISC */
#include "ctl/columns.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MIN 16 /* the width that names have at least */

struct cell {
    char *text, *note;
    enum terminal_style style, note_style;
};

struct columns {
    const int *widths;
    size_t count;
    bool is_cut;
    struct cell *cells;
    size_t cell_count;
};

struct columns *columns_new(const int *widths, size_t count, bool is_cut)
{
    struct columns *c = mem_zalloc(sizeof *c);

    c->widths = widths;
    c->count = count;
    c->is_cut = is_cut;
    return c;
}

void columns_free(struct columns *c)
{
    for (size_t i = 0; i < c->cell_count; i++) {
        free(c->cells[i].text);
        free(c->cells[i].note);
    }
    free(c->cells);
    free(c);
}

void columns_add(struct columns *c, enum terminal_style style, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    char *printable = buf_take(&text);
    log_sanitize(printable); /* may change the number of characters */
    c->cells = mem_grow(c->cells, c->cell_count + 1, sizeof *c->cells);
    c->cells[c->cell_count++] = (struct cell){.text = printable, .style = style};
}

void columns_note(struct columns *c, enum terminal_style style, const char *text)
{
    struct cell *last = &c->cells[c->cell_count - 1];

    free(last->note);
    last->note = mem_strdup(text);
    last->note_style = style;
}

/* Set the widths for a terminal: the widest content of each column, and for names what is left. */
static void fit(const struct columns *c, size_t width, size_t *out)
{
    size_t others = 0, note = 0;

    for (size_t i = 0; i < c->cell_count; i++) {
        const struct cell *cell = &c->cells[i];
        size_t columns = terminal_columns(cell->text), *widest = &out[i % c->count];
        *widest = columns > *widest ? columns : *widest;
        columns = cell->note == NULL ? 0 : terminal_columns(cell->note);
        note = columns > note ? columns : note;
    }
    for (size_t k = 1; k < c->count; k++)
        others += 1 + out[k];
    size_t left = width > others + note ? width - others - note : 0;
    left = left < NAME_MIN ? NAME_MIN : left;
    out[0] = out[0] > left ? left : out[0];
}

static void print_name(const struct columns *c, const struct cell *cell, size_t wanted)
{
    size_t columns = terminal_columns(cell->text), lead = strspn(cell->text, " ");

    if (columns <= wanted || (terminal_width() == 0 && c->is_cut)) {
        terminal_print_cell(cell->style, cell->text, wanted);
    } else if (terminal_width() == 0) {
        terminal_print(cell->style, cell->text);
    } else {
        terminal_print_wrapped(cell->style, 0, lead, cell->text + lead);
        printf("\n%*s", (int)wanted, "");
    }
}

static void print_number(const struct cell *cell, size_t wanted)
{
    size_t columns = terminal_columns(cell->text);

    printf(" %*s", columns < wanted ? (int)(wanted - columns) : 0, "");
    terminal_print(cell->style, cell->text);
}

void columns_print(const struct columns *c)
{
    size_t *widths = mem_zalloc(c->count * sizeof *widths), width = terminal_width();

    if (width > 0)
        fit(c, width, widths);
    for (size_t k = 0; k < c->count && width == 0; k++)
        widths[k] = (size_t)c->widths[k];
    for (size_t i = 0, k = 0; i < c->cell_count; i++) {
        const struct cell *cell = &c->cells[i];
        if (k == 0)
            print_name(c, cell, widths[0]);
        else
            print_number(cell, widths[k]);
        if (cell->note != NULL)
            terminal_print(cell->note_style, cell->note);
        if (++k == c->count) {
            putchar('\n');
            k = 0;
        }
    }
    free(widths);
}
