/* SPDX-License-Identifier: ISC */
/* Bytes from a server, as the challenge with which it refuses a token: as they are, and encoded, so
 * that the JSON parser is reached. What is shown of them is printable. */
#include "base/base64.h"
#include "base/mem.h"
#include "net/oauth.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void explain(const char *challenge)
{
    char out[OAUTH_EXPLANATION_SIZE];

    oauth_explain(challenge, out);
    for (size_t i = 0; out[i] != '\0'; i++)
        if (out[i] < ' ' || out[i] > '~')
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf encoded = {0}, decoded = {0};
    char *text = mem_zalloc(size + 1);

    memcpy(text, data, size);
    explain(text);
    base64_encode(text, size, &encoded);
    explain(buf_str(&encoded));
    if (base64_decode(buf_str(&encoded), encoded.len, &decoded) != 0 || decoded.len != size ||
        memcmp(buf_str(&decoded), text, size) != 0)
        abort();
    buf_clear(&encoded);
    buf_clear(&decoded);
    free(text);
    return 0;
}
