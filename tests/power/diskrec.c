/* SPDX-License-Identifier: ISC */
#include "diskrec.h"
#include "record.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 65536
#define EXPORT __attribute__((visibility("default")))

static char root[4096]; /* "": record nothing */
static size_t root_len;
static int out_fd = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Held from a change of a name until it is recorded: what is built upon it comes later. */
static pthread_mutex_t names = PTHREAD_MUTEX_INITIALIZER;
/* Held for reading from a change until it is recorded, so the process is not killed in between. */
static pthread_rwlock_t alive = PTHREAD_RWLOCK_INITIALIZER;
static _Atomic uint64_t entries;      /* written so far */
static atomic_uchar tracked[FDS_MAX]; /* by descriptor: TRACKED_... */
enum { TRACKED_NOT, TRACKED_YES, TRACKED_SHM };

/* --- faults --- */

static const char *const call_names[] = {"sync",   "write",  "open",  "link",
                                         "rename", "unlink", "mkdir", "truncate"};
static atomic_ulong calls[RECORD_CALLS];
static int fail_call = -1; /* enum record_call; RECORD_CALLS: each at random */
static unsigned long fail_number, fail_mille, fail_max;
static int fail_errno;
static _Atomic uint64_t fail_seed;
static atomic_ulong failures;
static char fail_path[4096]; /* "while"; "": not set */

static uint64_t chance(void)
{
    uint64_t x = atomic_fetch_add(&fail_seed, 0x9e3779b97f4a7c15U) + 0x9e3779b97f4a7c15U;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
    x = (x ^ x >> 27) * 0x94d049bb133111ebU;
    return x ^ x >> 31;
}

static bool fails_now(void)
{
    if (fail_path[0] == '\0' || syscall(SYS_faccessat, AT_FDCWD, fail_path, F_OK) != 0)
        return false;
    errno = fail_errno;
    return true;
}

/* Whether this call is to fail; errno is set then. */
static bool fails(enum record_call call)
{
    static const int sync_errors[] = {EIO, ENOSPC}, open_errors[] = {EMFILE, EIO, ENOSPC};
    unsigned long number = atomic_fetch_add(&calls[call], 1) + 1;

    if (call != RECORD_CALL_SYNC && call != RECORD_CALL_OPEN && fails_now())
        return true;
    if (fail_call == (int)call && number == fail_number) {
        if (fail_errno == 0) {
            pthread_rwlock_wrlock(&alive);
            (void)raise(SIGKILL);
        }
        errno = fail_errno;
        return true;
    }
    if (fail_call != RECORD_CALLS || chance() % 1000 >= fail_mille ||
        atomic_fetch_add(&failures, 1) >= fail_max)
        return false;
    errno = call == RECORD_CALL_OPEN ? open_errors[chance() % 3] : sync_errors[chance() % 2];
    return true;
}

static void configure_faults(const char *text)
{
    char name[16];
    unsigned long a, b, c;

    if (text == NULL)
        return;
    if (sscanf(text, "random:%lu:%lu:%lu", &a, &b, &c) == 3) {
        fail_call = RECORD_CALLS;
        atomic_store(&fail_seed, a * 0xd1342543de82ef95U);
        fail_mille = b;
        fail_max = c;
        return;
    }
    if (sscanf(text, "while:%4095[^:]:%d", fail_path, &fail_errno) == 2)
        return;
    if (sscanf(text, "%15[a-z]:%lu:%d", name, &fail_number, &fail_errno) == 3)
        for (int i = 0; i < RECORD_CALLS; i++)
            if (strcmp(name, call_names[i]) == 0)
                fail_call = i;
    if (fail_call < 0)
        abort();
}

/* --- the record --- */

static void write_entry(struct record_entry *e, const char *name, const void *data, size_t len)
{
    struct iovec parts[3] = {{e, sizeof *e},
                             {(void *)(uintptr_t)name, name == NULL ? 0 : strlen(name)},
                             {(void *)(uintptr_t)data, len}};
    ssize_t want;
    int error = errno;

    if (out_fd < 0)
        return;
    e->name_len = (uint32_t)parts[1].iov_len;
    e->data_len = (uint32_t)len;
    want = (ssize_t)(sizeof *e + parts[1].iov_len + len);
    pthread_mutex_lock(&lock);
    if (syscall(SYS_writev, out_fd, parts, 3) != want)
        abort();
    atomic_fetch_add(&entries, 1);
    pthread_mutex_unlock(&lock);
    errno = error;
}

