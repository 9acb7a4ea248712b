/* SPDX-License-Identifier: ISC */
/*
 * Referrals (RFC 4511 4.1.10, 4.5.3). The result of a search may refer to other servers for the
 * whole search, and a search reference to servers for a part of it. Each is a list of URLs, of
 * which one is enough:
 *
 *   ldap://HOST:PORT/BASE?ATTRIBUTES?SCOPE?FILTER?EXTENSIONS
 *
 * As in OpenLDAP's library, base and scope of the URL replace those of the search, and attributes
 * and filter are not looked at.
 */
#include "table/module_ldap_private.h"
#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* The answer to one search at one server. */
struct reply {
    int code;           /* LDAP_...; unless LDAP_SUCCESS, `err` has its meaning */
    char **referral;    /* with LDAP_REFERRAL: the URLs */
    char ***references; /* a list of lists of URLs */
    size_t reference_count;
};

static void reply_clear(struct reply *r)
{
    for (size_t i = 0; i < r->reference_count; i++)
        ber_memvfree((void **)r->references[i]);
    free(r->references);
    ber_memvfree((void **)r->referral);
    *r = (struct reply){0};
}

void module_ldap_entries_clear(struct module_ldap_entries *entries)
{
    for (size_t i = 0; i < entries->count; i++)
        ldap_msgfree(entries->items[i]);
    free(entries->items);
    *entries = (struct module_ldap_entries){0};
}

/* The bytes of an entry. */
static size_t entry_size(LDAP *ld, LDAPMessage *entry)
{
    struct berval dn;
    BerElement *ber = NULL;
    ber_len_t size = MODULE_LDAP_MESSAGE_MAX; /* of one that cannot be parsed */

    if (ldap_get_dn_ber(ld, entry, &ber, &dn) == LDAP_SUCCESS && ber != NULL)
        ber_get_option(ber, LBER_OPT_BER_TOTAL_BYTES, &size);
    if (ber != NULL)
        ber_free(ber, 0);
    return size;
}

enum table_answer module_ldap_fault_of(int code)
{
    return code == LDAP_SIZELIMIT_EXCEEDED ? ANSWER_LIMIT : ANSWER_FAILED;
}

bool module_ldap_filter_is_deep(const char *filter)
{
    unsigned depth = 0;

    /* An escaped parenthesis is written \28 or \29 (RFC 4515), or, as in LDAPv2, with a backslash
     * before it: which of these the library takes for a parenthesis depends on where it begins to
     * read, so that here the deepest reading counts. */
    for (const char *p = filter; p != NULL && *p != '\0'; p++) {
        if (*p == '(')
            depth++;
        else if (*p == ')' && depth > 0 && p[-1] != '\\')
            depth--;
        if (depth > MODULE_LDAP_FILTER_DEPTH_MAX)
            return true;
    }
    return false;
}

/* Count a message of this many bytes. */
static enum table_answer count_message(struct module_ldap_lookup *l, size_t bytes, struct err *err)
{
    l->entries++;
    l->bytes += bytes;
    if (l->entries <= MODULE_LDAP_ENTRIES_MAX && l->bytes <= MODULE_LDAP_BYTES_MAX)
        return ANSWER_OK;
    err_set(err, "more than %d entries and references, or %d bytes of them, for one key",
            MODULE_LDAP_ENTRIES_MAX, MODULE_LDAP_BYTES_MAX);
    return ANSWER_LIMIT;
}

/* Count the URLs of a referral. */
static enum table_answer count_urls(struct module_ldap_lookup *l, char **urls, struct err *err)
{
    size_t count = 0, bytes = 0;

    for (; urls != NULL && urls[count] != NULL; count++)
        bytes += strlen(urls[count]) + sizeof *urls;
    if (count > MODULE_LDAP_URLS_MAX) {
        err_set(err, "a referral has more than %d URLs", MODULE_LDAP_URLS_MAX);
        return ANSWER_FAILED;
    }
    return count_message(l, bytes, err);
}

/* Add an entry, which `entries` owns from now on. */
static enum table_answer add_entry(struct module_ldap_lookup *l, LDAP *ld, LDAPMessage *entry,
                                   struct module_ldap_entries *entries, struct err *err)
{
    if (entries->count == entries->capacity) {
        entries->capacity = entries->capacity * 2 + 8;
        entries->items = mem_grow(entries->items, entries->capacity, sizeof(LDAPMessage *));
    }
    entries->items[entries->count++] = entry;
    return count_message(l, entry_size(ld, entry), err);
}

