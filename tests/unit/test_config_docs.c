/* SPDX-License-Identifier: ISC */
/* The sample configuration and the manual name every option, in its section, with its default. */
#include "base/buf.h"
#include "config/config_file.h"
#include "config/config_option.h"
#include "base/mem.h"
#include "unit.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static size_t option_count(void)
{
    size_t count = 0;

    while (config_options[count].name != NULL)
        count++;
    return count;
}

/* A file of the source tree, for the caller to free. */
static char *read_source(const char *name)
{
    const char *source = getenv("SPLIT_SOURCE_DIR");
    char *path = mem_printf("%s/%s", source == NULL ? "." : source, name);
    FILE *f = fopen(path, "r");
    struct buf text = {0};
    size_t n;

    if (f == NULL)
        ck_abort_msg("%s cannot be opened", path);
    while ((n = fread(buf_reserve(&text, 4096), 1, 4096, f)) > 0)
        text.len += n;
    fclose(f);
    free(path);
    buf_addc(&text, '\n');
    return buf_take(&text);
}

/* The text between the head and the end mark of a section; for the top level, the text before the
 * first head. */
static char *cut_section(const char *text, const char *head, const char *end)
{
    const char *from = strstr(text, head);

    if (from == NULL)
        ck_abort_msg("'%s' not found", head);
    from += strlen(head);
    const char *to = strstr(from, end);
    return to == NULL ? mem_strdup(from) : mem_strndup(from, (size_t)(to - from));
}

/* The default as it is written in the sample. */
static void add_default(const struct config_option *o, struct buf *out)
{
    char *text = mem_strdup(o->default_text), *rest = text, *item;

    if (!config_option_is_list(o)) {
        buf_addf(out, o->type == CONFIG_OPT_NUMBER ? "%s" : "\"%s\"", text);
    } else if (text[0] == '\0') {
        buf_adds(out, "{}");
    } else {
        buf_adds(out, "{ ");
        for (size_t i = 0; (item = strtok_r(rest, ", ", &rest)) != NULL; i++)
            buf_addf(out, "%s\"%s\"", i == 0 ? "" : ", ", item);
        buf_adds(out, " }");
    }
    free(text);
}

START_TEST(the_sample_shows_every_option_and_its_default)
{
    const struct config_option *o = &config_options[_i];
    const char *section = config_section_name(o->section);
    char *text = read_source("conf/splitmilter.conf"), *head, *body;
    struct buf wanted = {0};

    if (o->section == CONFIG_SECTION_TOP)
        head = mem_strdup("# splitmilter.conf");
    else if (config_section_has_title(o->section))
        head = mem_printf("\n#%s ", section);
    else
        head = mem_printf("\n%s {\n", section);
    const char *end = config_section_has_title(o->section) ? "\n#}\n" : "\n}\n";
    body = cut_section(text, head, o->section == CONFIG_SECTION_TOP ? "{\n" : end);
    buf_addf(&wanted, "#%s = ", o->name);
    if (o->default_text != NULL)
        add_default(o, &wanted);
    const char *found = strstr(body, buf_str(&wanted));
    if (found == NULL || (o->default_text != NULL && strchr(" \n", found[wanted.len]) == NULL))
        ck_abort_msg("'%s' not found in section '%s'", buf_str(&wanted), section);
    buf_clear(&wanted);
    free(body);
    free(head);
    free(text);
}
END_TEST

START_TEST(the_manual_describes_every_option_and_its_default)
{
    const struct config_option *o = &config_options[_i];
    const char *section = config_section_name(o->section);
    char *text = read_source("docs/splitmilter.conf.5");
    char *head = o->section == CONFIG_SECTION_TOP ? mem_strdup("\n.Ss Outside of sections\n")
                                                  : mem_printf("\n.Ss Section %s", section);
    char *body = cut_section(text, head, "\n.Ss ");
    char *mark = mem_printf("\n.It Ic %s No = ", o->name);
    const char *entry = strstr(body, mark);

    if (entry == NULL)
        ck_abort_msg("'%s' not found behind '%s'", mark + 1, head + 1);
    char *line = mem_strndup(entry + strlen(mark), strcspn(entry + strlen(mark), "\n"));
    char *values = mem_strdup(o->default_text == NULL ? "required" : o->default_text);
    char *rest = values, *item;
    while ((item = strtok_r(rest, ", ", &rest)) != NULL)
        if (strstr(line, item) == NULL)
            ck_abort_msg("default '%s' of %s not found in '%s'", item, o->name, line);
    free(values);
    free(line);
    free(mark);
    free(body);
    free(head);
    free(text);
}
END_TEST

static void check_loads(const char *text)
{
    char path[] = "/tmp/test_config_docs.XXXXXX";
    int fd = mkstemp(path);
    struct err err;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    struct config *c = config_file_load(path, &err);
    unlink(path);
    if (c == NULL)
        ck_abort_msg("%s", err.text);
    config_free(c);
}

START_TEST(the_sample_loads_as_it_is_and_with_all_examples)
{
    char *text = read_source("conf/splitmilter.conf");

    check_loads(text);
    for (char *p = text; (p = strchr(p, '#')) != NULL; p++)
        if (isalpha((unsigned char)p[1]) || p[1] == '}')
            *p = ' ';
    ck_assert_ptr_nonnull(strstr(text, "\n destination archive {"));
    check_loads(text);
    free(text);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("config_docs");
    int count = (int)option_count();

    tcase_add_loop_test(t, the_sample_shows_every_option_and_its_default, 0, count);
    tcase_add_loop_test(t, the_manual_describes_every_option_and_its_default, 0, count);
    tcase_add_test(t, the_sample_loads_as_it_is_and_with_all_examples);
    return unit_run("config_docs", t);
}
