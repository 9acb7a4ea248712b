/* SPDX-License-Identifier: ISC */
#include "base/log_journal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static atomic_int fd = -1;         /* once open, it stays open */
static struct sockaddr_un address; /* set before fd */

/* Is the file, which may be a symbolic link, in the directory? */
static bool is_in(const char *path, const char *directory)
{
    char *real = realpath(path, NULL), *real_directory = realpath(directory, NULL);
    size_t len = real_directory == NULL ? 0 : strlen(real_directory);
    bool is =
        real != NULL && len > 0 && strncmp(real, real_directory, len) == 0 && real[len] == '/';

    free(real);
    free(real_directory);
    return is;
}

/* Make a socket that has reached the journal, and set `address`. -1: there is no journal. */
static int open_socket(const char *directory)
{
    struct sockaddr_un *a = &address;
    int len = snprintf(a->sun_path, sizeof a->sun_path, "%s/socket", directory);

    a->sun_family = AF_UNIX;
    if (len < 0 || (size_t)len >= sizeof a->sun_path)
        return -1;
    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_reached =
        s >= 0 && probe >= 0 && connect(probe, (const struct sockaddr *)a, sizeof *a) == 0;
    if (probe >= 0)
        (void)close(probe);
    if (is_reached)
        return s;
    if (s >= 0)
        (void)close(s);
    return -1;
}

bool log_journal_open(const char *device, const char *directory)
{
    if (!is_in(device, directory))
        return false;
    pthread_mutex_lock(&opening);
    if (atomic_load(&fd) < 0)
        atomic_store(&fd, open_socket(directory));
    bool is_open = atomic_load(&fd) >= 0;
    pthread_mutex_unlock(&opening);
    return is_open;
}

bool log_journal_send(const char *data, size_t len)
{
    const struct sockaddr *to = (const struct sockaddr *)&address;
    ssize_t n;

    /* The address is looked up for each line, because a restarted journal may have a new socket. */
    do
        n = sendto(atomic_load(&fd), data, len, MSG_NOSIGNAL, to, sizeof address);
    while (n < 0 && errno == EINTR);
    return n >= 0;
}