/* Read a search reference, and free the message. */
static enum table_answer add_reference(struct module_ldap_lookup *l, LDAP *ld, LDAPMessage *message,
                                       struct reply *reply, struct err *err)
{
    char **urls = NULL;

    if (!l->settings->chase_referrals) {
        ldap_msgfree(message);
        return count_message(l, 0, err);
    }
    int rc = ldap_parse_reference(ld, message, &urls, NULL, 1);
    if (rc != LDAP_SUCCESS || urls == NULL || reply->reference_count >= MODULE_LDAP_REFERRALS_MAX) {
        ber_memvfree((void **)urls);
        err_set(err, "search references cannot be followed: %s",
                rc != LDAP_SUCCESS ? ldap_err2string(rc) : "too many, or without URL");
        return ANSWER_FAILED;
    }
    reply->references =
        mem_grow(reply->references, reply->reference_count + 1, sizeof *reply->references);
    reply->references[reply->reference_count++] = urls;
    return count_urls(l, urls, err);
}

/* Read the result of a search, and free the message. */
static enum table_answer read_result(struct module_ldap_lookup *l, LDAP *ld, LDAPMessage *message,
                                     struct reply *reply, struct err *err)
{
    char *text = NULL;
    int rc = ldap_parse_result(ld, message, &reply->code, NULL, &text, &reply->referral, NULL, 1);

    if (rc != LDAP_SUCCESS)
        reply->code = rc;
    if (reply->code != LDAP_SUCCESS && text != NULL && text[0] != '\0')
        err_set(err, "%s (%.300s)", ldap_err2string(reply->code), text);
    else if (reply->code != LDAP_SUCCESS)
        err_set(err, "%s", ldap_err2string(reply->code));
    ldap_memfree(text);
    if (reply->code == LDAP_BUSY || reply->code == LDAP_UNAVAILABLE)
        return ANSWER_BROKEN;
    return reply->referral != NULL ? count_urls(l, reply->referral, err) : ANSWER_OK;
}

/* What the end of a link in the middle of a search means. If the server has answered another search
 * of this look-up, it is the key that takes too long. */
static enum table_answer answer_of(enum module_ldap_event event, struct module_ldap_lookup *l)
{
    bool is_for_key =
        event == MODULE_LDAP_TOO_LONG || (event == MODULE_LDAP_TIMEOUT && l->answered > 0);

    l->result->is_late = event == MODULE_LDAP_TIMEOUT; /* perhaps that of `timeout` */
    return is_for_key ? ANSWER_FAILED : ANSWER_BROKEN;
}

static enum table_answer read_reply(struct module_ldap_lookup *l, struct module_ldap_link *link,
                                    int msgid, int64_t deadline_ms,
                                    struct module_ldap_entries *entries, struct reply *reply,
                                    struct err *err)
{
    enum table_answer answer = ANSWER_OK;
    LDAPMessage *message;

    while (answer == ANSWER_OK) {
        enum module_ldap_event event = module_ldap_next(link, msgid, deadline_ms, &message, err);
        if (event != MODULE_LDAP_MESSAGE)
            return answer_of(event, l);
        switch (ldap_msgtype(message)) {
        case LDAP_RES_SEARCH_ENTRY:
            answer = add_entry(l, link->ld, message, entries, err);
            break;
        case LDAP_RES_SEARCH_REFERENCE:
            answer = add_reference(l, link->ld, message, reply, err);
            break;
        case LDAP_RES_SEARCH_RESULT:
            l->answered++;
            return read_result(l, link->ld, message, reply, err);
        default:
            ldap_msgfree(message);
            answer = count_message(l, 0, err);
        }
        /* A server that always has a next message ready does not work for ever. */
        if (answer == ANSWER_OK && clock_now_ms() >= deadline_ms) {
            err_set(err, "timed out while the server was sending entries");
            link->is_dead = true;
            return ANSWER_FAILED;
        }
    }
    ldap_abandon_ext(link->ld, msgid, NULL, NULL);
    return answer;
}

