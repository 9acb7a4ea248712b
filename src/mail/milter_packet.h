/* SPDX-License-Identifier: ISC */
/*
 * milter_packet: the syntax of packets from an MTA to a milter. libmilter checks packets only in
 * part. For example, a list of macros with a name and no value makes smfi_getsymval() run past the
 * end of the list. So each packet is checked here before libmilter sees it. Pure functions; any
 * thread.
 *
 * Grammar (libmilter/mfdef.h; numbers in network byte order):
 *
 *     packet   = length command data        length: 4 bytes, of command and data
 *     command  = 1 byte
 *     data     = 'O': version actions steps, 4 bytes each, and more
 *              | 'D': stage *(name NUL value NUL)      stage: 1 byte
 *              | 'C': host NUL family [port address NUL]
 *              | 'M' 'R' 'H' 'L' 'U': 1*(text NUL)
 *              | 'B' 'E': bytes
 *              | 'A' 'K' 'N' 'Q' 'T': bytes without meaning
 *
 * The first packet is 'O', and no other is.
 *
 * The milter answers 'O' with a packet of the same form. The steps in this answer tell which
 * commands get no reply. 'D', 'A', 'K' and 'Q' never get a reply.
 */
#ifndef SPLIT_MILTER_PACKET_H
#define SPLIT_MILTER_PACKET_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of command and data in a packet: the limit of libmilter. */
#define MILTER_PACKET_MAX 65536

/* One connection's state; zero at its start. */
struct milter_packets {
    bool has_begun, has_ended; /* 'O' was seen, 'Q' was seen */
    uint32_t steps;            /* of the milter's answer; 0 until then: all commands get a reply */
};

/*
 * Check the next `len` bytes of a connection, which begin at the start of a packet. Returns the
 * number of bytes in whole, well-formed packets; the caller passes the rest again, with the bytes
 * that follow. -1 with `err`: a packet is malformed. *due_out: the length of the packets up to the
 * last one that gets a reply, which is included. The MTA waits for that reply, so these packets
 * must be passed to the milter now; packets behind them may be passed later.
 */
ptrdiff_t milter_packets_check(struct milter_packets *m, const char *data, size_t len,
                               size_t *due_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The length of the milter's answer to 'O' at the beginning of these bytes; 0: there is no whole
 * answer. */
size_t milter_packets_answer(const char *data, size_t len)
    __attribute__((nonnull, warn_unused_result));

/* Learn from the milter's answer to 'O' which commands get a reply. data: the first bytes of the
 * milter on this connection; nothing is learned from less than a whole answer. */
void milter_packets_learn(struct milter_packets *m, const char *data, size_t len)
    __attribute__((nonnull));

#endif