EXPORT void diskrec_mark(const char *text, size_t len)
{
    struct record_entry e = {.type = RECORD_MARK};

    pthread_rwlock_rdlock(&alive);
    write_entry(&e, NULL, text, len);
    pthread_rwlock_unlock(&alive);
}

static void lock_names(void)
{
    pthread_rwlock_rdlock(&alive);
    pthread_mutex_lock(&names);
}

static void unlock_names(void)
{
    pthread_mutex_unlock(&names);
    pthread_rwlock_unlock(&alive);
}

static void count_at_end(void)
{
    const char *path = getenv("DISKREC_COUNTS");
    FILE *f = path == NULL ? NULL : fopen(path, "we");

    for (int i = 0; i < RECORD_CALLS && f != NULL; i++)
        fprintf(f, "%s %lu\n", call_names[i], atomic_load(&calls[i]));
    if (f != NULL && fclose(f) != 0)
        abort();
}

__attribute__((constructor)) static void start(void)
{
    const char *out = getenv("DISKREC_OUT"), *top = getenv("DISKREC_ROOT");

    if (top == NULL)
        return;
    if (out != NULL) {
        out_fd = (int)syscall(SYS_openat, AT_FDCWD, out, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                              0600);
        out_fd = out_fd < 0 ? -1 : fcntl(out_fd, F_DUPFD_CLOEXEC, 900);
        if (out_fd < 0)
            abort();
        /* Numbers of entries go on, when a record is continued. */
        struct record_entry e;
        int fd = (int)syscall(SYS_openat, AT_FDCWD, out, O_RDONLY | O_CLOEXEC);
        off_t at = 0;
        while (pread(fd, &e, sizeof e, at) == (ssize_t)sizeof e) {
            at += (off_t)sizeof e + e.name_len + e.data_len;
            atomic_fetch_add(&entries, 1);
        }
        syscall(SYS_close, fd);
        e = (struct record_entry){.type = RECORD_CREATE_DIRECTORY};
        struct stat st;
        if (stat(top, &st) != 0)
            abort();
        e.file = st.st_ino;
        if (atomic_load(&entries) == 0)
            write_entry(&e, NULL, NULL, 0);
    }
    configure_faults(getenv("DISKREC_FAIL"));
    snprintf(root, sizeof root, "%s", top);
    root_len = strlen(root);
    (void)atexit(count_at_end);
    (void)at_quick_exit(count_at_end);
}

/* --- paths --- */

static unsigned char kind_of(int fd)
{
    return fd >= 0 && fd < FDS_MAX ? atomic_load(&tracked[fd]) : TRACKED_NOT;
}

/* Is it below the root? */
static unsigned char kind_of_path(int dirfd, const char *path)
{
    size_t len = strlen(path);

    if (root_len == 0)
        return TRACKED_NOT;
    if (path[0] == '/') {
        if (strncmp(path, root, root_len) != 0 || (path[root_len] != '/' && path[root_len] != '\0'))
            return TRACKED_NOT;
    } else if (dirfd == AT_FDCWD || kind_of(dirfd) == TRACKED_NOT) {
        return TRACKED_NOT;
    }
    return len > 4 && strcmp(path + len - 4, "-shm") == 0 ? TRACKED_SHM : TRACKED_YES;
}

