/* SPDX-License-Identifier: ISC */
#include "base/verdict.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/clock.h"
#include "base/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_SIZE (sizeof((struct err *)0)->text + 160)

static const char *const words[] = {[VERDICT_STARTED] = "started",
                                    [VERDICT_RELOADED] = "reloaded",
                                    [VERDICT_RESTART] = "restart",
                                    [VERDICT_FAILED] = "failed"};

enum { WORDS = sizeof words / sizeof words[0] };

/* Write a new file and rename it, so that a reader sees the former verdict or this one, never a
 * part of one. */
static int replace(const char *path, const char *line, size_t len, struct err *err)
{
    char *fresh = mem_printf("%s.new", path);
    int fd = -1, rc = -1;

    if (unlink(fresh) != 0 && errno != ENOENT) {
        err_set_errno(err, "%s", fresh);
        goto out;
    }
    fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        err_set_errno(err, "%s", fresh);
        goto out;
    }
    if (fdio_write_all(fd, line, len) != 0) {
        err_set_errno(err, "%s", fresh);
        close(fd);
        goto out;
    }
    if (close(fd) != 0 || rename(fresh, path) != 0)
        err_set_errno(err, "%s", path);
    else
        rc = 0;
out:
    if (rc != 0 && fd >= 0)
        unlink(fresh);
    free(fresh);
    return rc;
}

void verdict_write(const char *lock_path, int64_t begun_us, enum verdict_outcome outcome,
                   const char *text)
{
    char *path = mem_printf("%s.reload", lock_path), line[LINE_SIZE];
    struct err err, plain;

    err_set(&plain, "%s", text);
    log_sanitize(plain.text);
    int len = snprintf(line, sizeof line, "splitmilter-verdict 1 %ld %" PRId64 " %lld %s %s\n",
                       (long)getpid(), begun_us, (long long)time(NULL), words[outcome], plain.text);
    if (replace(path, line, (size_t)len, &err) != 0)
        log_warning("cannot report the result of the reload to splitctl: %s", err.text);
    free(path);
}

/* Read the number at *at, and move *at behind the blank that follows it. */
static int take_number(char **at, int64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoll(*at, &end, 10);
    if (end == *at || *end != ' ' || errno != 0)
        return -1;
    *at = end + 1;
    return 0;
}

static int parse(char *line, struct verdict *out)
{
    static const char head[] = "splitmilter-verdict 1 ";
    char *at = line + sizeof head - 1;
    int64_t pid, time;

    memset(out, 0, sizeof *out);
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, head, sizeof head - 1) != 0 || take_number(&at, &pid) < 0 ||
        take_number(&at, &out->begun_us) < 0 || take_number(&at, &time) < 0)
        return -1;
    char *word = strsep(&at, " ");
    if (at == NULL)
        return -1;
    out->pid = (pid_t)pid;
    out->at = (time_t)time;
    err_set(&out->text, "%s", at);
    log_sanitize(out->text.text);
    for (int i = 0; i < WORDS; i++)
        if (strcmp(word, words[i]) == 0) {
            out->outcome = (enum verdict_outcome)i;
            return 0;
        }
    return -1;
}

int verdict_read(const char *lock_path, struct verdict *out, struct err *err)
{
    char *path = mem_printf("%s.reload", lock_path), line[LINE_SIZE];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), rc = -1;

    if (fd < 0) {
        err_set_errno(err, "%s", path);
        free(path);
        return -1;
    }
    ssize_t n = fdio_read_full(fd, line, sizeof line - 1);
    if (n < 0) {
        err_set_errno(err, "%s", path);
    } else {
        line[n] = '\0';
        rc = parse(line, out);
        errno = EINVAL;
        if (rc < 0)
            err_set(err, "%s: damaged", path);
    }
    int error = errno;
    close(fd);
    free(path);
    errno = error;
    return rc;
}
