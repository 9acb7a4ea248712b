/* SPDX-License-Identifier: ISC */
/* The head of a spool file. What parses must survive a change in place, and be the same again when
 * it is formatted anew. */
#include "queue/spool_envelope.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Attempts cannot be given to a new copy, so the comparison is between the second text and the
 * third. */
static void format_again(const struct spool_envelope *e, struct buf *out)
{
    struct queue_new_copy *copies = calloc(e->copy_count, sizeof *copies);
    size_t *id_at = calloc(e->copy_count, sizeof *id_at);
    struct err err;

    if (copies == NULL || id_at == NULL)
        abort();
    for (size_t i = 0; i < e->copy_count; i++) {
        copies[i] = (struct queue_new_copy){.destination = e->copies[i].destination,
                                            .recipients = e->copies[i].recipients,
                                            .recipient_count = e->copies[i].recipient_count};
        strcpy(copies[i].id, e->copies[i].id);
    }
    if (spool_envelope_format(&e->message, copies, e->copy_count, out, id_at, &err) < 0 &&
        strstr(err.text, "larger") == NULL)
        abort();
    free(copies);
    free(id_at);
}

static void patch(struct spool_envelope *e, char *text, size_t len)
{
    struct spool_envelope again;
    struct err err;

    for (size_t i = 0; i < e->copy_count; i++) {
        struct spool_envelope_copy *c = &e->copies[i];
        c->attempts++;
        for (size_t r = 0; r < c->recipient_count; r++) {
            c->recipients[r].state = QUEUE_SENT;
            strcpy(c->recipients[r].reason, "250 \xff ok");
        }
        spool_envelope_patch(c, text + c->section_at);
    }
    if (spool_envelope_parse(text, len, NULL, &again, &err) < 0)
        abort();
    if (again.copy_count != e->copy_count || again.copies[0].recipients[0].state != QUEUE_SENT ||
        strcmp(again.copies[0].recipients[0].reason, "250 \xff ok") != 0)
        abort();
    spool_envelope_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spool_envelope e;
    struct buf second = {0}, third = {0};
    struct err err;

    size_t len = spool_envelope_length((const char *)data, size);
    if (len == 0)
        len = size;
    if (spool_envelope_parse((const char *)data, len, NULL, &e, &err) < 0)
        return 0;
    format_again(&e, &second);
    char *text = malloc(len);
    if (text == NULL)
        abort();
    memcpy(text, data, len);
    patch(&e, text, len);
    free(text);
    spool_envelope_clear(&e);
    if (second.len > 0) {
        if (spool_envelope_parse(second.data, second.len, NULL, &e, &err) < 0)
            abort();
        format_again(&e, &third);
        if (third.len != second.len || memcmp(second.data, third.data, third.len) != 0)
            abort();
        spool_envelope_clear(&e);
    }
    buf_clear(&second);
    buf_clear(&third);
    return 0;
}
