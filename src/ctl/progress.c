/* SPDX-License-Identifier: ISC */
#include "ctl/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WIDTH 40

bool progress_is_wanted(void)
{
    const char *term = getenv("TERM");

    return isatty(STDERR_FILENO) && (term == NULL || strcmp(term, "dumb") != 0);
}

void progress_begin(struct progress *p, const char *what, uint64_t total)
{
    *p = (struct progress){.what = what, .total = total, .is_shown = progress_is_wanted()};
}

void progress_show(struct progress *p, uint64_t done)
{
    char bar[WIDTH + 1];

    if (!p->is_shown)
        return;
    p->is_drawn = true;
    if (p->total == 0) {
        fprintf(stderr, "\r%s %" PRIu64, p->what, done);
        return;
    }
    uint64_t part = done < p->total ? done : p->total; /* copies arrive meanwhile: done > total */
    uint64_t filled = part * WIDTH / p->total;
    memset(bar, '.', WIDTH);
    memset(bar, '#', filled);
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r%s [%s] %3" PRIu64 "%% %" PRIu64 "/%" PRIu64, p->what, bar,
            part * 100 / p->total, done, p->total);
}

static bool show_reading(void *ctx, uint64_t looked_at, uint64_t total)
{
    struct progress *p = ctx;

    p->total = total;
    if (looked_at < total || p->is_drawn) /* no bar for a single step */
        progress_show(p, looked_at);
    return true;
}

queue_reader_progress *progress_of_reading(void)
{
    return progress_is_wanted() ? show_reading : NULL;
}

void progress_end(struct progress *p)
{
    if (p->is_drawn)
        fputs("\r\033[K", stderr);
    p->is_drawn = false;
}
