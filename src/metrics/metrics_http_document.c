/* SPDX-License-Identifier: ISC */
#include "metrics/metrics_http_private.h"

#include "base/clock.h"

#include <string.h>
#include <time.h>

#define WAITING_MAX 8
#define TICK_S 1

/* Wait for a job, at most until the next tick. Called with the lock. Returns NULL for a tick. */
static struct metrics_http_job *next_job(struct metrics_http *h)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TICK_S;
    while (h->first == NULL && !h->is_stopping && rc == 0)
        rc = pthread_cond_timedwait(&h->changed, &h->lock, &until);
    struct metrics_http_job *job = h->first;
    if (job == NULL)
        return NULL;
    h->first = job->next;
    if (h->first == NULL)
        h->last = &h->first;
    h->waiting--;
    return job;
}

static void *documents_main(void *arg)
{
    struct metrics_http *h = arg;
    const struct metrics_http_site *site = h->o.site;

    pthread_mutex_lock(&h->lock);
    while (!h->is_stopping) {
        struct metrics_http_job *job = next_job(h);
        pthread_mutex_unlock(&h->lock);
        metrics_http_report_refused(h, clock_now_ms());
        site->tick(site->ctx);
        if (job != NULL) {
            job->status = site->document(site->ctx, job->path, &job->parameters, &job->body);
            MHD_resume_connection(job->connection); /* the job belongs to the connection now */
        }
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

int metrics_http_documents_start(struct metrics_http *h, struct err *err)
{
    pthread_condattr_t attr;
    pthread_attr_t thread_attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, &attr);
    pthread_condattr_destroy(&attr);
    h->last = &h->first;
    if (h->o.site == NULL)
        return 0;
    pthread_attr_init(&thread_attr);
    pthread_attr_setstacksize(&thread_attr, METRICS_HTTP_DOCUMENT_STACK_SIZE);
    int error = pthread_create(&h->thread, &thread_attr, documents_main, h);
    pthread_attr_destroy(&thread_attr);
    h->has_thread = error == 0;
    if (error == 0)
        return 0;
    err_set(err, "metrics: cannot start a thread: %s", strerror(error));
    return -1;
}

void metrics_http_documents_stop(struct metrics_http *h)
{
    pthread_mutex_lock(&h->lock);
    h->is_stopping = true;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
    if (h->has_thread)
        pthread_join(h->thread, NULL);
    metrics_http_report_refused(h, INT64_MAX);
    for (struct metrics_http_job *job = h->first, *next; job != NULL; job = next) {
        next = job->next;
        job->status = MHD_HTTP_SERVICE_UNAVAILABLE;
        buf_adds(&job->body, "{\"error\":\"splitrelay is stopping\"}");
        MHD_resume_connection(job->connection);
    }
    h->first = NULL;
}

bool metrics_http_documents_add(struct metrics_http *h, struct metrics_http_job *job)
{
    pthread_mutex_lock(&h->lock);
    bool is_taken = h->has_thread && !h->is_stopping && h->waiting < WAITING_MAX;
    if (is_taken) {
        /* Suspended before the thread can see the job, because it resumes the connection. */
        MHD_suspend_connection(job->connection);
        *h->last = job;
        h->last = &job->next;
        h->waiting++;
        pthread_cond_signal(&h->changed);
    }
    pthread_mutex_unlock(&h->lock);
    return is_taken;
}
