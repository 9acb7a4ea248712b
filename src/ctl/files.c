/* SPDX-License-Identifier: ISC */
#include "files.h"
#include "../mem.h"

#include <dirent.h>
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
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        err_set_errno(err, "%s", path);
        return errno == ENOENT ? FILES_ABSENT : FILES_FAULT;
    }
    while ((n = read(fd, buf_reserve(out, 65536), 65536)) > 0) {
        out->len += (size_t)n;
        if (out->len - before > FILES_MAX)
            break;
    }
    out->data[out->len] = '\0';
    if (n < 0)
        err_set_errno(err, "%s", path);
    else if (n > 0)
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

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Owner, mode, content and all on disk; the descriptor is closed. */
static int fill(int fd, const char *real, const char *content)
{
    struct stat st;
    bool is_there = stat(real, &st) == 0;
    int rc = write_all(fd, content, strlen(content));

    if (rc == 0 && is_there)
        rc = fchown(fd, st.st_uid, st.st_gid);
    if (rc == 0)
        rc = fchmod(fd, is_there ? st.st_mode & 07777 : 0644);
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

int files_write(const char *path, const char *content, struct err *err)
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
    /* Always the same name: what a crash left is taken away. */
    char *temporary = mem_printf("%s" FILES_TEMPORARY, real);
    unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        err_set_errno(err, "%s", temporary);
        goto out;
    }
    if (fill(fd, real, content) < 0 || rename(temporary, real) < 0) {
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
    free(temporary);
    return rc;
}

/* Names are collected first: a directory that shrinks while it is read may hide some of them. */
static int list_names(int fd, struct buf *out)
{
    DIR *dir = fdopendir(fd);
    struct dirent *e;

    if (dir == NULL) {
        close(fd);
        return -1;
    }
    errno = 0;
    while ((e = readdir(dir)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            buf_add(out, e->d_name, strlen(e->d_name) + 1);
    int error = errno;
    closedir(dir);
    errno = error;
    return error == 0 ? 0 : -1;
}

static int remove_at(const char *path, dev_t device)
{
    struct stat st;
    struct buf names = {0};
    int rc = 0, fd;

    if (lstat(path, &st) < 0)
        return -1;
    if (!S_ISDIR(st.st_mode))
        return unlink(path);
    if (st.st_dev != device) {
        errno = EXDEV;
        return -1;
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || list_names(fd, &names) < 0)
        rc = -1;
    for (size_t at = 0; rc == 0 && at < names.len; at += strlen(names.data + at) + 1) {
        char *below = mem_printf("%s/%s", path, names.data + at);
        rc = remove_at(below, device);
        free(below);
    }
    buf_clear(&names);
    return rc == 0 ? rmdir(path) : -1;
}

int files_remove_tree(const char *path, struct err *err)
{
    struct stat st;

    if (lstat(path, &st) == 0 && remove_at(path, st.st_dev) == 0)
        return 0;
    if (errno == ENOENT)
        return 0;
    err_set_errno(err, "%s", path);
    return -1;
}
