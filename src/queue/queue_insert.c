/* SPDX-License-Identifier: ISC */
/* The statements that store a message, and those that take it back. */
#include "queue/queue_private.h"

#include "queue/queue_row.h"

enum db_status queue_insert_message(struct db *db, const struct queue_stored *s, const char *state,
                                    struct err *err)
{
    const struct queue_message *m = &s->message;
    char flags[QUEUE_ROW_FLAGS_SIZE];

    queue_row_flags(m, flags);
    struct db_value message[] = {
        db_int(s->id),
        db_real((double)m->arrival.tv_sec + (double)m->arrival.tv_nsec / 1e9),
        db_int((int64_t)m->size_bytes),
        db_text(m->sender),
        db_text(m->client_name),
        db_text(m->client_addr),
        db_text(m->helo),
        db_text(m->protocol),
        db_text(m->mta_queue_id),
        db_text(m->message_id),
        db_text(flags),
        db_text(s->is_file ? "file" : "body"),
        db_text(state),
    };
    struct db_value body[] = {db_int(s->id), db_blob(s->content, m->size_bytes)};

    enum db_status status = db->ops->run(
        db,
        "INSERT INTO message (id, arrival, size, sender, client_name, client_addr, helo, protocol,"
        " mta_queue_id, message_id, flags, body_at, state)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        message, sizeof message / sizeof *message, NULL, err);
    if (status == DB_OK && s->content != NULL)
        status = db->ops->run(db, "INSERT INTO body (message, part, data) VALUES ($1, 0, $2)", body,
                              2, NULL, err);
    return status;
}

enum db_status queue_insert_copy(struct db *db, int64_t message, int64_t id, time_t due,
                                 const char *owner, const struct queue_new_copy *c, struct err *err)
{
    struct db_value copy[] = {db_int(id),
                              db_int(message),
                              db_text(c->destination),
                              db_text(c->is_dead ? "dead" : "queued"),
                              db_int(due),
                              owner == NULL ? db_null() : db_text(owner)};

    enum db_status status =
        db->ops->run(db,
                     "INSERT INTO copy (id, message, destination, state, due, attempts, owner)"
                     " VALUES ($1, $2, $3, $4, $5, 0, $6)",
                     copy, sizeof copy / sizeof *copy, NULL, err);
    for (size_t i = 0; i < c->recipient_count && status == DB_OK; i++) {
        const struct queue_recipient *r = &c->recipients[i];
        struct db_value recipient[] = {db_int(id),
                                       db_int((int64_t)i),
                                       db_text(r->address),
                                       db_text(r->orcpt),
                                       db_text(queue_row_state(r->state)),
                                       db_text(r->reason)};
        if (r->state != QUEUE_SENT)
            status =
                db->ops->run(db,
                             "INSERT INTO recipient (copy, number, address, orcpt, state, reason)"
                             " VALUES ($1, $2, $3, $4, $5, $6)",
                             recipient, sizeof recipient / sizeof *recipient, NULL, err);
    }
    return status;
}

enum db_status queue_insert_part(struct db *db, int64_t message, int64_t part, const void *data,
                                 size_t len, struct err *err)
{
    const struct db_value values[] = {db_int(message), db_int(part), db_blob(data, len)};

    return db->ops->run(db,
                        "INSERT INTO body (message, part, data) SELECT $1, $2, $3 FROM message"
                        " WHERE id = $1 FOR KEY SHARE", /* no part stays without message */
                        values, 3, NULL, err);
}

enum db_status queue_insert_undo(struct db *db, int64_t message, struct err *err)
{
    static const char *const statements[] = {
        "DELETE FROM recipient WHERE copy BETWEEN $1 AND $2",
        "DELETE FROM copy WHERE id BETWEEN $1 AND $2",
        "DELETE FROM body WHERE message BETWEEN $1 AND $2",
        "DELETE FROM message WHERE id BETWEEN $1 AND $2",
    };
    struct db_value ids[] = {db_int(message), db_int(message + QUEUE_ID_COPIES_MAX)};
    enum db_status status = DB_OK;

    for (size_t i = 0; i < sizeof statements / sizeof *statements && status == DB_OK; i++)
        status = db->ops->run(db, statements[i], ids, 2, NULL, err);
    return status;
}
