/* SPDX-License-Identifier: ISC */
#include "ctl/milter_list.h"
#include "base/mem.h"
#include "base/ascii.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SEPARATORS " \t\r\n,"

/* Length of the entry that begins here. Text in braces is part of one entry. */
static size_t entry_len(const char *at)
{
    int depth = 0;
    size_t len = 0;

    for (; at[len] != '\0' && (depth > 0 || strchr(SEPARATORS, at[len]) == NULL); len++)
        depth += (at[len] == '{') - (at[len] == '}');
    return len;
}

void milter_list_parse(const char *value, struct milter_list *out)
{
    memset(out, 0, sizeof *out);
    for (const char *at = value + strspn(value, SEPARATORS); *at != '\0';) {
        size_t len = entry_len(at);
        const char *name = at + (at[0] == '{');
        name += at[0] == '{' ? strspn(name, SEPARATORS) : 0;
        out->items = mem_grow(out->items, out->count + 1, sizeof *out->items);
        out->items[out->count].text = mem_strndup(at, len);
        out->items[out->count++].name = mem_strndup(
            name, at[0] == '{' ? strcspn(name, SEPARATORS "}") : len - (size_t)(name - at));
        at += len;
        at += strspn(at, SEPARATORS);
    }
}

void milter_list_clear(struct milter_list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->items[i].text);
        free(l->items[i].name);
    }
    free(l->items);
    memset(l, 0, sizeof *l);
}

/* The value in "option=value" or "option = value" at this place; NULL: the text there is another
 * option. */
static const char *value_of(const char *at, const char *option)
{
    size_t len = strlen(option);

    if (strncmp(at, option, len) != 0)
        return NULL;
    at += len + strspn(at + len, SEPARATORS);
    return *at == '=' ? at + 1 + strspn(at + 1, SEPARATORS) : NULL;
}

char *milter_option(const struct milter_entry *entry, const char *option)
{
    const char *at = entry->text;
    char *value = NULL;

    while (entry->text[0] == '{' && *(at += strspn(at, SEPARATORS "{}")) != '\0') {
        const char *found = value_of(at, option);
        if (found != NULL) {
            free(value);
            value = mem_strndup(found, strcspn(found, SEPARATORS "}"));
        }
        at += strcspn(at, SEPARATORS "}");
    }
    return value;
}

static const char *after(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);

    return ascii_equal_n(text, prefix, len) ? text + len : NULL;
}

char *milter_path(const char *name, const char *queue_directory, bool is_chrooted)
{
    const char *path = after(name, "unix:");

    if (path == NULL)
        path = after(name, "local:");
    if (path == NULL)
        return NULL;
    if (path[0] == '/' && !is_chrooted)
        return mem_strdup(path);
    return mem_printf("%s/%s", queue_directory, path + strspn(path, "/"));
}

/* Return true if these are the same path, or two names of one socket. */
static bool is_same_path(const char *a, const char *b)
{
    struct stat sa, sb;

    return strcmp(a, b) == 0 || (stat(a, &sa) == 0 && stat(b, &sb) == 0 && S_ISSOCK(sa.st_mode) &&
                                 sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino);
}

/* Return true if the address "host:port" or "[host]:port" reaches this socket. */
static bool is_inet_at(const char *address, const struct endpoint *socket)
{
    const char *colon = strrchr(address, ':');

    if (colon == NULL || strtoul(colon + 1, NULL, 10) != socket->port)
        return false;
    bool is_bracketed = address[0] == '[';
    size_t len = (size_t)(colon - address);
    char *host =
        is_bracketed && len >= 2 ? mem_strndup(address + 1, len - 2) : mem_strndup(address, len);
    bool is_same = endpoint_is_any_host(socket->host) || ascii_equal(host, socket->host) ||
                   (endpoint_is_loopback_host(host) && endpoint_is_loopback_host(socket->host));
    free(host);
    return is_same;
}

bool milter_is_at(const char *name, const struct endpoint *socket, const char *queue_directory)
{
    const char *address = after(name, "inet:");
    bool is_same = false;

    if (socket->kind == ENDPOINT_INET)
        return address != NULL && is_inet_at(address, socket);
    for (int is_chrooted = 0; !is_same && is_chrooted < 2; is_chrooted++) {
        char *path = milter_path(name, queue_directory, is_chrooted);
        is_same = path != NULL && is_same_path(path, socket->path);
        free(path);
    }
    return is_same;
}
