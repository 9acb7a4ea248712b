/* SPDX-License-Identifier: ISC */
/* Checks that Postfix has routes for the filters and the copies of this configuration. */
#include "base/ascii.h"
#include "base/mem.h"
#include "ctl/setup/files.h"
#include "ctl/setup/postfix_review.h"
#include "ctl/setup/setup_postfix.h"

#include <stdlib.h>
#include <string.h>

/* The instance that has the routes, and its table. */
struct routes {
    char *directory;
    char *table; /* present content of split_transport */
};

/* Return the line of the text that begins with `line`, or NULL. */
static const char *find_line(const char *text, const char *line)
{
    const char *found = strstr(text, line);

    return found != NULL && (found == text || found[-1] == '\n') ? found : NULL;
}

/* Return true if the table has a route with the same pattern as this line. A pattern ends at the
 * first space. */
static bool has_pattern(const char *table, const char *line)
{
    char *pattern = mem_strndup(line, strcspn(line, " ") + 1);
    bool is_found = find_line(table, pattern) != NULL;

    free(pattern);
    return is_found;
}

static void review_filter(const struct setup *s, const struct config_filter *f,
                          const struct routes *routes, const char *advice,
                          struct postfix_review *out)
{
    char *line = setup_filter_route(s, f);

    if (!has_pattern(routes->table, line))
        postfix_review_add(out, POSTFIX_FINDING_ERROR, POSTFIX_FINDING_ROUTES, advice,
                           "%s: Postfix does not know filter %s of %s: mail for it waits in the "
                           "queue",
                           routes->directory, f->name, s->config->path);
    else if (find_line(routes->table, line) == NULL)
        postfix_review_add(out, POSTFIX_FINDING_WARNING, POSTFIX_FINDING_ROUTES, advice,
                           "%s: Postfix does not send mail for filter %s to %s, its nexthop in "
                           "%s",
                           routes->directory, f->name, f->nexthop, s->config->path);
    free(line);
}

static void review_copies(const struct setup *s, const struct routes *routes, const char *advice,
                          struct postfix_review *out)
{
    char *line = setup_copy_route(s);

    if (s->config->destination_count > 0 && !has_pattern(routes->table, line))
        postfix_review_add(out, POSTFIX_FINDING_ERROR, POSTFIX_FINDING_ROUTES, advice,
                           "%s: Postfix does not know the destinations of %s: all copies wait in "
                           "the queue",
                           routes->directory, s->config->path);
    else if (s->config->destination_count > 0 && find_line(routes->table, line) == NULL)
        postfix_review_add(out, POSTFIX_FINDING_WARNING, POSTFIX_FINDING_ROUTES, advice,
                           "%s: Postfix does not send copies to the splitrelay of %s",
                           routes->directory, s->config->path);
    free(line);
}

/* Return true if two lists have the same hosts in the same order. */
static bool is_same_list(const char *a, const char *b)
{
    static const char separators[] = ", \t\r\n";

    for (;;) {
        a += strspn(a, separators);
        b += strspn(b, separators);
        size_t len = strcspn(a, separators);
        if (len != strcspn(b, separators) || !ascii_equal_n(a, b, len))
            return false;
        if (len == 0)
            return true;
        a += len;
        b += len;
    }
}

void postfix_review_fallback(const struct postfix *p, const struct postfix_service *v,
                             const char *what, const char *wanted, const char *advice,
                             struct postfix_review *out)
{
    char *parameter = mem_printf("%s_fallback_relay", v->command);
    const char *found = postfix_get_for(p, v, parameter);
    bool is_none = found[strspn(found, ", \t")] == '\0';

    if (!is_same_list(found, wanted))
        postfix_review_add(out, POSTFIX_FINDING_WARNING, POSTFIX_FINDING_ROUTES, advice,
                           "%s/master.cf: service %s/unix, for %s: the fallback is %s, not %s: %s "
                           "while the next hop takes none",
                           p->directory, v->name, what, is_none ? "none" : found,
                           wanted[0] == '\0' ? "none" : wanted,
                           is_none ? "mail waits"
                                   : "mail may pass unfiltered, and copies may vanish,");
    free(parameter);
}

