/* SPDX-License-Identifier: ISC */
#include "check.h"

#include "base/fdio.h"
#include "base/mem.h"
#include "power_content.h"
#include "queue/queue_open.h"
#include "queue/queue_reader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LATER_S (365 * 24 * 3600)
#define HAND_OUT_MS 5000

struct check {
    const char *directory;
    struct promises *promises;
    struct buf *why;
    struct queue *queue;
    struct queue_reader *reader;
    bool is_wrong;
    struct {
        char destination[QUEUE_DESTINATION_SIZE];
        size_t queued;
    } destinations[8];
    size_t destination_count;
};

__attribute__((format(printf, 2, 3))) static void wrong(struct check *c, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_adds(c->why, text);
    buf_adds(c->why, "\n");
    c->is_wrong = true;
}

/* A year from now: all that was deferred is due. */
static time_t later_clock(void *ctx)
{
    (void)ctx;
    return time(NULL) + LATER_S;
}

/* --- what a copy must be --- */

static bool has_word(const char *words, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = words; (at = strstr(at, word)) != NULL; at += len)
        if ((at == words || at[-1] == ',') && (at[len] == '\0' || at[len] == ','))
            return true;
    return false;
}

static void check_recipients(struct check *c, const struct promise *p,
                             const struct queue_recipient *recipients, size_t count)
{
    char address[POWER_ADDRESS_SIZE];
    bool is_there[PROMISE_RECIPIENTS_MAX] = {false};

    for (size_t i = 0; i < count; i++) {
        size_t n = 0;
        for (; n < p->recipient_count; n++) {
            power_address(p->tag, n, address);
            if (strcmp(address, recipients[i].address) == 0)
                break;
        }
        if (n == p->recipient_count || is_there[n]) {
            wrong(c, "%s: recipient %s is not one of its own", p->id, recipients[i].address);
            continue;
        }
        is_there[n] = true;
        if (strchr(p->states[n], recipients[i].state) == NULL)
            wrong(c, "%s: recipient %s is %c, not %s", p->id, address, recipients[i].state,
                  p->states[n]);
    }
    for (size_t n = 0; n < p->recipient_count; n++)
        if (!is_there[n] && strchr(p->states[n], 'x') == NULL)
            wrong(c, "%s: recipient %zu is missing", p->id, n);
}

static char place_letter(unsigned place)
{
    return place == QUEUE_IN_QUEUE ? 'q' : place == QUEUE_IN_HOLD ? 'h' : 'd';
}

static void count_queued(struct check *c, const char *destination)
{
    size_t i = 0;

    while (i < c->destination_count && strcmp(c->destinations[i].destination, destination) != 0)
        i++;
    if (i == c->destination_count) {
        if (i == sizeof c->destinations / sizeof *c->destinations)
            abort();
        snprintf(c->destinations[i].destination, QUEUE_DESTINATION_SIZE, "%s", destination);
        c->destination_count++;
    }
    c->destinations[i].queued++;
}

static void check_read_content(struct check *c, const struct promise *p, const char *id)
{
    const char *expected = power_content(p->tag, p->size);
    char *found = mem_zalloc(p->size + 1);
    struct err err = {""};
    uint64_t at = 0;
    ssize_t n;

    while ((n = queue_reader_content(c->reader, id, at, found + at, p->size + 1 - at, &err)) > 0)
        at += (uint64_t)n;
    if (n < 0)
        wrong(c, "%s: its content cannot be read: %s", id, err.text);
    else if (at != p->size || memcmp(found, expected, p->size) != 0)
        wrong(c, "%s: its content is not that of %s", id, p->tag);
    free(found);
}