static uint64_t inode_at(int dirfd, const char *path)
{
    struct stat st;

    return fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

static uint64_t inode_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* The directory that the path is in; *name_out: the rest. */
static uint64_t parent_of(int dirfd, const char *path, const char **name_out)
{
    const char *slash = strrchr(path, '/');
    char directory[4096];

    if (slash == NULL) {
        *name_out = path;
        return dirfd == AT_FDCWD ? inode_at(AT_FDCWD, ".") : inode_of(dirfd);
    }
    *name_out = slash + 1;
    snprintf(directory, sizeof directory, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return inode_at(dirfd, directory);
}

static void record_name(enum record_type type, int dirfd, const char *path, uint64_t file)
{
    const char *name;
    struct record_entry e = {.type = type, .file = file};

    e.directory = parent_of(dirfd, path, &name);
    write_entry(&e, name, NULL, 0);
}

/* --- open --- */

static int open_and_record(int dirfd, const char *path, int flags, mode_t mode)
{
    unsigned char kind = kind_of_path(dirfd, path);
    int error = errno;
    bool is_new = kind == TRACKED_YES && (flags & O_CREAT) != 0 && inode_at(dirfd, path) == 0;

    errno = error;
    int fd = (int)syscall(SYS_openat, dirfd, path, flags | O_LARGEFILE, mode);
    if (fd < 0)
        return fd;
    if (fd < FDS_MAX)
        atomic_store(&tracked[fd], kind);
    if (is_new) {
        record_name(RECORD_CREATE_FILE, dirfd, path, inode_of(fd));
    } else if (kind == TRACKED_YES && (flags & O_TRUNC) != 0) {
        struct record_entry e = {.type = RECORD_TRUNCATE, .file = inode_of(fd)};
        write_entry(&e, NULL, NULL, 0);
    }
    return fd;
}

static int do_open(int dirfd, const char *path, int flags, mode_t mode)
{
    if (kind_of_path(dirfd, path) == TRACKED_NOT)
        return (int)syscall(SYS_openat, dirfd, path, flags | O_LARGEFILE, mode);
    if (fails(RECORD_CALL_OPEN) ||
        ((flags & (O_ACCMODE | O_CREAT | O_TRUNC)) != O_RDONLY && fails_now()))
        return -1;
    lock_names();
    int fd = open_and_record(dirfd, path, flags, mode);
    unlock_names();
    return fd;
}

static mode_t mode_of(int flags, va_list ap)
{
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

#define OPEN(name)                                                                                 \
    EXPORT int name(const char *path, int flags, ...)                                              \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, flags);                                                                       \
        mode_t mode = mode_of(flags, ap);                                                          \
        va_end(ap);                                                                                \
        return do_open(AT_FDCWD, path, flags, mode);                                               \
    }
#define OPENAT(name)                                                                               \
    EXPORT int name(int dirfd, const char *path, int flags, ...)                                   \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, flags);                                                                       \
        mode_t mode = mode_of(flags, ap);                                                          \
        va_end(ap);                                                                                \
        return do_open(dirfd, path, flags, mode);                                                  \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

