/* SPDX-License-Identifier: ISC */
#include "table/lookup.h"
#include "base/casefold.h"
#include "base/mem.h"
#include "base/ascii.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* More rounds of canonical mapping are a loop; cleanup(8) has the same limit. */
enum { CANONICAL_ROUNDS = 10 };

/*
 * An address in the forms that keys are made of. As in Postfix, quotes and backslashes of the local
 * part are removed where parts of it are compared or joined, and are added again where RFC 822
 * needs them. For an ASCII address the first key is the form of address_fold().
 */
struct parts {
    struct buf sent;      /* local part without quotes, as the client sent it */
    struct buf local;     /* local part without quotes, folded */
    struct buf at;        /* "@domain", folded, "" without domain */
    struct buf whole;     /* the whole address for patterns (casefold_add_ascii()); "" when it
                             equals the first key */
    size_t bare_len;      /* bytes of local before the extension; local.len if there is none */
    size_t sent_bare_len; /* the same for `sent` */
};

/* One search. The keys are tried one after the other, as long as the result is TABLE_NOT_FOUND. */
struct search {
    const struct lookup_list *list;
    struct table_scratch *scratch;
    bool is_first_key;
    const char *whole; /* the key for tables that take the whole address; NULL: the first key */
    struct table_match *match;
    struct err *err;
};

int lookup_open(struct lookup_list *list, char *const *specs, size_t count, struct err *err)
{
    *list = (struct lookup_list){0};
    for (size_t i = 0; i < count; i++)
        if (lookup_add(list, specs[i], err) < 0) {
            lookup_close(list);
            return -1;
        }
    return 0;
}

int lookup_add(struct lookup_list *list, const char *spec, struct err *err)
{
    struct table *t = table_open(spec, err);

    if (t == NULL)
        return -1;
    list->tables = mem_grow(list->tables, list->count + 1, sizeof(struct table *));
    list->tables[list->count++] = t;
    return 0;
}

void lookup_close(struct lookup_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        table_close(list->tables[i]);
    free(list->tables);
    memset(list, 0, sizeof *list);
}

/* Append a local part without its quotes and backslashes. */
static void add_unquoted(const char *local, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        if (local[i] == '"')
            continue;
        if (local[i] == '\\' && i + 1 < len)
            i++;
        buf_addc(out, local[i]);
    }
}

/* Does the local part need no quotes, by the rule of Postfix? The rule allows more than RFC
 * 5321. */
static bool is_dot_string(const char *s, size_t len)
{
    if (len == 0 || s[0] == '.' || s[len - 1] == '.')
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c <= ' ' || c == 127 || strchr("()<>@,;:\\\"[]", c) != NULL ||
            (c == '.' && s[i + 1] == '.'))
            return false;
    }
    return true;
}

/* Append a local part, in quotes if it needs them. */
static void add_quoted(const char *local, size_t len, struct buf *out)
{
    if (is_dot_string(local, len)) {
        buf_add(out, local, len);
        return;
    }
    buf_addc(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (local[i] == '"' || local[i] == '\\')
            buf_addc(out, '\\');
        buf_addc(out, local[i]);
    }
    buf_addc(out, '"');
}

/* The number of bytes of the folded local part before its extension, or all if it has none. Some
 * names are never split, as in Postfix with its defaults (owner_request_special). */
static size_t bare_len(const char *local, size_t len, const char *delimiter)
{
    static const char *const whole[] = {"postmaster", "mailer-daemon", "double-bounce"};

    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
        if (strcmp(local, whole[i]) == 0)
            return len;
    if (strchr(delimiter, '-') != NULL) {
        if (strncmp(local, "owner-", 6) == 0)
            return len;
        if (len > 8 && strcmp(local + len - 8, "-request") == 0)
            return len;
    }
    size_t n = strcspn(local, delimiter);
    return n == 0 ? len : n;
}

/* As bare_len(), for a local part that is not folded and has an extension. */
static size_t unfolded_bare_len(const char *local, size_t len, const char *delimiter)
{
    for (size_t i = 0; i < len; i++)
        if (strchr(delimiter, tolower((unsigned char)local[i])) != NULL)
            return i;
    return len;
}

static bool is_ascii(const char *text)
{
    while (*text != '\0' && ((unsigned char)*text & 0x80) == 0)
        text++;
    return *text == '\0';
}

static void set_whole(struct parts *p, const struct address *a)
{
    const char *at = a->text + a->local_len;
    struct buf local = {0};

    if (is_ascii(a->text))
        return;
    casefold_add_ascii(&local, buf_str(&p->sent), p->sent.len);
    add_quoted(buf_str(&local), local.len, &p->whole);
    casefold_add_ascii(&p->whole, at, strlen(at));
    buf_clear(&local);
}

