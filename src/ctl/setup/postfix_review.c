/* SPDX-License-Identifier: ISC */
#include "ctl/setup/postfix_review.h"
#include "base/mem.h"
#include "ctl/setup/files.h"
#include "ctl/setup/setup_postfix.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void postfix_review_add(struct postfix_review *r, enum postfix_finding_level level,
                        enum postfix_finding_kind kind, const char *advice, const char *fmt, ...)
{
    char *text;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    va_end(ap);
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->items[i].text, text) == 0) {
            free(text);
            return;
        }
    r->items = mem_grow(r->items, r->count + 1, sizeof *r->items);
    r->items[r->count++] = (struct postfix_finding){
        .level = level, .kind = kind, .text = text, .advice = mem_strdup(advice)};
}

void postfix_review_clear(struct postfix_review *r)
{
    for (size_t i = 0; i < r->count; i++) {
        free(r->items[i].text);
        free(r->items[i].advice);
    }
    free(r->items);
    free(r->is_named_asked);
    memset(r, 0, sizeof *r);
}

/* Return true if splitmilter has decisions to make. With a configuration that has listeners only,
 * no MTA has to ask splitmilter. */
static bool has_decisions(const struct config *config)
{
    return config_milter_table_count(&config->milter) > 0;
}

static void review_absence(const struct config *config, bool is_set_up, const char *directory,
                           struct postfix_review *out)
{
    if (out->asking > 0 || !has_decisions(config))
        return;
    if (is_set_up)
        postfix_review_add(out, POSTFIX_FINDING_ERROR, POSTFIX_FINDING_MILTERS,
                           "remove what overrides smtpd_milters, and run `splitctl setup-postfix "
                           "--apply'",
                           "%s: no instance of Postfix asks splitmilter (%s), although it was set "
                           "up: all mail passes unfiltered and uncopied",
                           directory, config->milter.socket_text);
    else
        postfix_review_add(out, POSTFIX_FINDING_NOTE, POSTFIX_FINDING_MILTERS,
                           "see `splitctl setup-postfix --single' and `--multi'",
                           "%s: no instance of Postfix on this machine asks splitmilter (%s)",
                           directory, config->milter.socket_text);
}

/* Report the splitmilters of sections with names that no service asks. */
static void review_named_absence(const struct config *config, bool is_set_up, const char *directory,
                                 struct postfix_review *out)
{
    for (size_t i = 0; i < config->other_milter_count; i++) {
        const struct config_milter *m = &config->other_milters[i];
        if (!out->is_named_asked[i] && config_milter_table_count(m) > 0)
            postfix_review_add(out, is_set_up ? POSTFIX_FINDING_WARNING : POSTFIX_FINDING_NOTE,
                               POSTFIX_FINDING_MILTERS,
                               strcmp(m->name, SETUP_AFTER) == 0
                                   ? "see `splitctl setup-postfix --copies=after-filter'"
                                   : "",
                               "%s: no instance of Postfix asks the splitmilter of section %s (%s)",
                               directory, m->label, m->socket_text);
    }
}

int postfix_review_others(const struct config *config, const struct postfix *p,
                          void (*other_fn)(const struct config *config, const struct postfix *p,
                                           struct postfix_review *out),
                          struct postfix_review *out, struct err *err)
{
    char *names = mem_strdup(postfix_get_expanded(p, MARKED_SHARED)), *rest = names;
    int rc = 0;

    for (char *name; rc == 0 && (name = strsep(&rest, " \t,")) != NULL;) {
        if (name[0] != '/')
            continue;
        struct postfix *other = postfix_open_whole(name, err);
        if (other == NULL)
            rc = -1;
        else
            other_fn(config, other, out);
        postfix_free(other);
    }
    free(names);
    return rc;
}

/* The directory of the first instance, for the caller to free; NULL: there is no Postfix. */
static char *find_directory(const char *directory)
{
    struct err ignored;
    char *found =
        directory[0] == '\0' ? postfix_default_directory(&ignored) : mem_strdup(directory);

    if (found != NULL && files_is_there(found, "main.cf"))
        return found;
    free(found);
    return NULL;
}

int postfix_review(const struct config *config, const char *directory, struct postfix_review *out,
                   struct err *err)
{
    char *found = find_directory(directory);
    int rc = -1;

    if (found == NULL)
        return 0;
    struct postfix *p = postfix_open_whole(found, err);
    if (p != NULL) {
        postfix_review_instance(config, p, out);
        rc = postfix_review_others(config, p, postfix_review_instance, out, err);
        bool is_set_up = setup_find(p) != SETUP_FOUND_NONE;
        review_absence(config, is_set_up, found, out);
        review_named_absence(config, is_set_up, found, out);
    }
    if (rc == 0)
        rc = postfix_review_routes(config, found, out, err);
    postfix_free(p);
    free(found);
    return rc;
}
