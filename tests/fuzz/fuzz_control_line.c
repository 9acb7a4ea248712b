/* SPDX-License-Identifier: ISC */
/* Requests at the control socket. A request that is accepted reads the same when it is written
 * again, and its names are valid names. */
#include "relay/control_line.h"
#include "queue/spool_envelope.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
        if ((line.id[0] != '\0' && !spool_id_is_valid(line.id)) ||
            (line.destination[0] != '\0' && !spool_destination_is_valid(line.destination)) ||
            (line.to[0] != '\0' && !spool_destination_is_valid(line.to)))
            abort();
    } else if (err.text[0] == '\0') {
        abort();
    }
    if (control_line_parse_changed(request, &changed, &err) == 0 && strchr(err.text, '\n') != NULL)
        abort();
    buf_clear(&text);
    buf_clear(&same);
    free(request);
    return 0;
}
