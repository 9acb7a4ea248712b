/* SPDX-License-Identifier: ISC */
#include "config/config_include.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX (4u << 20)

char *config_include_read(const char *path, size_t *len_out, struct err *err)
{
    struct buf text = {0};
    struct stat st;
    int rc = 0;
    /* O_NONBLOCK: a FIFO without a writer must not block a reload. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    err->text[0] = '\0';
    if (fd < 0 || fstat(fd, &st) < 0) {
        err_set_errno(err, "%s", path);
        goto out;
    }
    if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode)) {
        err_set(err, "%s: is %s", path, S_ISDIR(st.st_mode) ? "a directory" : "no regular file");
        goto out;
    }
    rc = fdio_read_rest(fd, &text, FILE_SIZE_MAX);
    if (rc < 0)
        err_set_errno(err, "%s: read", path);
    else if (rc > 0)
        err_set(err, "%s: larger than %u bytes", path, FILE_SIZE_MAX);
out:
    if (fd >= 0)
        close(fd);
    if (err->text[0] != '\0') {
        buf_clear(&text);
        return NULL;
    }
    *len_out = text.len;
    return buf_take(&text);
}

/* glob(3) calls this for a directory that it cannot read. A result that is not 0 ends the expansion
 * with an error. */
static int is_fault(const char *path, int error)
{
    (void)path;
    return error != ENOENT && error != ENOTDIR;
}

static void add_path(struct config_paths *out, const char *path)
{
    out->items = mem_grow(out->items, out->count + 1, sizeof *out->items);
    out->items[out->count++] = mem_strdup(path);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int config_include_expand(const char *file, const char *pattern, struct config_paths *out,
                          struct err *err)
{
    const char *slash = strrchr(file, '/');
    char *path = pattern[0] == '/' || slash == NULL
                     ? mem_strdup(pattern)
                     : mem_printf("%.*s/%s", (int)(slash - file), file, pattern);
    glob_t found = {0};
    int rc = 0;

    *out = (struct config_paths){0};
    if (strpbrk(pattern, "*?[") == NULL) {
        add_path(out, path);
    } else {
        errno = 0;
        rc = glob(path, GLOB_NOSORT, is_fault, &found);
        for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++)
            add_path(out, found.gl_pathv[i]);
        rc = rc == 0 || rc == GLOB_NOMATCH ? 0 : -1;
        if (rc < 0)
            err_set_errno(err, "include(\"%s\")", pattern);
        globfree(&found);
        if (out->count > 0)
            qsort(out->items, out->count, sizeof *out->items, by_bytes);
    }
    free(path);
    return rc;
}

void config_paths_clear(struct config_paths *paths)
{
    for (size_t i = 0; i < paths->count; i++)
        free(paths->items[i]);
    free(paths->items);
    *paths = (struct config_paths){0};
}
