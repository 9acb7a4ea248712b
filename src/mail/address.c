/* SPDX-License-Identifier: ISC */
/*
 *     path       = "<" [source-route ":"] mailbox ">" / mailbox / "<>"
 *     mailbox    = local [ "@" ( domain / literal ) ]
 *     local      = dot-string / quoted-string       (lenient: anything without control characters
 *                                                    and with balanced quotes; the last "@" splits)
 *     domain     = label *( "." label ) [ "." ]
 *     literal    = "[" 1*dtext "]"
 */
#include "mail/address.h"
#include "base/casefold.h"
#include "base/utf8.h"
#include "base/ascii.h"

#include <string.h>

#define LABEL_MAX 63 /* RFC 1035 2.3.4 */

static bool is_atext(unsigned char c)
{
    return c >= 0x80 || ascii_is_alnum((char)c) ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* Is the text a dot-string of RFC 5321: atoms joined by single dots? */
static bool is_dot_string(const char *s, size_t len)
{
    bool after_atom = false;

    for (size_t i = 0; i < len; i++) {
        if (s[i] == '.') {
            if (!after_atom)
                return false;
            after_atom = false;
        } else if (!is_atext((unsigned char)s[i])) {
            return false;
        } else {
            after_atom = true;
        }
    }
    return after_atom;
}

/* Is the text one quoted-string, from its first quote to its last? */
static bool is_quoted_string(const char *s, size_t len)
{
    if (len < 2 || s[0] != '"')
        return false;
    for (size_t i = 1; i < len; i++) {
        if (s[i] == '\\')
            i++;
        else if (s[i] == '"')
            return i == len - 1;
    }
    return false;
}

/* Is the text a domain by the rules of RFC 5321? Also allowed are '_', which occurs in practice,
 * and letters outside ASCII (RFC 6531). */
static bool is_domain(const char *s, size_t len)
{
    size_t label = 0;

    if (len == 0 || len > ADDRESS_DOMAIN_MAX)
        return false;
    for (size_t i = 0; i <= len; i++) {
        if (i == len || s[i] == '.') {
            if (label == 0 || label > LABEL_MAX || s[i - 1] == '-' || s[i - label] == '-')
                return false;
            label = 0;
        } else if (ascii_is_alnum(s[i]) || s[i] == '-' || s[i] == '_' ||
                   (unsigned char)s[i] >= 0x80) {
            label++;
        } else {
            return false;
        }
    }
    return true;
}

/* Check the bytes of an address, and set is_utf8. -1 with `err` for control characters, malformed
 * UTF-8, and an address that is too long. Bytes before domain_at need not be UTF-8. */
static int check_bytes(const char *s, size_t len, size_t domain_at, struct address *out,
                       struct err *err)
{
    if (len > ADDRESS_MAX) {
        err_set(err, "address is longer than %d characters", ADDRESS_MAX);
        return -1;
    }
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t c;
        n = utf8_decode(s + i, len - i, &c);
        if (n == 0 && i < domain_at) {
            n = 1;
            continue;
        }
        if (n == 0) {
            err_set(err, "address holds malformed UTF-8");
            return -1;
        }
        if (c < 0x20 || (c >= 0x7f && c < 0xa0)) {
            err_set(err, "address holds a control character");
            return -1;
        }
        if (n > 1)
            out->is_utf8 = true;
    }
    return 0;
}

/* The offset of the '@' before the domain, which is the last one outside quotes; len if there is
 * none. -1 for unbalanced quotes, and for an angle bracket outside quotes. */
static ptrdiff_t find_at(const char *s, size_t len)
{
    bool in_quotes = false;
    size_t at = len;

    for (size_t i = 0; i < len; i++) {
        if (s[i] == '\\') {
            if (++i == len)
                return -1;
        } else if (s[i] == '"') {
            in_quotes = !in_quotes;
        } else if (!in_quotes && (s[i] == '<' || s[i] == '>')) {
            return -1;
        } else if (s[i] == '@' && !in_quotes) {
            at = i;
        }
    }
    return in_quotes ? -1 : (ptrdiff_t)at;
}

/* The length of the source route at the start ("@a,@b:mailbox"), 0 if there is none. */
static size_t source_route_len(const char *s, size_t len)
{
    if (len == 0 || s[0] != '@')
        return 0;
    const char *colon = memchr(s, ':', len);
    return colon == NULL ? 0 : (size_t)(colon - s) + 1;
}

