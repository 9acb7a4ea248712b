/* SPDX-License-Identifier: ISC */
/*
 * How many messages a second can be committed durably, by the way in which threads share the work?
 * Usage: spool_bench DIRECTORY [SECONDS [THREADS...]]. One line per variant and number of threads;
 * messages of 4 kB; what is committed is removed again.
 *
 *   each     every thread does it all: create, write, fdatasync, rename, fsync(directory)
 *   leader   threads create and write; one of those that wait starts the write-back of all files,
 *            syncs each, renames each, syncs the directory once
 *   shared   threads create, write, fdatasync and rename; one of those that wait syncs the
 * directory spool    the spool itself (which works as "shared") spool2   the same with copies for
 * two destinations
 */
#include "queue/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE 4096
#define THREADS_MAX 256

enum variant { EACH, LEADER, SHARED, SPOOL, SPOOL2, VARIANTS };

static const char *const names[VARIANTS] = {"each", "leader", "shared", "spool", "spool2"};

struct request {
    struct request *next;
    int fd;
    char name[32];
    bool is_done;
};

static enum variant variant;
static struct spool *spool;
static int tmp_fd, dir_fd;
static atomic_bool is_over;
static atomic_long committed;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;
static struct request *waiting;
static bool has_leader;

static int check(int rc, const char *what)
{
    if (rc < 0) {
        perror(what);
        exit(EXIT_FAILURE);
    }
    return rc;
}

static void place(const struct request *r)
{
    check(renameat(tmp_fd, r->name, dir_fd, r->name), "rename");
}

static void work_for_all(struct request *list)
{
    if (variant == LEADER) {
        for (struct request *r = list; r != NULL; r = r->next)
            check(sync_file_range(r->fd, 0, 0, SYNC_FILE_RANGE_WRITE), "sync_file_range");
        for (struct request *r = list; r != NULL; r = r->next)
            check(fdatasync(r->fd), "fdatasync");
        for (struct request *r = list; r != NULL; r = r->next)
            place(r);
    }
    check(fsync(dir_fd), "fsync");
}

static void join_group(struct request *mine)
{
    pthread_mutex_lock(&lock);
    mine->is_done = false;
    mine->next = waiting;
    waiting = mine;
    while (!mine->is_done) {
        if (has_leader) {
            pthread_cond_wait(&done, &lock);
            continue;
        }
        struct request *list = waiting;
        waiting = NULL;
        has_leader = true;
        pthread_mutex_unlock(&lock);
        work_for_all(list);
        pthread_mutex_lock(&lock);
        has_leader = false;
        while (list != NULL) {
            struct request *r = list;
            list = r->next;
            r->is_done = true;
        }
        pthread_cond_broadcast(&done);
    }
    pthread_mutex_unlock(&lock);
}

static void commit_plain(long thread, long number)
{
    static const char content[SIZE];
    struct request r;

    snprintf(r.name, sizeof r.name, "%ld-%ld", thread, number);
    r.fd = check(openat(tmp_fd, r.name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), "open");
    check(write(r.fd, content, sizeof content) == sizeof content ? 0 : -1, "write");
    if (variant != LEADER) {
        check(fdatasync(r.fd), "fdatasync");
        place(&r);
    }
    if (variant == EACH)
        check(fsync(dir_fd), "fsync");
    else
        join_group(&r);
    check(close(r.fd), "close");
    check(unlinkat(dir_fd, r.name, 0), "unlink");
}

static void must_put(enum queue_put_status status, const struct err *err)
{
    if (status == QUEUE_PUT_OK)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(EXIT_FAILURE);
}

static void commit_spool(size_t copy_count)
{
    static const char content[SIZE - 700]; /* the head comes on top */
    char text[] = "", sender[] = "sender@example.com", address[] = "user@example.com";
    struct queue_message m = {.sender = sender,
                              .client_name = text,
                              .client_addr = text,
                              .helo = text,
                              .protocol = text,
                              .mta_queue_id = text};
    struct queue_recipient r = {.address = address, .orcpt = text, .state = QUEUE_PENDING};
    struct queue_new_copy copies[2] = {
        {.destination = "archive", .recipients = &r, .recipient_count = 1},
        {.destination = "backup", .recipients = &r, .recipient_count = 1}};
    struct spool_due due = {time(NULL) / 60 * 60, 0};
    struct spool_put *p;
    struct err err;

    must_put(spool_put_begin(spool, &m, copies, copy_count, 0, &p, &err), &err);
    must_put(spool_put_data(p, content, sizeof content, &err), &err);
    must_put(spool_put_commit(p, &due, &err), &err);
    for (size_t i = 0; i < copy_count; i++) {
        struct spool_copy *c;
        if (spool_copy_open(spool, copies[i].destination, &due, copies[i].id, &c, &err) !=
            SPOOL_OK) {
            fprintf(stderr, "%s\n", err.text);
            exit(EXIT_FAILURE);
        }
        check(spool_copy_remove(spool, c, &err), err.text);
        spool_copy_close(c);
    }
}

static void *run(void *ctx)
{
    long thread = *(const long *)ctx;

    for (long number = 0; !is_over; number++) {
        if (variant == SPOOL || variant == SPOOL2)
            commit_spool(variant == SPOOL2 ? 2 : 1);
        else
            commit_plain(thread, number);
        committed++;
    }
    return NULL;
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double measure(long threads, double seconds)
{
    pthread_t ids[THREADS_MAX];
    long numbers[THREADS_MAX];
    struct timespec pause = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

    is_over = false;
    committed = 0;
    double begin = now_s();
    for (long i = 0; i < threads; i++) {
        numbers[i] = i;
        check(-pthread_create(&ids[i], NULL, run, &numbers[i]), "pthread_create");
    }
    nanosleep(&pause, NULL);
    is_over = true;
    for (long i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return (double)committed / (now_s() - begin);
}

int main(int argc, char **argv)
{
    static const long standard[] = {1, 4, 16, 20, 64};
    struct err err;

    if (argc < 2) {
        fprintf(stderr, "usage: spool_bench DIRECTORY [SECONDS [THREADS...]]\n");
        return 64;
    }
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 3;
    spool = spool_open(argv[1], &err);
    if (spool == NULL) {
        fprintf(stderr, "%s\n", err.text);
        return EXIT_FAILURE;
    }
    check(chdir(argv[1]), "chdir");
    (void)mkdir("plain", 0700);
    tmp_fd = check(open("tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "tmp");
    dir_fd = check(open("plain", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "plain");
    int count = argc > 3 ? argc - 3 : (int)(sizeof standard / sizeof standard[0]);
    for (int i = 0; i < count; i++) {
        long threads = argc > 3 ? strtol(argv[3 + i], NULL, 10) : standard[i];
        if (threads < 1 || threads > THREADS_MAX)
            return 64;
        printf("%3ld threads:", threads);
        for (variant = 0; variant < VARIANTS; variant++) {
            printf("  %s %.0f/s", names[variant], measure(threads, seconds));
            fflush(stdout);
        }
        putchar('\n');
    }
    spool_close(spool);
    return EXIT_SUCCESS;
}
