/* SPDX-License-Identifier: ISC */
#include "net/oauth.h"

#include "base/base64.h"
#include "net/secret.h"

#include <string.h>

#define MESSAGE_MAX 10240 /* all of a client's message */

static bool is_xoauth2(const char *mechanism)
{
    return strcmp(mechanism, "XOAUTH2") == 0;
}

bool oauth_is_mechanism(const char *name)
{
    return strcmp(name, "OAUTHBEARER") == 0 || is_xoauth2(name);
}

/* Returns the length of the token in the text of a file, or -1. The characters are those of RFC
 * 6749 appendix A.12 without space and '"', so that a JSON document, which may also contain a
 * refresh token, is not sent to the server. */
static ssize_t token_length(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && text[n] > ' ' && text[n] < 0x7f && text[n] != '"')
        n++;
    bool is_line = len == n || (len == n + 1 && text[n] == '\n') ||
                   (len == n + 2 && memcmp(text + n, "\r\n", 2) == 0);
    return is_line && n > 0 && n <= OAUTH_TOKEN_MAX ? (ssize_t)n : -1;
}

int oauth_read_token(const char *path, struct buf *out, struct err *err)
{
    buf_reset(out);
    char *text = buf_reserve(out, OAUTH_TOKEN_MAX + 3);
    ssize_t n = secret_read(path, text, OAUTH_TOKEN_MAX + 3, err);
    if (n < 0)
        return -1;
    ssize_t len = token_length(text, (size_t)n);
    if (len < 0) {
        explicit_bzero(text, (size_t)n);
        if (n == 0)
            err_set(err, "%s: is empty", path);
        else
            err_set(err,
                    "%s: is no token: one line of at most %d printable ASCII characters, without "
                    "spaces and '\"'",
                    path, OAUTH_TOKEN_MAX);
        return -1;
    }
    out->len = (size_t)len;
    out->data[len] = '\0';
    return 0;
}

/* RFC 5801 section 4 */
static void add_saslname(const char *name, struct buf *out)
{
    for (; *name != '\0'; name++) {
        if (*name == ',')
            buf_adds(out, "=2C");
        else if (*name == '=')
            buf_adds(out, "=3D");
        else
            buf_addc(out, *name);
    }
}

void oauth_respond(const char *mechanism, const struct oauth_client *client, const char *token,
                   struct buf *out)
{
    struct buf text = {0};

    buf_reserve(&text, MESSAGE_MAX); /* a larger one would leave parts of the token behind */
    if (is_xoauth2(mechanism)) {
        buf_addf(&text, "user=%s", client->user);
    } else {
        buf_adds(&text, "n,a=");
        add_saslname(client->user, &text);
        buf_addc(&text, ',');
        if (client->host[0] != '\0')
            buf_addf(&text, "\001host=%s\001port=%u", client->host, client->port);
    }
    buf_addf(&text, "\001auth=Bearer %s\001\001", token);
    buf_reset(out);
    base64_encode(buf_str(&text), text.len, out);
    explicit_bzero(text.data, text.len);
    buf_clear(&text);
}

const char *oauth_answer(const char *mechanism)
{
    return is_xoauth2(mechanism) ? "" : "AQ=="; /* %x01 */
}
