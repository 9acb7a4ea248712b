/* SPDX-License-Identifier: ISC */
/*
 *     address = local "@" domain / "%a"
 *     local   = dot-string or quoted-string, with "%u", "%d", "%a" and "%%" in it
 *     domain  = domain, with "%d" in it
 *     path    = 1*( char / "%d" / "%%" / "{" *( char / "%Y" / "%m" / "%d" / "%H" / "%%" ) "}" )
 *     char    = any but "%", "{" and "}"
 */
#include "mail/template.h"
#include "base/ascii.h"
#include "mail/address.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#define LABEL_MAX 63      /* RFC 1035 2.3.4 */
#define DNS_NAME_MAX 253  /* octets of a name without its last dot: RFC 1035 2.3.4 as text */
#define COMPONENT_MAX 255 /* NAME_MAX of file systems on Linux */
#define SAMPLE "user@sample.invalid"

bool template_varies(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '%' && *++text != '%')
            return true;
    return false;
}

/* --- addresses --- */

struct parts {
    struct buf local;  /* without quotes and backslashes */
    struct buf domain; /* in lower case; empty: there is none */
};

static int read_parts(const char *recipient, struct parts *out, struct err *err)
{
    struct address a;

    if (address_parse(recipient, strlen(recipient), ADDRESS_LENIENT | ADDRESS_OCTETS, &a, err) < 0)
        return -1;
    if (address_unquote_local(a.text, a.local_len, &out->local) < 0) {
        err_set(err, "the local part has a quote or a backslash in it");
        return -1;
    }
    for (const char *p = a.text + a.domain_at; *p != '\0'; p++)
        buf_addc(&out->domain, ascii_to_lower(*p));
    return 0;
}

static void clear_parts(struct parts *p)
{
    buf_clear(&p->local);
    buf_clear(&p->domain);
}

static int fail_conversion(char c, const char *allowed, struct err *err)
{
    err_set(err, "'%%%.*s' is not allowed here; allowed: %s", c > ' ' && c < 0x7f, &c, allowed);
    return -1;
}

/* Expand the text of a local part, or of a domain, in which only %d is allowed. */
static int expand(const char *text, size_t len, const struct parts *p, bool is_domain,
                  struct buf *out, struct err *err)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c != '%') {
            buf_addc(out, c);
            continue;
        }
        c = ++i < len ? text[i] : '\0';
        if (c == '%') {
            buf_addc(out, c);
            continue;
        }
        if (is_domain ? c != 'd' : c != 'u' && c != 'd' && c != 'a')
            return fail_conversion(
                c,
                is_domain ? "%d, the domain of the recipient"
                          : "%u (local part), %d (domain) and %a (address of the recipient), %%",
                err);
        if (c != 'u' && p->domain.len == 0) {
            err_set(err, "the recipient has no domain");
            return -1;
        }
        if (c != 'd')
            buf_add(out, p->local.data, p->local.len);
        if (c == 'a')
            buf_addc(out, '@');
        if (c != 'u')
            buf_add(out, p->domain.data, p->domain.len);
    }
    return 0;
}

/* Check an address that was made. */
static int check_made(const struct buf *made, struct err *err)
{
    struct address a;

    if (address_parse(buf_str(made), made->len, 0, &a, err) < 0)
        return -1;
    if (a.local_len <= TEMPLATE_LOCAL_MAX)
        return 0;
    err_set(err, "the local part has more than %d octets", TEMPLATE_LOCAL_MAX);
    return -1;
}

static int make_address(const char *text, const struct parts *p, struct buf *out, struct err *err)
{
    const char *at = strrchr(text, '@');
    struct buf plain = {0}, local = {0}, made = {0};
    int rc = -1;

    if (strcmp(text, "%a") == 0)
        at = strrchr(text = "%u@%d", '@');
    if (at == NULL)
        err_set(err, "there is no domain");
    else if (address_unquote_local(text, (size_t)(at - text), &plain) < 0)
        err_set(err, "the local part has a quote or a backslash in it");
    else if (expand(buf_str(&plain), plain.len, p, false, &local, err) == 0) {
        address_quote_local(buf_str(&local), local.len, &made);
        buf_addc(&made, '@');
        rc = expand(at + 1, strlen(at + 1), p, true, &made, err);
    }
    if (rc == 0)
        rc = check_made(&made, err);
    if (rc == 0)
        buf_add(out, made.data, made.len);
    buf_clear(&plain);
    buf_clear(&local);
    buf_clear(&made);
    return rc;
}

