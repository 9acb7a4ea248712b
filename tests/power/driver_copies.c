/* SPDX-License-Identifier: ISC */
#include "driver_copies.h"

#include "base/mem.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPIES_MAX 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct promise now[COPIES_MAX], after_close[COPIES_MAX];
static bool has_after_close[COPIES_MAX];
static size_t count;

static void mark(const char *text)
{
    static void (*function)(const char *text, size_t len);

    if (function == NULL)
        *(void **)&function = dlsym(RTLD_DEFAULT, "diskrec_mark");
    if (function != NULL)
        function(text, strlen(text));
}

void copies_note(const char *text)
{
    mark(text);
}

static void say(const struct promise *p)
{
    char text[512];
    int len = snprintf(text, sizeof text, "copy %s %s %zu %s %s ", p->id, p->tag, p->size,
                       p->destinations, p->places);

    for (size_t i = 0; i < p->recipient_count; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, "%s%s", i == 0 ? "" : ",",
                        p->states[i]);
    mark(text);
}

static size_t find(const char *id)
{
    size_t i = 0;

    while (i < count && strcmp(now[i].id, id) != 0)
        i++;
    return i;
}

static size_t must_find(const char *id)
{
    size_t i = find(id);

    if (i == count) {
        fprintf(stderr, "power_driver: %s is not known\n", id);
        exit(70);
    }
    return i;
}

void copies_add(const struct promise *promise)
{
    pthread_mutex_lock(&lock);
    if (count == COPIES_MAX)
        abort();
    now[count++] = *promise;
    say(promise);
    pthread_mutex_unlock(&lock);
}

struct promise copies_get(const char *id)
{
    pthread_mutex_lock(&lock);
    struct promise out = now[must_find(id)];
    pthread_mutex_unlock(&lock);
    return out;
}

bool copies_is_known(const char *id)
{
    pthread_mutex_lock(&lock);
    bool is_known = find(id) < count;
    pthread_mutex_unlock(&lock);
    return is_known;
}

static void add_letters(char *letters, size_t size, const char *more)
{
    for (; *more != '\0'; more++) {
        size_t len = strlen(letters);
        if (strchr(letters, *more) == NULL && len + 1 < size) {
            letters[len] = *more;
            letters[len + 1] = '\0';
        }
    }
}

static void add_to(struct promise *p, const char *places, const char *destination,
                   const char *states)
{
    if (places != NULL)
        add_letters(p->places, sizeof p->places, places);
    for (size_t i = 0; i < p->recipient_count && states != NULL; i++)
        add_letters(p->states[i], sizeof p->states[i], (char[]){states[i], '\0'});
    if (destination != NULL && strstr(p->destinations, destination) == NULL) {
        size_t len = strlen(p->destinations);
        snprintf(p->destinations + len, sizeof p->destinations - len, ",%s", destination);
    }
}

static void set(struct promise *p, const char *places, const char *destination, const char *states)
{
    if (places != NULL)
        p->places[0] = '\0';
    if (destination != NULL)
        snprintf(p->destinations, sizeof p->destinations, "%s", destination);
    for (size_t i = 0; i < p->recipient_count && states != NULL; i++)
        p->states[i][0] = '\0';
    add_to(p, places, NULL, states);
}

void copies_may(const char *id, const char *places, const char *destination, const char *states)
{
    pthread_mutex_lock(&lock);
    size_t i = must_find(id);
    add_to(&now[i], places, destination, states);
    say(&now[i]);
    pthread_mutex_unlock(&lock);
}

void copies_must(const char *id, const char *places, const char *destination, const char *states)
{
    pthread_mutex_lock(&lock);
    size_t i = must_find(id);
    set(&now[i], places, destination, states);
    has_after_close[i] = false;
    say(&now[i]);
    pthread_mutex_unlock(&lock);
}

void copies_must_later(const char *id, const char *places, const char *destination,
                       const char *states)
{
    pthread_mutex_lock(&lock);
    size_t i = must_find(id);
    after_close[i] = now[i];
    has_after_close[i] = true;
    set(&after_close[i], places, destination, states);
    pthread_mutex_unlock(&lock);
}

void copies_closed(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count; i++)
        if (has_after_close[i]) {
            now[i] = after_close[i];
            has_after_close[i] = false;
            say(&now[i]);
        }
    pthread_mutex_unlock(&lock);
}
