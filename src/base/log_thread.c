/* SPDX-License-Identifier: ISC */
#include "base/log_thread.h"

#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#define STACK_SIZE (256 * 1024)

struct line {
    struct line *next;
    struct log_parcel parcel; /* its tag and data are in `text` */
    size_t size;              /* bytes of the structure, text included */
    size_t count;             /* 1, or for the warning about a loss the number of lost lines */
    char text[];
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t has_line, is_empty;
    bool is_running;
    bool is_waiting; /* the thread waits for has_line */
    struct line *first, **end;
    size_t size, count; /* of all lines that are queued or are being passed on */
    size_t lost;        /* lines lost since the last warning */
    bool is_away;       /* the last line that was passed on was lost */
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .has_line = PTHREAD_COND_INITIALIZER};

static size_t size_of(const struct log_parcel *p)
{
    return sizeof(struct line) + p->tag_len + p->len;
}

/* Queue a line. The caller holds the lock. */
static void append(const struct log_parcel *p, size_t count)
{
    struct line *line = mem_zalloc(size_of(p));

    memcpy(line->text, p->tag, p->tag_len);
    memcpy(line->text + p->tag_len, p->data, p->len);
    line->parcel = *p;
    line->parcel.tag = line->text;
    line->parcel.data = line->text + p->tag_len;
    line->size = size_of(p);
    line->count = count;
    *queue.end = line;
    queue.end = &line->next;
    queue.size += line->size;
    queue.count += count;
}

/* If lines were lost since the last warning, and others are taken again, queue a warning with their
 * number. The caller holds the lock. tag: the tag of any line; the warning gets it without the
 * service. */
static void append_loss(const char *tag, size_t tag_len)
{
    const char *service = memchr(tag, '/', tag_len);
    struct buf text = {0};

    if (queue.lost == 0 || queue.is_away)
        return;
    if (service != NULL)
        tag_len = (size_t)(service - tag);
    log_describe_loss(queue.lost, &text);
    append(&(struct log_parcel){false, LOG_WARNING, tag, tag_len, text.data, text.len}, queue.lost);
    buf_clear(&text);
    queue.lost = 0;
}

bool log_thread_put(const struct log_parcel *p)
{
    pthread_mutex_lock(&queue.lock);
    bool is_taken = queue.is_running;
    if (is_taken && queue.size + size_of(p) >= LOG_QUEUE_MAX) {
        queue.lost++;
    } else if (is_taken) {
        append_loss(p->tag, p->tag_len);
        append(p, 1);
    }
    if (is_taken && queue.is_waiting)
        pthread_cond_signal(&queue.has_line);
    pthread_mutex_unlock(&queue.lock);
    return is_taken;
}

/* Pass a line on, and free it. The caller does not hold the lock. */
static void pass_on(struct line *line)
{
    bool is_passed = log_pass_on(&line->parcel);

    pthread_mutex_lock(&queue.lock);
    queue.size -= line->size;
    queue.count -= line->count;
    queue.lost += is_passed ? 0 : line->count;
    queue.is_away = !is_passed;
    /* The next line may be logged much later, so the warning does not wait for it. */
    if (queue.count == 0)
        append_loss(line->parcel.tag, line->parcel.tag_len);
    if (queue.count == 0)
        pthread_cond_broadcast(&queue.is_empty);
    pthread_mutex_unlock(&queue.lock);
    free(line);
}

static void *log_thread_main(void *arg)
{
    (void)arg;
    for (;;) {
        pthread_mutex_lock(&queue.lock);
        queue.is_waiting = true;
        while (queue.first == NULL && queue.is_running)
            pthread_cond_wait(&queue.has_line, &queue.lock);
        queue.is_waiting = false;
        struct line *lines = queue.first;
        queue.first = NULL;
        queue.end = &queue.first;
        pthread_mutex_unlock(&queue.lock);
        if (lines == NULL)
            return NULL;
        while (lines != NULL) {
            struct line *next = lines->next;
            pass_on(lines);
            lines = next;
        }
    }
}

int log_thread_start(struct err *err)
{
    pthread_condattr_t cond;
    pthread_attr_t attr;
    pthread_t thread;

    pthread_condattr_init(&cond);
    pthread_condattr_setclock(&cond, CLOCK_MONOTONIC);
    pthread_cond_init(&queue.is_empty, &cond);
    pthread_condattr_destroy(&cond);
    queue.end = &queue.first;
    queue.is_running = true;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    errno = pthread_create(&thread, &attr, log_thread_main, NULL);
    pthread_attr_destroy(&attr);
    if (errno == 0)
        return 0;
    queue.is_running = false;
    err_set_errno(err, "cannot start a thread for the log");
    return -1;
}

void log_thread_stop(unsigned timeout_ms)
{
    struct timespec until;
    int error = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&queue.lock);
    while (queue.is_running && queue.count > 0 && error == 0)
        error = pthread_cond_timedwait(&queue.is_empty, &queue.lock, &until);
    size_t lost = queue.count + queue.lost;
    /* If lines are left, the thread is still in syslog(3). Later lines are queued, too, because
     * syslog(3) would also block the thread that logs them. */
    queue.is_running = queue.is_running && queue.count > 0;
    pthread_cond_signal(&queue.has_line);
    pthread_mutex_unlock(&queue.lock);
    if (lost > 0)
        fprintf(stderr, "%s: %zu lines of the log are lost: the system's log does not take them\n",
                program_invocation_short_name, lost);
}
