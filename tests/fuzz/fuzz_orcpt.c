/* SPDX-License-Identifier: ISC */
/* ORCPT values from clients and MTAs. A value that is accepted is the same after it was written
 * anew, and adds no further word to the command. */
#include "mail/dsn.h"
#include "base/mem.h"
#include "mail/xtext.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(int condition)
{
    if (!condition)
        abort();
}

/* A decoded address is the same after it was encoded and decoded again. */
static void round_trip(const char *orcpt)
{
    struct buf address = {0}, again = {0}, back = {0};

    if (xtext_decode_orcpt(orcpt, &address) == 0) {
        require(strlen(buf_str(&address)) == address.len && address.len > 0);
        xtext_encode_orcpt(buf_str(&address), &again);
        require(xtext_decode_orcpt(buf_str(&again), &back) == 0);
        require(strcmp(buf_str(&back), buf_str(&address)) == 0);
    } else {
        require(address.len == 0);
    }
    buf_clear(&address);
    buf_clear(&again);
    buf_clear(&back);
}

static void as_word(const char *orcpt)
{
    static const char bare[] = "a@b.test";
    char *word = mem_printf("ORCPT=%s", orcpt);
    struct buf words = {0};
    struct address a;
    struct dsn d, next;
    struct err err;

    dsn_init(&d);
    dsn_init(&next);
    require(address_parse(bare, sizeof bare - 1, 0, &a, &err) == 0);
    if (dsn_parse_word(&d, word, &err) == 1) {
        dsn_words(&d, "", &a, &words);
        require(words.len == 0 || strncmp(buf_str(&words), "ORCPT=", 6) == 0);
        require(strpbrk(buf_str(&words), " \r\n\t") == NULL);
        require(words.len == 0 || dsn_parse_word(&next, buf_str(&words), &err) == 1);
    }
    buf_clear(&words);
    dsn_clear(&d);
    dsn_clear(&next);
    free(word);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_zalloc(size + 1);

    memcpy(text, data, size);
    round_trip(text);
    as_word(text);
    free(text);
    return 0;
}
