/* SPDX-License-Identifier: ISC */
#include "ctl/explain_condition.h"

#include "base/mem.h"
#include "config/config_units.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "queue/queue.h"
#include "receive/condition.h"

#include <stdio.h>
#include <stdlib.h>

#define BLOCK_SIZE 4096

/* --- reading --- */

/* Append what a client sends for these bytes of a file: CRLF for LF, and a dot at the beginning of
 * a line doubled. *last: the byte before. */
static void add_wire(struct buf *wire, const char *data, size_t len, char *last)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '.' && *last == '\n')
            buf_addc(wire, '.');
        if (data[i] == '\n' && *last != '\r')
            buf_addc(wire, '\r');
        buf_addc(wire, data[i]);
        *last = data[i];
    }
}

static void feed(struct content *content, struct buf *wire, uint64_t *size)
{
    struct buf out = {0};

    (void)content_feed(content, buf_str(wire), wire->len, &out);
    *size += out.len;
    buf_clear(&out);
    buf_reset(wire);
}

int explain_read_message(const struct config *config, const char *path,
                         struct explained_message *out, struct err *err)
{
    FILE *f = fopen(path, "r");
    char block[BLOCK_SIZE], last = '\n';
    struct buf wire = {0};
    size_t n;

    *out = (struct explained_message){0};
    if (f == NULL) {
        err_set_errno(err, "%s", path);
        return -1;
    }
    struct content *content = content_new(config->relay.hostname);
    out->watches = mem_zalloc((config->destination_count + 1) * sizeof *out->watches);
    for (size_t i = 0; i < config->destination_count; i++)
        out->watches[i].conditions = &config->destinations[i].unless_header;
    content_watch(content, out->watches, config->destination_count);
    while ((n = fread(block, 1, sizeof block, f)) > 0) {
        add_wire(&wire, block, n, &last);
        feed(content, &wire, &out->size_bytes);
    }
    int rc = ferror(f) != 0 ? -1 : 0;
    if (rc < 0)
        err_set_errno(err, "%s", path);
    buf_adds(&wire, last == '\n' ? ".\r\n" : "\r\n.\r\n");
    feed(content, &wire, &out->size_bytes);
    buf_clear(&wire);
    content_free(content);
    fclose(f);
    return rc;
}

/* --- printing --- */

/* Return true if the conditions of the destination keep the message out. `out` says why, or is "".
 */
static bool is_skipped(const struct config *config, const struct config_destination *d,
                       const struct explained_message *m, char out[QUEUE_REASON_SIZE])
{
    return condition_decide(d, &m->watches[d - config->destinations], m->size_bytes, out,
                            QUEUE_REASON_SIZE) != QUEUE_WANTED;
}

static void add_conditions(const struct config_destination *d, struct buf *out)
{
    char size[24];

    for (size_t i = 0; i < d->unless_header.count; i++)
        buf_addf(out, "%s\"%s\"", i == 0 ? "unless_header " : ", ", d->unless_header.items[i]);
    if (d->max_size_bytes == 0)
        return;
    config_units_format_size(d->max_size_bytes, size, sizeof size);
    buf_addf(out, "%smax_size %s", out->len > 0 ? ", " : "", size);
}

void explain_print_conditions(const struct config *config, const struct policy_decision *d,
                              const struct explained_message *message)
{
    for (size_t i = 0; i < d->copy_count; i++) {
        const struct config_destination *to = d->copies[i];
        struct buf line = {0};
        char why[QUEUE_REASON_SIZE];
        if (!condition_is_set(to))
            continue;
        add_conditions(to, &line);
        if (message == NULL)
            ctl_printf("  %-10s %-20s (splitrelay looks at the message: %s)\n", "condition",
                       to->name, buf_str(&line));
        else if (is_skipped(config, to, message, why))
            ctl_printf("  %-10s %-20s (%s)\n", "skipped", to->name, why);
        else
            ctl_printf("  %-10s %-20s (the message meets none)\n", "condition", to->name);
        buf_clear(&line);
    }
}

static void append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) < 0)
        abort();
}

json_t *explain_conditions_json(const struct config *config, const struct policy_decision *d,
                                const struct explained_message *message)
{
    json_t *array = json_array();

    for (size_t i = 0; i < d->copy_count; i++) {
        const struct config_destination *to = d->copies[i];
        char why[QUEUE_REASON_SIZE] = "";
        if (!condition_is_set(to))
            continue;
        json_t *o = json_object(), *headers = json_array();
        for (size_t k = 0; k < to->unless_header.count; k++)
            append(headers, ctl_json_text(to->unless_header.items[k]));
        if (message != NULL)
            (void)is_skipped(config, to, message, why);
        ctl_json_set(o, "destination", ctl_json_text(to->name));
        ctl_json_set(o, "unless_header", headers);
        ctl_json_set(o, "max_size", json_integer((json_int_t)to->max_size_bytes));
        ctl_json_set(o, "skipped", message == NULL ? json_null() : ctl_json_text(why));
        append(array, o);
    }
    return array;
}