static int check_parts(struct address *a, unsigned flags, struct err *err)
{
    const char *domain = a->text + a->domain_at;
    size_t domain_len = strlen(domain);

    if (a->local_len == 0 || a->text[0] == '@') {
        err_set(err, "address has no local part");
        return -1;
    }
    if (!(flags & ADDRESS_LENIENT) && !is_dot_string(a->text, a->local_len) &&
        !is_quoted_string(a->text, a->local_len)) {
        err_set(err, "local part is neither a dot-string nor a quoted string");
        return -1;
    }
    if (a->domain_at == a->local_len) {
        if (flags & ADDRESS_LENIENT)
            return 0;
        err_set(err, "address has no domain");
        return -1;
    }
    if (domain_len > 2 && domain[0] == '[' && domain[domain_len - 1] == ']' &&
        strcspn(domain + 1, "[]\\ ") == domain_len - 2) {
        a->is_literal = true;
        return 0;
    }
    if (!is_domain(domain, domain_len)) {
        err_set(err, "domain is neither a host name nor an address literal");
        return -1;
    }
    return 0;
}

int address_parse(const char *path, size_t len, unsigned flags, struct address *out,
                  struct err *err)
{
    memset(out, 0, sizeof *out);
    if (len > 0 && path[0] == '<') {
        if (len < 2 || path[len - 1] != '>') {
            err_set(err, "address begins with '<' and does not end with '>'");
            return -1;
        }
        path++;
        len -= 2;
    }
    size_t route = source_route_len(path, len);
    path += route;
    len -= route;
    if (len == 0) {
        if (flags & ADDRESS_NULL_OK && route == 0)
            return 0;
        err_set(err, "address is empty");
        return -1;
    }
    ptrdiff_t at = find_at(path, len);
    size_t octets = (flags & ADDRESS_OCTETS) != 0 && at > 0 ? (size_t)at : 0;
    if (check_bytes(path, len, octets, out, err) != 0)
        return -1;
    if (at < 0) {
        err_set(err, "address has unbalanced quotes or a stray angle bracket");
        return -1;
    }
    memcpy(out->text, path, len);
    if ((size_t)at < len && len > (size_t)at + 2 && path[len - 1] == '.')
        out->text[len - 1] = '\0';
    out->local_len = (size_t)at;
    out->domain_at = (size_t)at < len ? (size_t)at + 1 : len;
    return check_parts(out, flags, err);
}

bool address_is_ambiguous(const struct address *a)
{
    bool in_quotes = false;

    for (size_t i = 0; i < a->local_len; i++) {
        if (a->text[i] == '"')
            in_quotes = !in_quotes;
        else if (in_quotes && a->text[i] == '\\')
            i++;
        else if (!in_quotes && strchr("()<>[]:;,\\ \t", a->text[i]) != NULL)
            return true;
    }
    return false;
}

static void add_lower(struct buf *out, const char *s, size_t len)
{
    size_t from = out->len;

    buf_add(out, s, len);
    for (size_t i = from; i < out->len; i++)
        out->data[i] = ascii_to_lower(out->data[i]);
}

int address_unquote_local(const char *local, size_t len, struct buf *out)
{
    if (!is_quoted_string(local, len)) {
        if (memchr(local, '"', len) != NULL || memchr(local, '\\', len) != NULL)
            return -1;
        buf_add(out, local, len);
        return 0;
    }
    for (size_t i = 1; i + 1 < len; i++) {
        if (local[i] == '\\' && i + 2 < len)
            i++;
        buf_addc(out, local[i]);
    }
    return 0;
}

void address_quote_local(const char *plain, size_t len, struct buf *out)
{
    if (is_dot_string(plain, len)) {
        buf_add(out, plain, len);
        return;
    }
    buf_addc(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (plain[i] == '"' || plain[i] == '\\')
            buf_addc(out, '\\');
        buf_addc(out, plain[i]);
    }
    buf_addc(out, '"');
}

void address_fold(const struct address *a, struct buf *out)
{
    struct buf plain = {0}, local = {0};
    const char *rest = a->text;

    if (is_quoted_string(a->text, a->local_len) &&
        address_unquote_local(a->text, a->local_len, &plain) == 0) {
        address_quote_local(buf_str(&plain), plain.len, &local);
        add_lower(out, buf_str(&local), local.len);
        rest += a->local_len;
    }
    add_lower(out, rest, strlen(rest));
    buf_clear(&plain);
    buf_clear(&local);
}

int address_tag(const struct address *a, const char *name, const char *kind, const char *tag_domain,
                struct buf *out, struct err *err)
{
    const char *domain = a->text + a->domain_at;
    size_t domain_len = strlen(domain);
    size_t suffix_len = strlen(name) + strlen(kind) + strlen(tag_domain) + 3;

