/* SPDX-License-Identifier: ISC */
/*
 * What of an entry is a result (ldap_table(5)): if it has a terminal attribute, the terminal ones
 * alone. Otherwise its ordinary attributes, without the leaf ones if it has a special attribute;
 * and the results of the entries that the special attributes refer to, by DN or URL.
 *
 * In Postfix, what kind of entry one is also holds for the entries behind it in the same answer, if
 * these do not have such an attribute: behind a terminal entry, others have no results; behind one
 * with a special attribute, others have no leaf attributes. Here it is the same, so that the same
 * file has the same results.
 */
#include "table/module_ldap_private.h"
#include "base/ascii.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* How two attribute descriptions are related (RFC 4512 2.5): 1 if b is a, or a with options; -1 if
 * a is b with options; 0 if they differ. */
static int compare_attributes(const char *a, const char *b)
{
    for (; *a != '\0' && ascii_to_lower(*a) == ascii_to_lower(*b); a++)
        b++;
    if (*a == '\0' && (*b == '\0' || *b == ';'))
        return 1;
    return *b == '\0' && *a == ';' ? -1 : 0;
}

/* Has the entry a value of one of the attributes from index `from` to before index `end`? */
static bool has_one_of(const struct module_ldap_lookup *l, LDAPMessage *entry, size_t from,
                       size_t end)
{
    bool has = false;

    for (size_t i = from; i < end && l->settings->attributes[i] != NULL && !has; i++) {
        struct berval **values =
            ldap_get_values_len(l->link->ld, entry, l->settings->attributes[i]);
        has = ldap_count_values_len(values) > 0;
        ldap_value_free_len(values);
    }
    return has;
}

/* The attributes that a search for a URL asks for: those that both the URL and the table have,
 * with the options that one of them has. The caller frees the list, not the names. */
static char **attributes_of(const LDAPURLDesc *url, char **own)
{
    size_t count = 0, own_count = 0, url_count = 0;

    while (own[own_count] != NULL)
        own_count++;
    if (url->lud_attrs == NULL || url->lud_attrs[0] == NULL) {
        char **all = mem_zalloc((own_count + 1) * sizeof *all);
        memcpy(all, own, own_count * sizeof *all);
        return all;
    }
    while (url->lud_attrs[url_count] != NULL)
        url_count++;
    char **both = mem_zalloc((own_count * url_count + 1) * sizeof *both);
    for (char **a = url->lud_attrs; *a != NULL; a++)
        for (char **b = own; *b != NULL; b++) {
            int relation = compare_attributes(*a, *b);
            if (relation != 0)
                both[count++] = relation > 0 ? *b : *a;
        }
    return both;
}

/* Search, and add the values of what is found. A base that does not exist has no values. */
static enum table_answer add_found(struct module_ldap_lookup *l,
                                   const struct module_ldap_search *search, struct err *err)
{
    struct module_ldap_entries entries = {0};
    int code = LDAP_SUCCESS;
    enum table_answer answer = module_ldap_search(l, search, &entries, &code, err);

    if (answer == ANSWER_OK && code == LDAP_SUCCESS) {
        answer = module_ldap_values(l, &entries, err);
    } else if (answer == ANSWER_OK && code != LDAP_NO_SUCH_OBJECT) {
        err_wrap(err, "entry \"%.200s\"", search->base);
        answer = module_ldap_fault_of(code);
    }
    module_ldap_entries_clear(&entries);
    return answer;
}

/* Add the values of the entries that a URL means. */
static enum table_answer add_url(struct module_ldap_lookup *l, const char *text, struct err *err)
{
    enum table_answer answer = ANSWER_OK;
    LDAPURLDesc *url = NULL;

    if (strlen(text) > MODULE_LDAP_URL_MAX) {
        err_set(err, "a URL of more than %d bytes: \"%.100s...\"", MODULE_LDAP_URL_MAX, text);
        return ANSWER_FAILED;
    }
    if (ldap_url_parse(text, &url) != LDAP_URL_SUCCESS) {
        err_set(err, "\"%.200s\" is no URL of LDAP", text);
        return ANSWER_FAILED;
    }
    struct module_ldap_search search = {
        .base = url->lud_dn != NULL ? url->lud_dn : "",
        .filter = url->lud_filter,
        .scope = url->lud_scope,
        .attributes = attributes_of(url, l->settings->attributes),
    };
    if (search.attributes[0] != NULL)
        answer = add_found(l, &search, err);
    free(search.attributes);
    ldap_free_urldesc(url);
    return answer;
}

