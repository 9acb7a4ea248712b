/* SPDX-License-Identifier: ISC */
#include "base/log.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log_format.h"
#include "base/log_journal.h"
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

enum target { TO_STDERR, TO_SYSLOG };

/* The settings, which log_open() may change while other threads log, and the pid. Threads read them
 * for each line without a lock, so they are atomic. */
static struct {
    const char *_Atomic ident;
    atomic_int target;
    atomic_bool has_journal; /* which takes the lines for syslog */
    atomic_bool is_json;
    atomic_int facility;
    atomic_int level;
    atomic_long pid; /* 0: not read yet; it never goes stale, because no process logs before a fork
                        and after it */
} state = {NULL, TO_STDERR, false, false, LOG_MAIL, LOG_LEVEL_INFO, 0};

#define TAG_SIZE 128

/* The tag of syslog(3) belongs to the process, so one thread at a time sets it and sends a line.
 * This costs no parallelism, because syslog(3) holds a lock of its own while it sends a line. */
static pthread_mutex_t tag_lock = PTHREAD_MUTEX_INITIALIZER;
static char tag[TAG_SIZE];

struct word {
    const char *name;
    int value;
};

static const struct word targets[] = {{"syslog", TO_SYSLOG}, {"stderr", TO_STDERR}, {NULL, 0}};

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
    int to, fac = LOG_MAIL, lev;

    if (find_word(targets, "target", target, &to, err) < 0 ||
        find_word(levels, "level", level, &lev, err) < 0 ||
        (to == TO_SYSLOG && find_word(facilities, "facility", facility, &fac, err) < 0))
        return -1;
    atomic_store(&state.ident, ident);
    atomic_store(&state.facility, fac);
    atomic_store(&state.level, lev);
    atomic_store(&state.target, to);
    return 0;
}

void log_use_journal(const char *device, const char *directory)
{
    atomic_store(&state.has_journal, log_journal_open(device, directory));
}

void log_set_json(bool is_json)
{
    atomic_store(&state.is_json, is_json);
}

bool log_is_to_syslog(void)
{
    return atomic_load(&state.target) != TO_STDERR;
}

