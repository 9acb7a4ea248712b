/* SPDX-License-Identifier: ISC */
#include "power_content.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LINE_SIZE 64

/* What was made before, in no order. */
struct kept {
    char tag[32];
    size_t size;
    char *content;
};

static char *make(const char *tag, size_t size)
{
    char *out = mem_zalloc(size + LINE_SIZE + 1);
    size_t len = 0;

    for (unsigned line = 0; len < size; line++)
        len += (size_t)snprintf(out + len, LINE_SIZE + 1,
                                "%s %08u abcdefghijklmnopqrstuvwxyz0123\r\n", tag, line);
    if (size >= 2)
        memcpy(out + size - 2, "\r\n", 2);
    if (size >= 3 && out[size - 3] == '\r')
        out[size - 3] = '.';
    out[size] = '\0';
    return out;
}

const char *power_content(const char *tag, size_t size)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct kept *kept;
    static size_t count;
    struct kept wanted = {.size = size};
    size_t i = 0;

    snprintf(wanted.tag, sizeof wanted.tag, "%.*s", (int)strcspn(tag, "."), tag);
    pthread_mutex_lock(&lock);
    while (i < count && (kept[i].size != size || strcmp(kept[i].tag, wanted.tag) != 0))
        i++;
    if (i == count) {
        wanted.content = make(wanted.tag, size);
        kept = mem_grow(kept, count + 1, sizeof *kept);
        kept[count++] = wanted;
    }
    const char *out = kept[i].content;
    pthread_mutex_unlock(&lock);
    return out;
}

char *power_content_lf(const char *tag, size_t size, size_t *size_out)
{
    const char *content = power_content(tag, size);
    char *out = mem_zalloc(size + 1);
    size_t len = 0;

    for (size_t i = 0; i < size; i++)
        if (content[i] != '\r')
            out[len++] = content[i];
    *size_out = len;
    return out;
}

void power_address(const char *tag, size_t number, char out[POWER_ADDRESS_SIZE])
{
    snprintf(out, POWER_ADDRESS_SIZE, "t%s-%zu@x.test", tag, number);
}