/* One search at one server. */
static enum table_answer search_at(struct module_ldap_lookup *l, struct module_ldap_link *link,
                                   const struct module_ldap_search *search,
                                   struct module_ldap_entries *entries, struct reply *reply,
                                   struct err *err)
{
    int64_t now_ms = clock_now_ms(), timeout_ms = l->settings->timeout_ms;
    int64_t deadline_ms =
        l->deadline_ms - now_ms < timeout_ms ? l->deadline_ms : now_ms + timeout_ms;
    int64_t left = deadline_ms - now_ms;
    /* The server's own limit is a bit shorter: if the server ends the search, the connection stays
     * usable, and it is known that the server works. */
    struct timeval limit = {.tv_sec = left > 2000 ? (left - 500) / 1000 : 1};
    int msgid;

    if (left <= 0) {
        err_set(err, "timed out");
        return answer_of(MODULE_LDAP_TIMEOUT, l);
    }
    if (++l->searches > MODULE_LDAP_SEARCHES_MAX) {
        err_set(err, "more than %d searches for one key", MODULE_LDAP_SEARCHES_MAX);
        return ANSWER_LIMIT;
    }
    if (module_ldap_filter_is_deep(search->filter)) {
        err_set(err, "a filter is nested deeper than %d", MODULE_LDAP_FILTER_DEPTH_MAX);
        return ANSWER_FAILED;
    }
    int rc =
        ldap_search_ext(link->ld, search->base, search->scope, search->filter, search->attributes,
                        0, NULL, NULL, &limit, (int)l->settings->size_limit, &msgid);
    if (rc == LDAP_SUCCESS)
        return read_reply(l, link, msgid, deadline_ms, entries, reply, err);
    module_ldap_fault(link, rc, "search", err);
    if (rc == LDAP_FILTER_ERROR || rc == LDAP_PARAM_ERROR || rc == LDAP_ENCODING_ERROR)
        return ANSWER_FAILED;
    link->is_dead = true;
    return ANSWER_BROKEN;
}

/* The link to the server of a referral, or NULL with `err`. */
static struct module_ldap_link *referred_link(struct module_ldap_lookup *l,
                                              const struct module_ldap_server *at, struct err *err)
{
    if (module_ldap_server_equal(&l->link->at, at))
        return l->link;
    for (size_t i = 0; i < l->referred_count; i++)
        if (module_ldap_server_equal(&l->referred[i]->at, at))
            return l->referred[i];
    if (++l->referred_tries > MODULE_LDAP_REFERRED_LINKS_MAX) {
        err_set(err, "referrals to more than %d servers", MODULE_LDAP_REFERRED_LINKS_MAX);
        return NULL;
    }
    struct module_ldap_link *link =
        module_ldap_link_open(l->settings, at, true, l->deadline_ms, err);
    if (link != NULL)
        l->referred[l->referred_count++] = link;
    return link;
}

/* Has the URL a scope? ldap_url_parse() does not say. */
static bool has_scope(const char *url)
{
    const char *p = strchr(url, '?');

    p = p != NULL ? strchr(p + 1, '?') : NULL;
    return p != NULL && p[1] != '\0' && p[1] != '?';
}

/* The search that a URL asks for instead of `search`. is_reference: for a part of it. */
static struct module_ldap_search search_of(const struct module_ldap_search *search,
                                           const char *text, const LDAPURLDesc *url,
                                           bool is_reference)
{
    struct module_ldap_search next = *search;

    if (url->lud_dn != NULL && url->lud_dn[0] != '\0')
        next.base = url->lud_dn;
    else if (is_reference)
        next.base = "";
    if (has_scope(text))
        next.scope = url->lud_scope;
    else if (is_reference)
        next.scope = search->scope == LDAP_SCOPE_SUBTREE || search->scope == LDAP_SCOPE_SUBORDINATE
                         ? LDAP_SCOPE_SUBTREE
                         : LDAP_SCOPE_BASE;
    return next;
}

static enum table_answer search_from(struct module_ldap_lookup *l, struct module_ldap_link *link,
                                     const struct module_ldap_search *search, unsigned hops,
                                     struct module_ldap_entries *entries, int *code_out,
                                     struct err *err);

/* Follow one URL of a referral. Any other code than LDAP_SUCCESS is a failure, and the entries of a
 * server that fails are dropped. */
