/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/setup/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 40, DEPTH_MAX = 64 };

/* Put the target of the link before the rest of the path. -1 with errno: the link must not be
 * followed, or cannot be read. */
static int follow(int link_fd, const struct stat *st, char **rest)
{
    char target[PATH_MAX];
    ssize_t len;

    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        errno = ELOOP;
        return -1;
    }
    len = readlinkat(link_fd, "", target, sizeof target - 1);
    if (len < 0)
        return -1;
    target[len] = '\0';
    char *more = mem_printf("%s/%s", target, *rest);
    free(*rest);
    *rest = more;
    return 0;
}

/* Take the first name off the path, for the caller to free. NULL: there is none left. */
static char *take_name(char **rest)
{
    char *at = *rest + strspn(*rest, "/");
    size_t len = strcspn(at, "/");

    if (len == 0)
        return NULL;
    char *name = mem_strndup(at, len), *more = mem_strdup(at + len);
    free(*rest);
    *rest = more;
    return name;
}

/* Open the directory (O_PATH), name by name, so that each symbolic link is checked. -1 with
 * errno. */
static int open_directory(const char *path)
{
    char *rest = mem_strdup(path), *name;
    int fd = open(path[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

    for (int links = 0; fd >= 0 && (name = take_name(&rest)) != NULL; free(name)) {
        struct stat st;
        int next = openat(fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), error;
        bool is_there = next >= 0 && fstat(next, &st) == 0;
        bool is_link = is_there && S_ISLNK(st.st_mode);
        if (is_link && (links++ >= LINKS_MAX || follow(next, &st, &rest) < 0))
            is_there = false;
        error = is_there && !is_link && !S_ISDIR(st.st_mode) ? ENOTDIR : is_there ? 0 : errno;
        if (is_there && is_link && error == 0) { /* the target is relative to fd, or absolute */
            close(next);
            next = rest[0] == '/' ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)
                                  : fcntl(fd, F_DUPFD_CLOEXEC, 0);
        }
        close(fd);
        fd = next;
        if (error != 0 && fd >= 0)
            close(fd);
        if (error != 0) {
            fd = -1;
            errno = error;
        }
    }
    int error = errno;
    free(rest);
    errno = error;
    return fd;
}

/* Open the parent directory of the path; *name_out is the last name, and points into `path`. -1
 * with errno. */
static int open_parent(const char *path, const char **name_out)
{
    const char *slash = strrchr(path, '/');
    char *directory =
        slash == NULL ? mem_strdup(".") : mem_strndup(path, (size_t)(slash - path) + 1);
    int fd = open_directory(directory), error = errno;

    *name_out = slash == NULL ? path : slash + 1;
    if (fd >= 0 && (*name_out)[0] == '\0') {
        close(fd);
        fd = -1;
        error = EINVAL;
    }
    free(directory);
    errno = error;
    return fd;
}

int files_mkdir(const char *path, mode_t mode, uid_t uid, gid_t gid, struct err *err)
{
    const char *name;
    int parent = open_parent(path, &name), fd = -1, rc = -1;
    bool is_made = parent >= 0 && mkdirat(parent, name, 0700) == 0;
    struct stat st;

    if (is_made)
        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    /* A user who may write to the parent directory may have replaced the new directory, so owner
     * and mode are checked. fchmod() is needed because of the umask, and comes after fchown(),
     * which clears set-id bits. */
    bool is_ours =
        fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 07077) == 0;
    if (fd >= 0 && !is_ours)
        errno = EPERM;
    if (is_ours && fchown(fd, uid, gid) == 0 && fchmod(fd, mode) == 0)
        rc = 0;
    else
        err_set_errno(err, "%s", path);
    if (fd >= 0)
        close(fd);
    if (is_made && rc < 0)
        unlinkat(parent, name, AT_REMOVEDIR);
    if (parent >= 0)
        close(parent);
    return rc;
}

static int remove_name(const char *path, int flags, struct err *err)
{
    const char *name;
    int parent = open_parent(path, &name);
    int rc = parent < 0 ? -1 : unlinkat(parent, name, flags), error = errno;

    if (parent >= 0)
        close(parent);
    errno = error;
    if (rc == 0 || errno == ENOENT)
        return 0;
    if (flags == AT_REMOVEDIR && (errno == ENOTEMPTY || errno == EEXIST))
        return 0;
    err_set_errno(err, "%s", path);
    return -1;
}

int files_unlink(const char *path, struct err *err)
{
    return remove_name(path, 0, err);
}

int files_rmdir(const char *path, struct err *err)
{
    return remove_name(path, AT_REMOVEDIR, err);
}

/* Collect the names before any of them is removed: readdir(3) may skip names in a directory that
 * shrinks. Takes over fd. */
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

/* Open the directory with this name if it is on this device, and collect its names. Returns the
 * descriptor, or -1. */
static int open_and_list(int parent, const char *name, dev_t device, struct buf *names)
{
    struct stat st;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -1;
    int rc = fstat(fd, &st);
    if (rc == 0 && st.st_dev != device) {
        errno = EXDEV;
        rc = -1;
    }
    int copy = rc < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0 && list_names(copy, names) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int remove_at(int parent, const char *name, dev_t device, int depth)
{
    struct stat st;
    struct buf names = {0};
    int rc = 0;

    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (!S_ISDIR(st.st_mode))
        return unlinkat(parent, name, 0);
    if (depth >= DEPTH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = open_and_list(parent, name, device, &names);
    if (fd < 0)
        rc = -1;
    for (size_t at = 0; rc == 0 && at < names.len; at += strlen(names.data + at) + 1)
        rc = remove_at(fd, names.data + at, device, depth + 1);
    int error = errno;
    if (fd >= 0)
        close(fd);
    buf_clear(&names);
    errno = error;
    return rc == 0 ? unlinkat(parent, name, AT_REMOVEDIR) : -1;
}

int files_remove_tree(const char *path, struct err *err)
{
    const char *name;
    struct stat st;
    int parent = open_parent(path, &name), rc = -1;

    if (parent >= 0 && fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        rc = remove_at(parent, name, st.st_dev, 0);
    int error = errno;
    if (parent >= 0)
        close(parent);
    if (rc == 0 || error == ENOENT)
        return 0;
    errno = error;
    err_set_errno(err, "%s", path);
    return -1;
}

static unsigned long count_at(int parent, const char *name, dev_t device, int depth)
{
    struct buf names = {0};
    struct stat st;
    unsigned long count = 0;

    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || depth >= DEPTH_MAX)
        return 0;
    if (!S_ISDIR(st.st_mode))
        return S_ISREG(st.st_mode);
    int fd = open_and_list(parent, name, device, &names);
    for (size_t at = 0; fd >= 0 && at < names.len; at += strlen(names.data + at) + 1)
        count += count_at(fd, names.data + at, device, depth + 1);
    if (fd >= 0)
        close(fd);
    buf_clear(&names);
    return count;
}

unsigned long files_count(const char *path)
{
    const char *name;
    struct stat st;
    int parent = open_parent(path, &name);
    unsigned long count = 0;

    if (parent >= 0 && fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        count = count_at(parent, name, st.st_dev, 0);
    if (parent >= 0)
        close(parent);
    return count;
}
