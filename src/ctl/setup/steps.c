/* SPDX-License-Identifier: ISC */
#include "ctl/setup/steps.h"
#include "base/buf.h"
#include "base/mem.h"
#include "ctl/setup/command.h"
#include "ctl/ctl.h"
#include "ctl/setup/diff.h"
#include "ctl/setup/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum step_kind {
    STEP_WRITE,
    STEP_MKDIR,
    STEP_UNLINK,
    STEP_RMDIR,
    STEP_REMOVE_TREE,
    STEP_RUN,
    STEP_SAY
};

struct step {
    enum step_kind kind;
    char *path;    /* "" with STEP_RUN and STEP_SAY */
    char *content; /* STEP_WRITE: the new content; STEP_SAY: the text */
    char *before;  /* STEP_WRITE, STEP_UNLINK: the former content; NULL if it could not be read */
    bool is_new;   /* STEP_WRITE: there was no such file */
    struct files_attributes
        *attributes; /* STEP_WRITE, STEP_UNLINK: of the former file, or for a new one */
    bool is_reload;  /* STEP_RUN: steps_undo() runs it again */
    char *like;      /* STEP_WRITE: the text that show() compares it with, or NULL */
    char *like_name; /* the name of that text; NULL: the file itself */
    char **argv;     /* STEP_RUN: the command */
    char **kept;     /* STEP_RUN: files that keep their attributes, or NULL */
    mode_t mode;     /* STEP_MKDIR: these three */
    uid_t uid;
    gid_t gid;
};

static struct step *add(struct steps *s, enum step_kind kind, const char *path)
{
    s->items = mem_grow(s->items, s->count + 1, sizeof *s->items);
    struct step *step = &s->items[s->count++];
    memset(step, 0, sizeof *step);
    step->kind = kind;
    step->path = mem_strdup(path);
    step->content = mem_strdup("");
    return step;
}

/* Return the present content, for the caller to free; NULL if it cannot be read. The reason is not
 * kept, because the step will fail with it. */
static char *read_now(const char *path)
{
    struct buf now = {0};
    struct err err;

    if (files_read(path, &now, &err) == FILES_OK)
        return buf_take(&now);
    buf_clear(&now);
    return NULL;
}

static bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* The last step in the list that writes or removes the file, or NULL. */
static const struct step *last_on(const struct steps *s, const char *path)
{
    for (size_t i = s->count; i-- > 0;) {
        const struct step *step = &s->items[i];
        if ((step->kind == STEP_WRITE || step->kind == STEP_UNLINK) &&
            strcmp(step->path, path) == 0)
            return step;
    }
    return NULL;
}

void steps_write(struct steps *s, const char *path, const char *content, const char *model,
                 const char *like, const char *like_name)
{
    /* Compare with the state after the steps that are already in the list. */
    const struct step *last = last_on(s, path);
    bool is_there_then = last != NULL ? last->kind == STEP_WRITE : is_there(path);
    char *now = last == NULL ? read_now(path) : is_there_then ? mem_strdup(last->content) : NULL;

    if (now != NULL && strcmp(now, content) == 0) {
        free(now);
        return;
    }
    struct step *step = add(s, STEP_WRITE, path);
    free(step->content);
    step->content = mem_strdup(content);
    step->before = now;
    step->is_new = !is_there_then;
    step->attributes = files_attributes_get(last == NULL && is_there_then ? path : model);
    step->like = like == NULL ? NULL : mem_strdup(like);
    step->like_name = like_name == NULL ? NULL : mem_strdup(like_name);
}

static bool is_made(const struct steps *s, const char *path)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i].kind == STEP_MKDIR && strcmp(s->items[i].path, path) == 0)
            return true;
    return false;
}

void steps_mkdir(struct steps *s, const char *path, mode_t mode, uid_t uid, gid_t gid)
{
    struct stat st;

    if (stat(path, &st) == 0 || is_made(s, path))
        return;
    struct step *step = add(s, STEP_MKDIR, path);
    step->mode = mode;
    step->uid = uid;
    step->gid = gid;
}

