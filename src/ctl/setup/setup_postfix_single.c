/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/setup/files.h"
#include "ctl/setup/setup_postfix.h"

#include <stdlib.h>
#include <string.h>

/* Add steps that back up the original files. Files that have our part were backed up by an earlier
 * call. */
static void back_up(const struct setup *s, const struct postfix *p)
{
    static const char *const names[] = {"main.cf", "master.cf"};
    const char *const texts[] = {p->main_cf, p->master_cf};

    if (p->main_state != MARKED_NONE || p->master_state != MARKED_NONE)
        return;
    for (int i = 0; i < 2; i++) {
        char *original = mem_printf("%s/%s", p->directory, names[i]);
        char *path = mem_printf("%s.before-split", original);
        steps_write(s->steps, path, texts[i], original, texts[i], names[i]);
        free(path);
        free(original);
    }
}

void setup_write_instance(const struct setup *s, const struct postfix *p,
                          const struct setup_edit *e)
{
    char *main_path = mem_printf("%s/main.cf", p->directory);
    char *master_path = mem_printf("%s/master.cf", p->directory);
    char *main_cf = setup_main_cf(s, p, e), *master_cf = setup_master_cf(s, p, e);

    back_up(s, p);
    setup_write_files(s, p->directory, e);
    steps_write(s->steps, master_path, master_cf, master_path, NULL, NULL);
    steps_write(s->steps, main_path, main_cf, main_path, NULL, NULL);
    free(main_path);
    free(master_path);
    free(main_cf);
    free(master_cf);
}

void setup_postfix_command(const struct setup *s, const char *directory, const char *verb)
{
    const char *argv[] = {"postfix", "-c", directory, verb, NULL};

    if (strcmp(verb, "reload") == 0)
        steps_reload(s->steps, argv);
    else
        steps_run(s->steps, argv);
}

int setup_plan_single(struct setup *s, struct err *err)
{
    struct setup_edit e = {0};
    struct postfix *p = postfix_open(s->options->directory, err);
    int rc = -1;

    if (p == NULL)
        return -1;
    const char *queue_directory = postfix_get_expanded(p, "queue_directory");
    if (setup_check(s, SETUP_SINGLE, p, err) < 0 ||
        setup_role(s, SETUP_SINGLE, p, queue_directory, "", &e, err) < 0 ||
        setup_socket_directory(s, &s->config->milter, queue_directory, err) < 0 ||
        setup_socket_directory(s, setup_after(s), queue_directory, err) < 0 ||
        setup_review(s, p, &e, err) < 0)
        goto out;
    setup_write_instance(s, p, &e);
    if (steps_has_changes(s->steps)) {
        setup_postfix_command(s, p->directory, "check");
        if (postfix_is_running(p->directory))
            setup_postfix_command(s, p->directory, "reload");
    }
    setup_remarks(s, SETUP_SINGLE, p);
    rc = 0;
out:
    setup_edit_clear(&e);
    postfix_free(p);
    return rc;
}

static void restore_file(const struct setup *s, const struct postfix *p, const char *name,
                         const char *text)
{
    char *path = mem_printf("%s/%s", p->directory, name);
    char *backup = mem_printf("%s.before-split", path);
    struct buf before = {0};
    struct err ignored;

    steps_write(s->steps, path, text, path, NULL, NULL);
    steps_unlink_temporary(s->steps, path);
    steps_unlink_temporary(s->steps, backup);
    if (files_read(backup, &before, &ignored) == FILES_OK) {
        if (strcmp(buf_str(&before), text) == 0)
            steps_unlink(s->steps, backup);
        else
            steps_say(s->steps, "%s was edited since, which is kept; as it was before: %s", path,
                      backup);
    }
    buf_clear(&before);
    free(path);
    free(backup);
}

void setup_restore(const struct setup *s, const struct postfix *p)
{
    const struct setup_edit nothing = {0};

    restore_file(s, p, "main.cf", p->main_cf);
    restore_file(s, p, "master.cf", p->master_cf);
    setup_write_files(s, p->directory, &nothing);
}
