/* SPDX-License-Identifier: ISC */
/* Finds the address that the MTA means by a recipient without domain, or by one that it may reroute
 * (user%host, host!user). */
#include "base/mem.h"
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>

/* Parse an address without domain. False: the path has a domain, or is no address. */
static bool parse_bare(const char *path, struct address *out)
{
    struct err ignored;

    return address_parse(path, strlen(path), ADDRESS_LENIENT, out, &ignored) == 0 &&
           out->text[out->domain_at] == '\0';
}

/* Parse an address whose domain can carry a tag. False for all others. */
static bool has_host_name(const char *text, struct address *out)
{
    struct err ignored;

    return address_parse(text, strlen(text), ADDRESS_LENIENT, out, &ignored) == 0 &&
           out->text[out->domain_at] != '\0' && !out->is_literal;
}

/* Does b consist of a, which has no domain, and of "@" and a domain? */
static bool is_same_local_part(const struct address *a, const struct address *b)
{
    struct buf x = {0}, y = {0};

    address_fold(a, &x);
    address_fold(b, &y);
    bool is_same =
        x.len < y.len && strncmp(buf_str(&x), buf_str(&y), x.len) == 0 && buf_str(&y)[x.len] == '@';
    buf_clear(&x);
    buf_clear(&y);
    return is_same;
}

/* The caller frees. NULL: the domain cannot carry a tag. */
static char *with_domain(const struct address *local, const char *domain)
{
    char *text = mem_printf("%s@%s", local->text, domain);
    struct address ignored;

    if (has_host_name(text, &ignored))
        return text;
    free(text);
    return NULL;
}

char *policy_complete(const char *path, const char *mta_says, const char *const *domains)
{
    struct address bare, says;
    char *text = NULL;

    if (!parse_bare(path, &bare))
        return NULL;
    if (has_host_name(mta_says, &says)) {
        /* In user%host, host!user and "user@host" the MTA has read the domain from the local
         * part. */
        if (strpbrk(bare.text, "%!@") != NULL && !is_same_local_part(&bare, &says))
            return mem_strdup(says.text);
        text = with_domain(&bare, says.text + says.domain_at);
    }
    for (; text == NULL && *domains != NULL; domains++)
        text = with_domain(&bare, *domains);
    return text;
}

/*
 * At a domain of the MTA, the local parts "sam%b.test" and "b.test!sam" go to sam@b.test, and so
 * does "sam@b.test", with or without quotes. The MTA may add its own domain to a domain without a
 * dot: "sam@b" becomes "sam@b.mta.test". For all other paths the MTA reports the same address, or
 * one that concerns only its local delivery.
 */
static bool may_be_rerouted(const struct address *a)
{
    const char *domain = a->text + a->domain_at;

    if (domain[0] == '\0')
        return false;
    return strcspn(a->text, "%!@") < a->local_len ||
           (!a->is_literal && strchr(domain, '.') == NULL);
}

static bool parse(const char *path, struct address *out)
{
    struct err ignored;

    return address_parse(path, strlen(path), ADDRESS_LENIENT, out, &ignored) == 0;
}

bool policy_may_be_rerouted(const char *path)
{
    struct address a;

    return parse(path, &a) && may_be_rerouted(&a);
}

char *policy_rerouted(const char *path, const char *mta_says)
{
    struct address a, says;
    struct buf x = {0}, y = {0};

    if (!parse(path, &a) || !may_be_rerouted(&a) || !has_host_name(mta_says, &says))
        return NULL;
    address_fold(&a, &x);
    address_fold(&says, &y);
    bool is_same = strcmp(buf_str(&x), buf_str(&y)) == 0;
    buf_clear(&x);
    buf_clear(&y);
    return is_same ? NULL : mem_strdup(says.text);
}
