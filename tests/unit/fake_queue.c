/* SPDX-License-Identifier: ISC */
#include "fake_queue.h"
#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct queue_put {
    struct fake_queue *f;
    const struct queue_message *message;
    struct queue_new_copy *copies;
    size_t copy_count;
    struct buf content;
};

static enum queue_put_status answer(enum queue_put_status status, struct err *err)
{
    if (status != QUEUE_PUT_OK)
        err_set(err, "spool is unwell");
    return status;
}

static enum queue_put_status has_room(struct queue *q, uint64_t size, struct err *err)
{
    struct fake_queue *f = (struct fake_queue *)q;

    f->asked_size = size;
    return answer(f->has_room_status, err);
}

static enum queue_put_status put_begin(struct queue *q, const struct queue_message *message,
                                       struct queue_new_copy *copies, size_t copy_count,
                                       struct queue_put **out, struct err *err)
{
    struct fake_queue *f = (struct fake_queue *)q;

    if (f->begin_status != QUEUE_PUT_OK)
        return answer(f->begin_status, err);
    struct queue_put *p = mem_zalloc(sizeof *p);
    p->f = f;
    p->message = message;
    p->copies = copies;
    p->copy_count = copy_count;
    f->begun++;
    for (size_t i = 0; i < copy_count; i++)
        snprintf(copies[i].id, sizeof copies[i].id, "C%u%c", f->begun, (char)('a' + i));
    *out = p;
    return QUEUE_PUT_OK;
}

static enum queue_put_status put_data(struct queue_put *p, const void *data, size_t len,
                                      struct err *err)
{
    if (p->f->data_status != QUEUE_PUT_OK)
        return answer(p->f->data_status, err);
    assert(len > 0);
    buf_add(&p->content, data, len);
    return QUEUE_PUT_OK;
}

static enum queue_put_status put_prepare(struct queue_put *p, struct err *err)
{
    p->f->prepared++;
    return answer(p->f->prepare_status, err);
}

static void release(struct queue_put *p)
{
    buf_clear(&p->content);
    free(p);
}

static void put_abort(struct queue_put *p)
{
    p->f->aborted++;
    release(p);
}

static void describe(struct queue_put *p)
{
    const struct queue_message *m = p->message;
    struct buf *text = &p->f->text;

    if (m->message_id[0] != '\0')
        buf_addf(text, "message-id=%s ", m->message_id);
    buf_addf(text, "from=%s client=%s[%s] helo=%s proto=%s ident=%s flags=%s%s%s\n", m->sender,
             m->client_name, m->client_addr, m->helo, m->protocol, m->mta_queue_id,
             m->is_8bit ? "8" : "", m->is_utf8 ? "u" : "", m->needs_requiretls ? "t" : "");
    for (size_t i = 0; i < p->copy_count; i++) {
        const struct queue_new_copy *c = &p->copies[i];
        buf_addf(text, "%s %s%s", c->id, c->destination, c->is_dead ? "!" : "");
        if (c->skip != QUEUE_WANTED)
            buf_addf(text, "~(%s)", c->skip_reason);
        for (size_t k = 0; k < c->recipient_count; k++)
            if (c->recipients[k].state != QUEUE_SENT)
                buf_addf(text, " %s(%s)", c->recipients[k].address, c->recipients[k].orcpt);
        buf_addc(text, '\n');
    }
    buf_adds(text, "content:");
    buf_add(text, buf_str(&p->content), p->content.len);
}

static enum queue_put_status put_commit(struct queue_put *p, void (*stored)(void *ctx), void *ctx,
                                        struct err *err)
{
    struct fake_queue *f = p->f;

    if (f->commit_status == QUEUE_PUT_OK) {
        f->committed++;
        describe(p);
        if (stored != NULL)
            stored(ctx);
    }
    release(p);
    return answer(f->commit_status, err);
}

void fake_queue_init(struct fake_queue *f)
{
    static const struct queue_ops ops = {
        .has_room = has_room,
        .put_begin = put_begin,
        .put_data = put_data,
        .put_prepare = put_prepare,
        .put_commit = put_commit,
        .put_abort = put_abort,
    };

    memset(f, 0, sizeof *f);
    f->queue.ops = &ops;
}

void fake_queue_clear(struct fake_queue *f)
{
    buf_clear(&f->text);
}
