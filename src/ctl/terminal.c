/* SPDX-License-Identifier: ISC */
#include "ctl/terminal.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "ctl/ctl.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A text with less room for its words than this is not broken. */
#define WRAP_MIN 20

/* Asked once, because long lists print many texts. */
static bool is_terminal(void)
{
    static int known = -1;

    if (known < 0)
        known = isatty(STDOUT_FILENO);
    return known == 1;
}

static bool has_color(void)
{
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

    return (no_color == NULL || no_color[0] == '\0') && term != NULL && term[0] != '\0' &&
           strcmp(term, "dumb") != 0;
}

size_t terminal_width(void)
{
    struct winsize size;

    return is_terminal() && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/* Does a character begin here, not go on? */
static bool is_first_byte(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

size_t terminal_columns(const char *text)
{
    size_t columns = 0;

    for (; *text != '\0'; text++)
        columns += is_first_byte(*text);
    return columns;
}

/* The length in bytes of the first characters of a text, which take so many columns. */
static size_t bytes_of(const char *text, size_t columns)
{
    size_t len = 0;

    while (text[len] != '\0' && (columns > 0 || !is_first_byte(text[len])))
        columns -= is_first_byte(text[len++]);
    return len;
}

void terminal_print(enum terminal_style style, const char *text)
{
    static const char *const codes[] = {
        [TERMINAL_PLAIN] = "",  [TERMINAL_HEAD] = "1",    [TERMINAL_FAINT] = "2",
        [TERMINAL_GOOD] = "32", [TERMINAL_NOTICE] = "33", [TERMINAL_BAD] = "31"};
    bool is_styled = style != TERMINAL_PLAIN && is_terminal() && has_color();

    if (is_styled)
        printf("\033[%sm", codes[style]);
    ctl_print(text);
    if (is_styled)
        fputs("\033[0m", stdout);
}

void terminal_printf(enum terminal_style style, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    terminal_print(style, buf_str(&text));
    buf_clear(&text);
}

void terminal_print_cell(enum terminal_style style, const char *text, size_t columns)
{
    size_t have = terminal_columns(text);

    if (have <= columns) {
        terminal_print(style, text);
        printf("%*s", (int)(columns - have), "");
        return;
    }
    size_t dots = columns < 3 ? columns : 3;
    terminal_printf(style, "%.*s%.*s", (int)bytes_of(text, columns - dots), text, (int)dots, "...");
}

/* The length in bytes of the part of a text that fits on a line: up to the last blank. A word that
 * is longer than a line, such as an address, is not broken, so that it can be copied. */
static size_t fitting(const char *text, size_t columns)
{
    size_t len = bytes_of(text, columns), blank = len;

    if (text[len] == '\0' || text[len] == ' ')
        return len;
    while (blank > 0 && text[blank - 1] != ' ')
        blank--;
    return blank > 0 ? blank : strcspn(text, " ");
}

void terminal_print_wrapped(enum terminal_style style, size_t at, size_t indent, const char *text)
{
    size_t width = terminal_width(), room = width >= indent + WRAP_MIN ? width - indent : SIZE_MAX;
    char *whole = mem_strdup(text);

    log_sanitize(whole); /* may change the number of characters */
    for (text = whole;;) {
        size_t len = fitting(text, room), shown = len;
        while (shown > 0 && text[len] != '\0' && text[shown - 1] == ' ')
            shown--;
        char *part = mem_strndup(text, shown);
        printf("%*s", (int)(indent - at), "");
        terminal_print(style, part);
        free(part);
        text += len;
        text += *text == ' ';
        if (*text == '\0')
            break;
        putchar('\n');
        at = 0;
    }
    free(whole);
}
