/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/setup/files.h"
#include "ctl/setup/setup_postfix.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All tables that any role may need. */
static const char *const tables[] = {"split_transport", "split_untag",  "split_closed",
                                     "split_keep",      "split_domain", "split_filter",
                                     "split_bounce",    "split_local"};

enum { TABLE_COUNT = sizeof tables / sizeof tables[0] };

void setup_set(struct setup_edit *e, const char *name, const char *fmt, ...)
{
    char *value;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&value, fmt, ap) < 0)
        abort();
    va_end(ap);
    e->parameters = mem_grow(e->parameters, e->parameter_count + 1, sizeof *e->parameters);
    e->parameters[e->parameter_count++] = mem_strdup(name);
    buf_addf(&e->main_part, "%s =%s%s\n", name, value[0] == '\0' ? "" : " ", value);
    free(value);
}

void setup_join(struct setup_edit *e, const struct postfix *p, const char *name, const char *first)
{
    const char *now = postfix_get(p, name);

    if (now[0] == '\0')
        setup_set(e, name, "%s", first);
    else
        setup_set(e, name, "%s, %s", first, now);
}

void setup_switch_off(struct setup_edit *e, const struct postfix_service *s)
{
    e->services = mem_grow(e->services, e->service_count + 1, sizeof *e->services);
    e->services[e->service_count++] = mem_printf("%s/%s", s->name, s->type);
}

void setup_file(struct setup_edit *e, const char *name, char *content)
{
    assert(e->file_count < sizeof e->files / sizeof e->files[0]);
    e->files[e->file_count].name = name;
    e->files[e->file_count++].content = mem_printf(SETUP_FILE_HEAD "%s", content);
    free(content);
}

void setup_edit_clear(struct setup_edit *e)
{
    buf_clear(&e->main_part);
    buf_clear(&e->master_part);
    for (size_t i = 0; i < e->parameter_count; i++)
        free(e->parameters[i]);
    for (size_t i = 0; i < e->service_count; i++)
        free(e->services[i]);
    for (size_t i = 0; i < e->file_count; i++)
        free(e->files[i].content);
    free(e->parameters);
    free(e->services);
    memset(e, 0, sizeof *e);
}

char *setup_main_cf(const struct setup *s, const struct postfix *p, const struct setup_edit *e)
{
    struct buf text = {0};
    char *who = setup_who(s);

    marked_add(p->main_cf, MARKED_MAIN_CF, (const char *const *)e->parameters, e->parameter_count,
               buf_str(&e->main_part), who, &text);
    free(who);
    return buf_take(&text);
}

char *setup_master_cf(const struct setup *s, const struct postfix *p, const struct setup_edit *e)
{
    struct buf text = {0};

    if (e->master_part.len == 0 && e->service_count == 0)
        return mem_strdup(p->master_cf);
    char *who = setup_who(s);
    marked_add(p->master_cf, MARKED_MASTER_CF, (const char *const *)e->services, e->service_count,
               buf_str(&e->master_part), who, &text);
    free(who);
    return buf_take(&text);
}

static const char *wanted(const struct setup_edit *e, const char *name)
{
    for (size_t i = 0; i < e->file_count; i++)
        if (strcmp(e->files[i].name, name) == 0)
            return e->files[i].content;
    return NULL;
}

void setup_write_files(const struct setup *s, const char *directory, const struct setup_edit *e)
{
    /* A table gets the attributes of main.cf, so that no more users can read it than main.cf. */
    char *model = mem_printf("%s/main.cf", s->options->directory);

    for (int i = 0; i < TABLE_COUNT; i++) {
        char *path = mem_printf("%s/%s", directory, tables[i]);
        const char *content = wanted(e, tables[i]);
        if (content != NULL)
            steps_write(s->steps, path, content, model, NULL, NULL);
        else
            steps_unlink(s->steps, path);
        steps_unlink_temporary(s->steps, path);
        free(path);
    }
    free(model);
}

int setup_check_files(const char *directory, struct err *err)
{
    int rc = 0;

    for (int i = 0; rc == 0 && i < TABLE_COUNT; i++) {
        char *path = mem_printf("%s/%s", directory, tables[i]);
        struct buf text = {0};
        enum files_result result = files_read(path, &text, err);
        if (result == FILES_FAULT) {
            rc = -1;
        } else if (result == FILES_OK &&
                   strncmp(buf_str(&text), SETUP_FILE_HEAD, strlen(SETUP_FILE_HEAD)) != 0) {
            err_set(err, "%s: the file exists, and is not ours: rename it", path);
            rc = -1;
        }
        buf_clear(&text);
        free(path);
    }
    return rc;
}
