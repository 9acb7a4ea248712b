/* SPDX-License-Identifier: ISC */
#include "deliver/maildir_file.h"

#include "base/mem.h"
#include "base/fdio.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_SIZE 65536

struct maildir_file {
    int fd;
    bool has_cr; /* a CR is held back until the next byte is known */
    uint64_t size_bytes;
    size_t len;
    char block[BLOCK_SIZE];
};

struct maildir_file *maildir_file_new(int fd)
{
    struct maildir_file *f = mem_zalloc(sizeof *f);

    f->fd = fd;
    return f;
}

void maildir_file_free(struct maildir_file *f)
{
    free(f);
}

static int flush(struct maildir_file *f)
{
    if (fdio_write_all(f->fd, f->block, f->len) != 0)
        return -1;
    f->size_bytes += f->len;
    f->len = 0;
    return 0;
}

static int add(struct maildir_file *f, const char *data, size_t len)
{
    while (len > 0) {
        size_t n = BLOCK_SIZE - f->len < len ? BLOCK_SIZE - f->len : len;
        memcpy(f->block + f->len, data, n);
        f->len += n;
        data += n;
        len -= n;
        if (f->len == BLOCK_SIZE && flush(f) != 0)
            return -1;
    }
    return 0;
}

int maildir_file_write(struct maildir_file *f, const char *data, size_t len)
{
    const char *end = data + len;

    while (data < end) {
        if (f->has_cr && *data != '\n' && add(f, "\r", 1) != 0)
            return -1;
        f->has_cr = false;
        const char *cr = memchr(data, '\r', (size_t)(end - data));
        if (add(f, data, (size_t)((cr != NULL ? cr : end) - data)) != 0)
            return -1;
        f->has_cr = cr != NULL;
        data = cr != NULL ? cr + 1 : end;
    }
    return 0;
}

int maildir_file_finish(struct maildir_file *f)
{
    if (f->has_cr && add(f, "\r", 1) != 0)
        return -1;
    f->has_cr = false;
    return flush(f) != 0 ? -1 : fsync(f->fd);
}

uint64_t maildir_file_size(const struct maildir_file *f)
{
    return f->size_bytes;
}

bool maildir_file_is_same(int a, int b)
{
    char *blocks = mem_grow(NULL, 2, BLOCK_SIZE);
    bool is_same = true;
    off_t offset = 0;
    ssize_t n = BLOCK_SIZE;

    while (is_same && n == BLOCK_SIZE) {
        n = fdio_pread_full(a, blocks, BLOCK_SIZE, offset);
        is_same = n >= 0 && fdio_pread_full(b, blocks + BLOCK_SIZE, BLOCK_SIZE, offset) == n &&
                  memcmp(blocks, blocks + BLOCK_SIZE, (size_t)n) == 0;
        offset += BLOCK_SIZE;
    }
    free(blocks);
    return is_same;
}
