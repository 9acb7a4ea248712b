/* SPDX-License-Identifier: ISC */
#include "relay_page.h"
#include "../mem.h"
#include "../metrics.h"
#include "../metrics_http.h"
#include "counters.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

static struct metrics_family free_bytes = {
    .name = "splitrelay_spool_free_bytes",
    .help = "Free space of the spool's file system.",
    .type = METRICS_GAUGE,
};
static struct metrics_family min_free_bytes = {
    .name = "splitrelay_spool_min_free_bytes",
    .help = "Option min_free_space: with less no copies are taken.",
    .type = METRICS_GAUGE,
};
static struct metrics_family free_files = {
    .name = "splitrelay_spool_free_files",
    .help = "Files that the spool's file system has room for.",
    .type = METRICS_GAUGE,
};

static struct metrics_family *const families[] = {&free_bytes, &min_free_bytes, &free_files, NULL};

struct relay_page {
    struct queue *queue;
    char *spool, *spool_tmp;
    uint64_t min_free_bytes;
    atomic_bool is_serving;
    struct metrics_http *http;
};

static void look_at_space(const struct relay_page *p)
{
    struct statvfs fs;

    metrics_set(&min_free_bytes, "", 0, (int64_t)p->min_free_bytes);
    if (statvfs(p->spool, &fs) != 0)
        return;
    metrics_set(&free_bytes, "", 0,
                (int64_t)((uint64_t)fs.f_bavail * (fs.f_frsize == 0 ? fs.f_bsize : fs.f_frsize)));
    metrics_set(&free_files, "", 0, (int64_t)fs.f_favail);
}

static void page(void *ctx, struct buf *out)
{
    look_at_space(ctx);
    counters_render(out);
    metrics_render(families, out);
    metrics_render_process(out);
}

/* Can a file be made? One without a name is; where the file system knows none of these, permission
 * and the mount's state have to do. */
static int check_writable(const struct relay_page *p, struct err *why)
{
    int fd = open(p->spool_tmp, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

    if (fd != -1) {
        close(fd);
        return 0;
    }
    if ((errno == EOPNOTSUPP || errno == EISDIR) && access(p->spool_tmp, W_OK | X_OK) == 0)
        return 0;
    err_set_errno(why, "the spool cannot be written: %s", p->spool_tmp);
    return -1;
}

static bool is_ready(void *ctx, struct err *why)
{
    const struct relay_page *p = ctx;

    if (!atomic_load(&p->is_serving)) {
        err_set(why, "splitrelay does not listen: it is starting or stopping");
        return false;
    }
    if (p->queue->ops->has_room(p->queue, 0, why) != QUEUE_PUT_OK) {
        err_wrap(why, "no copies are taken");
        return false;
    }
    return check_writable(p, why) == 0;
}

int relay_page_start(const struct config *config, struct queue *q, struct relay_page **out,
                     struct err *err)
{
    const struct config_relay *relay = &config->relay;

    *out = NULL;
    if (relay->metrics_count == 0)
        return 0;
    struct relay_page *p = mem_zalloc(sizeof *p);
    struct metrics_http_options options = {
        .listen = relay->metrics,
        .listen_count = relay->metrics_count,
        .page = page,
        .is_ready = is_ready,
        .ctx = p,
    };
    p->queue = q;
    p->spool = mem_strdup(relay->spool_directory);
    p->spool_tmp = mem_printf("%s/tmp", relay->spool_directory);
    p->min_free_bytes = relay->min_free_space_bytes;
    metrics_enable();
    counters_declare(config);
    p->http = metrics_http_start(&options, err);
    if (p->http == NULL) {
        relay_page_stop(p);
        return -1;
    }
    *out = p;
    return 0;
}

void relay_page_set_serving(struct relay_page *p, bool is_serving)
{
    if (p != NULL)
        atomic_store(&p->is_serving, is_serving);
}

void relay_page_stop(struct relay_page *p)
{
    if (p == NULL)
        return;
    metrics_http_stop(p->http);
    free(p->spool);
    free(p->spool_tmp);
    free(p);
}
