/* SPDX-License-Identifier: ISC */
/* Bytes from a server, as the text of its reply to EHLO. */
#include "smtp/smtp_features.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned mechanisms = SMTP_MECHANISM_PLAIN | SMTP_MECHANISM_LOGIN |
                                       SMTP_MECHANISM_SCRAM_SHA_256 | SMTP_MECHANISM_OAUTHBEARER |
                                       SMTP_MECHANISM_XOAUTH2;
    static const unsigned attributes = (1U << SMTP_ATTRIBUTE_COUNT) - 1;
    char *text = malloc(size + 1);
    struct smtp_features f;

    if (text == NULL)
        abort();
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    smtp_features_parse(text, "me.test", false, &f);
    if ((f.auth & ~mechanisms) != 0 || (f.xforward_attributes & ~attributes) != 0 ||
        (f.xclient_attributes & ~attributes) != 0 || f.requiretls ||
        (f.xforward_attributes != 0 && !f.xforward) || (f.size_limit_bytes != 0 && !f.size))
        abort();
    free(text);
    return 0;
}
