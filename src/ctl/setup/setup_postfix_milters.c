/* SPDX-License-Identifier: ISC */
/* Adds splitmilter to smtpd_milters, and keeps it out of non_smtpd_milters. */
#include "base/mem.h"
#include "ctl/milter_list.h"
#include "ctl/setup/postfix_review.h"
#include "ctl/setup/setup_postfix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 8 };

/* A socket below the queue directory gets a relative path, which smtpd(8) finds with and without
 * chroot. */
char *setup_milter_name(const struct endpoint *e, const char *queue_directory)
{
    size_t len = strlen(queue_directory);
    char listener[300];

    if (e->kind == ENDPOINT_UNIX && strncmp(e->path, queue_directory, len) == 0 &&
        e->path[len] == '/')
        return mem_printf("unix:%s", e->path + len + 1);
    if (e->kind == ENDPOINT_UNIX)
        return mem_printf("unix:%s", e->path);
    setup_format_milter(e, listener, sizeof listener);
    return mem_strdup(listener);
}

char *setup_milter_entry(const struct endpoint *socket, const char *queue_directory)
{
    char *name = setup_milter_name(socket, queue_directory);
    char *entry = mem_printf("{ %s, protocol=6, connect_timeout=10s, command_timeout=30s, "
                             "content_timeout=300s, default_action=tempfail }",
                             name);

    free(name);
    return entry;
}

void setup_set_milter(const struct setup *s, const struct postfix *p, const char *queue_directory,
                      struct setup_edit *e)
{
    char *entry = setup_milter_entry(&s->config->milter.socket, queue_directory);
    struct milter_list list;
    struct buf others = {0};

    milter_list_parse(postfix_get(p, "smtpd_milters"), &list);
    for (size_t i = 0; i < list.count; i++)
        if (!milter_is_at(list.items[i].name, &s->config->milter.socket, queue_directory))
            buf_addf(&others, "%s, ", list.items[i].text);
    /* The other milters come before splitmilter, so that they see recipients as clients gave them.
     * */
    setup_set(e, "smtpd_milters", "%s%s", buf_str(&others), entry);
    milter_list_clear(&list);
    buf_clear(&others);
    free(entry);
    if (s->config->milter.filter_method == CONFIG_METHOD_HEADER)
        setup_join(e, p, "milter_header_checks", "regexp:$config_directory/split_filter");
}

/* The name in "$name", "${name}" or "$(name)", for the caller to free; NULL for any other text. */
static char *referenced(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    bool is_closed = text[0] == '$' && (text[1] == '{' || text[1] == '(');
    const char *name = text + (is_closed ? 2 : 1);
    size_t len = text[0] == '$' ? strspn(name, letters) : 0;
    const char *rest = name + len;

    if (len == 0 || strcmp(rest, !is_closed ? "" : text[1] == '{' ? "}" : ")") != 0)
        return NULL;
    return mem_strndup(name, len);
}

static void add(struct buf *out, const char *text)
{
    buf_addf(out, "%s%s", out->len == 0 ? "" : ", ", text);
}

/* Append the list without splitmilter, with $smtpd_milters replaced by its value without our part.
 * False: the list refers to smtpd_milters in a way that is not understood. */
static bool without_ours(const struct setup *s, const struct postfix *p,
                         const char *queue_directory, const char *value, int depth, struct buf *out)
{
    struct milter_list list;
    bool is_understood = depth < DEPTH_MAX;

    milter_list_parse(value, &list);
    for (size_t i = 0; is_understood && i < list.count; i++) {
        const struct milter_entry *entry = &list.items[i];
        char *name = referenced(entry->text);
        if (name != NULL)
            is_understood =
                without_ours(s, p, queue_directory, postfix_get(p, name), depth + 1, out);
        else if (strstr(entry->text, "smtpd_milters") != NULL)
            is_understood = false;
        else if (!milter_is_at(entry->name, &s->config->milter.socket, queue_directory))
            add(out, entry->text);
        free(name);
    }
    milter_list_clear(&list);
    return is_understood;
}

/* Return true if the value refers to smtpd_milters, directly or through other parameters. */
static bool refers(const struct postfix *p, const char *value, int depth)
{
    struct milter_list list;
    bool is_found = strstr(value, "smtpd_milters") != NULL;

    milter_list_parse(value, &list);
    for (size_t i = 0; !is_found && depth < DEPTH_MAX && i < list.count; i++) {
        char *name = referenced(list.items[i].text);
        is_found = name != NULL && refers(p, postfix_get(p, name), depth + 1);
        free(name);
    }
    milter_list_clear(&list);
    return is_found;
}

static bool has_ours(const struct setup *s, const char *queue_directory, const char *value)
{
    struct milter_list list;
    bool is_found = false;

    milter_list_parse(value, &list);
    for (size_t i = 0; i < list.count; i++)
        is_found |= milter_is_at(list.items[i].name, &s->config->milter.socket, queue_directory);
    milter_list_clear(&list);
    return is_found;
}

void setup_keep_from_non_smtpd(const struct setup *s, const struct postfix *p,
                               const char *queue_directory, const char *more, struct setup_edit *e)
{
    const char *raw = postfix_get(p, "non_smtpd_milters");
    const char *expanded = postfix_get_expanded(p, "non_smtpd_milters");
    struct buf value = {0};

    if (!refers(p, raw, 0) && !has_ours(s, queue_directory, expanded)) {
        if (more[0] != '\0')
            setup_set(e, "non_smtpd_milters", "%s%s%s", raw, raw[0] == '\0' ? "" : ", ", more);
        return;
    }
    if (!without_ours(s, p, queue_directory, raw, 0, &value)) {
        buf_reset(&value);
        if (!without_ours(s, p, queue_directory, expanded, 0, &value))
            buf_reset(&value);
    }
    if (more[0] != '\0')
        add(&value, more);
    setup_set(e, "non_smtpd_milters", "%s", buf_str(&value));
    buf_clear(&value);
    bool has_bounces =
        strstr(postfix_get_expanded(p, "internal_mail_filter_classes"), "bounce") != NULL;
    steps_say(
        s->steps,
        "%s/main.cf: non_smtpd_milters = %s: splitmilter is kept out of it: it can do nothing "
        "for mail of sendmail(1)%s",
        p->directory, raw, has_bounces ? ", and for bounces (internal_mail_filter_classes)" : "");
}

int setup_review(const struct setup *s, const struct postfix *p, const struct setup_edit *e,
                 struct err *err)
{
    char *main_cf = setup_main_cf(s, p, e), *master_cf = setup_master_cf(s, p, e);
    struct postfix *planned =
        s->is_comparison ? NULL : postfix_from_text(p->directory, main_cf, master_cf, err);
    struct postfix_review review = {0};
    int rc = s->is_comparison || planned != NULL ? 0 : -1;

    if (planned != NULL)
        postfix_review_instance(s->config, planned, &review);
    for (size_t i = 0; rc == 0 && i < review.count; i++) {
        const struct postfix_finding *f = &review.items[i];
        if (f->kind == POSTFIX_FINDING_ACCESS) {
            err_set(err, "%s; correct this first: %s", f->text, f->advice);
            rc = -1;
        } else {
            steps_say(s->steps, "%s%s%s", f->text, f->advice[0] == '\0' ? "" : ": ", f->advice);
        }
    }
    postfix_review_clear(&review);
    postfix_free(planned);
    free(main_cf);
    free(master_cf);
    return rc;
}
