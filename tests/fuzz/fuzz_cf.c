/* SPDX-License-Identifier: ISC */
/* A parameter file. If it begins with PASSWORD, and has these letters nowhere else, no message
 * shows them. */
#include "table/cf.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD "password = Zq"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct cf_parameter parameters[] = {
    {.name = "user", .kind = CF_TEXT, .default_value = "u", .is_required = true},
    {.name = "password", .kind = CF_SECRET},
    {.name = "bind_pw", .kind = CF_SECRET},
    {.name = "verify", .kind = CF_BOOL},
    {.name = "limit", .kind = CF_NUMBER, .default_value = "2", .min = 1, .max = 9},
    {.name = "hosts", .kind = CF_LIST},
    {.name = "port", .kind = CF_IGNORED, .reason = "it is"},
    {.name = "cache", .kind = CF_REFUSED, .default_value = "no", .reason = "it is"},
    {.name = NULL},
};

static bool has_secret(const char *text, size_t size)
{
    size_t len = strlen(PASSWORD);

    return size > len && memcmp(text, PASSWORD, len) == 0 &&
           memmem(text + len, size - len, "Zq", 2) == NULL;
}

/* ctx: whether the file has a secret. */
static void check_text(void *ctx, const char *path, unsigned line, const char *text)
{
    (void)path;
    (void)line;
    if (*(const bool *)ctx && strstr(text, "Zq") != NULL)
        abort();
}

static void look_at(const struct cf *cf)
{
    const char *const *words;
    size_t count = cf_list(cf, "hosts", &words);
    long limit = cf_number(cf, "limit");

    for (size_t i = 0; i < count; i++)
        if (words[i][0] == '\0' || strpbrk(words[i], ", \t\n") != NULL)
            abort();
    if (limit < 1 || limit > 9 || cf_text(cf, "user")[0] == '\0')
        abort();
    if (cf_bool(cf, "verify") && !cf_is_set(cf, "verify"))
        abort();
    if (cf_is_set(cf, "password") != (cf_text(cf, "password") != NULL))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    bool is_secret = has_secret(text, size);
    struct err err = {""};
    struct table_faults faults = {check_text, &is_secret};
    struct cf *cf = cf_open_text("FILE", text, size, parameters, &faults, &err);

    if (cf == NULL && err.text[0] == '\0')
        abort();
    check_text(&is_secret, "", 0, err.text);
    if (cf != NULL)
        look_at(cf);
    cf_close(cf);
    return 0;
}
