/* SPDX-License-Identifier: ISC */
#include "ctl/setup/postfix.h"
#include "base/mem.h"
#include "ctl/setup/command.h"
#include "ctl/setup/files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FIELDS = 8, SETTLED_S = 60 };

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct postfix_parameter *)a)->name,
                  ((const struct postfix_parameter *)b)->name);
}

static char *trimmed(const char *from, size_t len)
{
    while (len > 0 && strchr(" \t\r\n", from[len - 1]) != NULL)
        len--;
    while (len > 0 && strchr(" \t", from[0]) != NULL) {
        from++;
        len--;
    }
    return mem_strndup(from, len);
}

/* Parse lines "name = value". */
static struct postfix_parameter *parse_parameters(const char *text, size_t *count_out)
{
    struct postfix_parameter *list = mem_zalloc(0);
    size_t count = 0, room = 0;

    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n"), line += *line != 0) {
        size_t len = strcspn(line, "\n");
        const char *equals = memchr(line, '=', len);
        if (equals == NULL)
            continue;
        if (count == room) {
            room = room * 2 + 1024;
            list = mem_grow(list, room, sizeof *list);
        }
        list[count].name = trimmed(line, (size_t)(equals - line));
        list[count++].value = trimmed(equals + 1, len - (size_t)(equals + 1 - line));
    }
    qsort(list, count, sizeof *list, by_name);
    *count_out = count;
    return list;
}

/* Parse one line of `postconf -M': eight words, then arguments. */
static bool parse_service(const char *line, size_t len, struct postfix_service *out)
{
    char **fields[FIELDS] = {&out->name,   &out->type,   &out->is_private, &out->unprivileged,
                             &out->chroot, &out->wakeup, &out->maxproc,    &out->command};
    const char *end = line + len;

    memset(out, 0, sizeof *out);
    for (int i = 0; i < FIELDS; i++) {
        while (line < end && strchr(" \t", *line) != NULL)
            line++;
        size_t word = strcspn(line, " \t\n");
        *fields[i] = mem_strndup(line, word);
        line += word;
    }
    out->arguments = trimmed(line, (size_t)(end - line));
    return out->command[0] != '\0';
}

static void free_service(struct postfix_service *s)
{
    char *fields[] = {s->name,   s->type,    s->is_private, s->unprivileged, s->chroot,
                      s->wakeup, s->maxproc, s->command,    s->arguments};

    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        free(fields[i]);
}

static void parse_services(struct postfix *p, const char *text)
{
    size_t room = 0;

    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (p->service_count == room) {
            room = room * 2 + 64;
            p->services = mem_grow(p->services, room, sizeof *p->services);
        }
        if (parse_service(line, len, &p->services[p->service_count]))
            p->service_count++;
        else
            free_service(&p->services[p->service_count]);
        line += len + (line[len] == '\n');
    }
}

/* Write a file with an older time, because Postfix waits for a second before it reads a file that
 * has just changed. */
static int write_settled(const char *directory, const char *name, const char *text, struct err *err)
{
    struct timespec times[2] = {{.tv_sec = time(NULL) - SETTLED_S}, {.tv_sec = 0}};
    char *path = mem_printf("%s/%s", directory, name);
    int rc = files_write(path, text, NULL, err);

    times[1] = times[0];
    if (rc == 0 && utimensat(AT_FDCWD, path, times, 0) < 0) {
        err_set_errno(err, "%s", path);
        rc = -1;
    }
    free(path);
    return rc;
}

/* Ask postconf(1) about the files in the directory `place`, as if they were in that of `p`. */
static int ask(const struct postfix *p, const char *place, const char *option, struct buf *out,
               struct err *err)
{
    const char *argv[] = {"postconf", "-c", place, option, NULL};

    buf_reset(out);
    int rc = command_need(argv, out, err);
    if (rc < 0) {
        buf_reset(out);
        buf_adds(out, err->text);
    }
    buf_replace(out, place, p->directory);
    if (rc < 0)
        err_set(err, "%s", buf_str(out));
    return rc;
}

static int ask_all(struct postfix *p, const char *place, struct err *err)
{
    struct buf out = {0};
    int rc = -1;

    if (ask(p, place, NULL, &out, err) < 0)
        goto out;
    p->raw = parse_parameters(buf_str(&out), &p->raw_count);
    if (ask(p, place, "-x", &out, err) < 0)
        goto out;
    p->expanded = parse_parameters(buf_str(&out), &p->expanded_count);
    if (ask(p, place, "-M", &out, err) < 0)
        goto out;
    parse_services(p, buf_str(&out));
    if (ask(p, place, "-Px", &out, err) < 0)
        goto out;
    p->own = parse_parameters(buf_str(&out), &p->own_count);
    rc = 0;
out:
    buf_clear(&out);
    return rc;
}

