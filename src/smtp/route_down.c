/* SPDX-License-Identifier: ISC */
#include "smtp/route_down.h"
#include "smtp/route.h"

#include <pthread.h>
#include <string.h>

struct entry {
    struct sockaddr_storage sa;
    socklen_t len;
    int64_t until_s;
};

static struct {
    pthread_mutex_t lock; /* never held across I/O */
    struct entry entries[ROUTE_DOWN_MAX];
    size_t count;
} down = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* With the lock held: the index of the address; down.count if it is not in the list. */
static size_t find(const struct sockaddr_storage *sa, socklen_t len)
{
    size_t i = 0;

    while (i < down.count &&
           (down.entries[i].len != len || memcmp(&down.entries[i].sa, sa, len) != 0))
        i++;
    return i;
}

/* With the lock held: remove this entry. */
static void drop(size_t i)
{
    down.count--;
    memmove(&down.entries[i], &down.entries[i + 1], (down.count - i) * sizeof down.entries[0]);
}

bool route_down_is(const struct sockaddr_storage *sa, socklen_t len, int64_t now_s)
{
    bool is_down = false;

    pthread_mutex_lock(&down.lock);
    size_t i = find(sa, len);
    if (i < down.count) {
        is_down = now_s < down.entries[i].until_s;
        if (!is_down)
            down.entries[i].until_s = now_s + ROUTE_DOWN_S;
    }
    pthread_mutex_unlock(&down.lock);
    return is_down;
}

void route_down_add(const struct sockaddr_storage *sa, socklen_t len, int64_t now_s)
{
    pthread_mutex_lock(&down.lock);
    size_t i = find(sa, len);
    if (i < down.count)
        drop(i);
    if (down.count == ROUTE_DOWN_MAX)
        drop(0);
    struct entry *e = &down.entries[down.count++];
    memset(e, 0, sizeof *e);
    memcpy(&e->sa, sa, len);
    e->len = len;
    e->until_s = now_s + ROUTE_DOWN_S;
    pthread_mutex_unlock(&down.lock);
}

void route_down_remove(const struct sockaddr_storage *sa, socklen_t len)
{
    pthread_mutex_lock(&down.lock);
    size_t i = find(sa, len);
    if (i < down.count)
        drop(i);
    pthread_mutex_unlock(&down.lock);
}
