/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/setup/command.h"
#include "ctl/ctl.h"
#include "ctl/setup/files.h"
#include "ctl/setup/setup_postfix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const suffixes[] = {"-in", "-out"}; /* instances are stopped in this order */

enum setup_found setup_find(const struct postfix *p)
{
    if (strstr(p->main_disk, "made by " SETUP_WHO_MULTI) != NULL)
        return SETUP_FOUND_MULTI;
    if (p->main_state != MARKED_NONE || p->master_state != MARKED_NONE)
        return SETUP_FOUND_SINGLE;
    return SETUP_FOUND_NONE;
}

/* Number of messages in all queues. */
static unsigned long count_messages(const char *queue_directory)
{
    static const char *const queues[] = {"maildrop", "incoming", "active",
                                         "deferred", "hold",     "corrupt"};
    unsigned long count = 0;

    for (size_t i = 0; i < sizeof queues / sizeof queues[0]; i++)
        count += postfix_count_messages(queue_directory, queues[i]);
    return count;
}

static int start(const char *directory, struct err *err)
{
    const char *argv[] = {"postfix", "-c", directory, "start", NULL};
    struct buf ignored = {0};

    ctl_printf("run: postfix -c %s start\n", directory);
    fflush(stdout);
    int rc = command_need(argv, &ignored, err);
    buf_clear(&ignored);
    return rc;
}

/* The queue directory of the secondary instance, for the caller to free. */
static char *queue_of(const struct postfix *p, const char *suffix)
{
    return setup_sibling(postfix_get_expanded(p, "queue_directory"), suffix);
}

/* Return true if the directory of a secondary instance is ours: its main.cf has our part, or the
 * default instance was set up with --multi. owner: by setup_find_owner(). */
static bool is_for_us(const struct postfix *p, enum setup_owner owner)
{
    return owner == SETUP_OWNER_WE || setup_find(p) == SETUP_FOUND_MULTI;
}

/* Stop the instance if it is ours and runs. -1 with `err`: it has mail in its queue, is not ours,
 * or cannot be stopped. */
static int stop_instance(const struct postfix *p, const char *suffix, bool *was_running,
                         struct err *err)
{
    char *directory = setup_sibling(p->directory, suffix), *queue = queue_of(p, suffix);
    enum setup_owner owner;
    int rc = setup_find_owner(p, directory, &owner, err);

    if (rc == 0 && owner == SETUP_OWNER_OTHER && setup_find(p) == SETUP_FOUND_MULTI) {
        err_set(err, "%s: this instance is not ours", directory);
        rc = -1;
    }
    *was_running = rc == 0 && owner == SETUP_OWNER_WE && postfix_is_running(directory);
    if (*was_running)
        rc = setup_stop_instance(directory, err);
    unsigned long count = rc == 0 && is_for_us(p, owner) ? count_messages(queue) : 0;
    if (count > 0) {
        err_set(err,
                "%s: %lu messages in its queue would be lost: have them delivered first "
                "(postqueue -c %s -f), or delete them",
                directory, count, directory);
        rc = -1;
    }
    free(directory);
    free(queue);
    return rc;
}

int setup_drain(const struct setup_options *options, struct err *err)
{
    struct postfix *p = postfix_open(options->directory, err);
    bool was_running[2] = {false, false};
    int rc = p == NULL ? -1 : 0;
    bool is_single = p != NULL && setup_find(p) == SETUP_FOUND_SINGLE;

    for (int i = 0; rc == 0 && !is_single && i < 2; i++)
        rc = stop_instance(p, suffixes[i], &was_running[i], err);
    for (int i = 1; rc < 0 && i >= 0; i--) {
        char *directory = setup_sibling(options->directory, suffixes[i]);
        struct err why;
        if (was_running[i] && start(directory, &why) < 0)
            ctl_complain("%s", why.text);
        free(directory);
    }
    postfix_free(p);
    return rc;
}

/* Add steps that save the files of a secondary instance beside those of the default instance, if
 * the administrator has changed them. */
static void keep_edits(const struct setup *s, const struct postfix *ours, const char *suffix)
{
    static const char *const names[] = {"main.cf", "master.cf"};
    const char *const texts[] = {ours->main_cf, ours->master_cf};

    for (int i = 0; i < 2; i++) {
        char *original = mem_printf("%s/%s.before-split", ours->directory, names[i]);
        char *changed = mem_printf("%s/%s", ours->directory, names[i]);
        char *kept = mem_printf("%s/%s%s.removed", s->options->directory, names[i], suffix);
        struct buf text = {0};
        struct err ignored;
        /* If the creation of the instance was not complete, the text is empty. */
        if (texts[i][0] != '\0' && files_read(original, &text, &ignored) == FILES_OK &&
            strcmp(buf_str(&text), texts[i]) != 0) {
            steps_say(s->steps, "%s/%s was edited: kept in %s", ours->directory, names[i], kept);
            steps_write(s->steps, kept, texts[i], changed, texts[i], names[i]);
        }
        buf_clear(&text);
        free(original);
        free(changed);
        free(kept);
    }
}

/* Add the steps that remove a secondary instance. Its configuration directory is removed last,
 * because it shows that the other directories are ours. */