/* Let postconf(1) read the texts of `p`, in a temporary directory: if main.cf has changed within
 * the last second, Postfix 3.10 forgets which directory it is in. */
static int read_texts(struct postfix *p, struct err *err)
{
    const char *top = secure_getenv("TMPDIR");
    char *temporary = mem_printf("%s/splitctl-XXXXXX", top == NULL || top[0] != '/' ? "/tmp" : top);
    struct err why;
    int rc = -1;

    if (mkdtemp(temporary) == NULL) {
        err_set_errno(err, "%s", temporary);
        goto out;
    }
    if (write_settled(temporary, "main.cf", p->main_cf, err) == 0 &&
        write_settled(temporary, "master.cf", p->master_cf, err) == 0)
        rc = ask_all(p, temporary, err);
    if (files_remove_tree(temporary, &why) < 0 && rc == 0) {
        *err = why;
        rc = -1;
    }
out:
    free(temporary);
    return rc;
}

/* is_in_place: the texts are those of the files in the directory, and settled. */
static struct postfix *from_text(const char *directory, const char *main_cf, const char *master_cf,
                                 bool is_in_place, struct err *err)
{
    struct postfix *p = mem_zalloc(sizeof *p);

    p->directory = mem_strdup(directory);
    p->main_cf = mem_strdup(main_cf);
    p->main_disk = mem_strdup(main_cf);
    p->master_cf = mem_strdup(master_cf);
    if ((is_in_place ? ask_all(p, directory, err) : read_texts(p, err)) == 0)
        return p;
    postfix_free(p);
    return NULL;
}

struct postfix *postfix_from_text(const char *directory, const char *main_cf, const char *master_cf,
                                  struct err *err)
{
    return from_text(directory, main_cf, master_cf, false, err);
}

static bool is_settled(const char *directory, const char *name)
{
    char *path = mem_printf("%s/%s", directory, name);
    struct stat st;
    bool is = stat(path, &st) == 0 && st.st_mtime < time(NULL) - 1;

    free(path);
    return is;
}

static int read_base(const char *directory, const char *name, struct buf *disk, struct buf *base,
                     enum marked_state *state, struct err *err)
{
    char *path = mem_printf("%s/%s", directory, name);
    int rc = -1;

    if (files_read(path, disk, err) == FILES_OK) {
        rc = marked_strip(buf_str(disk), base, state, err);
        if (rc < 0)
            err_wrap(err, "%s", path);
    }
    free(path);
    return rc;
}

/* is_whole: with our part. */
static struct postfix *open_instance(const char *directory, bool is_whole, struct err *err)
{
    struct buf main_disk = {0}, master_disk = {0}, main_cf = {0}, master_cf = {0};
    enum marked_state main_state, master_state;
    struct postfix *p = NULL;

    if (read_base(directory, "main.cf", &main_disk, &main_cf, &main_state, err) == 0 &&
        read_base(directory, "master.cf", &master_disk, &master_cf, &master_state, err) == 0)
        p = from_text(directory, buf_str(is_whole ? &main_disk : &main_cf),
                      buf_str(is_whole ? &master_disk : &master_cf),
                      is_whole && is_settled(directory, "main.cf") &&
                          is_settled(directory, "master.cf"),
                      err);
    if (p != NULL) {
        free(p->main_disk);
        p->main_disk = buf_take(&main_disk);
        p->main_state = main_state;
        p->master_state = master_state;
    }
    buf_clear(&main_disk);
    buf_clear(&master_disk);
    buf_clear(&main_cf);
    buf_clear(&master_cf);
    return p;
}

struct postfix *postfix_open(const char *directory, struct err *err)
{
    return open_instance(directory, false, err);
}

struct postfix *postfix_open_whole(const char *directory, struct err *err)
{
    return open_instance(directory, true, err);
}

static void free_parameters(struct postfix_parameter *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(list[i].name);
        free(list[i].value);
    }
    free(list);
}

void postfix_free(struct postfix *p)
{
    if (p == NULL)
        return;
    free_parameters(p->raw, p->raw_count);
    free_parameters(p->expanded, p->expanded_count);
    free_parameters(p->own, p->own_count);
    for (size_t i = 0; i < p->service_count; i++)
        free_service(&p->services[i]);
    free(p->services);
    free(p->directory);
    free(p->main_disk);
    free(p->main_cf);
    free(p->master_cf);
    free(p);
}

