/* SPDX-License-Identifier: ISC */
#include "base/process.h"
#include "base/clock.h"
#include "base/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

static struct flock whole_file(void)
{
    struct flock lock;

    memset(&lock, 0, sizeof lock);
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return lock;
}

static int write_pid(int fd)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());

    if (ftruncate(fd, 0) < 0)
        return -1;
    return fdio_write_all(fd, text, (size_t)len);
}

/* The pid of the holder of the lock: 0 if there is none, -1 with `err` if it cannot be queried. */
static pid_t lock_holder(int fd, const char *path, struct err *err)
{
    struct flock lock = whole_file();

    if (fcntl(fd, F_GETLK, &lock) < 0) {
        err_set_errno(err, "%s: cannot query the lock", path);
        return -1;
    }
    if (lock.l_type == F_UNLCK)
        return 0;
    if (lock.l_pid <= 0) {
        err_set(err, "%s: locked by a process outside of this PID namespace", path);
        return -1;
    }
    return lock.l_pid;
}

int process_lock(const char *path, struct err *err)
{
    struct flock lock = whole_file();
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

    if (fd < 0) {
        err_set_errno(err, "cannot open %s", path);
        return -1;
    }
    if (fcntl(fd, F_SETLK, &lock) < 0) {
        if (errno == EACCES || errno == EAGAIN) {
            pid_t owner = lock_holder(fd, path, err);
            if (owner > 0)
                err_set(err, "%s is locked by process %ld: already running", path, (long)owner);
            else if (owner == 0)
                err_set(err, "%s was locked a moment ago: already running", path);
        } else {
            err_set_errno(err, "cannot lock %s", path);
        }
        close(fd);
        return -1;
    }
    if (write_pid(fd) < 0) {
        err_set_errno(err, "cannot write %s", path);
        close(fd);
        return -1;
    }
    return fd;
}

pid_t process_lock_owner(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0) {
        err_set_errno(err, "cannot open %s", path);
        return -1;
    }
    pid_t owner = lock_holder(fd, path, err);
    close(fd);
    return owner;
}

void process_return_memory(void)
{
#ifdef __GLIBC__
    /* If this threshold were not set, free(3) would raise it with each large block, and then keep
     * such blocks. */
    (void)!mallopt(M_MMAP_THRESHOLD, 1 << 20);
    /* The default is 8 arenas per processor, and each keeps some MB for threads to come. */
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    (void)!mallopt(M_ARENA_MAX, processors > 0 ? 2 * (int)processors : 2);
#endif
}

void process_prefer_batch(void)
{
    static const struct sched_param none;

    /* In a systemd unit the policy is set already, and the seccomp filter of the unit may end a
     * process that calls sched_setscheduler(2). So that call is made only where the policy is still
     * the default. */
    if (sched_getscheduler(0) == SCHED_OTHER)
        (void)!sched_setscheduler(0, SCHED_BATCH, &none);
}

#ifdef HAVE_SYSTEMD
void process_notify_ready(void)
{
    sd_notify(0, "READY=1");
}

void process_notify_reloading(void)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_now_us());
}

void process_notify_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}
#else
void process_notify_ready(void)
{
}

void process_notify_reloading(void)
{
}

void process_notify_stopping(void)
{
}
#endif