static bool check_entry(void *ctx, const struct queue_entry *e)
{
    struct check *c = ctx;
    struct promise *p = promises_find(c->promises, e->id);

    if (p == NULL) {
        wrong(c, "%s: nobody put it", e->id);
        return true;
    }
    p->is_found = true;
    char letter = place_letter(e->place);
    if (strchr(p->places, letter) == NULL)
        wrong(c, "%s: it is in %c, not in %s", e->id, letter, p->places);
    if (!has_word(p->destinations, e->destination))
        wrong(c, "%s: it is for %s, not %s", e->id, e->destination, p->destinations);
    if (e->problem[0] != '\0')
        wrong(c, "%s: %s", e->id, e->problem);
    if (e->message->size_bytes != p->size)
        wrong(c, "%s: %llu bytes", e->id, (unsigned long long)e->message->size_bytes);
    check_recipients(c, p, e->recipients, e->recipient_count);
    if (letter == 'q')
        count_queued(c, e->destination);
    return true;
}

/* A second transaction of the reader inside the list would be a nested one. */
static void check_contents(struct check *c)
{
    for (size_t i = 0; i < c->promises->count; i++)
        if (c->promises->items[i].is_found)
            check_read_content(c, &c->promises->items[i], c->promises->items[i].id);
}

static void check_list(struct check *c)
{
    struct queue_selection all = {.limit = 0};
    struct err err = {""};

    for (size_t i = 0; i < c->promises->count; i++)
        c->promises->items[i].is_found = false;
    c->reader = queue_reader_open(c->directory, "sqlite", &err);
    if (c->reader == NULL || queue_reader_list(c->reader, &all, check_entry, NULL, c, &err) < 0)
        wrong(c, "it cannot be read: %s", err.text);
    else
        check_contents(c);
    queue_reader_close(c->reader);
}

/* --- the Maildir --- */

/* In new/: TIME.ID.HOST,S=SIZE */
static struct promise *promise_of_file(struct check *c, const char *name)
{
    char id[QUEUE_ID_SIZE];
    const char *begin = strchr(name, '.');

    if (begin == NULL)
        return NULL;
    snprintf(id, sizeof id, "%.*s", (int)strcspn(begin + 1, "._"), begin + 1);
    return promises_find(c->promises, id);
}

static void check_file(struct check *c, const char *directory, const char *name, bool *in_maildir)
{
    struct promise *p = promise_of_file(c, name);
    struct buf file = {0};
    size_t len;

    if (p == NULL || !has_word(p->destinations, CHECK_MAILDIR_DESTINATION)) {
        wrong(c, "Maildir: %s is not of a copy for it", name);
        return;
    }
    char *path = mem_printf("%s/%s", directory, name),
         *content = power_content_lf(p->tag, p->size, &len);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fdio_read_rest(fd, &file, 1 << 30) != 0)
        wrong(c, "Maildir: %s: %s", name, strerror(errno));
    else if (file.len < len || memcmp(file.data + file.len - len, content, len) != 0 ||
             strncmp(file.data, "Return-Path: <", 14) != 0)
        wrong(c, "Maildir: %s: it has %zu bytes, not the content of %s", name, file.len, p->tag);
    else
        in_maildir[p - c->promises->items] = true;
    if (fd >= 0)
        close(fd);
    buf_clear(&file);
    free(content);
    free(path);
}

static void check_maildir(struct check *c, bool *in_maildir)
{
    char *directory = mem_printf("%s/box-x.test/mail/new", c->directory);
    DIR *dir = opendir(directory);
    struct dirent *e;

    while (dir != NULL && (e = readdir(dir)) != NULL)
        if (e->d_name[0] != '.')
            check_file(c, directory, e->d_name, in_maildir);
    if (dir != NULL)
        closedir(dir);
    free(directory);
}

static void check_missing(struct check *c)
{
    bool *in_maildir = mem_zalloc(c->promises->count + 1);

    check_maildir(c, in_maildir);
    for (size_t i = 0; i < c->promises->count; i++) {
        const struct promise *p = &c->promises->items[i];
        bool may_be_gone =
            strchr(p->places, 'g') != NULL || (in_maildir[i] && strchr(p->places, 'm') != NULL);
        if (!p->is_found && !may_be_gone)
            wrong(c, "%s: it is lost (may be in %s)", p->id, p->places);
    }
    free(in_maildir);
}

