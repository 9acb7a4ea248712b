/* SPDX-License-Identifier: ISC */
#undef _FORTIFY_SOURCE /* with it syslog() is an inline function */
#define SYSLOG_NAMES   /* facilitynames, prioritynames */
#include "fake_syslog.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

static const char *_Atomic tag = "";
static atomic_int facility;
static atomic_size_t lines, mixed_up;
static pthread_mutex_t block = PTHREAD_MUTEX_INITIALIZER;
static char last[4096];

static const char *name_of(const CODE *names, int value)
{
    while (names->c_name != NULL && names->c_val != value)
        names++;
    return names->c_name == NULL ? "?" : names->c_name;
}

void openlog(const char *ident, int option, int fac)
{
    (void)option;
    atomic_store(&tag, ident);
    atomic_store(&facility, fac);
}

__attribute__((format(printf, 2, 0))) static void take(int priority, const char *fmt, va_list ap)
{
    char text[2048];
    int head;

    pthread_mutex_lock(&block);
    pthread_mutex_unlock(&block);
    sched_yield(); /* lets another thread change the tag, if nothing prevents it */
    head =
        snprintf(last, sizeof last, "%s %s %s ", atomic_load(&tag),
                 name_of(facilitynames, atomic_load(&facility)), name_of(prioritynames, priority));
    vsnprintf(text, sizeof text, fmt, ap);
    snprintf(last + head, sizeof last - (size_t)head, "%s", text);
    lines++;
    mixed_up += strncmp(text, "of ", 3) == 0 && strcmp(text + 3, atomic_load(&tag)) != 0;
}

void syslog(int priority, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    take(priority, fmt, ap);
    va_end(ap);
}

/* syslog() calls this function where log.c was compiled with _FORTIFY_SOURCE. */
void __syslog_chk(int priority, int flag, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

void __syslog_chk(int priority, int flag, const char *fmt, ...)
{
    va_list ap;

    (void)flag;
    va_start(ap, fmt);
    take(priority, fmt, ap);
    va_end(ap);
}

const char *fake_syslog_last(void)
{
    return last;
}

size_t fake_syslog_lines(void)
{
    return atomic_load(&lines);
}

void fake_syslog_block(bool blocks)
{
    if (blocks)
        pthread_mutex_lock(&block);
    else
        pthread_mutex_unlock(&block);
}

size_t fake_syslog_mixed_up(void)
{
    return atomic_load(&mixed_up);
}
