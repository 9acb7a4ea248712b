/* SPDX-License-Identifier: ISC */
/* Any line: what the parser hands out lies within its text, and holds no control characters. */
#include "smtp_command.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct smtp_command *c, const char *s)
{
    if (s < c->text || s >= c->text + sizeof c->text ||
        memchr(s, '\0', (size_t)(c->text + sizeof c->text - s)) == NULL)
        abort();
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s < ' ' || *s == '\x7f')
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct smtp_command c;
    struct err err = {0};

    if (smtp_command_parse((const char *)data, size, &c, &err) != 0) {
        if (err.text[0] == '\0')
            abort();
        return 0;
    }
    check(&c, c.argument);
    check(&c, c.path);
    if ((c.verb == SMTP_MAIL || c.verb == SMTP_RCPT) &&
        (c.path[0] != '<' || c.path[strlen(c.path) - 1] != '>'))
        abort();
    for (size_t i = 0; i < c.word_count; i++) {
        const char *value;
        check(&c, c.words[i]);
        if (strchr(c.words[i], ' ') != NULL)
            abort();
        if (smtp_command_word(c.words[i], "SIZE", &value))
            check(&c, value);
    }
    return c.words[c.word_count] != NULL;
}
