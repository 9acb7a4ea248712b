/* SPDX-License-Identifier: ISC */
/* Reviews which milters are asked, in which order, and which settings send mail past them. */
#include "base/mem.h"
#include "ctl/milter_list.h"
#include "ctl/setup/postfix_review.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 300  /* bytes of the names of other milters in a finding */
#define PROTOCOL_MIN 6 /* the first version with ESMTP parameters for added recipients */

/* Settings that send a whole message elsewhere, regardless of its recipients. */
static const char *const rivals[] = {"content_filter", "smtpd_proxy_filter"};

/* Return the file, and the service if it has a value of its own, in which the parameter is set; for
 * the caller to free. */
static char *place_of(const struct postfix *p, const struct postfix_service *v, const char *name)
{
    if (postfix_service_option(v, name, NULL))
        return mem_printf("%s/master.cf: service %s/%s", p->directory, v->name, v->type);
    return mem_printf("%s/main.cf", p->directory);
}

static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; (at = strstr(at, word)) != NULL; at += len)
        if ((at == list || strchr(" \t,", at[-1]) != NULL) &&
            (at[len] == '\0' || strchr(" \t,", at[len]) != NULL))
            return true;
    return false;
}

static void review_rivals(const struct config *config, const struct postfix *p,
                          const struct postfix_service *v, struct postfix_review *out)
{
    for (size_t i = 0; i < sizeof rivals / sizeof rivals[0]; i++) {
        const char *value = postfix_get_for(p, v, rivals[i]);
        if (value[0] == '\0')
            continue;
        char *place = place_of(p, v, rivals[i]);
        char *advice = mem_printf("make it a filter of %s, and remove the setting", config->path);
        postfix_review_add(out, POSTFIX_FINDING_ERROR, POSTFIX_FINDING_MILTERS, advice,
                           "%s: %s = %s sends whole messages there, regardless of splitmilter",
                           place, rivals[i], value);
        free(advice);
        free(place);
    }
}

/* Report milters after splitmilter. They do not see the changes that splitmilter makes, and
 * splitmilter does not see what they refuse. */
static void review_order(const struct postfix *p, const struct postfix_service *v,
                         const struct milter_list *list, size_t ours, struct postfix_review *out)
{
    struct buf names = {0};

    for (size_t i = ours + 1; i < list->count && names.len < NAMES_MAX; i++)
        buf_addf(&names, "%s%s", names.len == 0 ? "" : ", ", list->items[i].name);
    if (names.len > 0) {
        char *place = place_of(p, v, "smtpd_milters");
        postfix_review_add(out, POSTFIX_FINDING_WARNING, POSTFIX_FINDING_MILTERS,
                           "have splitmilter last in smtpd_milters",
                           "%s: smtpd_milters has %s after splitmilter: a recipient that it "
                           "refuses, deletes or redirects still gets the mail",
                           place, buf_str(&names));
        free(place);
    }
    buf_clear(&names);
}

/* The value of an option of this milter, else of the setting for all milters; for the caller to
 * free. */
static char *effective(const struct postfix *p, const struct postfix_service *v,
                       const struct milter_entry *entry, const char *option, const char *setting)
{
    char *own = milter_option(entry, option);

    return own != NULL ? own : mem_strdup(postfix_get_for(p, v, setting));
}

/* Review default_action, which decides about mail while splitmilter does not answer, and
 * protocol. */
static void review_options(const struct postfix *p, const struct postfix_service *v,
                           const struct milter_entry *entry, struct postfix_review *out)
{
    char *action = effective(p, v, entry, "default_action", "milter_default_action");
    char *protocol = effective(p, v, entry, "protocol", "milter_protocol");
    char *place = place_of(p, v, "smtpd_milters");

    if (strcmp(action, "accept") == 0)
        postfix_review_add(
            out, POSTFIX_FINDING_WARNING, POSTFIX_FINDING_MILTERS,
            "write it as { NAME, default_action=tempfail } there",
            "%s: smtpd_milters: %s has the default action accept: while splitmilter is down, mail "
            "passes unfiltered and uncopied",
            place, entry->name);
    else if (strcmp(action, "reject") == 0)
        postfix_review_add(out, POSTFIX_FINDING_WARNING, POSTFIX_FINDING_MILTERS,
                           "write it as { NAME, default_action=tempfail } there",
                           "%s: smtpd_milters: %s has the default action reject: while splitmilter "
                           "is down, mail is refused for good",
                           place, entry->name);
    if (protocol[0] != '\0' && strtol(protocol, NULL, 10) < PROTOCOL_MIN)
        postfix_review_add(out, POSTFIX_FINDING_ERROR, POSTFIX_FINDING_MILTERS,
                           "write it as { NAME, protocol=6 } there",
                           "%s: smtpd_milters: %s is used in protocol %s: splitmilter needs 6, "
                           "and does nothing",
                           place, entry->name, protocol);
    free(place);
    free(action);
    free(protocol);
}

