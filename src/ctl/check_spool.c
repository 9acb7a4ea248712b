/* SPDX-License-Identifier: ISC */
#include "config/config_units.h"
#include "queue/queue_open.h"
#include "queue/queue_reader.h"
#include "ctl/check.h"
#include "ctl/health.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static const char *user_name(uid_t uid)
{
    const struct passwd *pw = getpwuid(uid);

    return pw == NULL ? "?" : pw->pw_name;
}

static void check_run(struct findings *f, const struct config *config, const struct service *s)
{
    struct err err;

    if (s->has_other_lock)
        find(f, LEVEL_WARNING,
             "spool: splitrelay runs (process %ld), but not with this spool_directory: it needs a "
             "restart",
             (long)s->pid);
    else if (s->run == SERVICE_RUNS)
        find(f, LEVEL_OK, "spool: splitrelay runs (process %ld)", (long)s->pid);
    else if (s->run == SERVICE_UNKNOWN)
        find(f, LEVEL_ERROR, "spool: %s", s->problem.text);
    else if (s->belongs_here)
        find(f, LEVEL_WARNING, "spool: splitrelay does not run");
    if (s->run == SERVICE_RUNS && health_refuses(config, &err) == 1)
        find(f, LEVEL_ERROR, "spool: %s", err.text);
}

/* Check the free space. reader: NULL if the database cannot be read. Free pages of the database
 * count as free space, because new copies use them. */
static void check_space(struct findings *f, const struct config_relay *r,
                        struct queue_reader *reader)
{
    struct statvfs fs;
    struct err err;
    char limit[24];
    uint64_t in_database = 0;

    if (statvfs(r->spool_directory, &fs) < 0) {
        find(f, LEVEL_ERROR, "spool: %s: %s", r->spool_directory, strerror(errno));
        return;
    }
    if (reader != NULL && queue_reader_free_bytes(reader, &in_database, &err) < 0)
        find(f, LEVEL_ERROR, "spool: %s", err.text);
    uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize + in_database;
    config_units_format_size(r->min_free_space_bytes, limit, sizeof limit);
    if (available < r->min_free_space_bytes)
        find(f, LEVEL_WARNING,
             "spool: %llu MB free, less than min_free_space = %s: no copies are "
             "taken",
             (unsigned long long)(available >> 20), limit);
    if (fs.f_files > 0 && fs.f_favail == 0)
        find(f, LEVEL_WARNING, "spool: the file system has no inodes left");
}

/* Report copies that will not be delivered because their destination is not configured. */
static void check_destinations(struct findings *f, const struct config *config,
                               struct queue_reader *reader)
{
    struct queue_depths depths;
    struct err err;

    if (queue_reader_depths(reader, time(NULL), NULL, NULL, &depths, &err) < 0) {
        find(f, LEVEL_ERROR, "spool: %s", err.text);
        return;
    }
    for (size_t i = 0; i < depths.count; i++) {
        const struct queue_depth *d = &depths.items[i];
        uint64_t waiting = d->due.copies + d->deferred.copies + d->held.copies;
        if (config_find_destination(config, d->destination) == NULL && waiting + d->dead.copies > 0)
            find(f, waiting > 0 ? LEVEL_WARNING : LEVEL_NOTE,
                 "spool: %" PRIu64
                 " cop%s for destination %s, which is not configured, and %" PRIu64
                 " dead: splitctl requeue --to, or delete",
                 waiting, waiting == 1 ? "y" : "ies", d->destination, d->dead.copies);
    }
    free(depths.items);
}

/* Check the content of the spool. */
static void check_queue(struct findings *f, const struct config *config, const struct service *s)
{
    const struct config_relay *r = &config->relay;
    struct err err;

    if (queue_check_old_spool(r->spool_directory, &err) < 0)
        find(f, LEVEL_ERROR, "spool: %s", err.text);
    struct queue_reader *reader = queue_reader_open(r->spool_directory, r->queue, &err);
    if (reader == NULL)
        find(f, LEVEL_ERROR, "spool: %s", err.text);
    check_space(f, r, reader);
    check_database(f, config, s, reader);
    if (reader != NULL)
        check_destinations(f, config, reader);
    queue_reader_close(reader);
}

static void check_directory(struct findings *f, const char *path, const struct stat *st,
                            const struct service *s)
{
    if ((st->st_mode & 022) != 0)
        find(f, LEVEL_ERROR, "spool: %s: others than its owner may write (mode %04o)", path,
             (unsigned)st->st_mode & 07777);
    if (s->has_user && st->st_uid != s->uid)
        find(f, LEVEL_ERROR, "spool: %s belongs to %s, and splitrelay is user %s", path,
             user_name(st->st_uid), s->user);
    else if (geteuid() != 0 && st->st_uid != geteuid())
        find(f, LEVEL_ERROR,
             "spool: %s belongs to %s, and you are user %lu: check as that user, or "
             "as root",
             path, user_name(st->st_uid), (unsigned long)geteuid());
    if (access(path, R_OK | W_OK | X_OK) < 0)
        find(f, LEVEL_ERROR, "spool: %s: %s", path, strerror(errno));
    else
        (void)check_reach(f, s, "spool", path, true);
}

void check_spool(struct findings *f, const struct config *config, const struct service *s)
{
    const char *path = config->relay.spool_directory;
    struct stat st;
    unsigned errors = f->errors;

    if (stat(path, &st) < 0) {
        find(f, LEVEL_ERROR, "spool: %s: %s", path, strerror(errno));
        return;
    }
    if (!S_ISDIR(st.st_mode)) {
        find(f, LEVEL_ERROR, "spool: %s is no directory", path);
        return;
    }
    check_directory(f, path, &st, s);
    if (f->errors == errors)
        find(f, LEVEL_OK, "spool: %s, owner %s", path, user_name(st.st_uid));
    check_run(f, config, s);
    check_queue(f, config, s);
}
