/* SPDX-License-Identifier: ISC */
#include "relay/control_line.h"

#include "base/log.h"
#include "base/mem.h"
#include "queue/spool_envelope.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const actions[] = {[QUEUE_HOLD] = "hold",
                                      [QUEUE_RELEASE] = "release",
                                      [QUEUE_DELETE] = "delete",
                                      [QUEUE_REQUEUE] = "requeue"};
enum { ACTIONS = sizeof actions / sizeof actions[0] };

static const struct {
    const char *name;
    unsigned place;
} places[] = {{"queue", QUEUE_IN_QUEUE}, {"hold", QUEUE_IN_HOLD}, {"dead", QUEUE_IN_DEAD}};
enum { PLACES = sizeof places / sizeof places[0] };

unsigned control_line_place(const char *word)
{
    for (size_t i = 0; i < PLACES; i++)
        if (strcmp(word, places[i].name) == 0)
            return places[i].place;
    return 0;
}

const char *control_line_action(enum queue_action action)
{
    return actions[action];
}

/* Behind the prefix, or NULL. */
static const char *behind(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);

    return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

static int parse_what(const char *text, struct control_line *out, struct err *err)
{
    const char *destination = behind(text, "--all ");

    out->is_all = destination != NULL || strcmp(text, "--all") == 0;
    if (destination != NULL && !spool_destination_is_valid(destination)) {
        err_set(err, "no name of a destination");
        return -1;
    }
    if (destination != NULL)
        mem_copy_string(out->destination, sizeof out->destination, destination);
    if (out->is_all)
        return 0;
    if (!spool_id_is_valid(text)) {
        err_set(err, "no id of a copy");
        return -1;
    }
    mem_copy_string(out->id, sizeof out->id, text);
    return 0;
}

/* One option, a word of len bytes. */
static int parse_option(const char *text, size_t len, struct control_line *out, struct err *err)
{
    char word[QUEUE_DESTINATION_SIZE + 8];

    if (len >= sizeof word) {
        err_set(err, "unknown option");
        return -1;
    }
    memcpy(word, text, len);
    word[len] = '\0';
    const char *place = behind(word, "--in="), *to = behind(word, "--to=");
    if (place != NULL && out->places == 0)
        out->places = control_line_place(place);
    if (place != NULL && out->places != 0)
        return 0;
    if (to != NULL && out->to[0] == '\0' && out->action == QUEUE_REQUEUE &&
        spool_destination_is_valid(to)) {
        mem_copy_string(out->to, sizeof out->to, to);
        return 0;
    }
    err_set(err, "unknown option");
    return -1;
}

static int parse_change(const char *text, struct control_line *out, struct err *err)
{
    const char *space;

    out->verb = CONTROL_CHANGE;
    while ((behind(text, "--in=") != NULL || behind(text, "--to=") != NULL) &&
           (space = strchr(text, ' ')) != NULL) {
        if (parse_option(text, (size_t)(space - text), out, err) < 0)
            return -1;
        text = space + 1;
    }
    return parse_what(text, out, err);
}

int control_line_parse(const char *text, struct control_line *out, struct err *err)
{
    const char *rest = behind(text, "retry ");

    memset(out, 0, sizeof *out);
    out->verb = CONTROL_PING;
    if (strcmp(text, "ping") == 0)
        return 0;
    const char *destination = behind(text, "health ");
    if (destination != NULL && spool_destination_is_valid(destination)) {
        out->verb = CONTROL_HEALTH;
        mem_copy_string(out->destination, sizeof out->destination, destination);
        return 0;
    }
    out->verb = CONTROL_RETRY;
    if (rest != NULL)
        return parse_what(rest, out, err);
    for (int i = 0; i < ACTIONS; i++) {
        rest = behind(text, actions[i]);
        out->action = (enum queue_action)i;
        if (rest != NULL && rest[0] == ' ')
            return parse_change(rest + 1, out, err);
    }
    err_set(err, "unknown request");
    return -1;
}

void control_line_format(const struct control_line *line, struct buf *out)
{
    switch (line->verb) {
    case CONTROL_PING:
        buf_adds(out, "ping");
        return;
    case CONTROL_HEALTH:
        buf_addf(out, "health %s", line->destination);
        return;
    case CONTROL_RETRY:
        buf_adds(out, "retry");
        break;
    case CONTROL_CHANGE:
        buf_adds(out, actions[line->action]);
        break;
    }
    for (size_t i = 0; i < PLACES; i++)
        if (line->places == places[i].place)
            buf_addf(out, " --in=%s", places[i].name);
    if (line->to[0] != '\0')
        buf_addf(out, " --to=%s", line->to);
    if (!line->is_all)
        buf_addf(out, " %s", line->id);
    else if (line->destination[0] == '\0')
        buf_adds(out, " --all");
    else
        buf_addf(out, " --all %s", line->destination);
}

struct queue_change control_line_change(const struct control_line *line)
{
    return (struct queue_change){
        .action = line->action,
        .places = line->places,
        .id = line->is_all ? NULL : line->id,
        .destination = line->destination[0] == '\0' ? NULL : line->destination,
        .to = line->to[0] == '\0' ? NULL : line->to,
    };
}

void control_line_changed(const struct queue_changed *changed, const char *reason, struct buf *out)
{
    char *text = mem_strdup(reason);

    log_sanitize(text);
    buf_addf(out, "%" PRIu64 " %" PRIu64 " %" PRIu64 "%s%s", changed->changed, changed->ordered,
             changed->failed, text[0] == '\0' ? "" : " ", text);
    free(text);
}

int control_line_parse_changed(const char *text, struct queue_changed *out, struct err *reason_out)
{
    uint64_t *const numbers[] = {&out->changed, &out->ordered, &out->failed};

    memset(out, 0, sizeof *out);
    reason_out->text[0] = '\0';
    for (int i = 0; i < 3; i++) {
        char *end;
        if (text[0] < '0' || text[0] > '9')
            return -1;
        *numbers[i] = strtoull(text, &end, 10);
        if (*end != ' ' && (*end != '\0' || i < 2))
            return -1;
        text = *end == ' ' ? end + 1 : end;
    }
    err_set(reason_out, "%s", text);
    log_sanitize(reason_out->text);
    return 0;
}