static int remove_instance(const struct setup *s, const struct postfix *p, const char *suffix,
                           struct err *err)
{
    char *directory = setup_sibling(s->options->directory, suffix);
    char *data = setup_sibling(postfix_get_expanded(p, "data_directory"), suffix);
    char *queue = queue_of(p, suffix);
    struct postfix *ours = NULL;
    enum setup_owner owner;
    int rc = setup_find_owner(p, directory, &owner, err);

    if (rc == 0 && owner == SETUP_OWNER_WE && files_is_there(directory, "master.cf")) {
        ours = postfix_open(directory, err);
        rc = ours == NULL ? -1 : 0;
    }
    if (ours != NULL)
        keep_edits(s, ours, suffix);
    if (rc == 0 && is_for_us(p, owner)) {
        setup_enable_instance(s, directory, false);
        steps_remove_tree(s->steps, queue);
        steps_remove_tree(s->steps, data);
        steps_remove_tree(s->steps, directory);
    }
    postfix_free(ours);
    free(directory);
    free(queue);
    free(data);
    return rc;
}

/* Refuse if instances were added after ours: our part of main.cf lists these instances, and without
 * our part postmulti(1) would not know them. */
static int check_others(const struct postfix *p, struct err *err)
{
    char *known = setup_known_instances(p->directory, err), *rest = known;
    int rc = known == NULL ? -1 : 0;

    for (char *word; rc == 0 && (word = strsep(&rest, " \t,")) != NULL;) {
        bool is_ours = word[0] == '\0' || setup_is_known(postfix_get(p, MARKED_SHARED), word);
        for (int i = 0; i < 2; i++) {
            char *directory = setup_sibling(p->directory, suffixes[i]);
            is_ours = is_ours || strcmp(word, directory) == 0;
            free(directory);
        }
        if (!is_ours) {
            err_set(
                err,
                "the instance %s was added later: remove it from postmulti(1) first (-e deport), "
                "and add it again (-e import) afterwards",
                word);
            rc = -1;
        }
    }
    free(known);
    return rc;
}

/* Remove the directory of the socket if it is empty, that is, if splitmilter does not use it. */
static void remove_socket_directory(const struct setup *s, const struct postfix *p)
{
    char *path = mem_printf("%s/splitmilter", postfix_get_expanded(p, "queue_directory"));

    steps_rmdir(s->steps, path);
    free(path);
}

static void restart(const struct setup *s, enum setup_found found)
{
    const char *const none[] = {NULL};

    setup_postfix_command(s, s->options->directory, "check");
    if (!postfix_is_running(s->options->directory))
        return;
    if (found != SETUP_FOUND_MULTI || !setup_restart_all(s, none))
        setup_postfix_command(s, s->options->directory, "reload");
}

/* The files of the default instance are restored last, because they show what has to be removed. */
static int plan(const struct setup *s, const struct postfix *p, struct err *err)
{
    enum setup_found found = setup_find(p);
    bool is_edited = p->main_state == MARKED_EDITED || p->master_state == MARKED_EDITED;

    if (is_edited && !s->options->is_forced) {
        err_set(
            err,
            "%s: our part of main.cf or master.cf was edited: move the change outside of it, or "
            "use --force to discard it",
            p->directory);
        return -1;
    }
    if (found == SETUP_FOUND_MULTI && check_others(p, err) < 0)
        return -1;
    for (int i = 0; found != SETUP_FOUND_SINGLE && i < 2; i++)
        if (remove_instance(s, p, suffixes[i], err) < 0)
            return -1;
    setup_restore(s, p);
    if (found == SETUP_FOUND_SINGLE)
        remove_socket_directory(s, p);
    if (found != SETUP_FOUND_NONE)
        restart(s, found);
    return 0;
}

/* Add notes on what setup_drain() will do and refuse. */
static int say_drain(const struct setup *s, const struct postfix *p, struct err *err)
{
    int rc = 0;

    for (int i = 0; rc == 0 && setup_find(p) != SETUP_FOUND_SINGLE && i < 2; i++) {
        char *directory = setup_sibling(p->directory, suffixes[i]),
             *queue = queue_of(p, suffixes[i]);
        enum setup_owner owner;
        rc = setup_find_owner(p, directory, &owner, err);
        if (rc == 0 && owner == SETUP_OWNER_WE && postfix_is_running(directory))
            steps_say(s->steps, "%s: this instance is stopped first", directory);
        unsigned long count = rc == 0 && is_for_us(p, owner) ? count_messages(queue) : 0;
        if (count > 0)
            steps_say(s->steps,
                      "%s: %lu messages in its queue: nothing is removed before they are delivered "
                      "(postqueue -c %s -f), or deleted",
                      directory, count, directory);
        free(directory);
        free(queue);
    }
    return rc;
}

int setup_plan_remove(struct setup *s, bool is_drained, struct err *err)
{
    struct postfix *p = postfix_open(s->options->directory, err);
    int rc = -1;

    if (p != NULL && setup_check_files(s->options->directory, err) == 0 &&
        (is_drained || say_drain(s, p, err) == 0))
        rc = plan(s, p, err);
    postfix_free(p);
    return rc;
}
