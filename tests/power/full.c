/* SPDX-License-Identifier: ISC */
/*
 * power_full DIRECTORY SIZE: fills a queue on a small file system with messages of SIZE bytes, for
 * two destinations each, until there is no room (with min_free_space = "32M"); empties it while a
 * file of someone else takes the rest of the disk; and does it again. Prints "filled N" for each
 * time. Exit status 1: something is not as it was promised.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/fdio.h"
#include "power_content.h"
#include "queue/db.h"
#include "queue/queue_open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS 3
#define COPIES_MAX 100000
#define NEXT_MS 10000
#define WAIT_TRIES 1000
#define MIN_FREE_BYTES (32 * 1024 * 1024)

static const char *const destinations[] = {"archive", "backup"};
static struct queue *q;
static struct {
    char id[QUEUE_ID_SIZE];
    char tag[32];
    bool is_taken;
} copies[COPIES_MAX];
static size_t copy_count;

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "power_full: %s: %s\n", what, why);
    exit(1);
}

static enum queue_put_status put(size_t size, unsigned number, struct err *err)
{
    static char nothing[] = "";
    struct queue_message m = {.sender = nothing,
                              .client_name = nothing,
                              .client_addr = nothing,
                              .helo = nothing,
                              .protocol = nothing,
                              .mta_queue_id = nothing,
                              .message_id = nothing};
    char tag[32], address[POWER_ADDRESS_SIZE];
    struct queue_recipient r = {.address = address, .orcpt = nothing, .state = QUEUE_PENDING};
    struct queue_new_copy new_copies[2];
    struct queue_put *p;

    snprintf(tag, sizeof tag, "f%u", number);
    power_address(tag, 0, address);
    for (size_t i = 0; i < 2; i++)
        new_copies[i] = (struct queue_new_copy){
            .destination = destinations[i], .recipients = &r, .recipient_count = 1};
    enum queue_put_status status = q->ops->has_room(q, size, err);
    if (status == QUEUE_PUT_OK)
        status = q->ops->put_begin(q, &m, new_copies, 2, &p, err);
    if (status != QUEUE_PUT_OK)
        return status;
    status = q->ops->put_data(p, power_content(tag, size), size, err);
    if (status == QUEUE_PUT_OK && number % 2 == 0)
        status = q->ops->put_prepare(p, err);
    if (status != QUEUE_PUT_OK) {
        q->ops->put_abort(p);
        return status;
    }
    status = q->ops->put_commit(p, NULL, NULL, err);
    for (size_t i = 0; i < 2 && status == QUEUE_PUT_OK; i++) {
        if (copy_count == COPIES_MAX)
            die("fill", "the file system is too large");
        mem_copy_string(copies[copy_count].id, QUEUE_ID_SIZE, new_copies[i].id);
        mem_copy_string(copies[copy_count++].tag, sizeof tag, tag);
    }
    return status;
}

/* Until it is full, and then a few times more. */
static void fill(size_t size)
{
    static unsigned number;
    unsigned refused = 0;
    struct err err = {""};

    while (refused < 5) {
        enum queue_put_status status = put(size, number++, &err);
        if (status == QUEUE_PUT_FAULT)
            die("a full disk is taken for a fault", err.text);
        refused += status == QUEUE_PUT_FULL;
    }
}

static bool take_number(void *ctx, const struct db_value *columns)
{
    *(int64_t *)ctx = columns[0].number;
    return false;
}

/* The queue has made the file as large as it needs to be for what is in the log: it does so when
 * there is nothing else to do. */
static void wait_for_copy(const char *spool)
{
    char *path = mem_printf("%s/queue.db", spool);
    int64_t bytes = 0;
    enum db_status status;
    bool is_missing;
    struct err err;
    struct stat st;
    struct db *db = db_sqlite_open(spool, DB_READ, &status, &is_missing, &err);

    if (db == NULL ||
        db->ops->query(db,
                       "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
                       NULL, 0, take_number, &bytes, &err) != DB_OK)
        die("read", err.text);
    db->ops->close(db);
    for (int tries = 0; stat(path, &st) == 0 && st.st_size < bytes; tries++) {
        if (tries == WAIT_TRIES)
            die(path, "is not made larger");
        usleep(10000);
    }
    free(path);
}

/* Someone else's file takes all that is left. */
static void fill_rest(const char *path)
{
    static const char block[4096];
    FILE *f = fopen(path, "we");

    if (f == NULL && errno == ENOSPC) /* no inode is left */
        return;
    if (f == NULL)
        die(path, "cannot be created");
    while (fwrite(block, sizeof block, 1, f) == 1 && fflush(f) == 0)
        continue;
    (void)fclose(f);
}

static void check_copy(const struct queue_copy *c, size_t size)
{
    char *found = mem_zalloc(size + 1);
    size_t i = 0;

    while (i < copy_count && strcmp(copies[i].id, c->id) != 0)
        i++;
    if (i == copy_count || copies[i].is_taken)
        die(c->id, i == copy_count ? "was refused, and is there" : "is handed out twice");
    copies[i].is_taken = true;
    if (c->content != NULL)
        memcpy(found, c->content, size);
    else if (fdio_pread_full(c->content_fd, found, size, 0) != (ssize_t)size)
        die(c->id, "its file is too short");
    if (c->message.size_bytes != size ||
        memcmp(found, power_content(copies[i].tag, size), size) != 0)
        die(c->id, "has another content");
    free(found);
}

static void drain(size_t size)
{
    const struct queue_delivery delivery = {.relay = "mx", .reply = "250 Ok"};

    for (size_t taken = 0; taken < copy_count; taken++) {
        struct queue_copy *c = q->ops->next(q, destinations[taken % 2], NEXT_MS);
        if (c == NULL)
            die(destinations[taken % 2], "a copy is not handed out");
        check_copy(c, size);
        c->recipients[0].state = QUEUE_SENT;
        q->ops->done(q, c, &delivery);
    }
    for (size_t i = 0; i < 2; i++)
        if (q->ops->next(q, destinations[i], 0) != NULL)
            die(destinations[i], "there is another copy");
}

static void open_queue(const struct queue_options *options)
{
    struct err err;

    q = queue_open(options, &err);
    if (q == NULL)
        die("open", err.text);
}

int main(int argc, char **argv)
{
    struct queue_options options = {
        .queue = "sqlite", .history_s = 3600, .min_free_space_bytes = MIN_FREE_BYTES};
    struct err err;

    if (argc != 3 || log_open("power_full", "stderr", "mail", "error", &err) != 0)
        return 64;
    options.spool_directory = argv[1];
    size_t size = strtoul(argv[2], NULL, 10);
    char *other = mem_printf("%s.other", argv[1]);
    open_queue(&options);
    for (int round = 0; round < ROUNDS; round++) {
        copy_count = 0;
        memset(copies, 0, sizeof copies);
        fill(size);
        printf("filled %zu\n", copy_count);
        fflush(stdout);
        wait_for_copy(argv[1]);
        fill_rest(other);
        drain(size);
        q->ops->close(q);
        open_queue(&options);
        (void)unlink(other);
        for (size_t i = 0; i < 2; i++)
            if (q->ops->next(q, destinations[i], 100) != NULL)
                die(destinations[i], "a copy came back");
    }
    q->ops->close(q);
    free(other);
    return 0;
}
