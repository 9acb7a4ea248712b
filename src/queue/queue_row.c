/* SPDX-License-Identifier: ISC */
#include "queue/queue_row.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* Return the text of a column as char *, which struct queue_message has for owners that write to
 * their strings. This text is only read. */
static char *text(const struct db_value *column)
{
    const char *string = db_string(column);
    char *out;

    memcpy(&out, &string, sizeof out);
    return out;
}

static struct timespec time_of(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds};

    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    return t;
}

/* Return true if the word is in `flags`, a list with commas. */
static bool has_flag(const char *flags, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = flags; (at = strstr(at, word)) != NULL; at += len)
        if ((at == flags || at[-1] == ',') && (at[len] == '\0' || at[len] == ','))
            return true;
    return false;
}

void queue_row_message(const struct db_value *columns, struct queue_message *out)
{
    const char *flags = text(&columns[9]);

    *out = (struct queue_message){
        .arrival =
            time_of(columns[0].type == DB_REAL ? columns[0].real : (double)columns[0].number),
        .size_bytes = (uint64_t)columns[1].number,
        .sender = text(&columns[2]),
        .client_name = text(&columns[3]),
        .client_addr = text(&columns[4]),
        .helo = text(&columns[5]),
        .protocol = text(&columns[6]),
        .mta_queue_id = text(&columns[7]),
        .message_id = text(&columns[8]),
        .is_8bit = has_flag(flags, "8bit"),
        .is_utf8 = has_flag(flags, "utf8"),
        .needs_requiretls = has_flag(flags, "requiretls"),
    };
}

void queue_row_flags(const struct queue_message *m, char out[QUEUE_ROW_FLAGS_SIZE])
{
    snprintf(out, QUEUE_ROW_FLAGS_SIZE, "%s%s%s", m->is_8bit ? ",8bit" : "",
             m->is_utf8 ? ",utf8" : "", m->needs_requiretls ? ",requiretls" : "");
    if (out[0] == ',')
        memmove(out, out + 1, strlen(out));
}

const char *queue_row_state(enum queue_recipient_state state)
{
    switch (state) {
    case QUEUE_PENDING:
        break;
    case QUEUE_SENT:
        return "sent";
    case QUEUE_DEAD:
        return "dead";
    }
    return "pending";
}

void queue_row_recipient(const struct db_value *columns, struct queue_recipient *out)
{
    const char *state = text(&columns[2]);

    out->address = mem_strdup(text(&columns[0]));
    out->orcpt = mem_strdup(text(&columns[1]));
    out->state = strcmp(state, "sent") == 0   ? QUEUE_SENT
                 : strcmp(state, "dead") == 0 ? QUEUE_DEAD
                                              : QUEUE_PENDING;
    /* A text that was written by hand may be longer, and is cut off. */
    snprintf(out->reason, sizeof out->reason, "%s", text(&columns[3]));
    out->number = columns[4].number;
}

unsigned queue_row_place(const char *state)
{
    if (strcmp(state, "queued") == 0)
        return QUEUE_IN_QUEUE;
    if (strcmp(state, "held") == 0)
        return QUEUE_IN_HOLD;
    return strcmp(state, "dead") == 0 ? QUEUE_IN_DEAD : 0;
}