void steps_unlink(struct steps *s, const char *path)
{
    if (!is_there(path))
        return;
    struct step *step = add(s, STEP_UNLINK, path);
    step->before = read_now(path);
    step->attributes = files_attributes_get(path);
}

void steps_unlink_temporary(struct steps *s, const char *path)
{
    char *temporary = mem_printf("%s" FILES_TEMPORARY, path);

    steps_unlink(s, temporary);
    free(temporary);
}

void steps_rmdir(struct steps *s, const char *path)
{
    if (is_there(path))
        add(s, STEP_RMDIR, path);
}

void steps_remove_tree(struct steps *s, const char *path)
{
    if (is_there(path))
        add(s, STEP_REMOVE_TREE, path);
}

/* Copy a NULL-terminated list. */
static char **copy_list(const char *const *list)
{
    size_t count = 0;

    while (list[count] != NULL)
        count++;
    char **copy = mem_zalloc((count + 1) * sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = mem_strdup(list[i]);
    return copy;
}

static void free_list(char **list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        free(list[i]);
    free(list);
}

static struct step *add_command(struct steps *s, const char *const *argv)
{
    struct step *step = add(s, STEP_RUN, "");

    step->argv = copy_list(argv);
    return step;
}

void steps_run(struct steps *s, const char *const *argv)
{
    (void)add_command(s, argv);
}

void steps_run_keeping(struct steps *s, const char *const *files, const char *const *argv)
{
    add_command(s, argv)->kept = copy_list(files);
}

void steps_reload(struct steps *s, const char *const *argv)
{
    add_command(s, argv)->is_reload = true;
}

void steps_say(struct steps *s, const char *fmt, ...)
{
    char text[1500];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct step *step = add(s, STEP_SAY, "");
    free(step->content);
    step->content = mem_strdup(text);
}

bool steps_has_changes(const struct steps *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i].kind != STEP_SAY)
            return true;
    return false;
}

void steps_list_files(const struct steps *s, struct buf *out)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i].kind == STEP_WRITE || s->items[i].kind == STEP_UNLINK)
            buf_addf(out, "%s%s", out->len == 0 ? "" : ", ", s->items[i].path);
}

static void show_write(const struct step *step)
{
    const char *like = step->like != NULL ? step->like : step->before;
    struct buf lines = {0};

    diff_lines(like == NULL ? "" : like, step->content, &lines);
    ctl_print(step->path);
    if (step->like_name != NULL)
        ctl_printf(": a copy of %s%s\n", step->like_name, lines.len == 0 ? "" : ", changed");
    else
        puts(step->is_new ? ": new file" : ": change");
    ctl_print_lines(buf_str(&lines));
    buf_clear(&lines);
}

static void show(const struct step *step)
{
    struct buf line = {0};

    switch (step->kind) {
    case STEP_WRITE:
        show_write(step);
        break;
    case STEP_MKDIR:
        ctl_printf("%s: make directory, mode %04o, owner %lu:%lu\n", step->path,
                   (unsigned)step->mode, (unsigned long)step->uid, (unsigned long)step->gid);
        break;
    case STEP_UNLINK:
        ctl_printf("%s: remove\n", step->path);
        break;
    case STEP_RMDIR:
        ctl_printf("%s: remove the directory if it is empty\n", step->path);
        break;
    case STEP_REMOVE_TREE:
        ctl_printf("%s: remove with everything in it\n", step->path);
        break;
    case STEP_RUN:
        command_format((const char *const *)step->argv, &line);
        ctl_printf("run: %s\n", buf_str(&line));
        break;
    case STEP_SAY:
        ctl_printf("note: ");
        ctl_print_lines(step->content);
        putchar('\n');
        break;
    }
    buf_clear(&line);
    fflush(stdout);
}

void steps_show(const struct steps *s)
{
    for (size_t i = 0; i < s->count; i++)
        show(&s->items[i]);
}

/* Restore attributes that the command has changed. -1 with `err`: the mode may be wider than
 * before. */
