/* SPDX-License-Identifier: ISC */
/* Finds the secondary instances. */
#include "base/mem.h"
#include "ctl/setup/command.h"
#include "ctl/setup/files.h"
#include "ctl/setup/setup_postfix.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATORS " \t\r\n,"

char *setup_sibling(const char *directory, const char *suffix)
{
    size_t len = strlen(directory);

    while (len > 1 && directory[len - 1] == '/')
        len--;
    return mem_printf("%.*s%s", (int)len, directory, suffix);
}

char *setup_known_instances(const char *directory, struct err *err)
{
    const char *argv[] = {"postconf", "-c", directory, "-h", MARKED_SHARED, NULL};
    struct buf out = {0};

    if (command_need(argv, &out, err) < 0) {
        buf_clear(&out);
        return NULL;
    }
    while (out.len > 0 && strchr(SEPARATORS, out.data[out.len - 1]) != NULL)
        buf_truncate(&out, out.len - 1);
    return buf_take(&out);
}

bool setup_is_known(const char *known, const char *directory)
{
    size_t len = strlen(directory);

    for (known += strspn(known, SEPARATORS); *known != '\0'; known += strspn(known, SEPARATORS)) {
        size_t word = strcspn(known, SEPARATORS);
        if (word == len && strncmp(known, directory, len) == 0)
            return true;
        known += word;
    }
    return false;
}

/* Set *out to true if the directory is missing, or empty except for a temporary main.cf that a
 * crash has left. -1 with `err`: the directory cannot be read. */
static int is_empty(const char *directory, bool *out, struct err *err)
{
    DIR *dir = opendir(directory);
    struct dirent *e;

    *out = true;
    if (dir == NULL && errno == ENOENT)
        return 0;
    if (dir == NULL) {
        err_set_errno(err, "%s", directory);
        return -1;
    }
    while ((e = readdir(dir)) != NULL)
        *out = *out && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
                        strcmp(e->d_name, "main.cf" FILES_TEMPORARY) == 0);
    closedir(dir);
    return 0;
}

int setup_find_owner(const struct postfix *p, const char *directory, enum setup_owner *out,
                     struct err *err)
{
    char *path = mem_printf("%s/main.cf", directory);
    struct buf text = {0}, ignored = {0};
    enum marked_state state;
    bool empty;
    int rc = -1;

    switch (files_read(path, &text, err)) {
    case FILES_OK:
        rc = marked_strip(buf_str(&text), &ignored, &state, err);
        *out = state == MARKED_NONE ? SETUP_OWNER_OTHER : SETUP_OWNER_WE;
        break;
    case FILES_ABSENT:
        rc = is_empty(directory, &empty, err);
        *out = empty                                ? SETUP_OWNER_NONE
               : setup_find(p) == SETUP_FOUND_MULTI ? SETUP_OWNER_UNFINISHED
                                                    : SETUP_OWNER_OTHER;
        break;
    case FILES_FAULT:
        break;
    }
    buf_clear(&text);
    buf_clear(&ignored);
    free(path);
    return rc;
}
