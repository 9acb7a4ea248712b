/* SPDX-License-Identifier: ISC */
/*
 * gate_answer: keeps libmilter's answers to negotiations. An answer depends only on the bytes of
 * the negotiation and on the configuration, so the gate (gate.h) can give a known answer without
 * asking libmilter. Called only by the thread of the gate.
 */
#ifndef MILTER_GATE_ANSWER_H
#define MILTER_GATE_ANSWER_H

#include <stddef.h>

#define GATE_QUESTION_MAX 64
#define GATE_ANSWER_MAX 512
#define GATE_ANSWERS 4 /* different programs of the MTA may ask differently */

/* The packet in which an MTA negotiates, and the configuration that the answer depends on. len 0:
 * there is no packet, or it is too long to be kept. */
struct gate_question {
    unsigned needs; /* callbacks_needs() */
    size_t len;
    char data[GATE_QUESTION_MAX];
};

struct gate_answer {
    struct gate_question question;
    size_t len;
    char data[GATE_ANSWER_MAX];
};

/* All zero is empty. */
struct gate_answers {
    struct gate_answer list[GATE_ANSWERS];
    size_t next; /* the entry that is overwritten next */
};

/* Fill *q. data: the packet of a negotiation; one that is too long gives len 0. */
void gate_question_set(struct gate_question *q, unsigned needs, const char *data, size_t len)
    __attribute__((nonnull));

/* The answer to this question; NULL: the answer is not known. Valid until gate_answer_keep(). */
const struct gate_answer *gate_answer_find(const struct gate_answers *a,
                                           const struct gate_question *q)
    __attribute__((nonnull, warn_unused_result));

/* Keep libmilter's answer, which is one packet. len 0: there is no answer, and nothing is kept. */
void gate_answer_keep(struct gate_answers *a, const struct gate_question *q, const char *data,
                      size_t len) __attribute__((nonnull));

#endif
