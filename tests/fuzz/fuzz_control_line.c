/* SPDX-License-Identifier: ISC */
/* Requests at the control socket. A request that is accepted reads the same when it is written
 * again, and its names are valid names. */
#include "relay/control_line.h"
#include "queue/queue_id.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_destination(const char *name)
{
    if (name != NULL && name[0] != '\0' && !queue_destination_is_valid(name))
        abort();
}

static void check_names(const struct control_line *line)
{
    int64_t id;

    check_destination(line->destination);
    check_destination(line->suspension.destination);
    check_destination(line->change.to);
    check_destination(line->change.selection.destination);
    if (line->change.selection.id != NULL && !queue_id_parse(line->change.selection.id, &id))
        abort();
    if (strpbrk(line->suspension.reason, "\r\n") != NULL)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_line line, again;
    struct queue_changed changed;
    struct err err = {""};
    struct buf text = {0}, same = {0};
    char *request = mem_strndup((const char *)data, size);

    if (control_line_parse(request, &line, &err) == 0) {
        control_line_format(&line, &text);
        if (control_line_parse(buf_str(&text), &again, &err) < 0)
            abort();
        control_line_format(&again, &same);
        if (strcmp(buf_str(&text), buf_str(&same)) != 0)
            abort();
        check_names(&line);
        control_line_clear(&again);
    } else if (err.text[0] == '\0') {
        abort();
    }
    if (control_line_parse_changed(request, &changed, &err) == 0 && strchr(err.text, '\n') != NULL)
        abort();
    control_line_clear(&line);
    buf_clear(&text);
    buf_clear(&same);
    free(request);
    return 0;
}
