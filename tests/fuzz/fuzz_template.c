/* SPDX-License-Identifier: ISC */
/* A template and a recipient, in two lines. What is made is an address by the strict grammar, or a
 * path that is the fixed part of the template and components below it. */
#include "mail/address.h"
#include "mail/template.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(int condition)
{
    if (!condition)
        abort();
}

static void make_address(const char *text, const char *recipient)
{
    struct buf out = {0};
    struct address a;
    struct err err;

    if (template_check_address(text, &err) == 0 &&
        template_address(text, recipient, &out, &err) == 0) {
        require(address_parse(buf_str(&out), out.len, 0, &a, &err) == 0);
        require(a.local_len <= TEMPLATE_LOCAL_MAX && a.text[a.domain_at] != '\0');
        require(out.len == strlen(buf_str(&out)));
    }
    buf_clear(&out);
}

static void make_path(const char *text, const char *recipient)
{
    struct buf out = {0}, base = {0};
    size_t made_at = 0;
    struct err err;

    if (text[0] == '/' && template_check_path(text, &err) == 0) {
        template_base(text, &base);
        if (template_path(text, recipient, 1700000000, &out, &made_at, &err) == 0) {
            require(made_at > 0 && out.data[made_at - 1] == '/');
            require(base.len == made_at - (made_at > 1));
            require(memcmp(base.data, out.data, base.len) == 0);
            if (template_varies(text)) {
                require(strstr(out.data + made_at - 1, "/../") == NULL);
                require(strstr(out.data + made_at - 1, "//") == NULL);
            }
            require(template_may_be_below(text, buf_str(&out)));
            require(template_may_be_below(text, buf_str(&base)));
        }
    }
    buf_clear(&out);
    buf_clear(&base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (text == NULL)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    char *recipient = strchr(text, '\n');
    if (recipient != NULL) {
        *recipient++ = '\0';
        make_address(text, recipient);
        make_path(text, recipient);
    }
    free(text);
    return 0;
}
