/* SPDX-License-Identifier: ISC */
#include "ctl/setup/files.h"
#include "base/mem.h"
#include "base/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum files_result files_read(const char *path, struct buf *out, struct err *err)
{
    size_t before = out->len;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        err_set_errno(err, "%s", path);
        return errno == ENOENT ? FILES_ABSENT : FILES_FAULT;
    }
    int rc = fdio_read_rest(fd, out, FILES_MAX);
    if (rc < 0)
        err_set_errno(err, "%s", path);
    else if (rc > 0)
        err_set(err, "%s: larger than %u bytes", path, FILES_MAX);
    else if (out->len > before && memchr(out->data + before, '\0', out->len - before) != NULL)
        err_set(err, "%s: holds NUL bytes", path);
    else
        err->text[0] = '\0';
    close(fd);
    return err->text[0] == '\0' ? FILES_OK : FILES_FAULT;
}

bool files_is_there(const char *directory, const char *name)
{
    char *path = mem_printf("%s/%s", directory, name);
    struct stat st;
    bool is_there = lstat(path, &st) == 0;

    free(path);
    return is_there;
}

/* Write the content, set the attributes, fsync and close the file. */
static int fill(int fd, const char *content, const struct files_attributes *attributes)
{
    int rc = fdio_write_all(fd, content, strlen(content));

    if (rc == 0)
        rc = files_attributes_set(fd, attributes);
    if (rc == 0)
        rc = fsync(fd);
    int error = errno;
    if (close(fd) < 0 && rc == 0)
        return -1;
    errno = error;
    return rc;
}

static int sync_directory_of(const char *path)
{
    char *copy = mem_strdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = -1;

    free(copy);
    if (fd < 0)
        return -1;
    rc = fsync(fd);
    close(fd);
    return rc;
}

int files_write(const char *path, const char *content, const struct files_attributes *attributes,
                struct err *err)
{
    char real[PATH_MAX];
    int rc = -1;

    if (realpath(path, real) == NULL) {
        if (errno != ENOENT || strlen(path) >= sizeof real) {
            err_set_errno(err, "%s", path);
            return -1;
        }
        snprintf(real, sizeof real, "%s", path);
    }
    struct files_attributes *now = files_attributes_get(real);
    /* The name is always the same, so that a file left by a crash is removed here. */
    char *temporary = mem_printf("%s" FILES_TEMPORARY, real);
    unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        err_set_errno(err, "%s", temporary);
        goto out;
    }
    if (fill(fd, content, now != NULL ? now : attributes) < 0 || rename(temporary, real) < 0) {
        err_set_errno(err, "%s", real);
        unlink(temporary);
        goto out;
    }
    if (sync_directory_of(real) < 0) {
        err_set_errno(err, "%s: directory", real);
        goto out;
    }
    rc = 0;
out:
    files_attributes_free(now);
    free(temporary);
    return rc;
}
