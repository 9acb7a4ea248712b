/* SPDX-License-Identifier: ISC */
/*
 * milter_packet: the syntax of packets from an MTA to a milter. libmilter checks packets only in
 * part: a list of macros with a name and no value makes smfi_getsymval() run past the end of the
 * list. So each packet is checked here before libmilter sees it. Pure functions; any thread.
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
 */
#ifndef SPLIT_MILTER_PACKET_H
#define SPLIT_MILTER_PACKET_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Of command and data: the limit of libmilter. */
#define MILTER_PACKET_MAX 65536

/* One connection's state; zero at its start. */
struct milter_packets {
    bool has_begun; /* 'O' was seen */
};

/*
 * Check the next `len` bytes of a connection, which begin with a packet. Returns the number of
 * bytes in whole, well-formed packets; the caller passes the rest again, with the bytes that
 * follow. -1 with `err`: a packet is malformed.
 */
ptrdiff_t milter_packets_check(struct milter_packets *m, const char *data, size_t len,
                               struct err *err) __attribute__((nonnull, warn_unused_result));

#endif