/* The value of a parameter. NULL if there is no such parameter. */
static const char *find(const struct postfix_parameter *list, size_t count, const char *name)
{
    const struct postfix_parameter key = {.name = (char *)name};
    const struct postfix_parameter *found =
        count == 0 ? NULL : bsearch(&key, list, count, sizeof *list, by_name);

    return found == NULL ? NULL : found->value;
}

bool postfix_knows(const struct postfix *p, const char *name)
{
    return find(p->raw, p->raw_count, name) != NULL;
}

const char *postfix_get(const struct postfix *p, const char *name)
{
    const char *value = find(p->raw, p->raw_count, name);

    return value == NULL ? "" : value;
}

const char *postfix_get_expanded(const struct postfix *p, const char *name)
{
    const char *value = find(p->expanded, p->expanded_count, name);

    return value == NULL ? "" : value;
}

const char *postfix_get_for(const struct postfix *p, const struct postfix_service *s,
                            const char *name)
{
    char *own_name = mem_printf("%s/%s/%s", s->name, s->type, name);
    const char *own = find(p->own, p->own_count, own_name);

    free(own_name);
    return own == NULL ? postfix_get_expanded(p, name) : own;
}

const struct postfix_service *postfix_service(const struct postfix *p, const char *name,
                                              const char *type)
{
    for (size_t i = 0; i < p->service_count; i++)
        if (strcmp(p->services[i].name, name) == 0 && strcmp(p->services[i].type, type) == 0)
            return &p->services[i];
    return NULL;
}

bool postfix_is_chrooted(const struct postfix *p, const struct postfix_service *s)
{
    if (strcmp(s->chroot, "-") != 0)
        return strcmp(s->chroot, "y") == 0;
    return strtol(postfix_get_expanded(p, "compatibility_level"), NULL, 10) < 1;
}

/* Take the next word; "{ ... }" is one word, without its braces. False at the end. */
static bool next_word(const char **at, char **word_out)
{
    const char *from = *at + strspn(*at, " \t");
    int depth = 0;
    size_t len = 0;

    if (*from == '\0')
        return false;
    for (; from[len] != '\0' && (depth > 0 || strchr(" \t", from[len]) == NULL); len++)
        depth += (from[len] == '{') - (from[len] == '}');
    *at = from + len;
    bool is_group = len >= 2 && from[0] == '{' && from[len - 1] == '}';
    *word_out = is_group ? trimmed(from + 1, len - 2) : mem_strndup(from, len);
    return true;
}

bool postfix_service_option(const struct postfix_service *s, const char *name, char **value_out)
{
    const char *at = s->arguments;
    char *word, *value = NULL;
    bool is_option = false;

    while (next_word(&at, &word)) {
        const char *equals = strchr(word, '=');
        if (is_option && equals != NULL) {
            char *key = trimmed(word, (size_t)(equals - word));
            if (strcmp(key, name) == 0) {
                free(value); /* the last -o takes effect */
                value = trimmed(equals + 1, strlen(equals + 1));
            }
            free(key);
        }
        is_option = strcmp(word, "-o") == 0;
        free(word);
    }
    bool is_found = value != NULL;
    if (value_out != NULL)
        *value_out = value;
    else
        free(value);
    return is_found;
}

bool postfix_takes_mail(const struct postfix_service *s)
{
    return strcmp(s->command, "smtpd") == 0 || strcmp(s->command, "postscreen") == 0;
}

char *postfix_default_directory(struct err *err)
{
    static const char *const argv[] = {"postconf", "-h", "config_directory", NULL};
    const char *given = getenv("MAIL_CONFIG");
    struct buf out = {0};
    char *directory = NULL;

    /* Postfix 3.10 forgets MAIL_CONFIG if main.cf has changed within the last second. */
    if (command_need(argv, &out, err) == 0)
        directory = given != NULL ? mem_strdup(given) : trimmed(buf_str(&out), out.len);
    buf_clear(&out);
    return directory;
}

bool postfix_is_running(const char *directory)
{
    const char *argv[] = {"postfix", "-c", directory, "status", NULL};
    struct buf ignored = {0};
    struct err err;
    int status = command_run(argv, &ignored, &ignored, &err);

    buf_clear(&ignored);
    return status == 0;
}

unsigned long postfix_count_messages(const char *queue_directory, const char *queue)
{
    char *path = mem_printf("%s/%s", queue_directory, queue);
    unsigned long count = files_count(path);

    free(path);
    return count;
}
