/* SPDX-License-Identifier: ISC */
#include "ctl/compare/compare_maildir.h"
#include "base/buf.h"
#include "base/hash.h"
#include "mail/template.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS_MAX 5 /* how often a Maildir is listed while its files are being renamed */

static uint64_t key_of(dev_t device, ino_t inode)
{
    const uint64_t pair[2] = {(uint64_t)device, (uint64_t)inode};

    return hash_untrusted_bytes(pair, sizeof pair);
}

enum compare_open compare_maildir_open(const struct compare_file *f, int *fd_out,
                                       struct stat *st_out)
{
    /* O_NONBLOCK: the open of a FIFO would wait for ever. */
    int fd = openat(f->folder, f->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd == -1) {
        if (errno == ENOENT)
            return COMPARE_GONE;
        /* a symbolic link; a socket, or a device without driver */
        return errno == ELOOP || errno == ENXIO ? COMPARE_NO_FILE : COMPARE_UNREADABLE;
    }
    bool is_known = fstat(fd, st_out) == 0;
    if (is_known && S_ISREG(st_out->st_mode)) {
        *fd_out = fd;
        return COMPARE_OPENED;
    }
    close(fd);
    return is_known ? COMPARE_NO_FILE : COMPARE_UNREADABLE;
}

/* --- the files of a Maildir --- */

/* Is it a name of something that is not a file, as far as the directory says? */
static bool is_no_file(const struct dirent *d)
{
    return d->d_name[0] == '.' || (d->d_type != DT_REG && d->d_type != DT_UNKNOWN);
}

/* Open a directory for readdir(3). NULL with errno; ENOTDIR: it is something else. */
static DIR *open_directory(int parent, const char *name, int flags, dev_t *device_out)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC | flags);
    struct stat st;

    if (fd == -1) {
        errno = errno == ELOOP ? ENOTDIR : errno;
        return NULL;
    }
    DIR *dir = fstat(fd, &st) == 0 ? fdopendir(fd) : NULL;
    if (dir == NULL)
        close(fd);
    else
        *device_out = st.st_dev;
    return dir;
}

static int fail(const struct buf *path, struct err *err)
{
    err_set_errno(err, "%s", buf_str(path));
    return -1;
}

/* Take the files of cur or new that were not seen. Returns the number of files that have gone; -1
 * with `err`. path: of the Maildir; is restored. */
static long long take_folder(const struct compare_walk *w, int maildir, struct buf *path,
                             const char *name, struct trace_keys *seen, struct err *err)
{
    const size_t path_len = path->len;
    const struct dirent *d;
    long long gone = 0;
    dev_t device;

    buf_addf(path, "/%s", name);
    DIR *dir = open_directory(maildir, name, O_NOFOLLOW, &device);
    if (dir == NULL)
        return fail(path, err);
    while (errno = 0, (d = readdir(dir)) != NULL) {
        const struct compare_file f = {dirfd(dir), buf_str(path), d->d_name,
                                       key_of(device, d->d_ino)};
        if (is_no_file(d) || trace_keys_have(seen, f.key))
            continue;
        if (w->take(w->ctx, &f))
            (void)trace_keys_add(seen, f.key);
        else
            gone++;
    }
    if (errno != 0)
        gone = fail(path, err);
    closedir(dir);
    buf_truncate(path, path_len);
    return gone;
}

/* Take the files of a Maildir. A mail reader moves files from new to cur, and renames those in cur,
 * so new is first, and both are listed again as long as files have gone. */
static int take_maildir(const struct compare_walk *w, int maildir, struct buf *path,
                        struct err *err)
{
    struct trace_keys seen = {0};
    long long gone = 1, gone_from_cur;
    int rc = 0;

    for (int i = 0; i < ROUNDS_MAX && gone > 0 && rc == 0; i++) {
        gone = take_folder(w, maildir, path, "new", &seen, err);
        gone_from_cur = gone < 0 ? -1 : take_folder(w, maildir, path, "cur", &seen, err);
        rc = gone_from_cur < 0 ? -1 : 0;
        gone += gone_from_cur;
    }
    trace_keys_clear(&seen);
    return rc;
}

/* --- directories --- */

static size_t slashes(const char *path)
{
    size_t count = 0;

    for (; *path != '\0'; path++)
        count += *path == '/';
    return count;
}

/* Where a directory is, seen from the pattern. */
enum place {
    PLACE_OUTSIDE, /* the pattern makes neither its path nor a path below it */
    PLACE_ABOVE,   /* the pattern may make a path below it */
    PLACE_MADE,    /* the pattern may make its path */
    PLACE_INSIDE   /* it is in a Maildir whose path the pattern may make; or there is no pattern */
};