/* Compare the fallbacks of the filters with those in the services that Postfix has now. */
static void review_fallbacks(const struct setup *s, const struct routes *routes, const char *advice,
                             struct postfix_review *out)
{
    struct err ignored;
    struct postfix *p = postfix_open_whole(routes->directory, &ignored);

    for (size_t i = 0; p != NULL && i < s->config->filter_count; i++) {
        const struct config_filter *f = &s->config->filters[i];
        char *name = mem_printf("split-%s", f->name), *wanted = setup_fallback(f);
        char *what = mem_printf("filter %s of %s", f->name, s->config->path);
        const struct postfix_service *v = postfix_service(p, name, "unix");
        if (v != NULL)
            postfix_review_fallback(p, v, what, wanted, advice, out);
        free(what);
        free(wanted);
        free(name);
    }
    postfix_free(p);
}

/* Report what the planned steps would change: routes that are missing or differ, or else only the
 * names of the files. */
static void review_steps(const struct setup *s, const struct routes *routes,
                         struct postfix_review *out)
{
    size_t before = out->count;
    struct buf files = {0}, advice = {0};

    buf_adds(&advice, "run `splitctl setup-postfix --apply'");
    steps_list_files(s->steps, &files);
    if (files.len > 0) {
        for (size_t i = 0; i < s->config->filter_count; i++)
            review_filter(s, &s->config->filters[i], routes, buf_str(&advice), out);
        review_copies(s, routes, buf_str(&advice), out);
        review_fallbacks(s, routes, buf_str(&advice), out);
    }
    if (files.len > 0 && out->count == before)
        postfix_review_add(out, POSTFIX_FINDING_WARNING, POSTFIX_FINDING_ROUTES, buf_str(&advice),
                           "%s: Postfix was set up for another configuration than %s is now: these "
                           "files would change: %s",
                           routes->directory, s->config->path, buf_str(&files));
    buf_clear(&files);
    buf_clear(&advice);
}

static void compare(const struct config *config, const struct setup_request *r,
                    struct postfix_review *out)
{
    struct steps steps = {0};
    struct setup s = {.config = config,
                      .options = &r->options,
                      .steps = &steps,
                      .is_multi = r->form == SETUP_FOUND_MULTI,
                      .is_comparison = true};
    struct err err;
    struct routes routes = {.directory = s.is_multi ? setup_sibling(r->options.directory, "-in")
                                                    : mem_strdup(r->options.directory)};
    char *path = mem_printf("%s/split_transport", routes.directory);
    struct buf table = {0};
    struct err ignored;

    if (files_read(path, &table, &ignored) != FILES_OK)
        buf_reset(&table);
    routes.table = buf_take(&table);
    if ((s.is_multi ? setup_plan_multi(&s, &err) : setup_plan_single(&s, &err)) == 0)
        review_steps(&s, &routes, out);
    else {
        review_fallbacks(&s, &routes, "see `splitctl setup-postfix'", out);
        postfix_review_add(
            out, POSTFIX_FINDING_WARNING, POSTFIX_FINDING_ROUTES, "see `splitctl setup-postfix'",
            "%s: setup-postfix would refuse to run again: %s", r->options.directory, err.text);
    }
    steps_clear(&steps);
    free(routes.directory);
    free(routes.table);
    free(path);
}

static int review_by_hand(const struct config *config, const char *directory,
                          struct postfix_review *out, struct err *err)
{
    struct postfix *p = postfix_open_whole(directory, err);
    int rc = -1;

    if (p != NULL) {
        postfix_review_by_hand(config, p, out);
        rc = postfix_review_others(config, p, postfix_review_by_hand, out, err);
    }
    postfix_free(p);
    return rc;
}

int postfix_review_routes(const struct config *config, const char *directory,
                          struct postfix_review *out, struct err *err)
{
    struct setup_request r;
    int rc = 0;
    char *found = directory[0] == '\0' ? postfix_default_directory(err) : mem_strdup(directory);

    if (found == NULL || !files_is_there(found, "main.cf")) {
        free(found);
        return 0;
    }
    setup_request_init(&r);
    rc = setup_request_recall(&r, found, err);
    free(r.options.directory);
    r.options.directory = found;
    if (rc == 0 && r.form != SETUP_FOUND_NONE)
        compare(config, &r, out);
    else if (rc == 0)
        rc = review_by_hand(config, found, out, err);
    setup_request_clear(&r);
    return rc;
}