EXPORT int creat(const char *path, mode_t mode)
{
    return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

EXPORT int close(int fd)
{
    if (fd >= 0 && fd < FDS_MAX)
        atomic_store(&tracked[fd], TRACKED_NOT);
    return (int)syscall(SYS_close, fd);
}

/* --- writing --- */

static ssize_t wrote(int fd, const void *data, ssize_t n, off_t offset)
{
    struct record_entry e = {
        .type = RECORD_WRITE, .file = inode_of(fd), .offset = (uint64_t)offset};

    if (n > 0)
        write_entry(&e, NULL, data, (size_t)n);
    return n;
}

EXPORT ssize_t write(int fd, const void *data, size_t len)
{
    unsigned char kind = kind_of(fd);

    if (kind != TRACKED_NOT && fails(RECORD_CALL_WRITE))
        return -1;
    if (kind != TRACKED_YES)
        return syscall(SYS_write, fd, data, len);
    pthread_rwlock_rdlock(&alive);
    ssize_t n = syscall(SYS_write, fd, data, len);
    n = n > 0 ? wrote(fd, data, n, lseek(fd, 0, SEEK_CUR) - n) : n;
    pthread_rwlock_unlock(&alive);
    return n;
}

static ssize_t do_pwrite(int fd, const void *data, size_t len, off_t offset)
{
    unsigned char kind = kind_of(fd);

    if (kind != TRACKED_NOT && fails(RECORD_CALL_WRITE))
        return -1;
    if (kind != TRACKED_YES)
        return syscall(SYS_pwrite64, fd, data, len, offset);
    pthread_rwlock_rdlock(&alive);
    ssize_t n = syscall(SYS_pwrite64, fd, data, len, offset);
    n = n > 0 ? wrote(fd, data, n, offset) : n;
    pthread_rwlock_unlock(&alive);
    return n;
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return do_pwrite(fd, data, len, offset);
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return do_pwrite(fd, data, len, offset);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (kind_of(fd) == TRACKED_NOT)
        return syscall(SYS_writev, fd, parts, count);
    /* The first part alone: callers go on after a part. */
    while (count > 0 && parts->iov_len == 0)
        parts++, count--;
    return count == 0 ? 0 : write(fd, parts->iov_base, parts->iov_len);
}

static int do_truncate(int fd, off_t size)
{
    unsigned char kind = kind_of(fd);

    if (kind != TRACKED_NOT && fails(RECORD_CALL_TRUNCATE))
        return -1;
    pthread_rwlock_rdlock(&alive);
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    if (rc == 0 && kind == TRACKED_YES) {
        struct record_entry e = {
            .type = RECORD_TRUNCATE, .file = inode_of(fd), .offset = (uint64_t)size};
        write_entry(&e, NULL, NULL, 0);
    }
    pthread_rwlock_unlock(&alive);
    return rc;
}

EXPORT int ftruncate(int fd, off_t size)
{
    return do_truncate(fd, size);
}

EXPORT int ftruncate64(int fd, off64_t size)
{
    return do_truncate(fd, size);
}

/* Only for what was written before the call began. */
static int do_sync(int fd, long number)
{
    bool is_tracked = kind_of(fd) == TRACKED_YES;
    struct record_entry e = {.type = RECORD_SYNC, .from = atomic_load(&entries)};

    if (!is_tracked)
        return (int)syscall(number, fd);
    e.file = inode_of(fd);
    if (fails(RECORD_CALL_SYNC)) {
        e.type = RECORD_SYNC_FAILED;
        pthread_rwlock_rdlock(&alive);
        write_entry(&e, NULL, NULL, 0);
        pthread_rwlock_unlock(&alive);
        return -1;
    }
    int rc = (int)syscall(number, fd);
    if (rc == 0) {
        pthread_rwlock_rdlock(&alive);
        write_entry(&e, NULL, NULL, 0);
        pthread_rwlock_unlock(&alive);
    }
    return rc;
}

EXPORT int fsync(int fd)
{
    return do_sync(fd, SYS_fsync);
}

EXPORT int fdatasync(int fd)
{
    return do_sync(fd, SYS_fdatasync);
}

/* --- names --- */

EXPORT int mkdirat(int dirfd, const char *path, mode_t mode)
{
    unsigned char kind = kind_of_path(dirfd, path);

    if (kind != TRACKED_NOT && fails(RECORD_CALL_MKDIR))
        return -1;
    lock_names();
    int rc = (int)syscall(SYS_mkdirat, dirfd, path, mode);
    if (rc == 0 && kind == TRACKED_YES)
        record_name(RECORD_CREATE_DIRECTORY, dirfd, path, inode_at(dirfd, path));
    unlock_names();
    return rc;
}

EXPORT int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

EXPORT int linkat(int old_dirfd, const char *old, int new_dirfd, const char *path, int flags)
{
    unsigned char kind = kind_of_path(new_dirfd, path);

    if (kind != TRACKED_NOT && fails(RECORD_CALL_LINK))
        return -1;
    lock_names();
    int rc = (int)syscall(SYS_linkat, old_dirfd, old, new_dirfd, path, flags);
    if (rc == 0 && kind == TRACKED_YES)
        record_name(RECORD_LINK, new_dirfd, path, inode_at(new_dirfd, path));
    unlock_names();
    return rc;
}

EXPORT int link(const char *old, const char *path)
{
    return linkat(AT_FDCWD, old, AT_FDCWD, path, 0);
}

EXPORT int unlinkat(int dirfd, const char *path, int flags)
{
    unsigned char kind = kind_of_path(dirfd, path);

    if (kind != TRACKED_NOT && fails(RECORD_CALL_UNLINK))
        return -1;
    lock_names();
    uint64_t file = kind == TRACKED_YES ? inode_at(dirfd, path) : 0;
    int rc = (int)syscall(SYS_unlinkat, dirfd, path, flags);
    if (rc == 0 && kind == TRACKED_YES)
        record_name(RECORD_UNLINK, dirfd, path, file);
    unlock_names();
    return rc;
}

EXPORT int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

EXPORT int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

/* The two names may come to the disk one without the other. */
EXPORT int renameat2(int old_dirfd, const char *old, int new_dirfd, const char *path,
                     unsigned flags)
{
    unsigned char kind = kind_of_path(new_dirfd, path);
    unsigned char old_kind = kind_of_path(old_dirfd, old);

    if (kind != TRACKED_NOT && fails(RECORD_CALL_RENAME))
        return -1;
    lock_names();
    int rc = (int)syscall(SYS_renameat2, old_dirfd, old, new_dirfd, path, flags);
    if (rc == 0 && kind == TRACKED_YES)
        record_name(RECORD_LINK, new_dirfd, path, inode_at(new_dirfd, path));
    if (rc == 0 && old_kind == TRACKED_YES)
        record_name(RECORD_UNLINK, old_dirfd, old, inode_at(new_dirfd, path));
    unlock_names();
    return rc;
}

EXPORT int renameat(int old_dirfd, const char *old, int new_dirfd, const char *path)
{
    return renameat2(old_dirfd, old, new_dirfd, path, 0);
}

EXPORT int rename(const char *old, const char *path)
{
    return renameat2(AT_FDCWD, old, AT_FDCWD, path, 0);
}