/* Review this smtpd(8). True if it asks splitmilter. */
static bool review_service(const struct config *config, const struct postfix *p,
                           const struct postfix_service *v, struct postfix_review *out)
{
    const char *queue_directory = postfix_get_expanded(p, "queue_directory");
    struct milter_list list;
    size_t count = 0, last = 0;

    milter_list_parse(postfix_get_for(p, v, "smtpd_milters"), &list);
    for (size_t i = 0; i < list.count; i++)
        if (milter_is_at(list.items[i].name, &config->milter.socket, queue_directory)) {
            count++;
            last = i;
        }
    if (count > 0) {
        review_order(p, v, &list, last, out);
        review_options(p, v, &list.items[last], out);
        review_rivals(config, p, v, out);
        postfix_review_access(config, p, v, list.items[last].name, out);
    }
    if (count > 1) {
        char *place = place_of(p, v, "smtpd_milters");
        postfix_review_add(out, POSTFIX_FINDING_ERROR, POSTFIX_FINDING_MILTERS,
                           "remove all but the last one",
                           "%s: smtpd_milters has splitmilter more than once", place);
        free(place);
    }
    milter_list_clear(&list);
    return count > 0;
}

/* Return true if the service takes mail back from filters without asking milters, because such mail
 * must not go to splitmilter again. (A service that asks a splitmilter behind the filters is seen
 * by review_named().) */
static bool takes_mail_back(const struct postfix *p, const struct postfix_service *v)
{
    return has_word(postfix_get_for(p, v, "receive_override_options"), "no_milters");
}

static void review_silent(const struct postfix *p, const struct postfix_service *v,
                          struct postfix_review *out)
{
    char *place = place_of(p, v, "smtpd_milters");

    if (postfix_service_option(v, "smtpd_milters", NULL))
        postfix_review_add(out, POSTFIX_FINDING_WARNING, POSTFIX_FINDING_MILTERS,
                           "remove the option, or add splitmilter to it as its last milter",
                           "%s has smtpd_milters of its own without splitmilter: mail that comes "
                           "in there passes unfiltered and uncopied",
                           place);
    else
        postfix_review_add(out, POSTFIX_FINDING_WARNING, POSTFIX_FINDING_MILTERS,
                           "add splitmilter as the last milter",
                           "%s: smtpd_milters lacks splitmilter: mail passes unfiltered and "
                           "uncopied where a service has no value of its own",
                           place);
    free(place);
}

/* Report splitmilter in non_smtpd_milters, where it does not change mail: cleanup(8) gives these
 * milters the rewritten recipient, but compares a deletion with the original one. */
static void review_non_smtpd(const struct config *config, const struct postfix *p,
                             const struct postfix_service *v, struct postfix_review *out)
{
    const char *queue_directory = postfix_get_expanded(p, "queue_directory");
    struct milter_list list;
    bool is_found = false;

    milter_list_parse(postfix_get_for(p, v, "non_smtpd_milters"), &list);
    for (size_t i = 0; i < list.count; i++)
        is_found |= milter_is_at(list.items[i].name, &config->milter.socket, queue_directory);
    milter_list_clear(&list);
    if (!is_found)
        return;
    bool has_bounces = has_word(postfix_get_for(p, v, "internal_mail_filter_classes"), "bounce");
    char *place = place_of(p, v, "non_smtpd_milters");
    postfix_review_add(out, POSTFIX_FINDING_WARNING, POSTFIX_FINDING_NON_SMTPD,
                       "list the other milters only, not $smtpd_milters; `splitctl setup-postfix' "
                       "does that",
                       "%s: non_smtpd_milters has splitmilter, which can do nothing there: mail of "
                       "sendmail(1)%s passes unfiltered and uncopied, with a warning for each",
                       place, has_bounces ? ", and each bounce," : "");
    free(place);
}

/* As review_service(), for the splitmilters of sections with names. */
static bool review_named(const struct config *config, const struct postfix *p,
                         const struct postfix_service *v, struct postfix_review *out)
{
    bool is_any = false;

    for (size_t i = 0; i < config->other_milter_count; i++) {
        struct config view = config_of_milter(config, i + 1);
        bool is_asking = review_service(&view, p, v, out);
        out->is_named_asked[i] |= is_asking;
        is_any |= is_asking;
    }
    return is_any;
}

void postfix_review_instance(const struct config *config, const struct postfix *p,
                             struct postfix_review *out)
{
    bool is_asking = false;

    if (out->is_named_asked == NULL)
        out->is_named_asked = mem_zalloc(config->other_milter_count * sizeof(bool));
    for (size_t i = 0; i < p->service_count; i++) {
        const struct postfix_service *v = &p->services[i];
        if (strcmp(v->command, "smtpd") == 0 && !takes_mail_back(p, v)) {
            is_asking |= review_service(config, p, v, out);
            (void)review_named(config, p, v, out);
        }
        if (strcmp(v->command, "cleanup") == 0)
            review_non_smtpd(config, p, v, out);
    }
    out->asking += is_asking;
    for (size_t i = 0; is_asking && i < p->service_count; i++) {
        const struct postfix_service *v = &p->services[i];
        struct postfix_review ignored = {.is_named_asked = out->is_named_asked};
        if (strcmp(v->command, "smtpd") == 0 && !takes_mail_back(p, v) &&
            !review_service(config, p, v, &ignored) && !review_named(config, p, v, &ignored))
            review_silent(p, v, out);
        ignored.is_named_asked = NULL;
        postfix_review_clear(&ignored);
    }
    if (is_asking && postfix_get_expanded(p, "smtpd_milter_maps")[0] != '\0')
        postfix_review_add(out, POSTFIX_FINDING_NOTE, POSTFIX_FINDING_MILTERS, "",
                           "%s/main.cf: smtpd_milter_maps = %s: splitmilter is not asked for the "
                           "clients that have other milters there",
                           p->directory, postfix_get(p, "smtpd_milter_maps"));
}