static bool is_printable(uint32_t code)
{
    bool is_control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    bool is_line_break = code == 0x2028 || code == 0x2029;
    /* marks, embeddings, overrides and isolates of the bidirectional algorithm (UAX 9) */
    bool is_direction = code == 0x61c || code == 0x200e || code == 0x200f ||
                        (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);

    return !is_control && !is_line_break && !is_direction;
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

size_t log_whole_characters(const char *text, size_t len)
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

bool log_pass_on(const struct log_parcel *p)
{
    if (p->is_for_journal)
        return log_journal_send(p->data, p->len);
    pthread_mutex_lock(&tag_lock);
    snprintf(tag, sizeof tag, "%.*s", (int)p->tag_len, p->tag);
    openlog(tag, LOG_PID | LOG_NDELAY, atomic_load(&state.facility)); /* cheap if open already */
    syslog(p->priority, "%.*s", (int)p->len, p->data);
    pthread_mutex_unlock(&tag_lock);
    return true;
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

static const char *own_ident(void)
{
    const char *ident = atomic_load_explicit(&state.ident, memory_order_relaxed);

    return ident == NULL ? program_invocation_short_name : ident;
}

static void write_stderr(const char *data, size_t len)
{
    while (write(STDERR_FILENO, data, len) < 0 && errno == EINTR)
        continue;
}

void log_describe_loss(size_t lost, struct buf *out)
{
    static const char prefix[] = "warning: ";
    struct timespec now = clock_realtime();
    char text[150];

    snprintf(text, sizeof text,
             "%s%zu lines of the log were lost here: the system's log did not take them", prefix,
             lost);
    struct log_line line = {.level = LOG_LEVEL_WARNING,
                            .program = own_ident(),
                            .pid = own_pid(),
                            .message = text + sizeof prefix - 1};
    if (atomic_load(&state.is_json) && !atomic_load(&state.has_journal))
        log_format_json(&line, &now, out);
    else
        buf_adds(out, text);
}

/* Pass a line on in this thread. Lines that are lost are counted, and their number follows the next
 * line that is not. */
static void pass_on_here(const struct log_parcel *p)
{
    static atomic_size_t lost;
    struct buf text = {0};

    if (!log_pass_on(p)) {
        atomic_fetch_add(&lost, 1);
        return;
    }
    size_t count = atomic_load(&lost) == 0 ? 0 : atomic_exchange(&lost, 0);
    if (count == 0)
        return;
    log_describe_loss(count, &text);
    (void)log_pass_on(&(struct log_parcel){false, LOG_WARNING, own_ident(), strlen(own_ident()),
                                           text.data, text.len});
    buf_clear(&text);
}

static void hand_over(const struct log_parcel *p)
{
    if (!log_thread_put(p))
        pass_on_here(p);
}

/* Write a line as a JSON object, or send it to the journal. */
static void send_formatted(const struct log_line *l, enum target target, bool to_journal,
                           int priority)
{
    struct timespec now = clock_realtime();
    struct buf out = {0};

    if (to_journal)
        log_format_journal(l, priority, atomic_load(&state.facility), &out);
    else
        log_format_json(l, &now, &out);
    if (target == TO_STDERR) {
        buf_addc(&out, '\n');
        write_stderr(out.data, out.len);
    } else {
        hand_over(
            &(struct log_parcel){to_journal, priority, l->tag, l->tag_len, out.data, out.len});
    }
    buf_clear(&out);
}

static void emit(enum log_level level, const char *service, const struct log_field *fields,
                 const char *fmt, va_list ap) __attribute__((format(printf, 4, 0)));

/* service: as for log_as(); NULL for a line of the program itself. fields: NULL, or as for
 * log_event(). */
static void emit(enum log_level level, const char *service, const struct log_field *fields,
                 const char *fmt, va_list ap)
{
    static const char *const prefix[] = {"error: ", "warning: ", "", ""};
    static const int priority[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    char line[LOG_LINE_MAX + 1];

    if ((int)level > atomic_load_explicit(&state.level, memory_order_relaxed))
        return;
    int saved_errno = errno;
    const char *ident = own_ident();
    int head = snprintf(line, TAG_SIZE, "%.40s%s%.80s", ident, service == NULL ? "" : "/",
                        service == NULL ? "" : service);
    size_t tag_len = (size_t)head, used = tag_len;
    used += (size_t)snprintf(line + used, sizeof line - used, "[%ld]: ", own_pid());
    const char *text = line + used;
    used += (size_t)snprintf(line + used, sizeof line - used, "%s",
                             service == NULL ? prefix[level] : "");
    const char *message = line + used;
    int want = vsnprintf(line + used, sizeof line - used, fmt, ap);
    if (want < 0 || (size_t)want >= sizeof line - used)
        used = log_whole_characters(line, strlen(line));
    else
        used += (size_t)want;
    line[used] = '\0';
    log_sanitize(line);
    enum target target = (enum target)atomic_load_explicit(&state.target, memory_order_relaxed);
    bool to_journal =
        target == TO_SYSLOG && atomic_load_explicit(&state.has_journal, memory_order_relaxed);
    if (to_journal || atomic_load_explicit(&state.is_json, memory_order_relaxed)) {
        send_formatted(
            &(struct log_line){level, ident, line, tag_len, own_pid(), text, message, fields},
            target, to_journal, priority[level]);
    } else if (target == TO_SYSLOG) {
        hand_over(&(struct log_parcel){false, priority[level], line, tag_len, text,
                                       used - (size_t)(text - line)});
    } else {
        line[used] = '\n';
        write_stderr(line, used + 1);
    }
    errno = saved_errno;
}

void log_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(LOG_LEVEL_ERROR, NULL, NULL, fmt, ap);
    va_end(ap);
}

void log_warning(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(LOG_LEVEL_WARNING, NULL, NULL, fmt, ap);
    va_end(ap);
}

void log_info(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(LOG_LEVEL_INFO, NULL, NULL, fmt, ap);
    va_end(ap);
}

void log_debug(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(LOG_LEVEL_DEBUG, NULL, NULL, fmt, ap);
    va_end(ap);
}

void log_as(enum log_level level, const char *service, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(level, service, NULL, fmt, ap);
    va_end(ap);
}

void log_event(enum log_level level, const char *service, const struct log_field *fields,
               const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(level, service, fields, fmt, ap);
    va_end(ap);
}
