/* SPDX-License-Identifier: ISC */
#include "gate_answer.h"

#include <stdbool.h>
#include <string.h>

static bool is_same(const struct gate_question *a, const struct gate_question *b)
{
    return a->needs == b->needs && a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

void gate_question_set(struct gate_question *q, unsigned needs, const char *data, size_t len)
{
    q->needs = needs;
    q->len = len <= sizeof q->data ? len : 0;
    memcpy(q->data, data, q->len);
}

const struct gate_answer *gate_answer_find(const struct gate_answers *a,
                                           const struct gate_question *q)
{
    for (size_t i = 0; i < GATE_ANSWERS && q->len > 0; i++)
        if (is_same(&a->list[i].question, q))
            return &a->list[i];
    return NULL;
}

void gate_answer_keep(struct gate_answers *a, const struct gate_question *q, const char *data,
                      size_t len)
{
    if (q->len == 0 || len == 0 || len > GATE_ANSWER_MAX)
        return;
    struct gate_answer *entry = (struct gate_answer *)gate_answer_find(a, q);
    if (entry == NULL) {
        entry = &a->list[a->next];
        a->next = (a->next + 1) % GATE_ANSWERS;
    }
    entry->question = *q;
    entry->len = len;
    memcpy(entry->data, data, len);
}
