/* SPDX-License-Identifier: ISC */
#include "base/log.h"
#include "base/log_thread.h"
#include "base/utf8.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

/* The settings, which log_open() may change while other threads log, and the pid. Threads read them
 * for each line without a lock, so they are atomic. */
static struct {
    const char *_Atomic ident;
    atomic_bool to_syslog;
    atomic_int facility;
    atomic_int level;
    atomic_long pid; /* 0: not read yet; it never goes stale, because no process logs before a fork
                        and after it */
} state = {NULL, false, LOG_MAIL, LOG_LEVEL_INFO, 0};

#define TAG_SIZE 128

/* The tag of syslog(3) belongs to the process, so one thread at a time sets it and sends a line.
 * This costs no parallelism, because syslog(3) holds a lock of its own while it sends a line. */
static pthread_mutex_t tag_lock = PTHREAD_MUTEX_INITIALIZER;
static char tag[TAG_SIZE];

struct word {
    const char *name;
    int value;
};

static const struct word targets[] = {{"syslog", 1}, {"stderr", 0}, {NULL, 0}};

static const struct word facilities[] = {
    {"mail", LOG_MAIL},     {"daemon", LOG_DAEMON}, {"user", LOG_USER},     {"local0", LOG_LOCAL0},
    {"local1", LOG_LOCAL1}, {"local2", LOG_LOCAL2}, {"local3", LOG_LOCAL3}, {"local4", LOG_LOCAL4},
    {"local5", LOG_LOCAL5}, {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7}, {NULL, 0}};

static const struct word levels[] = {{"error", LOG_LEVEL_ERROR},
                                     {"warning", LOG_LEVEL_WARNING},
                                     {"info", LOG_LEVEL_INFO},
                                     {"debug", LOG_LEVEL_DEBUG},
                                     {NULL, 0}};

static int find_word(const struct word *words, const char *what, const char *name, int *value_out,
                     struct err *err)
{
    char allowed[256] = "";
    size_t used = 0;

    for (; words->name != NULL; words++) {
        if (strcmp(words->name, name) == 0) {
            *value_out = words->value;
            return 0;
        }
        used += (size_t)snprintf(allowed + used, sizeof allowed - used, "%s%s",
                                 used == 0 ? "" : ", ", words->name);
    }
    err_set(err, "unknown log %s \"%s\", allowed are: %s", what, name, allowed);
    return -1;
}

int log_open(const char *ident, const char *target, const char *facility, const char *level,
             struct err *err)
{
    int to_syslog, fac = LOG_MAIL, lev;

    if (find_word(targets, "target", target, &to_syslog, err) < 0 ||
        find_word(levels, "level", level, &lev, err) < 0 ||
        (to_syslog && find_word(facilities, "facility", facility, &fac, err) < 0))
        return -1;
    atomic_store(&state.ident, ident);
    atomic_store(&state.facility, fac);
    atomic_store(&state.level, lev);
    atomic_store(&state.to_syslog, to_syslog != 0);
    return 0;
}

bool log_is_to_syslog(void)
{
    return atomic_load(&state.to_syslog);
}

static bool is_printable(uint32_t code)
{
    bool is_control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    bool is_line_break = code == 0x2028 || code == 0x2029;

    return !is_control && !is_line_break;
}

void log_sanitize(char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        uint32_t code;
        size_t n = utf8_decode(text, left, &code);
        if (n == 0 || !is_printable(code)) {
            n = n == 0 ? 1 : n;
            memset(text, '?', n);
        }
        text += n;
        left -= n;
    }
}

/* The length of the text without an incomplete UTF-8 character at its end. */
static size_t whole_characters(const char *text, size_t len)
{
    uint32_t code;

    for (size_t back = 1; back <= 3 && back <= len; back++) {
        unsigned char c = (unsigned char)text[len - back];
        if (c >= 0xc0)
            return utf8_decode(text + len - back, back, &code) == 0 ? len - back : len;
        if (c < 0x80)
            break;
    }
    return len;
}

void log_write_syslog(int priority, const char *ident, size_t ident_len, const char *text)
{
    pthread_mutex_lock(&tag_lock);
    snprintf(tag, sizeof tag, "%.*s", (int)ident_len, ident);
    openlog(tag, LOG_PID | LOG_NDELAY, atomic_load(&state.facility)); /* cheap if open already */
    syslog(priority, "%s", text);
    pthread_mutex_unlock(&tag_lock);
}

static long own_pid(void)
{
    long pid = atomic_load_explicit(&state.pid, memory_order_relaxed);

    if (pid == 0) {
        pid = getpid();
        atomic_store_explicit(&state.pid, pid, memory_order_relaxed);
    }
    return pid;
}

static void emit(enum log_level level, const char *service, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

/* service: as for log_as(); NULL for a line of log_error(), log_warning(), log_info() or
 * log_debug(). */
static void emit(enum log_level level, const char *service, const char *fmt, va_list ap)
{
    static const char *const prefix[] = {"error: ", "warning: ", "", ""};
    static const int priority[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    char line[LOG_LINE_MAX + 1];
    const char *ident = atomic_load_explicit(&state.ident, memory_order_relaxed);

    if ((int)level > atomic_load_explicit(&state.level, memory_order_relaxed))
        return;
    int saved_errno = errno;
    int head = snprintf(line, TAG_SIZE, "%.40s%s%.80s",
                        ident == NULL ? program_invocation_short_name : ident,
                        service == NULL ? "" : "/", service == NULL ? "" : service);
    size_t ident_len = (size_t)head, used = ident_len;
    used += (size_t)snprintf(line + used, sizeof line - used, "[%ld]: ", own_pid());
    size_t text = used;
    used += (size_t)snprintf(line + used, sizeof line - used, "%s",
                             service == NULL ? prefix[level] : "");
    int want = vsnprintf(line + used, sizeof line - used, fmt, ap);
    if (want < 0 || (size_t)want >= sizeof line - used)
        used = whole_characters(line, strlen(line));
    else
        used += (size_t)want;
    line[used] = '\0';
    log_sanitize(line);
    if (atomic_load_explicit(&state.to_syslog, memory_order_relaxed)) {
        if (!log_thread_put(priority[level], line, ident_len, line + text))
            log_write_syslog(priority[level], line, ident_len, line + text);
    } else {
        line[used] = '\n';
        while (write(STDERR_FILENO, line, used + 1) < 0 && errno == EINTR)
            continue;
    }
    errno = saved_errno;
}

void log_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(LOG_LEVEL_ERROR, NULL, fmt, ap);
    va_end(ap);
}

void log_warning(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(LOG_LEVEL_WARNING, NULL, fmt, ap);
    va_end(ap);
}

void log_info(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(LOG_LEVEL_INFO, NULL, fmt, ap);
    va_end(ap);
}

void log_debug(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(LOG_LEVEL_DEBUG, NULL, fmt, ap);
    va_end(ap);
}

void log_as(enum log_level level, const char *service, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(level, service, fmt, ap);
    va_end(ap);
}