int template_address(const char *text, const char *recipient, struct buf *out, struct err *err)
{
    struct parts p = {0};
    int rc = read_parts(recipient, &p, err);

    if (rc == 0)
        rc = make_address(text, &p, out, err);
    clear_parts(&p);
    return rc;
}

int template_check_address(const char *text, struct err *err)
{
    const char *at = strrchr(text, '@');
    struct buf ignored = {0};

    if (at != NULL && at[1] == '[' && strchr(at, '%') != NULL) {
        err_set(err, "an address literal takes no part of the recipient");
        return -1;
    }
    int rc = template_address(text, SAMPLE, &ignored, err);
    buf_clear(&ignored);
    return rc;
}

/* --- paths --- */

struct path {
    const char *domain; /* NULL: make a pattern of fnmatch(3), in which `*` is what varies */
    struct tm date;
    struct buf out;
    size_t made_at; /* where the first component begins that varies; SIZE_MAX: there is none yet */
};

static void add_fixed(struct path *p, char c)
{
    if (p->domain == NULL && strchr("*?[\\", c) != NULL)
        buf_addc(&p->out, '\\');
    buf_addc(&p->out, c);
}

static void note_component(struct path *p)
{
    const char *slash = memrchr(buf_str(&p->out), '/', p->out.len);

    if (p->made_at == SIZE_MAX)
        p->made_at = slash == NULL ? 0 : (size_t)(slash - buf_str(&p->out)) + 1;
}

/* Add what stands for "%" and this character. -1: the character is not allowed. */
static int add_varying(struct path *p, char c, bool is_date)
{
    if (c == '\0' || strchr(is_date ? "YmdH" : "d", c) == NULL)
        return -1;
    note_component(p);
    if (p->domain == NULL)
        buf_addc(&p->out, '*');
    else if (!is_date)
        buf_adds(&p->out, p->domain);
    else if (c == 'Y')
        buf_addf(&p->out, "%04d", p->date.tm_year + 1900);
    else
        buf_addf(&p->out, "%02d",
                 c == 'm'   ? p->date.tm_mon + 1
                 : c == 'd' ? p->date.tm_mday
                            : p->date.tm_hour);
    return 0;
}

static int make_path(struct path *p, const char *text, struct err *err)
{
    bool is_date = false;

    for (; *text != '\0'; text++) {
        if (*text == (is_date ? '}' : '{')) {
            is_date = !is_date;
        } else if (*text == '{' || *text == '}') {
            break;
        } else if (*text != '%' || text[1] == '%') {
            add_fixed(p, *text);
            text += *text == '%';
        } else if (add_varying(p, *++text, is_date) < 0) {
            return fail_conversion(*text,
                                   is_date ? "%Y, %m, %d, %H, %%"
                                           : "%d, the domain of the recipient, %%, and the date in "
                                             "braces, like {%Y-%m}",
                                   err);
        }
    }
    if (*text == '\0' && !is_date)
        return 0;
    err_set(err, "a brace has no partner; allowed: a date in braces, like {%%Y-%%m}");
    return -1;
}

/* Check the components that vary, and those behind them. */
static int check_components(const char *path, struct err *err)
{
    static const char *const reserved[] = {"", ".", "..", "tmp", "new", "cur"};

    for (const char *end; *path != '\0'; path = *end == '/' ? end + 1 : end) {
        end = strchrnul(path, '/');
        size_t len = (size_t)(end - path);
        for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
            if (strlen(reserved[i]) == len && memcmp(path, reserved[i], len) == 0) {
                err_set(err, "'%s' is no name for a directory of Maildirs", reserved[i]);
                return -1;
            }
        if (len > COMPONENT_MAX) {
            err_set(err, "the name of a directory has more than %d octets", COMPONENT_MAX);
            return -1;
        }
    }
    return 0;
}

