/* SPDX-License-Identifier: ISC */
/* Bytes from a peer of the milter socket. The same packets pass in one piece and byte by byte, and
 * code that reads macros as libmilter does stays within a packet that passes. Only packets without
 * reply follow what is due. */
#include "mail/milter_packet.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* smfi_getsymval(): pairs of strings, up to the end of the packet. */
static void walk_macros(const char *at, const char *end)
{
    while (at < end) {
        for (int i = 0; i < 2; i++) {
            const char *nul = memchr(at, '\0', (size_t)(end - at));
            if (nul == NULL)
                abort();
            at = nul + 1;
        }
    }
}

static void walk(const char *at, const char *due, const char *end)
{
    while (at < end) {
        const unsigned char *p = (const unsigned char *)at;
        size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (len == 0 || len > MILTER_PACKET_MAX || len + 4 > (size_t)(end - at))
            abort();
        if (at[4] == 'D')
            walk_macros(at + 6, at + 4 + len);
        if (at >= due && strchr("DAKQ", at[4]) == NULL)
            abort();
        at += 4 + len;
        if (at > due && at - 4 - len < due)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct milter_packets whole = {0}, slow = {0};
    const char *text = (const char *)data;
    struct err err;
    size_t due;
    ptrdiff_t n = milter_packets_check(&whole, text, size, &due, &err);
    size_t done = 0;

    if (n > (ptrdiff_t)size)
        abort();
    if (n > 0)
        walk(text, text + due, text + n);
    for (size_t len = 1; len <= size; len++) {
        ptrdiff_t more = milter_packets_check(&slow, text + done, len - done, &due, &err);
        if (more < 0) {
            if (n != -1)
                abort();
            return 0;
        }
        done += (size_t)more;
    }
    if (n != (ptrdiff_t)done)
        abort();
    return 0;
}
