/* SPDX-License-Identifier: ISC */
/* The metrics of the own process. A value that cannot be read stays as it was. */
#include "metrics/metrics.h"
#include "base/clock.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static struct metrics_family cpu = {
    .name = "process_cpu_seconds_total",
    .help = "CPU time spent, user and system.",
    .type = METRICS_COUNTER,
    .is_micro = true,
};
static struct metrics_family memory = {
    .name = "process_resident_memory_bytes",
    .help = "Resident memory.",
    .type = METRICS_GAUGE,
};
static struct metrics_family open_fds = {
    .name = "process_open_fds",
    .help = "Open file descriptors.",
    .type = METRICS_GAUGE,
};
static struct metrics_family max_fds = {
    .name = "process_max_fds",
    .help = "Limit of open file descriptors.",
    .type = METRICS_GAUGE,
};
static struct metrics_family start = {
    .name = "process_start_time_seconds",
    .help = "Start of the process, in seconds since 1970.",
    .type = METRICS_GAUGE,
    .is_micro = true,
};

static int64_t micro(const struct timeval *t)
{
    return (int64_t)t->tv_sec * 1000000 + t->tv_usec;
}

static void read_usage(void)
{
    struct rusage usage;
    struct rlimit limit;

    if (getrusage(RUSAGE_SELF, &usage) == 0)
        metrics_set(&cpu, "", 0, micro(&usage.ru_utime) + micro(&usage.ru_stime));
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        metrics_set(&max_fds, "", 0, (int64_t)limit.rlim_cur);
}

static void read_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int64_t count = -1; /* the descriptor that reads the directory does not count */

    if (dir == NULL)
        return;
    for (const struct dirent *e; (e = readdir(dir)) != NULL;)
        count += e->d_name[0] != '.';
    closedir(dir);
    metrics_set(&open_fds, "", 0, count);
}

/* proc(5): the second number in "statm" is the resident memory in pages. */
static void read_memory(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    char line[256];
    const char *space = NULL;

    if (f == NULL)
        return;
    if (fgets(line, sizeof line, f) != NULL)
        space = strchr(line, ' ');
    fclose(f);
    if (space != NULL)
        metrics_set(&memory, "", 0, strtoll(space, NULL, 10) * sysconf(_SC_PAGESIZE));
}

/* proc(5): field 22 of "stat" is the start in clock ticks after boot. The name in field 2 may have
 * blanks and parentheses, so the fields are counted from its last ")" on. */
static void read_start(void)
{
    FILE *f = fopen("/proc/self/stat", "re");
    char line[1024];
    const char *p = NULL;
    struct timespec boot;

    if (f == NULL)
        return;
    if (fgets(line, sizeof line, f) != NULL)
        p = strrchr(line, ')');
    fclose(f);
    for (int field = 2; p != NULL && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (p == NULL)
        return;
    clock_gettime(CLOCK_BOOTTIME, &boot);
    int64_t ticks = strtoll(p, NULL, 10), hertz = sysconf(_SC_CLK_TCK);
    int64_t age_us = clock_us_of(&boot) - ticks * 1000000 / hertz;
    metrics_set(&start, "", 0, clock_realtime_us() - age_us);
}

void metrics_render_process(struct buf *out)
{
    static struct metrics_family *const families[] = {&cpu,     &memory, &open_fds,
                                                      &max_fds, &start,  NULL};

    read_usage();
    read_descriptors();
    read_memory();
    if (metrics_value(&start, "", 0) == 0)
        read_start();
    metrics_render(families, out);
}
