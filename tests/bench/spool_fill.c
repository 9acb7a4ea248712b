/* SPDX-License-Identifier: ISC */
/*
 * Fills a spool as a long outage does. Usage: spool_fill DIRECTORY COUNT BYTES. COUNT copies for
 * the destination "archive", each a file of its own with BYTES of content, 10,000 for each minute
 * up to now. Nothing is synced: only what comes afterwards is measured.
 */
#include "base/mem.h"
#include "queue/spool.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PER_MINUTE 10000

static char text[] = "", sender[] = "sender@example.com", address[] = "user@example.com";

/* A whole file; *id_at is where its id (14 digits) belongs. */
static void make_file(uint64_t bytes, struct buf *out, size_t *id_at)
{
    struct queue_message m = {.sender = sender,
                              .client_name = text,
                              .client_addr = text,
                              .helo = text,
                              .protocol = text,
                              .mta_queue_id = text,
                              .size_bytes = bytes};
    struct queue_recipient r = {.address = address, .orcpt = text, .state = QUEUE_PENDING};
    struct queue_new_copy copy = {
        .destination = "archive", .recipients = &r, .recipient_count = 1, .id = "00000000000000"};
    struct err err;

    clock_gettime(CLOCK_REALTIME, &m.arrival);
    if (spool_envelope_format(&m, &copy, 1, out, id_at, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(EXIT_FAILURE);
    }
    size_t head = out->len;
    while (out->len < head + bytes)
        buf_addc(out, (out->len - head) % 78 < 76 ? 'x' : "\r\n"[(out->len - head) % 78 - 76]);
    if (bytes >= 2)
        memcpy(out->data + out->len - 2, "\r\n", 2);
}

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(EXIT_FAILURE);
}

static int open_minute(int queue_fd, time_t minute)
{
    char name[32];

    snprintf(name, sizeof name, "archive/%010lld", (long long)minute);
    must(mkdirat(queue_fd, name, 0700) == 0, name);
    int fd = openat(queue_fd, name, O_RDONLY | O_DIRECTORY);
    must(fd >= 0, name);
    return fd;
}

static void write_file(int dir_fd, const char *name, const struct buf *file)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600);

    must(fd >= 0, name);
    must(write(fd, file->data, file->len) == (ssize_t)file->len, name);
    close(fd);
}

int main(int argc, char **argv)
{
    struct buf file = {0};
    char id[QUEUE_ID_SIZE];
    struct err err;
    size_t id_at;

    if (argc != 4) {
        fprintf(stderr, "usage: spool_fill DIRECTORY COUNT BYTES\n");
        return 64;
    }
    long count = strtol(argv[2], NULL, 10);
    struct spool *s = spool_open(argv[1], &err);
    must(s != NULL, argv[1]);
    spool_close(s);
    make_file((uint64_t)strtol(argv[3], NULL, 10), &file, &id_at);
    must(chdir(argv[1]) == 0, argv[1]);
    int queue_fd = open("queue", O_RDONLY | O_DIRECTORY);
    must(mkdirat(queue_fd, "archive", 0700) == 0, "archive");
    time_t minute = time(NULL) / 60 * 60 - (count / PER_MINUTE + 1) * 60;
    int dir_fd = -1;
    for (long i = 0; i < count; i++) {
        if (i % PER_MINUTE == 0) {
            if (dir_fd >= 0)
                close(dir_fd);
            dir_fd = open_minute(queue_fd, minute += 60);
        }
        snprintf(id, sizeof id, "%014ld", i);
        memcpy(file.data + id_at, id, 14);
        write_file(dir_fd, id, &file);
    }
    buf_clear(&file);
    return EXIT_SUCCESS;
}