static void parts_init(struct parts *p, const struct address *a, const char *delimiter)
{
    memset(p, 0, sizeof *p);
    add_unquoted(a->text, a->local_len, &p->sent);
    casefold_add(&p->local, buf_str(&p->sent), p->sent.len);
    casefold_add(&p->at, a->text + a->local_len, strlen(a->text + a->local_len));
    set_whole(p, a);
    p->bare_len = bare_len(buf_str(&p->local), p->local.len, delimiter);
    p->sent_bare_len = p->bare_len == p->local.len
                           ? p->sent.len
                           : unfolded_bare_len(buf_str(&p->sent), p->sent.len, delimiter);
}

static void parts_clear(struct parts *p)
{
    buf_clear(&p->sent);
    buf_clear(&p->local);
    buf_clear(&p->at);
    buf_clear(&p->whole);
}

/* Search one key in each table, until a table has a result or fails. */
static enum table_result ask(struct search *q, const char *key)
{
    bool is_first = q->is_first_key;

    q->is_first_key = false;
    if (*key == '\0')
        return TABLE_NOT_FOUND;
    for (size_t i = 0; i < q->list->count; i++) {
        const struct table *t = q->list->tables[i];
        bool takes_whole = table_takes_whole_address(t);
        if (takes_whole && !is_first)
            continue;
        enum table_result r = table_find(
            t, q->scratch, takes_whole && q->whole != NULL ? q->whole : key, q->match, q->err);
        if (r == TABLE_FOUND && q->match->value.len == 0) {
            err_set(q->err, "%s: the result is an empty string, for \"%s\"", table_spec(t), key);
            return TABLE_FAILED;
        }
        if (r != TABLE_NOT_FOUND)
            return r;
    }
    return TABLE_NOT_FOUND;
}

/* Search for the first `len` bytes of the local part with the domain, in quotes if they are needed.
 * also_unquoted: if quotes are needed and nothing is found, search for the form without quotes,
 * too. */
static enum table_result ask_local(struct search *q, const struct parts *p, size_t len,
                                   bool also_unquoted)
{
    const char *local = buf_str(&p->local);
    struct buf key = {0};

    add_quoted(local, len, &key);
    buf_adds(&key, buf_str(&p->at));
    enum table_result r = ask(q, buf_str(&key));
    if (r == TABLE_NOT_FOUND && also_unquoted && !is_dot_string(local, len)) {
        buf_reset(&key);
        buf_add(&key, local, len);
        buf_adds(&key, buf_str(&p->at));
        r = ask(q, buf_str(&key));
    }
    buf_clear(&key);
    return r;
}

enum table_result lookup_transport(const struct lookup_list *list, struct table_scratch *s,
                                   const struct address *a, const char *delimiter,
                                   struct table_match *m, struct err *err)
{
    struct search q = {list, s, true, NULL, m, err};
    struct parts p;

    err_clear(err);
    if (list->count == 0 || a->text[0] == '\0')
        return TABLE_NOT_FOUND;
    parts_init(&p, a, delimiter);
    q.whole = p.whole.len > 0 ? buf_str(&p.whole) : NULL;
    enum table_result r = ask_local(&q, &p, p.local.len, true);
    if (r == TABLE_NOT_FOUND && p.bare_len < p.local.len)
        r = ask_local(&q, &p, p.bare_len, true);
    const char *domain = buf_str(&p.at);
    for (domain += *domain == '@'; domain != NULL && *domain != '\0';
         domain = strchr(domain + 1, '.')) {
        if (r != TABLE_NOT_FOUND)
            break;
        r = ask(&q, domain);
    }
    if (r == TABLE_NOT_FOUND)
        r = ask(&q, "*");
    parts_clear(&p);
    return r;
}

enum table_result lookup_sender(const struct lookup_list *list, struct table_scratch *s,
                                const struct address *a, const char *delimiter,
                                struct table_match *m, struct err *err)
{
    struct search q = {list, s, true, NULL, m, err};

    err_clear(err);
    if (a->text[0] != '\0')
        return lookup_transport(list, s, a, delimiter, m, err);
    enum table_result r = ask(&q, "<>");
    return r == TABLE_NOT_FOUND ? ask(&q, "*") : r;
}

/* The kind of key with which a canonical result was found. */
enum canonical_key { KEY_FULL, KEY_BARE, KEY_DOMAIN };

static enum table_result find_canonical(struct search *q, const struct parts *p,
                                        enum canonical_key *key_out)
{
    *key_out = KEY_FULL;
    enum table_result r = ask_local(q, p, p->local.len, false);
    if (r == TABLE_NOT_FOUND && p->bare_len < p->local.len) {
        *key_out = KEY_BARE;
        r = ask_local(q, p, p->bare_len, false);
    }
    if (r == TABLE_NOT_FOUND) {
        *key_out = KEY_DOMAIN;
        r = ask(q, buf_str(&p->at));
    }
    return r;
}

