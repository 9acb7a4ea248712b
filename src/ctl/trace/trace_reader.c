/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_reader.h"
#include "base/buf.h"
#include "base/mem.h"
#include "ctl/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#define CHUNK (256U << 10)
#define CURSOR_SIZE 512
#define REST_MAX (1U << 20) /* a line that is longer is no line of a log */

struct trace_reader {
    char *name; /* of the file, or "journalctl" */
    int fd;
    pid_t pid;       /* of the program that writes to fd; 0: none */
    bool is_regular; /* fd is the file itself: it may grow */
    time_t written;  /* when the file was written last; 0: not known */
    struct buf rest; /* the beginning of a line */
    bool is_skipping;
    char cursor[CURSOR_SIZE]; /* of the last line of the journal; "": not known */
};

/* --- opening --- */

/* Start a program. in: its standard input, -1: none. The reader gets its standard output. */
static int start(struct trace_reader *r, const char *const *argv, int in, struct err *err)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0) {
        err_set_errno(err, "%s: pipe", argv[0]);
        return -1;
    }
    int error = spawn_start(argv, in, fds[1], -1, &r->pid);
    close(fds[1]);
    if (error == 0) {
        r->fd = fds[0];
        return 0;
    }
    r->pid = 0;
    close(fds[0]);
    err_set(err, "%s: %s", argv[0], strerror(error));
    return -1;
}

/* The program that unpacks a file which begins so; NULL: the file is not compressed. */
static const char *unpacker(const unsigned char *head, size_t len)
{
    static const struct {
        const char *magic, *program;
    } formats[] = {{"\x1f\x8b", "gzip"},
                   {"\xfd\x37zXZ", "xz"},
                   {"\x28\xb5\x2f\xfd", "zstd"},
                   {"BZh", "bzip2"}};

    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (len >= strlen(formats[i].magic) &&
            memcmp(head, formats[i].magic, strlen(formats[i].magic)) == 0)
            return formats[i].program;
    return NULL;
}