/* --- handing out --- */

static void check_copy(struct check *c, const struct queue_copy *copy)
{
    const struct promise *p = promises_find(c->promises, copy->id);

    if (p == NULL) {
        wrong(c, "%s is handed out, and nobody put it", copy->id);
        return;
    }
    const char *expected = power_content(p->tag, p->size);
    char *found = mem_zalloc(p->size + 1);
    if (copy->message.size_bytes != p->size)
        wrong(c, "%s: is handed out with %llu bytes", p->id,
              (unsigned long long)copy->message.size_bytes);
    else if (copy->content != NULL)
        memcpy(found, copy->content, p->size);
    else if (fdio_pread_full(copy->content_fd, found, p->size, 0) != (ssize_t)p->size)
        wrong(c, "%s: its file is too short", p->id);
    if (memcmp(found, expected, p->size) != 0)
        wrong(c, "%s: is handed out with the content of another", p->id);
    check_recipients(c, p, copy->recipients, copy->recipient_count);
    free(found);
}

static void hand_out(struct check *c, const char *destination, size_t count)
{
    struct queue_copy **copies = mem_grow(NULL, count + 1, sizeof *copies);
    size_t got = 0;

    while (got < count &&
           (copies[got] = c->queue->ops->next(c->queue, destination, HAND_OUT_MS)) != NULL)
        check_copy(c, copies[got++]);
    if (got < count)
        wrong(c, "%s: %zu copies are queued, %zu are handed out", destination, count, got);
    else if ((copies[got] = c->queue->ops->next(c->queue, destination, 0)) != NULL) {
        wrong(c, "%s: %s is handed out, too", destination, copies[got]->id);
        got++;
    }
    while (got > 0)
        c->queue->ops->release(c->queue, copies[--got]);
    free(copies);
}

static void put_one(struct check *c)
{
    static char nothing[] = "", address[] = "new@x.test";
    struct queue_message m = {.sender = nothing,
                              .client_name = nothing,
                              .client_addr = nothing,
                              .helo = nothing,
                              .protocol = nothing,
                              .mta_queue_id = nothing,
                              .message_id = nothing};
    struct queue_recipient r = {.address = address, .orcpt = nothing, .state = QUEUE_PENDING};
    struct queue_new_copy copy = {.destination = "new", .recipients = &r, .recipient_count = 1};
    const struct queue_ops *ops = c->queue->ops;
    struct queue_put *p;
    struct err err = {""};

    if (ops->put_begin(c->queue, &m, &copy, 1, &p, &err) != QUEUE_PUT_OK) {
        wrong(c, "no mail is taken: %s", err.text);
        return;
    }
    if (ops->put_data(p, "x\r\n", 3, &err) != QUEUE_PUT_OK) {
        wrong(c, "no mail is taken: %s", err.text);
        ops->put_abort(p);
    } else if (ops->put_commit(p, NULL, NULL, &err) != QUEUE_PUT_OK) {
        wrong(c, "no mail is taken: %s", err.text);
    }
}

bool check_state(const char *directory, struct promises *promises, struct buf *why)
{
    char *spool = mem_printf("%s/spool", directory);
    struct check c = {.directory = directory, .promises = promises, .why = why};
    struct queue_options options = {
        .spool_directory = spool, .queue = "sqlite", .history_s = 3600, .clock = later_clock};
    struct err err = {""};

    c.queue = queue_open(&options, &err);
    if (c.queue == NULL) {
        wrong(&c, "the queue cannot be opened: %s", err.text);
    } else {
        c.directory = spool;
        check_list(&c);
        c.directory = directory;
        check_missing(&c);
        for (size_t i = 0; i < c.destination_count; i++)
            hand_out(&c, c.destinations[i].destination, c.destinations[i].queued);
        put_one(&c);
        c.queue->ops->close(c.queue);
    }
    free(spool);
    return !c.is_wrong;
}