static enum place place_of(const char *pattern, const char *path)
{
    struct buf sample = {0};
    struct err ignored;
    size_t made_at;

    if (template_path(pattern, "a@example.com", 0, &sample, &made_at, &ignored) != 0)
        return PLACE_OUTSIDE;
    size_t wanted = slashes(buf_str(&sample)), has = slashes(path);
    buf_clear(&sample);
    if (!template_may_be_below(pattern, path)) /* nor is what is below a path of the pattern */
        return PLACE_OUTSIDE;
    return has == wanted ? PLACE_MADE : PLACE_ABOVE;
}

static bool has_directory(int parent, const char *name)
{
    struct stat st;

    return fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* Count a Maildir. -1 with `err`: it is one of w->other. */
static int enter_maildir(struct compare_walk *w, int maildir, const struct buf *path,
                         struct err *err)
{
    struct stat st;

    if (fstat(maildir, &st) != 0)
        return fail(path, err);
    uint64_t key = key_of(st.st_dev, st.st_ino);
    if (w->other != NULL && trace_keys_have(w->other, key)) {
        w->has_other = true;
        err_set(err, "%s: this Maildir belongs to both sides", buf_str(path));
        return -1;
    }
    if (w->own != NULL)
        (void)trace_keys_add(w->own, key);
    w->maildir_count++;
    return 0;
}

/* A directory on the way, for walk(). */
struct step {
    int parent;       /* AT_FDCWD: it is the first one */
    const char *name; /* in its parent */
    bool is_inside;   /* as PLACE_INSIDE */
    unsigned depth;
};

static int walk(struct compare_walk *w, const struct step *at, struct buf *path, struct err *err);

/* Walk through the directories in the directory `at`. */
static int walk_below(struct compare_walk *w, const struct step *at, DIR *dir, bool is_maildir,
                      struct buf *path, struct err *err)
{
    const size_t path_len = path->len;
    const struct dirent *d;
    int rc = 0;

    while (rc == 0 && (errno = 0, d = readdir(dir)) != NULL) {
        const char *name = d->d_name;
        const struct step below = {dirfd(dir), name, at->is_inside || is_maildir, at->depth + 1};
        bool is_own = strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
                      (is_maildir && (strcmp(name, "cur") == 0 || strcmp(name, "new") == 0 ||
                                      strcmp(name, "tmp") == 0));
        if (is_own || (d->d_type != DT_DIR && d->d_type != DT_UNKNOWN))
            continue;
        buf_addf(path, "/%s", name);
        rc = walk(w, &below, path, err);
        buf_truncate(path, path_len);
    }
    return rc == 0 && errno != 0 ? fail(path, err) : rc;
}

/* Walk through a directory and all below it. path: its path; is restored. */
static int walk(struct compare_walk *w, const struct step *at, struct buf *path, struct err *err)
{
    const enum place place = at->is_inside ? PLACE_INSIDE : place_of(w->pattern, buf_str(path));
    dev_t device;

    if (place == PLACE_OUTSIDE)
        return 0;
    DIR *dir = open_directory(at->parent, at->name, at->depth == 0 ? 0 : O_NOFOLLOW, &device);
    if (dir == NULL && at->depth > 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (dir == NULL)
        return fail(path, err);
    bool is_maildir =
        place >= PLACE_MADE && has_directory(dirfd(dir), "cur") && has_directory(dirfd(dir), "new");
    int rc = is_maildir ? enter_maildir(w, dirfd(dir), path, err) : 0;
    if (rc == 0 && is_maildir)
        rc = take_maildir(w, dirfd(dir), path, err);
    if (rc == 0 && at->depth > COMPARE_DEPTH_MAX) {
        err_set(err, "%s: more than %d levels of directories", buf_str(path), COMPARE_DEPTH_MAX);
        rc = -1;
    }
    if (rc == 0 && (place != PLACE_MADE || is_maildir))
        rc = walk_below(w, at, dir, is_maildir, path, err);
    closedir(dir);
    return rc;
}

int compare_maildir_walk(struct compare_walk *w, struct err *err)
{
    struct buf path = {0};

    w->maildir_count = 0;
    w->has_other = false;
    buf_adds(&path, w->path);
    while (path.len > 0 && path.data[path.len - 1] == '/')
        buf_truncate(&path, path.len - 1);
    const struct step first = {AT_FDCWD, w->path, w->pattern == NULL, 0};
    int rc = walk(w, &first, &path, err);
    if (rc == 0 && w->maildir_count == 0) {
        err_set(err, "%s: there is no Maildir (a directory with the directories cur and new)",
                w->path);
        rc = -1;
    }
    buf_clear(&path);
    return rc;
}
