/* SPDX-License-Identifier: ISC */
/*
 * The settings of a query, a key and values, separated by NUL. What an expansion adds to a query
 * cannot end the string constant that it is in, and a result is valid UTF-8.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "table/query.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct cf_parameter parameters[] = {
    {.name = "base", .kind = CF_TEXT},
    CF_SQL_PARAMETERS,
    {.name = NULL},
};
static const char *const templates[] = {"base", "query", NULL};

/* Replace each expansion by its length in brackets, and note that it was valid. */
static int quote(void *ctx, const char *text, size_t len, struct buf *out, struct err *err)
{
    (void)err;
    if (memchr(text, '\0', len) != NULL || !utf8_is_valid(text, len))
        abort();
    ++*(size_t *)ctx;
    buf_addf(out, "[%zu]", len);
    return 0;
}

static void ask(const struct query *q, const char *key, const char *values, size_t size)
{
    struct query_result r = {.query = q, .key = key};
    enum table_answer answer = ANSWER_OK;
    struct buf text = {0};
    struct err err = {""};
    size_t expansions = 0;

    for (size_t i = 0; templates[i] != NULL; i++) {
        if (query_expand(q, templates[i], key, quote, &expansions, &text, &err) < 0)
            abort();
        if ((expansions > 0) != query_is_dynamic(q, templates[i]))
            abort();
        expansions = 0;
    }
    for (size_t at = 0; at < size && answer == ANSWER_OK;) {
        size_t len = strnlen(values + at, size - at);
        answer = query_result_add(&r, values + at, len, &err);
        at += len + 1;
    }
    if ((answer == ANSWER_OK) != (err.text[0] == '\0') ||
        !utf8_is_valid(buf_str(&r.value), r.value.len))
        abort();
    if ((r.count > 0) != (r.value.len > 0))
        abort();
    query_result_clear(&r);
    buf_clear(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    size_t settings_len = strnlen(text, size);
    struct query *q = NULL;
    struct err err = {""};
    struct cf *cf = cf_open_text("FILE", text, settings_len, parameters, NULL, &err);

    if (cf != NULL)
        q = query_open(cf, templates, &err);
    if (q == NULL && err.text[0] == '\0')
        abort();
    if (q != NULL && settings_len < size) {
        const char *rest = text + settings_len + 1;
        size_t left = size - settings_len - 1, key_len = strnlen(rest, left);
        char *key = mem_strndup(rest, key_len);
        (void)query_unquoted(q, "query");
        if (query_applies(q, key))
            ask(q, key, rest + key_len, left - key_len);
        free(key);
    }
    query_free(q);
    cf_close(cf);
    return 0;
}