/* Is the text, in lower case, a host name by the rules of DNS? */
static bool is_dns_name(const char *s)
{
    size_t label = 0, len = strlen(s);

    for (size_t i = 0; i <= len; i++) {
        if (i == len || s[i] == '.') {
            if (label == 0 || label > LABEL_MAX || s[i - 1] == '-' || s[i - label] == '-')
                return false;
            label = 0;
        } else if (ascii_is_alnum(s[i]) || s[i] == '-') {
            label++;
        } else {
            return false;
        }
    }
    return len <= DNS_NAME_MAX;
}

static int make_checked(struct path *p, const char *text, struct err *err)
{
    if (make_path(p, text, err) < 0)
        return -1;
    bool varies = p->made_at != SIZE_MAX;
    const char *slash = strrchr(buf_str(&p->out), '/');
    if (!varies)
        p->made_at = slash == NULL ? 0 : (size_t)(slash - buf_str(&p->out)) + 1;
    if (p->out.len >= PATH_MAX) {
        err_set(err, "the path has more than %d octets", PATH_MAX - 1);
        return -1;
    }
    return varies ? check_components(buf_str(&p->out) + p->made_at, err) : 0;
}

/* Does the template have %d outside of braces? */
static bool needs_domain(const char *text)
{
    bool is_date = false;

    for (; *text != '\0'; text++) {
        if (*text == '{' || *text == '}')
            is_date = *text == '{';
        else if (*text == '%' && *++text == 'd' && !is_date)
            return true;
        if (*text == '\0')
            return false;
    }
    return false;
}

int template_path(const char *text, const char *recipient, time_t when, struct buf *out,
                  size_t *made_at_out, struct err *err)
{
    struct path p = {.domain = "", .made_at = SIZE_MAX};
    struct parts parts = {0};
    int rc = -1;

    if (needs_domain(text)) {
        rc = read_parts(recipient, &parts, err);
        p.domain = buf_str(&parts.domain);
        if (rc == 0 && !is_dns_name(p.domain)) {
            err_set(err, "the domain of the recipient is no name in DNS");
            rc = -1;
        }
    } else {
        rc = 0;
    }
    if (rc == 0 && gmtime_r(&when, &p.date) == NULL) {
        err_set(err, "the time of arrival is no date");
        rc = -1;
    }
    if (rc == 0)
        rc = make_checked(&p, text, err);
    if (rc == 0) {
        *made_at_out = out->len + p.made_at;
        buf_add(out, p.out.data, p.out.len);
    }
    buf_clear(&p.out);
    clear_parts(&parts);
    return rc;
}

int template_check_path(const char *text, struct err *err)
{
    struct buf ignored = {0};
    size_t made_at;
    int rc = template_path(text, SAMPLE, 0, &ignored, &made_at, err);

    buf_clear(&ignored);
    return rc;
}

void template_base(const char *text, struct buf *out)
{
    size_t from = out->len, made_at = 0;
    struct err ignored;

    if (template_path(text, SAMPLE, 0, out, &made_at, &ignored) == 0)
        buf_truncate(out, made_at > from + 1 ? made_at - 1 : made_at);
}

bool template_may_be_below(const char *text, const char *top)
{
    struct path p = {.domain = NULL, .made_at = SIZE_MAX};
    size_t top_len = strlen(top), slashes = 0;
    struct buf plain_top = {0};
    struct err ignored;

    while (top_len > 0 && top[top_len - 1] == '/')
        top_len--;
    buf_add(&plain_top, top, top_len);
    for (size_t i = 0; i < top_len; i++)
        slashes += top[i] == '/';
    bool may_be = make_path(&p, text, &ignored) == 0;
    /* Cut the pattern to as many components as `top` has. */
    for (size_t i = 0; i < p.out.len; i++)
        if (p.out.data[i] == '/' && slashes-- == 0) {
            buf_truncate(&p.out, i);
            break;
        }
    may_be = may_be && fnmatch(buf_str(&p.out), buf_str(&plain_top), FNM_PATHNAME) == 0;
    buf_clear(&p.out);
    buf_clear(&plain_top);
    return may_be;
}
