/* SPDX-License-Identifier: ISC */
#include "ctl/setup/marked_text.h"
#include "base/mem.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define COMMENT "#split# "
#define BEGIN "# BEGIN splitmilter "
#define END "# END splitmilter\n"
#define BY "made by "
#define ADVICE ", edit outside of this part\n"
#define SHARED MARKED_SHARED " ="

/* Length of the line that begins here, with its line end. */
static size_t line_len(const char *line)
{
    const char *end = strchr(line, '\n');

    return end == NULL ? strlen(line) : (size_t)(end - line) + 1;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* FNV-1a detects edits; it does not protect against forgery. */
static uint32_t checksum(const char *body, size_t body_len)
{
    uint32_t h = HASH_FNV1A_32_START;

    for (const char *line = body; line < body + body_len; line += line_len(line))
        if (!starts_with(line, SHARED))
            h = hash_fnv1a_32(h, line, line_len(line));
    return h;
}

/* Find the end mark. *body_len_out: length of the text before it; *rest_out: the text after it. */
static int find_end(const char *body, const char **rest_out, size_t *body_len_out, struct err *err)
{
    for (const char *line = body; *line != '\0'; line += line_len(line))
        if (starts_with(line, END)) {
            *body_len_out = (size_t)(line - body);
            *rest_out = line + strlen(END);
            return 0;
        }
    err_set(err, "our part has a line '%.*s' but no line '%.*s'", (int)strlen(BEGIN) - 1, BEGIN,
            (int)strlen(END) - 1, END);
    return -1;
}

/* Skip our part at *at. `out` already has the lines before it; the line end of the last one is
 * removed if the original text had none (flag 'n'). */
static int skip_part(const char **at, struct buf *out, enum marked_state *state, struct err *err)
{
    const char *body = *at + line_len(*at), *rest;
    size_t body_len;
    uint32_t sum = 0;
    char flag = '-';

    if (*state != MARKED_NONE) {
        err_set(err, "there are several parts that begin with '%.*s'", (int)strlen(BEGIN) - 1,
                BEGIN);
        return -1;
    }
    if (find_end(body, &rest, &body_len, err) < 0)
        return -1;
    const char *head = *at + strlen(BEGIN);
    bool is_read = strspn(head, "0123456789abcdef") == 8 && head[8] == ' ' && head[9] != '\0';
    if (is_read) {
        sum = (uint32_t)strtoul(head, NULL, 16);
        flag = head[9];
    }
    *state = is_read && sum == checksum(body, body_len) ? MARKED_OURS : MARKED_EDITED;
    if (flag == 'n' && *rest == '\0' && out->len > 0 && out->data[out->len - 1] == '\n')
        buf_truncate(out, out->len - 1);
    *at = rest;
    return 0;
}

int marked_strip(const char *text, struct buf *out, enum marked_state *state_out, struct err *err)
{
    *state_out = MARKED_NONE;
    for (const char *line = text; *line != '\0';) {
        if (starts_with(line, BEGIN)) {
            if (skip_part(&line, out, state_out, err) < 0)
                return -1;
            continue;
        }
        size_t len = line_len(line), skip = starts_with(line, COMMENT) ? strlen(COMMENT) : 0;
        buf_add(out, line + skip, len - skip);
        line += len;
    }
    return 0;
}

char *marked_who(const char *text)
{
    for (const char *line = text; *line != '\0'; line += line_len(line)) {
        if (!starts_with(line, BEGIN))
            continue;
        const char *by = strstr(line, BY), *end = strstr(line, ADVICE);
        size_t len = line_len(line);
        if (by == NULL || end == NULL || end < by || end >= line + len)
            return NULL;
        by += strlen(BY);
        return mem_strndup(by, (size_t)(end - by));
    }
    return NULL;
}

/* Return true if this line begins a logical line (postconf(5)): its first character is neither
 * white space nor '#'. */
static bool begins_entry(const char *line)
{
    return strchr(" \t\r\n#", line[0]) == NULL;
}

/* Return true if this line continues the entry before it. Comments and empty lines in between do
 * not end an entry. */
static bool continues_entry(const char *line)
{
    return strchr("#\n", line[strspn(line, " \t\r")]) == NULL && !begins_entry(line);
}

static bool has_key(const char *line, enum marked_format format, const char *key)
{
    size_t len = strcspn(line, format == MARKED_MAIN_CF ? " \t\r\n=" : " \t\r\n");

    if (format == MARKED_MAIN_CF)
        return strlen(key) == len && strncmp(line, key, len) == 0;
    const char *type = line + len + strspn(line + len, " \t");
    size_t type_len = strcspn(type, " \t\r\n");
    return strlen(key) == len + 1 + type_len && strncmp(line, key, len) == 0 && key[len] == '/' &&
           strncmp(type, key + len + 1, type_len) == 0;
}

static bool has_any(const char *line, enum marked_format format, const char *const *keys,
                    size_t key_count)
{
    for (size_t i = 0; i < key_count; i++)
        if (has_key(line, format, keys[i]))
            return true;
    return false;
}

void marked_add(const char *base, enum marked_format format, const char *const *keys,
                size_t key_count, const char *part, const char *who, struct buf *out)
{
    bool is_inside = false;

    for (const char *line = base; *line != '\0'; line += line_len(line)) {
        if (begins_entry(line))
            is_inside = has_any(line, format, keys, key_count);
        if (is_inside && (begins_entry(line) || continues_entry(line)))
            buf_adds(out, COMMENT);
        buf_add(out, line, line_len(line));
    }
    bool lacks_end = out->len > 0 && out->data[out->len - 1] != '\n';
    if (lacks_end)
        buf_addc(out, '\n');
    buf_addf(out, BEGIN "%08" PRIx32 " %c: " BY "%s" ADVICE, checksum(part, strlen(part)),
             lacks_end ? 'n' : '-', who);
    buf_adds(out, part);
    buf_adds(out, END);
}
