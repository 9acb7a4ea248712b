/* SPDX-License-Identifier: ISC */
/*
 * Bodies of To and Cc headers. Without a replacement the body is unchanged. If every address is
 * replaced by itself, only white space and comments inside addresses change. Replacements are found
 * as addresses again.
 */
#include "mail/hdr_address.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(int condition)
{
    if (!condition)
        abort();
}

static int leave(const char *address, struct buf *out, void *ctx)
{
    const char *at = strrchr(address, '@');

    (void)out;
    require(at != NULL && at > address && at[1] != '\0');
    ++*(int *)ctx;
    return 0;
}

static int replace(const char *address, struct buf *out, void *ctx)
{
    (void)ctx;
    buf_adds(out, address);
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf body = {0}, same = {0}, replaced = {0}, again = {0};
    int seen = 0, seen_again = 0;

    buf_add(&body, data, size);
    const char *text = buf_str(&body);
    require(hdr_address_rewrite(text, leave, &seen, &same) == 0);
    require(strcmp(buf_str(&same), text) == 0);
    require(hdr_address_rewrite(text, replace, NULL, &replaced) == seen);
    require(hdr_address_rewrite(buf_str(&replaced), leave, &seen_again, &again) == 0);
    require(seen == seen_again);
    buf_clear(&body);
    buf_clear(&same);
    buf_clear(&replaced);
    buf_clear(&again);
    return 0;
}