/* Add the values of what the value of a special attribute refers to. */
static enum table_answer add_referenced(struct module_ldap_lookup *l, const char *attribute,
                                        const struct berval *value, struct err *err)
{
    struct module_ldap_search search = {
        .base = value->bv_val,
        .filter = "(objectClass=*)",
        .scope = LDAP_SCOPE_BASE,
        .attributes = l->settings->attributes,
    };

    if (memchr(value->bv_val, '\0', value->bv_len) != NULL) {
        err_set(err, "a value of %.100s has a NUL", attribute);
        return ANSWER_FAILED;
    }
    return ldap_is_ldap_url(value->bv_val) ? add_url(l, value->bv_val, err)
                                           : add_found(l, &search, err);
}

static enum table_answer add_special(struct module_ldap_lookup *l, const char *attribute,
                                     struct berval **values, struct err *err)
{
    enum table_answer answer = ANSWER_OK;

    if (l->depth >= l->settings->recursion_limit) {
        err_set(err, "recursion_limit (%u) is exceeded by %.100s = %.200s",
                l->settings->recursion_limit, attribute, values[0]->bv_val);
        return ANSWER_FAILED;
    }
    for (; *values != NULL && answer == ANSWER_OK; values++)
        answer = add_referenced(l, attribute, *values, err);
    return answer;
}

/* The kind of an entry. */
struct entry_kind {
    bool is_terminal; /* has a terminal attribute */
    bool is_group;    /* has a special attribute */
};

static enum table_answer add_attribute(struct module_ldap_lookup *l, const char *attribute,
                                       struct berval **values, struct entry_kind kind,
                                       struct err *err)
{
    const struct module_ldap_settings *s = l->settings;
    enum table_answer answer = ANSWER_OK;
    size_t i = 0;

    while (s->attributes[i] != NULL && compare_attributes(s->attributes[i], attribute) <= 0)
        i++;
    if (i >= s->ordinary_end && !kind.is_terminal)
        return s->attributes[i] != NULL ? add_special(l, attribute, values, err) : ANSWER_OK;
    if ((kind.is_terminal && i >= s->terminal_count) || (kind.is_group && i < s->leaf_end))
        return ANSWER_OK;
    for (; *values != NULL && answer == ANSWER_OK; values++)
        answer = query_result_add(l->result, (*values)->bv_val, (*values)->bv_len, err);
    return answer;
}

/* kind: of the entries before this one in the answer. */
static enum table_answer add_entry(struct module_ldap_lookup *l, LDAPMessage *entry,
                                   struct entry_kind *kind, struct err *err)
{
    const struct module_ldap_settings *s = l->settings;
    LDAP *ld = l->link->ld;
    enum table_answer answer = ANSWER_OK;
    BerElement *ber = NULL;

    kind->is_terminal = kind->is_terminal || has_one_of(l, entry, 0, s->terminal_count);
    if (!kind->is_terminal && s->leaf_end > s->terminal_count)
        kind->is_group = kind->is_group || has_one_of(l, entry, s->ordinary_end, SIZE_MAX);
    char *attribute = ldap_first_attribute(ld, entry, &ber);
    while (attribute != NULL) {
        struct berval **values = ldap_get_values_len(ld, entry, attribute);
        if (ldap_count_values_len(values) > 0)
            answer = add_attribute(l, attribute, values, *kind, err);
        ldap_value_free_len(values);
        ldap_memfree(attribute);
        attribute = answer == ANSWER_OK ? ldap_next_attribute(ld, entry, ber) : NULL;
    }
    if (ber != NULL)
        ber_free(ber, 0);
    return answer;
}

enum table_answer module_ldap_values(struct module_ldap_lookup *l,
                                     struct module_ldap_entries *entries, struct err *err)
{
    enum table_answer answer = ANSWER_OK;
    struct entry_kind kind = {false, false};

    if (l->settings->size_limit > 0 && entries->count > l->settings->size_limit) {
        err_set(err, "more than %u entries (size_limit)", l->settings->size_limit);
        return ANSWER_LIMIT;
    }
    l->depth++;
    for (size_t i = 0; i < entries->count && answer == ANSWER_OK; i++) {
        answer = add_entry(l, entries->items[i], &kind, err);
        ldap_msgfree(entries->items[i]);
        entries->items[i] = NULL;
    }
    l->depth--;
    return answer;
}