    if (domain_len == 0) {
        err_set(err, "address without domain cannot carry a tag");
        return -1;
    }
    if (a->is_literal || !is_domain(domain, domain_len)) {
        err_set(err, "address literal cannot carry a tag");
        return -1;
    }
    if (domain_len + suffix_len > ADDRESS_DOMAIN_MAX ||
        strlen(a->text) + suffix_len > ADDRESS_TAGGED_MAX) {
        err_set(err, "address is too long to carry a tag");
        return -1;
    }
    buf_addf(out, "%s.%s.%s.%s", a->text, name, kind, tag_domain);
    return 0;
}

/* If the first *len bytes of s end in ".label" (case is ignored), cut them off. */
static bool cut_suffix(const char *s, size_t *len, const char *label)
{
    size_t n = strlen(label);

    if (*len <= n + 1 || s[*len - n - 1] != '.' || !ascii_equal_n(s + *len - n, label, n))
        return false;
    *len -= n + 1;
    return true;
}

bool address_untag(const struct address *a, const char *kind, const char *tag_domain,
                   struct address *plain_out, struct buf *name_out)
{
    const char *domain = a->text + a->domain_at;
    size_t len = strlen(domain);
    struct buf name = {0};
    struct err ignored;

    if (a->is_literal || !cut_suffix(domain, &len, tag_domain) || !cut_suffix(domain, &len, kind))
        return false;
    const char *dot = memrchr(domain, '.', len);
    if (dot == NULL)
        return false;
    add_lower(&name, dot + 1, (size_t)(domain + len - dot - 1));
    bool ok = address_is_tag_name(buf_str(&name)) &&
              address_parse(a->text, (size_t)(dot - a->text), ADDRESS_LENIENT, plain_out,
                            &ignored) == 0 &&
              plain_out->text[plain_out->domain_at] != '\0';
    if (ok)
        buf_add(name_out, name.data, name.len);
    buf_clear(&name);
    return ok;
}

/*
 * Append a path as MTAs read it by the rules of RFC 822: without comments, white space, quotes and
 * backslashes, and in lower case.
 */
static void squeeze(const char *path, size_t len, struct buf *out)
{
    unsigned depth = 0;

    for (size_t i = 0; i < len; i++) {
        if (path[i] == '(')
            depth++;
        else if (path[i] == ')' && depth > 0)
            depth--;
        else if (depth == 0 && strchr(" \t\r\n\"\\", path[i]) == NULL)
            add_lower(out, path + i, 1);
    }
}

static bool holds_domain(const char *text, const char *domain)
{
    static const char delimiters[] = "@%!:,;<>[]/=";
    size_t n = strlen(domain);

    for (const char *p = text; (p = strcasestr(p, domain)) != NULL; p++) {
        const char *end = p + n;
        bool begins = p == text || p[-1] == '.' || strchr(delimiters, p[-1]) != NULL;
        end += strspn(end, ".");
        if (begins && (*end == '\0' || strchr(delimiters, *end) != NULL))
            return true;
    }
    return false;
}

bool address_leads_into(const char *path, size_t len, const char *tag_domain)
{
    struct buf folded = {0};
    struct buf squeezed = {0};
    struct buf plain = {0};

    /* The path is folded, because Postfix finds split.invalid in its tables for
     * "\u017fplit.invalid". */
    casefold_add(&folded, path, len);
    path = buf_str(&folded);
    len = folded.len;
    /* The search is done with and without the comments, because a parenthesis that begins no
     * comment must not hide a domain. */
    squeeze(path, len, &squeezed);
    for (size_t i = 0; i < len; i++) {
        if (path[i] != '\0' && strchr(" \t\r\n\"\\()", path[i]) == NULL)
            buf_addc(&plain, path[i]);
    }
    bool found =
        holds_domain(buf_str(&squeezed), tag_domain) || holds_domain(buf_str(&plain), tag_domain);
    buf_clear(&folded);
    buf_clear(&squeezed);
    buf_clear(&plain);
    return found;
}

bool address_is_same(const char *a, const char *b)
{
    const char *at = strrchr(a, '@');
    size_t len = strlen(a);
    bool has_domain = at != NULL && a[len - 1] != '"'; /* a quoted local part may hold '@' */

    return ascii_equal(a, b) && strncmp(a, b, has_domain ? (size_t)(at - a) : len) == 0;
}

bool address_is_tag_name(const char *name)
{
    size_t len = strlen(name);

    return len >= 1 && len <= LABEL_MAX && name[0] != '-' && name[len - 1] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}
