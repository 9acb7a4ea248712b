/* SPDX-License-Identifier: ISC */
#include "base/base64.h"
#include "net/oauth.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define NESTING_MAX 16
#define MEMBER_MAX 50 /* bytes that are shown of a member of the challenge */

/* libjansson parses nested values by recursion, and the stack of a task is small. */
static bool is_flat(const struct buf *text)
{
    size_t depth = 0;

    for (size_t i = 0; i < text->len; i++)
        depth += text->data[i] == '{' || text->data[i] == '[';
    return depth <= NESTING_MAX;
}

/* Append a member of the challenge, if it is a text, as "NAME TEXT". */
static void add_member(const json_t *challenge, const char *name, struct buf *out)
{
    const char *text = json_string_value(json_object_get(challenge, name));

    if (text == NULL || text[0] == '\0')
        return;
    buf_addf(out, "%s%s ", out->len > 0 ? ", " : "", name);
    for (size_t i = 0; i < MEMBER_MAX && text[i] != '\0'; i++)
        buf_addc(out, text[i] >= ' ' && text[i] < 0x7f ? text[i] : '?');
}

void oauth_explain(const char *challenge, char out[OAUTH_EXPLANATION_SIZE])
{
    struct buf json = {0}, text = {0};

    if (base64_decode(challenge, strlen(challenge), &json) == 0 && json.len > 0 && is_flat(&json)) {
        json_t *root = json_loadb(json.data, json.len, 0, NULL);
        add_member(root, "status", &text);
        add_member(root, "scope", &text);
        json_decref(root);
    }
    snprintf(out, OAUTH_EXPLANATION_SIZE, "%s", buf_str(&text));
    buf_clear(&json);
    buf_clear(&text);
}
