/* SPDX-License-Identifier: ISC */
#include "ctl/findings.h"
#include "base/buf.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define NAME_WIDTH 7

struct findings *findings_new(bool is_json)
{
    struct findings *f =
        mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (f == MAP_FAILED)
        abort(); /* out of memory */
    f->is_json = is_json;
    return f;
}

void find_more(struct findings *f, enum level level, const char *text, json_t *more)
{
    static const char *const names[] = {"ok", "note", "warning", "error"};
    static const enum terminal_style styles[] = {TERMINAL_GOOD, TERMINAL_PLAIN, TERMINAL_NOTICE,
                                                 TERMINAL_BAD};

    f->notes += level == LEVEL_NOTE;
    f->warnings += level == LEVEL_WARNING;
    f->errors += level == LEVEL_ERROR;
    if (f->is_json) {
        json_t *o = json_object();
        ctl_json_set(o, "level", ctl_json_text(names[level]));
        ctl_json_set(o, "text", ctl_json_text(text));
        if (more != NULL && json_object_update(o, more) != 0)
            abort(); /* out of memory */
        ctl_json_line(o);
    } else {
        terminal_print_cell(styles[level], names[level], NAME_WIDTH);
        terminal_print_wrapped(TERMINAL_PLAIN, NAME_WIDTH, NAME_WIDTH + 2, text);
        putchar('\n');
    }
    json_decref(more);
    fflush(stdout);
}

void find(struct findings *f, enum level level, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    find_more(f, level, buf_str(&text), NULL);
    buf_clear(&text);
}