/*
 * Parse a result. Besides valid addresses, local parts with leading, trailing or doubled dots are
 * accepted, because such addresses exist. A list, a display name or a comment is not.
 */
static int parse_result(const char *value, struct address *out, struct err *err)
{
    size_t len = strlen(value);

    if (address_parse(value, len, 0, out, err) == 0)
        return 0;
    if (strpbrk(value, " \t,;:()<>[]\\\"") != NULL || strchr(value, '@') != strrchr(value, '@') ||
        strchr(value, '@') == NULL)
        return -1;
    return address_parse(value, len, ADDRESS_LENIENT, out, err);
}

/* Make the address that a result stands for. The extension is carried over; where the result is
 * "@domain", the local part is `sent`. -1 with the reason in `why`. */
static int make_address(const char *value, const char *sent, size_t sent_len, const char *extension,
                        struct address *out, struct err *why)
{
    struct buf local = {0}, text = {0};
    struct address result;
    const char *domain = value + 1;
    int rc = -1;

    if (value[0] == '@') {
        buf_add(&local, sent, sent_len);
    } else if (parse_result(value, &result, why) == 0) {
        domain = result.text + result.domain_at;
        add_unquoted(result.text, result.local_len, &local);
    } else {
        return -1;
    }
    buf_adds(&local, extension);
    add_quoted(buf_str(&local), local.len, &text);
    buf_addf(&text, "@%s", domain);
    if (strchr(domain, '@') == NULL)
        rc = address_parse(buf_str(&text), text.len, 0, out, why);
    else
        err_set(why, "\"%.100s\" is no domain", domain);
    buf_clear(&local);
    buf_clear(&text);
    return rc;
}

int lookup_check_canonical(const char *value, struct address *sample_out, struct err *err)
{
    struct err why;

    if (make_address(value, "user", strlen("user"), "", sample_out, &why) == 0)
        return 0;
    err_set(err, "\"%.200s\" is no address: %s", value, why.text);
    return -1;
}

/*
 * Make the address that a result for the address `p` stands for. TABLE_FAILED: the result is no
 * address. TABLE_LIMIT: the result is an address, but together with the parts that are carried over
 * from `p` it is not valid.
 */
static enum table_result apply_canonical(const struct parts *p, enum canonical_key key,
                                         const struct table_match *m, struct address *out,
                                         struct err *err)
{
    const char *sent = buf_str(&p->sent), *value = buf_str(&m->value);
    size_t sent_len = key == KEY_BARE ? p->sent_bare_len : p->sent.len;
    struct address sample;
    struct err why;

    if (make_address(value, sent, sent_len, key == KEY_BARE ? sent + p->sent_bare_len : "", out,
                     &why) == 0)
        return TABLE_FOUND;
    err_set(err, "%s: the result \"%.200s\" for \"%.200s\" is no address: %s", table_spec(m->table),
            value, buf_str(&m->key), why.text);
    return lookup_check_canonical(value, &sample, &why) == 0 ? TABLE_LIMIT : TABLE_FAILED;
}

/* One round of mapping: set *next_out to the address that *a maps to. */
static enum table_result map_once(struct search *q, const struct address *a, const char *delimiter,
                                  struct address *next_out)
{
    struct parts p;
    enum canonical_key key;

    q->is_first_key = true;
    parts_init(&p, a, delimiter);
    q->whole = p.whole.len > 0 ? buf_str(&p.whole) : NULL;
    enum table_result r = find_canonical(q, &p, &key);
    if (r == TABLE_FOUND)
        r = apply_canonical(&p, key, q->match, next_out, q->err);
    parts_clear(&p);
    return r;
}

enum table_result lookup_canonical(const struct lookup_list *list, struct table_scratch *s,
                                   const struct address *a, const char *delimiter,
                                   struct address *out, struct table_match *m, struct err *err)
{
    struct search q = {list, s, true, NULL, m, err};
    struct address from, next;

    err_clear(err);
    if (list->count == 0 || a->text[0] == '\0')
        return TABLE_NOT_FOUND;
    enum table_result r = map_once(&q, a, delimiter, &next);
    if (r != TABLE_FOUND)
        return r;
    struct table_match later;
    table_match_init(&later);
    q.match = &later;
    from = *a;
    for (int round = 1; !ascii_equal(from.text, next.text); round++) {
        if (round == CANONICAL_ROUNDS) {
            err_set(err,
                    "canonical mapping of \"%.300s\" does not end: after %d rounds it is "
                    "\"%.300s\"",
                    a->text, CANONICAL_ROUNDS, next.text);
            r = TABLE_FAILED;
            break;
        }
        from = next;
        r = map_once(&q, &from, delimiter, &next);
        if (r != TABLE_FOUND)
            break;
    }
    table_match_clear(&later);
    if (table_has_failed(r))
        return r;
    *out = next;
    return TABLE_FOUND;
}