static int open_file(struct trace_reader *r, struct err *err)
{
    unsigned char head[8];
    struct stat st;

    int fd = strcmp(r->name, "-") == 0 ? dup(STDIN_FILENO) : open(r->name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        err_set_errno(err, "%s", r->name);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    ssize_t n = S_ISREG(st.st_mode) ? pread(fd, head, sizeof head, 0) : 0;
    const char *program = unpacker(head, n > 0 ? (size_t)n : 0);
    r->is_regular = program == NULL && S_ISREG(st.st_mode);
    r->written = S_ISREG(st.st_mode) ? st.st_mtime : 0;
    if (program == NULL) {
        r->fd = fd;
        return 0;
    }
    const char *const argv[] = {program, "-dc", NULL};
    int rc = start(r, argv, fd, err);
    close(fd);
    return rc;
}

static struct trace_reader *new_reader(const char *name)
{
    struct trace_reader *r = mem_zalloc(sizeof *r);

    r->name = mem_strdup(name);
    r->fd = -1;
    return r;
}

struct trace_reader *trace_reader_open(const char *path, struct err *err)
{
    struct trace_reader *r = new_reader(path);

    if (open_file(r, err) == 0)
        return r;
    trace_reader_close(r);
    return NULL;
}

/* The number of a facility as journalctl(1) has it. */
static int facility_number(const char *name)
{
    if (strncmp(name, "local", 5) == 0 && name[5] >= '0' && name[5] <= '7')
        return LOG_FAC(LOG_LOCAL0) + (name[5] - '0');
    return strcmp(name, "daemon") == 0 ? LOG_FAC(LOG_DAEMON)
           : strcmp(name, "user") == 0 ? LOG_FAC(LOG_USER)
                                       : LOG_FAC(LOG_MAIL);
}

/* Start journalctl(1) with options, which end with NULL. */
static struct trace_reader *start_journal(const char *const *options, const char *facility,
                                          struct err *err)
{
    struct trace_reader *r = new_reader("journalctl");
    char mail[40], ours[40];
    const char *argv[20] = {"journalctl", "--no-pager", "--all", "--output=short-iso-precise"};
    size_t n = 4;

    while (*options != NULL)
        argv[n++] = *options++;
    snprintf(mail, sizeof mail, "SYSLOG_FACILITY=%d", LOG_FAC(LOG_MAIL));
    snprintf(ours, sizeof ours, "SYSLOG_FACILITY=%d", facility_number(facility));
    argv[n++] = mail;
    argv[n++] = "+";
    argv[n++] = ours;
    argv[n++] = "+";
    argv[n++] = "_SYSTEMD_UNIT=splitmilter.service";
    argv[n++] = "+";
    argv[n++] = "_SYSTEMD_SLICE=system-splitmilter.slice"; /* of splitmilter@NAME */
    argv[n++] = "+";
    argv[n++] = "_SYSTEMD_UNIT=splitrelay.service";
    if (start(r, argv, -1, err) == 0)
        return r;
    trace_reader_close(r);
    return NULL;
}

struct trace_reader *trace_reader_journal(int64_t since_us, int64_t until_us, const char *facility,
                                          struct err *err)
{
    const char *options[4] = {"--show-cursor"};
    char since[40], until[40];
    size_t n = 1;

    snprintf(since, sizeof since, "--since=@%" PRId64, since_us / 1000000);
    snprintf(until, sizeof until, "--until=@%" PRId64, until_us / 1000000 + 1);
    if (since_us != 0)
        options[n++] = since;
    if (until_us != 0)
        options[n] = until;
    return start_journal(options, facility, err);
}

struct trace_reader *trace_reader_journal_follow(const struct trace_reader *former,
                                                 int64_t since_us, const char *facility,
                                                 struct err *err)
{
    char from[CURSOR_SIZE + 40];
    const char *const options[] = {"--follow", "--no-tail", from, NULL};

    if (former->cursor[0] != '\0')
        snprintf(from, sizeof from, "--after-cursor=%s", former->cursor);
    else
        snprintf(from, sizeof from, "--since=@%lld", (long long)(since_us / 1000000));
    return start_journal(options, facility, err);
}

const char *trace_reader_name(const struct trace_reader *r)
{
    return strcmp(r->name, "journalctl") == 0 ? "of systemd" : r->name;
}

bool trace_reader_is_file(const struct trace_reader *r)
{
    return r->written != 0 && strcmp(r->name, "-") != 0;
}

void trace_reader_close(struct trace_reader *r)
{
    if (r == NULL)
        return;
    if (r->fd >= 0)
        close(r->fd);
    if (r->pid > 0) {
        kill(r->pid, SIGTERM);
        while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    buf_clear(&r->rest);
    free(r->name);
    free(r);
}

/* --- lines --- */

/* Keep the cursor that journalctl(1) prints after the last line. */
static void note_cursor(struct trace_reader *r, const char *line, size_t len)
{
    static const char mark[] = "-- cursor: ";
    size_t skip = sizeof mark - 1;

    if (len <= skip || len - skip >= sizeof r->cursor || memcmp(line, mark, skip) != 0)
        return;
    memcpy(r->cursor, line + skip, len - skip);
    r->cursor[len - skip] = '\0';
}

/* Add the complete lines in the buffer. */
static void add_lines(struct trace_reader *r, struct trace_log *log)
{
    char *at = r->rest.data, *stop = at + r->rest.len, *end;

    while (at < stop && (end = memchr(at, '\n', (size_t)(stop - at))) != NULL) {
        if (!r->is_skipping)
            trace_log_add(log, at, (size_t)(end - at));
        note_cursor(r, at, (size_t)(end - at));
        r->is_skipping = false;
        at = end + 1;
    }
    buf_consume(&r->rest, (size_t)(at - r->rest.data));
    if (r->rest.len > REST_MAX) {
        log->overlong += !r->is_skipping;
        r->is_skipping = true;
        buf_reset(&r->rest);
    }
}

/* Read once. Returns the number of bytes, 0 at the end, -1 with `err`. */
static ssize_t read_some(struct trace_reader *r, struct trace_log *log, struct err *err)
{
    ssize_t n;

    do
        n = read(r->fd, buf_reserve(&r->rest, CHUNK), CHUNK);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        err_set_errno(err, "%s", r->name);
        return -1;
    }
    r->rest.len += (size_t)n;
    r->rest.data[r->rest.len] = '\0';
    add_lines(r, log);
    return n;
}

/* Wait for the program. -1 with `err`: it failed. */
static int finish(struct trace_reader *r, struct err *err)
{
    int status = 0;

    if (r->pid == 0)
        return 0;
    while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    r->pid = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    err_set(err, "%s cannot be read to its end: exit status %d", r->name,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128);
    return -1;
}

int trace_reader_all(struct trace_reader *r, struct trace_log *log, bool is_followed,
                     struct err *err)
{
    ssize_t n;

    trace_log_begin_file(log, r->written);
    while ((n = read_some(r, log, err)) > 0 && !log->is_full)
        continue;
    if (log->is_full) {
        err_set(err,
                "%s cannot be read to its end: the lines that may be about these words take more "
                "than the memory that --memory allows",
                r->name);
        return -1;
    }
    if (n < 0 || finish(r, err) < 0)
        return -1;
    if (r->rest.len > 0 && !r->is_skipping && !(is_followed && r->is_regular)) {
        trace_log_add(log, r->rest.data, r->rest.len);
        buf_reset(&r->rest);
    }
    return 0;
}

/* Has the name become that of another file, or has the file become shorter than what was read? */
static bool is_replaced(const struct trace_reader *r)
{
    struct stat here, there;

    if (!r->is_regular || fstat(r->fd, &here) < 0 || stat(r->name, &there) < 0)
        return false;
    off_t at = lseek(r->fd, 0, SEEK_CUR);
    return here.st_dev != there.st_dev || here.st_ino != there.st_ino || there.st_size < at;
}

int trace_reader_more(struct trace_reader *r, struct trace_log *log, struct err *err)
{
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    ssize_t n = 1;

    if (!r->is_regular && r->pid == 0)
        return 1;
    while (n > 0 && (r->is_regular || poll(&p, 1, 0) > 0)) {
        n = read_some(r, log, err);
        if (n < 0)
            return -1;
    }
    if (n == 0 && r->pid != 0)
        return finish(r, err) < 0 ? -1 : 1;
    if (!is_replaced(r))
        return 0;
    while (read_some(r, log, err) > 0) /* what came before the file was replaced */
        continue;
    close(r->fd);
    r->fd = -1;
    buf_reset(&r->rest);
    return open_file(r, err);
}
