/* SPDX-License-Identifier: ISC */
/* Lines from clients. The strings that the parser returns are within its text, and have no control
 * characters. The address is in a form that is read as itself, and that every server reads in the
 * same way. */
#include "mail/smtp_command.h"
#include "mail/smtp_path.h"

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

static void check_address(const struct smtp_command *c)
{
    struct buf again = {0};
    struct address parsed;
    struct err ignored;
    size_t len = strlen(c->address);

    if (c->address != c->path && c->address != c->reformed)
        abort();
    if (len < 2 || c->address[0] != '<' || c->address[len - 1] != '>' ||
        smtp_path_read(c->address + 1, len - 2, &again) != NULL || again.len != len - 2 ||
        memcmp(buf_str(&again), c->address + 1, len - 2) != 0)
        abort();
    if (address_parse(c->address, len, ADDRESS_LENIENT | ADDRESS_OCTETS, &parsed, &ignored) == 0 &&
        address_is_ambiguous(&parsed))
        abort();
    for (const char *s = c->address; *s != '\0'; s++) {
        if ((unsigned char)*s < ' ' || *s == '\x7f')
            abort();
    }
    buf_clear(&again);
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
    if (c.verb == SMTP_MAIL || c.verb == SMTP_RCPT) {
        if (c.path[0] != '<' || c.path[strlen(c.path) - 1] != '>')
            abort();
        if (c.address != NULL)
            check_address(&c);
        else if (c.fault == NULL)
            abort();
    }
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