static enum table_answer follow_url(struct module_ldap_lookup *l, const char *text,
                                    const struct module_ldap_search *search, bool is_reference,
                                    unsigned hops, struct module_ldap_entries *entries,
                                    int *code_out, struct err *err)
{
    enum table_answer answer = ANSWER_FAILED;
    struct module_ldap_server at = {0};
    struct module_ldap_link *link = NULL;
    LDAPURLDesc *url = NULL;
    size_t before = entries->count;

    if (strlen(text) > MODULE_LDAP_URL_MAX || ldap_url_parse(text, &url) != LDAP_URL_SUCCESS ||
        url->lud_crit_exts > 0)
        err_set(err, "no URL that is supported");
    else if (module_ldap_server_of(url, &at, err) == 0)
        link = referred_link(l, &at, err);
    if (link != NULL && link->is_dead) {
        err_set(err, "lost connection");
    } else if (link != NULL) {
        struct module_ldap_search next = search_of(search, text, url, is_reference);
        answer = search_from(l, link, &next, hops, entries, code_out, err);
        if (answer == ANSWER_OK && *code_out != LDAP_SUCCESS)
            answer = module_ldap_fault_of(*code_out);
    }
    while (answer != ANSWER_OK && entries->count > before)
        ldap_msgfree(entries->items[--entries->count]);
    if (answer != ANSWER_OK)
        err_wrap(err, "referral to %.200s", text);
    free(at.url);
    ldap_free_urldesc(url);
    return answer == ANSWER_BROKEN ? ANSWER_FAILED : answer;
}

/* Follow one of the URLs. */
static enum table_answer follow(struct module_ldap_lookup *l, char **urls,
                                const struct module_ldap_search *search, bool is_reference,
                                unsigned hops, struct module_ldap_entries *entries, int *code_out,
                                struct err *err)
{
    enum table_answer answer = ANSWER_FAILED;

    err_set(err, "a referral without URL");
    for (; urls != NULL && *urls != NULL && answer == ANSWER_FAILED; urls++) {
        if (hops > MODULE_LDAP_HOPS_MAX || ++l->referrals > MODULE_LDAP_REFERRALS_MAX) {
            err_set(err, "more than %d referrals, or %d that lead to each other",
                    MODULE_LDAP_REFERRALS_MAX, MODULE_LDAP_HOPS_MAX);
            return ANSWER_FAILED;
        }
        /* Before a host name is looked up, which no deadline ends. */
        if (clock_now_ms() >= l->deadline_ms) {
            err_set(err, "timed out before the referral to %.200s", *urls);
            return ANSWER_FAILED;
        }
        answer = follow_url(l, *urls, search, is_reference, hops, entries, code_out, err);
    }
    return answer;
}

/* A search at this server, and at those that it refers to. */
static enum table_answer search_from(struct module_ldap_lookup *l, struct module_ldap_link *link,
                                     const struct module_ldap_search *search, unsigned hops,
                                     struct module_ldap_entries *entries, int *code_out,
                                     struct err *err)
{
    struct reply reply = {0};
    size_t before = entries->count;
    enum table_answer answer = search_at(l, link, search, entries, &reply, err);

    *code_out = reply.code;
    if (answer == ANSWER_OK && reply.code == LDAP_NO_SUCH_OBJECT &&
        (entries->count > before || reply.reference_count > 0)) {
        err_wrap(err, "entries, and then");
        answer = ANSWER_FAILED;
    }
    if (answer == ANSWER_OK && reply.code == LDAP_REFERRAL && l->settings->chase_referrals)
        answer = follow(l, reply.referral, search, false, hops + 1, entries, code_out, err);
    for (size_t i = 0;
         i < reply.reference_count && answer == ANSWER_OK && *code_out == LDAP_SUCCESS; i++)
        answer = follow(l, reply.references[i], search, true, hops + 1, entries, code_out, err);
    reply_clear(&reply);
    return answer;
}

/* May the connection be the reason for this code? Postfix closes it, too, after a code that it does
 * not know. */
static bool is_of_connection(int code)
{
    return code != LDAP_SUCCESS && code != LDAP_TIMELIMIT_EXCEEDED &&
           code != LDAP_SIZELIMIT_EXCEEDED && code != LDAP_REFERRAL &&
           code != LDAP_NO_SUCH_OBJECT && code != LDAP_INVALID_DN_SYNTAX;
}

enum table_answer module_ldap_search(struct module_ldap_lookup *l,
                                     const struct module_ldap_search *search,
                                     struct module_ldap_entries *entries, int *code_out,
                                     struct err *err)
{
    enum table_answer answer = search_from(l, l->link, search, 0, entries, code_out, err);

    if (answer == ANSWER_OK && is_of_connection(*code_out))
        l->link->is_dead = true;
    return answer;
}
