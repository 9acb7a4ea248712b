/* SPDX-License-Identifier: ISC */
#include "../mem.h"
#include "command.h"
#include "ctl.h"
#include "files.h"
#include "setup_postfix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const suffixes[] = {"-in", "-out"}; /* in this order they are stopped */

enum setup_found setup_find(const struct postfix *p)
{
    if (strstr(p->main_disk, "made by " SETUP_WHO_MULTI) != NULL)
        return SETUP_FOUND_MULTI;
    if (p->main_state != MARKED_NONE || p->master_state != MARKED_NONE)
        return SETUP_FOUND_SINGLE;
    return SETUP_FOUND_NONE;
}

/* Messages in the queue, whatever their state. */
static unsigned long count_messages(const char *queue_directory)
{
    static const char *const queues[] = {"maildrop", "incoming", "active",
                                         "deferred", "hold",     "corrupt"};
    unsigned long count = 0;

    for (size_t i = 0; i < sizeof queues / sizeof queues[0]; i++)
        count += postfix_count_messages(queue_directory, queues[i]);
    return count;
}

static int command(const char *directory, const char *verb, struct err *err)
{
    const char *argv[] = {"postfix", "-c", directory, verb, NULL};
    struct buf ignored = {0};

    printf("run: postfix -c %s %s\n", directory, verb);
    fflush(stdout);
    int rc = command_need(argv, &ignored, err);
    buf_clear(&ignored);
    return rc;
}

/* Is the directory there, and is the instance in it ours? */
static int open_ours(const char *directory, struct postfix **out, struct err *err)
{
    char *path = mem_printf("%s/main.cf", directory);
    bool is_there = access(path, F_OK) == 0;

    free(path);
    *out = NULL;
    if (!is_there)
        return 0;
    struct postfix *p = postfix_open(directory, err);
    if (p == NULL)
        return -1;
    if (p->main_state == MARKED_NONE) {
        err_set(err, "%s: this instance is not ours", directory);
        postfix_free(p);
        return -1;
    }
    *out = p;
    return 0;
}

/* Directories of the secondary instance; "" where there is none. */
static char *queue_of(const struct postfix *p, const char *suffix)
{
    return setup_sibling(postfix_get_expanded(p, "queue_directory"), suffix);
}

int setup_drain(const struct setup_options *options, struct err *err)
{
    struct postfix *p = postfix_open(options->directory, err), *ours;
    bool was_running[2] = {false, false};
    int rc = p == NULL ? -1 : 0;
    bool is_multi = p != NULL && setup_find(p) == SETUP_FOUND_MULTI;

    for (int i = 0; rc == 0 && is_multi && i < 2; i++) {
        char *directory = setup_sibling(options->directory, suffixes[i]);
        char *queue = queue_of(p, suffixes[i]);
        rc = open_ours(directory, &ours, err);
        if (ours != NULL && postfix_is_running(directory)) {
            was_running[i] = true;
            rc = command(directory, "stop", err);
        }
        unsigned long count = rc == 0 ? count_messages(queue) : 0;
        if (count > 0) {
            err_set(err,
                    "%s: %lu messages in its queue would be lost: have them delivered first "
                    "(postqueue -c %s -f), or delete them",
                    directory, count, directory);
            rc = -1;
        }
        postfix_free(ours);
        free(directory);
        free(queue);
    }
    for (int i = 1; rc < 0 && i >= 0; i--) {
        char *directory = setup_sibling(options->directory, suffixes[i]);
        struct err ignored;
        if (was_running[i] && command(directory, "start", &ignored) < 0)
            ctl_complain("%s", ignored.text);
        free(directory);
    }
    postfix_free(p);
    return rc;
}

/* What the administrator changed in the copies is kept beside the default instance's files. */
static void keep_edits(const struct setup *s, const struct postfix *ours, const char *suffix)
{
    static const char *const names[] = {"main.cf", "master.cf"};
    const char *const texts[] = {ours->main_cf, ours->master_cf};

    for (int i = 0; i < 2; i++) {
        char *original = mem_printf("%s/%s.before-split", ours->directory, names[i]);
        char *kept = mem_printf("%s/%s%s.removed", s->options->directory, names[i], suffix);
        struct buf text = {0};
        struct err ignored;
        if (files_read(original, &text, &ignored) == FILES_OK &&
            strcmp(buf_str(&text), texts[i]) != 0) {
            steps_say(s->steps, "%s/%s was edited: kept in %s", ours->directory, names[i], kept);
            steps_write(s->steps, kept, texts[i], texts[i], names[i]);
        }
        buf_clear(&text);
        free(original);
        free(kept);
    }
}

static int remove_instance(const struct setup *s, const struct postfix *p, const char *suffix,
                           struct err *err)
{
    char *directory = setup_sibling(s->options->directory, suffix);
    char *queue = queue_of(p, suffix);
    char *data = setup_sibling(postfix_get_expanded(p, "data_directory"), suffix);
    struct postfix *ours;
    int rc = open_ours(directory, &ours, err);

    if (rc == 0 && ours != NULL) {
        keep_edits(s, ours, suffix);
        steps_remove_tree(s->steps, directory);
        steps_remove_tree(s->steps, queue);
        steps_remove_tree(s->steps, data);
    }
    postfix_free(ours);
    free(directory);
    free(queue);
    free(data);
    return rc;
}

/* The socket's directory goes only when splitmilter has left it. */
static void remove_socket_directory(const struct setup *s, const struct postfix *p)
{
    char *path = mem_printf("%s/splitmilter", postfix_get_expanded(p, "queue_directory"));

    steps_rmdir(s->steps, path);
    free(path);
}

static void restart(const struct setup *s, enum setup_found found)
{
    struct stat st;
    const char *const reload[] = {"systemctl", "daemon-reload", NULL};
    const char *const again[] = {"systemctl", "restart", "postfix", NULL};

    setup_postfix_command(s, s->options->directory, "check");
    if (!postfix_is_running(s->options->directory))
        return;
    if (found == SETUP_FOUND_MULTI && stat("/run/systemd/system", &st) == 0) {
        steps_run(s->steps, reload);
        steps_run(s->steps, again);
    } else {
        setup_postfix_command(s, s->options->directory, "reload");
    }
}

int setup_plan_remove(struct setup *s, struct err *err)
{
    struct postfix *p = postfix_open(s->options->directory, err);
    int rc = p == NULL ? -1 : setup_check_files(s->options->directory, err);
    enum setup_found found = p == NULL ? SETUP_FOUND_NONE : setup_find(p);

    if (rc == 0 && found != SETUP_FOUND_NONE) {
        bool is_edited = p->main_state == MARKED_EDITED || p->master_state == MARKED_EDITED;
        if (is_edited && !s->options->is_forced) {
            err_set(err,
                    "%s: somebody changed our part of main.cf or master.cf: move the change "
                    "outside of it, or say --force to lose it",
                    p->directory);
            rc = -1;
        } else {
            setup_restore(s, p);
        }
        for (int i = 0; rc == 0 && found == SETUP_FOUND_MULTI && i < 2; i++)
            rc = remove_instance(s, p, suffixes[i], err);
        if (rc == 0 && found == SETUP_FOUND_SINGLE)
            remove_socket_directory(s, p);
        if (rc == 0)
            restart(s, found);
    }
    postfix_free(p);
    return rc;
}