static int restore_attributes(const char *path, const struct files_attributes *a, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = fd < 0 ? -1 : files_attributes_set(fd, a);

    if (rc < 0)
        err_set_errno(err, "%s", path);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* Run the command and restore the attributes of step->kept. The exit status, or -1 with `err`. */
static int run_keeping(const struct step *step, struct buf *said, struct err *err)
{
    const char *const *argv = (const char *const *)step->argv;
    struct files_attributes *kept[STEPS_KEPT_MAX] = {NULL};
    mode_t mask = 0;

    if (step->kept == NULL)
        return command_run(argv, said, said, err);
    for (int i = 0; step->kept[i] != NULL; i++) {
        kept[i] = files_attributes_get(step->kept[i]);
        mask |= files_attributes_umask(kept[i]);
    }
    mode_t former = umask(mask);
    int status = command_run(argv, said, said, err);
    umask(former);
    for (int i = 0; step->kept[i] != NULL; i++) {
        if (kept[i] != NULL && restore_attributes(step->kept[i], kept[i], err) < 0)
            status = -1;
        files_attributes_free(kept[i]);
    }
    return status;
}

static int run(const struct step *step, struct err *err)
{
    const char *const *argv = (const char *const *)step->argv;
    struct buf said = {0};
    int status = run_keeping(step, &said, err);

    for (char *line = said.data, *next; line != NULL && *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        if (*next == '\n')
            *next++ = '\0';
        ctl_printf("  ");
        ctl_print(line);
        putchar('\n');
    }
    if (status > 0)
        err_set(err, "%s: exit status %d", argv[0], status);
    buf_clear(&said);
    return status == 0 ? 0 : -1;
}

static int apply(const struct step *step, struct err *err)
{
    switch (step->kind) {
    case STEP_WRITE:
        return files_write(step->path, step->content, step->attributes, err);
    case STEP_MKDIR:
        return files_mkdir(step->path, step->mode, step->uid, step->gid, err);
    case STEP_UNLINK:
        return files_unlink(step->path, err);
    case STEP_RMDIR:
        return files_rmdir(step->path, err);
    case STEP_REMOVE_TREE:
        return files_remove_tree(step->path, err);
    case STEP_RUN:
        return run(step, err);
    case STEP_SAY:
        return 0;
    }
    abort();
}

static int undo(const struct step *step, struct err *err)
{
    if (step->kind == STEP_MKDIR)
        return files_remove_tree(step->path, err);
    if (step->before != NULL)
        return files_write(step->path, step->before, step->attributes, err);
    if (step->is_new)
        return files_unlink(step->path, err);
    err_set(err, "%s: its earlier content is not known", step->path);
    return -1;
}

/* The file of the step that failed is restored too, because the step may have changed it. A
 * directory that could not be made is not removed: it may be that of another program. */
void steps_undo(const struct steps *s)
{
    size_t end = s->begun < s->count ? s->begun + 1 : s->count;
    struct err err;

    for (size_t i = end; i-- > 0;) {
        const struct step *step = &s->items[i];
        bool is_file = step->kind == STEP_WRITE || step->kind == STEP_UNLINK;
        if (!is_file && (step->kind != STEP_MKDIR || i == s->begun))
            continue;
        if (undo(step, &err) < 0)
            ctl_complain("not undone: %s", err.text);
        else
            ctl_printf("undone: %s\n", step->path);
    }
    for (size_t i = 0; i < end; i++)
        if (s->items[i].is_reload) {
            show(&s->items[i]);
            if (run(&s->items[i], &err) < 0)
                ctl_complain("%s", err.text);
        }
}

int steps_apply(struct steps *s, struct err *err)
{
    for (; s->begun < s->count; s->begun++) {
        show(&s->items[s->begun]);
        if (apply(&s->items[s->begun], err) < 0)
            return -1;
    }
    return 0;
}

void steps_clear(struct steps *s)
{
    for (size_t i = 0; i < s->count; i++) {
        struct step *step = &s->items[i];
        free_list(step->argv);
        free_list(step->kept);
        free(step->path);
        free(step->content);
        free(step->before);
        free(step->like);
        files_attributes_free(step->attributes);
        free(step->like_name);
    }
    free(s->items);
    memset(s, 0, sizeof *s);
}
