/* SPDX-License-Identifier: ISC */
#include "ctl/setup/command.h"
#include "base/mem.h"
#include "base/clock.h"
#include "base/ascii.h"
#include "ctl/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Append what can be read from a pipe. Returns true at the end of the pipe, or after an error. */
static bool take(int fd, struct buf *to)
{
    ssize_t n = read(fd, buf_reserve(to, 65536), 65536);

    to->len += n > 0 ? (size_t)n : 0;
    to->data[to->len] = '\0';
    return n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
}

/* What is done with standard output when it arrives. */
struct sink {
    struct buf *out;
    void (*each_line)(void *ctx, const char *line); /* NULL: output is collected in `out` */
    void *ctx;
};

/* Pass the complete lines to each_line(). is_end: pass a last line without line end, too. */
static void hand_out(struct sink *sink, bool is_end)
{
    struct buf *b = sink->out;
    size_t from = 0;
    char *end;

    while (b->len > from && (end = memchr(b->data + from, '\n', b->len - from)) != NULL) {
        *end = '\0';
        sink->each_line(sink->ctx, b->data + from);
        from = (size_t)(end - b->data) + 1;
    }
    if (is_end && b->len > from) {
        sink->each_line(sink->ctx, b->data + from);
        from = b->len;
    }
    buf_consume(b, from);
}

static const char *check_sizes(const struct sink *sink, const struct buf *said)
{
    if (said->len > COMMAND_OUTPUT_MAX || sink->out->len > COMMAND_OUTPUT_MAX)
        return "it writes too much";
    if (sink->each_line != NULL && sink->out->len > COMMAND_LINE_MAX)
        return "it writes too long a line";
    return NULL;
}

/* Read both pipes to their ends. Returns NULL, or what is wrong. */
static const char *collect(const int fds[2], struct sink *sink, struct buf *said)
{
    int64_t deadline = clock_now_ms() + COMMAND_TIMEOUT_MS;
    struct pollfd p[2] = {{.fd = fds[0], .events = POLLIN}, {.fd = fds[1], .events = POLLIN}};
    struct buf *const to[2] = {sink->out, said};

    while (p[0].fd >= 0 || p[1].fd >= 0) {
        int64_t left = deadline - clock_now_ms();
        int n = left <= 0 ? 0 : poll(p, 2, (int)left);
        if (n == 0)
            return "it takes too long";
        for (int i = 0; n > 0 && i < 2; i++)
            if (p[i].fd >= 0 && p[i].revents != 0 && take(p[i].fd, to[i]))
                p[i].fd = -1;
        if (sink->each_line != NULL)
            hand_out(sink, p[0].fd < 0);
        const char *wrong = check_sizes(sink, said);
        if (wrong != NULL)
            return wrong;
    }
    return NULL;
}

static int wait_for(pid_t pid, const char *name, struct err *err)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) {
            err_set_errno(err, "%s", name);
            return -1;
        }
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    err_set(err, "%s: killed by signal %d", name, WTERMSIG(status));
    return -1;
}

static int run(const char *const *argv, struct sink *sink, struct buf *said, struct err *err)
{
    int pipes[2][2] = {{-1, -1}, {-1, -1}}, result = -1;
    pid_t pid = 0;

    if (pipe2(pipes[0], O_CLOEXEC) < 0 || pipe2(pipes[1], O_CLOEXEC) < 0) {
        err_set_errno(err, "%s: pipe", argv[0]);
        goto out;
    }
    int error = spawn_start(argv, -1, pipes[0][1], pipes[1][1], &pid);
    if (error != 0) {
        err_set(err, "%s: %s", argv[0], strerror(error));
        goto out;
    }
    for (int i = 0; i < 2; i++) {
        close(pipes[i][1]);
        pipes[i][1] = -1;
    }
    const int fds[2] = {pipes[0][0], pipes[1][0]};
    const char *wrong = collect(fds, sink, said);
    if (wrong != NULL)
        kill(pid, SIGKILL);
    result = wait_for(pid, argv[0], err);
    if (wrong != NULL) {
        err_set(err, "%s: %s", argv[0], wrong);
        result = -1;
    }
out:
    for (int i = 0; i < 4; i++)
        if (pipes[i / 2][i % 2] >= 0)
            close(pipes[i / 2][i % 2]);
    return result;
}

int command_run(const char *const *argv, struct buf *out, struct buf *said, struct err *err)
{
    struct sink sink = {.out = out};

    return run(argv, &sink, said, err);
}

/* Run the command. Returns 0, or -1 with `err`; after a status other than 0, `err` has the command
 * line and the standard error. */
static int need(const char *const *argv, struct sink *sink, struct err *err)
{
    struct buf said = {0}, line = {0};
    int status = run(argv, sink, &said, err);

    if (status > 0) {
        while (said.len > 0 && said.data[said.len - 1] == '\n')
            buf_truncate(&said, said.len - 1);
        command_format(argv, &line);
        err_set(err, "%s: exit status %d%s%s", buf_str(&line), status, said.len > 0 ? ": " : "",
                buf_str(&said));
    }
    buf_clear(&said);
    buf_clear(&line);
    return status == 0 ? 0 : -1;
}

int command_need(const char *const *argv, struct buf *out, struct err *err)
{
    struct sink sink = {.out = out};

    return need(argv, &sink, err);
}

int command_each_line(const char *const *argv, void (*each_line)(void *ctx, const char *line),
                      void *ctx, struct err *err)
{
    struct buf out = {0};
    struct sink sink = {.out = &out, .each_line = each_line, .ctx = ctx};
    int rc = need(argv, &sink, err);

    buf_clear(&out);
    return rc;
}

static bool is_plain(const char *word)
{
    for (const char *p = word; *p != '\0'; p++)
        if (!ascii_is_alnum(*p) && strchr("-_./:=,@%+", *p) == NULL)
            return false;
    return *word != '\0';
}

void command_format(const char *const *argv, struct buf *out)
{
    for (size_t i = 0; argv[i] != NULL; i++) {
        if (i > 0)
            buf_addc(out, ' ');
        if (is_plain(argv[i])) {
            buf_adds(out, argv[i]);
            continue;
        }
        buf_addc(out, '\'');
        for (const char *p = argv[i]; *p != '\0'; p++)
            buf_adds(out, *p == '\'' ? "'\\''" : (char[]){*p, '\0'});
        buf_addc(out, '\'');
    }
}
