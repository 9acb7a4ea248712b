/* SPDX-License-Identifier: ISC */
/* history: what became of copies, newest first. */
#include "base/process.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/select.h"
#include "queue/queue_id.h"
#include "queue/queue_reader.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

struct telling {
    bool is_json;
    uint64_t count;
};

static void print_event(const struct queue_event *e)
{
    char when[64];
    struct tm tm;

    if (localtime_r(&e->time, &tm) == NULL ||
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(when, sizeof when, "%lld", (long long)e->time);
    ctl_printf("%s %s: dest=%s, from=<%s>, to=%s, size=%" PRIu64 ", attempts=%u, result=%s", when,
               e->id, e->destination, e->sender, e->recipients, e->size_bytes, e->attempts,
               e->result);
    if (e->relay[0] != '\0')
        ctl_printf(", relay=%s", e->relay);
    if (e->mta_queue_id[0] != '\0')
        ctl_printf(", queue_id=%s", e->mta_queue_id);
    if (e->message_id[0] != '\0')
        ctl_printf(", message-id=%s", e->message_id);
    if (e->reply[0] != '\0')
        ctl_printf(" (%s)", e->reply);
    putchar('\n');
}

static void print_json(const struct queue_event *e)
{
    json_t *o = json_object();

    ctl_json_set(o, "time", json_integer(e->time));
    ctl_json_set(o, "queue_id", ctl_json_text(e->id));
    ctl_json_set(o, "destination", ctl_json_text(e->destination));
    ctl_json_set(o, "sender", ctl_json_text(e->sender));
    ctl_json_set(o, "recipients", ctl_json_text(e->recipients));
    ctl_json_set(o, "message_id", ctl_json_text(e->message_id));
    ctl_json_set(o, "mta_queue_id", ctl_json_text(e->mta_queue_id));
    ctl_json_set(o, "message_size", json_integer((json_int_t)e->size_bytes));
    ctl_json_set(o, "result", ctl_json_text(e->result));
    ctl_json_set(o, "relay", ctl_json_text(e->relay));
    ctl_json_set(o, "reply", ctl_json_text(e->reply));
    ctl_json_set(o, "attempts", json_integer(e->attempts));
    ctl_json_line(o);
}

static bool tell(void *ctx, const struct queue_event *e)
{
    struct telling *t = ctx;

    t->count++;
    if (t->is_json)
        print_json(e);
    else
        print_event(e);
    return !ferror(stdout);
}

static int history(const struct config *config, const struct select_request *s, bool is_json)
{
    struct telling t = {.is_json = is_json};
    struct err err;
    struct queue_reader *reader =
        queue_reader_open(config->relay.spool_directory, config->relay.queue, &err);

    if (reader == NULL || queue_reader_history(reader, &s->selection, tell, NULL, &t, &err) < 0) {
        ctl_complain("%s", err.text);
        queue_reader_close(reader);
        return EXIT_UNAVAILABLE;
    }
    queue_reader_close(reader);
    if (t.count == 0 && !is_json)
        ctl_printf("Nothing in the history\n");
    return EXIT_OK;
}

int ctl_history(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    static const struct option options[] = {SELECT_OPTIONS, {"json", no_argument, NULL, 'j'}, {0}};
    struct select_request request = {0};
    bool is_json = false;
    int64_t id;
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c >= SELECT_FIRST && c <= SELECT_LAST) {
            if (!select_option(&request, c, optarg))
                return EXIT_USAGE;
        } else if (c != 'j') {
            return ctl_usage(self);
        }
        is_json |= c == 'j';
    }
    if (argc - optind > 1 || request.selection.places != 0)
        return ctl_usage(self);
    if (optind < argc && queue_id_parse(argv[optind], &id))
        request.selection.id = argv[optind];
    else
        request.selection.destination = argv[optind];
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    int code = history(config, &request, is_json);
    config_free(config);
    return code;
}
