/* SPDX-License-Identifier: ISC */
/*
 * config_scan() cleans the text, libconfuse parses it, and every value is kept as a CFGT_PTR with
 * its file and line. libconfuse gives its callbacks no context, hence `loading`; its own include()
 * would read files that config_scan() has not seen, hence include_file().
 */
#include "config_parse.h"
#include "buf.h"
#include "config_option.h"
#include "config_scan.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX (4u << 20)
#define INCLUDE_DEPTH_MAX 10
#define FILES_MAX 1000

static struct config_parse *loading;

/*
 * What libconfuse is told as default of a required option. It parses defaults when it sees the
 * section's "{": the one moment at which the section's line can be learnt, for its line counter
 * then goes on to the "}". So each section with a title needs one required option at least, its
 * first.
 */
static char required_mark[] = "-";

int config_parse_fail(const char *file, unsigned line, struct err *err)
{
    err_wrap(err, "%s:%u", file, line);
    return -1;
}

/* libconfuse reads one section after the other, and none inside another. */
static bool knows_section(const cfg_t *sec)
{
    return loading->section_count > 0 && loading->sections[loading->section_count - 1].sec == sec;
}

static void add_section(const cfg_t *sec)
{
    struct config_parse *l = loading;

    l->sections = mem_grow(l->sections, l->section_count + 1, sizeof *l->sections);
    l->sections[l->section_count++] =
        (struct config_section_start){.sec = sec, .file = l->file, .line = (unsigned)sec->line};
}

/* Of each required option a mark comes before any value. */
static bool is_mark(cfg_t *cfg)
{
    struct config_section_start *start = &loading->sections[loading->section_count - 1];
    unsigned required = 0;

    for (unsigned i = 0; i < cfg_num(cfg); i++)
        required += cfg_getnopt(cfg, i)->def.parsed != NULL;
    if (start->marks == required)
        return false;
    start->marks++;
    return true;
}

static int keep_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
    size_t len = strlen(text);
    struct config_value *v = mem_zalloc(sizeof *v + len + 1);
    unsigned line = (unsigned)cfg->line;

    memcpy(v->text, text, len + 1);
    /* The lexer is at the end of the token: a string of several lines began earlier. */
    for (const char *p = text; *p != '\0'; p++)
        if (*p == '\n' && line > 1)
            line--;
    v->file = loading->file;
    v->line = line;
    *(void **)result = v;
    if (opt->def.parsed != NULL) {
        if (!knows_section(cfg))
            add_section(cfg);
        v->is_mark = is_mark(cfg);
    }
    return 0;
}

static void add_known_keys(cfg_t *cfg, struct err *err)
{
    struct buf keys = {0};

    for (unsigned i = 0; i < cfg_num(cfg); i++)
        buf_addf(&keys, "%s%s", i == 0 ? "" : ", ", cfg_opt_name(cfg_getnopt(cfg, i)));
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, "; known keys: %s", buf_str(&keys));
    buf_clear(&keys);
}

static void parser_error(cfg_t *cfg, const char *fmt, va_list ap)
{
    struct err *err = loading->err;
    char text[512], name[256];

    if (err->text[0] != '\0')
        return; /* the first fault is the one to report */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    vsnprintf(text, sizeof text, fmt, ap);
#pragma GCC diagnostic pop
    bool is_top = strcmp(cfg->name, "root") == 0;
    if (sscanf(text, "no such option '%255[^']'", name) == 1) {
        err_set(err, "unknown key '%s'%s%s", name, is_top ? "" : " in section ",
                is_top ? "" : cfg->name);
        add_known_keys(cfg, err);
    } else if (sscanf(text, "found duplicate title '%255[^']'", name) == 1) {
        err_set(err, "the name '%s' is declared twice; names must differ", name);
    } else {
        err_set(err, "%s", text);
    }
    (void)config_parse_fail(loading->file, (unsigned)cfg->line, err);
}

/* The whole file as a string, for the caller to free. */
static char *read_file(const char *path, size_t *len_out, struct err *err)
{
    struct buf text = {0};
    struct stat st;
    ssize_t n = 0;
    /* O_NONBLOCK: a FIFO that nobody writes to must not hold up a reload for ever. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &st) < 0) {
        err_set_errno(err, "%s", path);
        goto out;
    }
    if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode)) {
        err_set(err, "%s: is %s", path, S_ISDIR(st.st_mode) ? "a directory" : "no regular file");
        goto out;
    }
    do {
        n = read(fd, buf_reserve(&text, 16384), 16384);
        if (n > 0)
            text.len += (size_t)n;
    } while ((n > 0 && text.len <= FILE_SIZE_MAX) || (n < 0 && errno == EINTR));
    if (n < 0)
        err_set_errno(err, "%s: read", path);
    else if (text.len > FILE_SIZE_MAX)
        err_set(err, "%s: larger than %u bytes", path, FILE_SIZE_MAX);
    else
        text.data[text.len] = '\0';
out:
    if (fd >= 0)
        close(fd);
    if (err->text[0] != '\0') {
        buf_clear(&text);
        return NULL;
    }
    *len_out = text.len;
    return buf_take(&text);
}

static int parse_text(cfg_t *cfg, char *text, size_t len, struct err *err)
{
    unsigned line = 0;

    if (config_scan(text, len, &line, err) < 0)
        return config_parse_fail(loading->file, line, err);
    if (len == 0)
        return 0;
    FILE *fp = fmemopen(text, len, "r");
    if (fp == NULL) {
        err_set_errno(err, "%s: fmemopen", loading->file);
        return -1;
    }
    int rc = cfg_parse_fp(cfg, fp);
    fclose(fp);
    if (rc == CFG_SUCCESS)
        return 0;
    if (err->text[0] == '\0') {
        err_set(err, "syntax error");
        (void)config_parse_fail(loading->file, (unsigned)cfg->line, err);
    }
    return -1;
}

/* Parse the text of one file, the main one or an included one, into cfg. */
static int load_text(cfg_t *cfg, const char *path, char *text, size_t len)
{
    struct config_parse *l = loading;
    const char *outer_file = l->file;
    int outer_line = cfg->line;

    l->files = mem_grow(l->files, l->file_count + 1, sizeof *l->files);
    l->files[l->file_count] = mem_strdup(path);
    l->file = l->files[l->file_count++];
    l->depth++;
    int rc = parse_text(cfg, text, len, l->err);
    l->depth--;
    l->file = outer_file;
    cfg->line = outer_line;
    return rc;
}

/* include("file"): a relative path is below the directory of the including file. */
static int include_file(cfg_t *cfg, cfg_opt_t *opt, int argc, const char **argv)
{
    struct config_parse *l = loading;
    unsigned line = (unsigned)cfg->line;
    const char *slash = strrchr(l->file, '/');
    size_t len = 0;

    (void)opt;
    if (argc != 1 || argv[0][0] == '\0') {
        err_set(l->err, "include takes one file; allowed: include(\"/path\")");
        return config_parse_fail(l->file, line, l->err);
    }
    if (l->depth >= INCLUDE_DEPTH_MAX || l->file_count >= FILES_MAX) {
        err_set(l->err, "include(\"%s\"): files are included too deeply", argv[0]);
        return config_parse_fail(l->file, line, l->err);
    }
    char *path = argv[0][0] == '/' || slash == NULL
                     ? mem_strdup(argv[0])
                     : mem_printf("%.*s/%s", (int)(slash - l->file), l->file, argv[0]);
    char *text = read_file(path, &len, l->err);
    int rc =
        text == NULL ? config_parse_fail(l->file, line, l->err) : load_text(cfg, path, text, len);
    free(text);
    free(path);
    return rc;
}

/* The options of one section as libconfuse wants them; cfg_init() copies all of it. */
static void describe_section(enum config_section section, cfg_opt_t *out)
{
    size_t count = 0;

    for (const struct config_option *o = config_options; o->name != NULL; o++) {
        if (o->section != section)
            continue;
        bool is_list = config_option_is_list(o);
        char *mark = o->default_text == NULL ? required_mark : NULL;
        cfg_opt_t opt =
            CFG_PTR_CB(o->name, mark, is_list ? CFGF_LIST : CFGF_NONE, keep_value, free);
        out[count++] = opt;
    }
    out[count] = (cfg_opt_t)CFG_END();
}

/* Room for every option in one section, sections, include and the end mark. */
#define OPTIONS_MAX 64

static cfg_t *parser_new(void)
{
    cfg_opt_t top[OPTIONS_MAX], subs[CONFIG_SECTION_COUNT][OPTIONS_MAX];
    size_t count = 0;

    describe_section(CONFIG_SECTION_TOP, top);
    while (top[count].name != NULL)
        count++;
    for (enum config_section s = CONFIG_SECTION_LOG; s < CONFIG_SECTION_COUNT; s++) {
        describe_section(s, subs[s]);
        cfg_opt_t opt =
            CFG_SEC(config_section_name(s), subs[s],
                    config_section_has_title(s) ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES
                                                : CFGF_NONE);
        top[count++] = opt;
    }
    top[count++] = (cfg_opt_t)CFG_FUNC("include", include_file);
    top[count] = (cfg_opt_t)CFG_END();
    cfg_t *cfg = cfg_init(top, CFGF_NONE);
    if (cfg == NULL)
        abort();
    (void)cfg_set_error_function(cfg, parser_error);
    return cfg;
}

int config_parse_open(struct config_parse *p, const char *path, struct err *err)
{
    size_t len = 0;

    *p = (struct config_parse){.err = err};
    err->text[0] = '\0';
    char *text = read_file(path, &len, err);
    if (text == NULL)
        return -1;
    loading = p;
    p->cfg = parser_new();
    int rc = load_text(p->cfg, path, text, len);
    loading = NULL;
    free(text);
    if (rc < 0)
        config_parse_close(p);
    return rc;
}

void config_parse_close(struct config_parse *p)
{
    cfg_free(p->cfg);
    for (size_t i = 0; i < p->file_count; i++)
        free(p->files[i]);
    free(p->files);
    free(p->sections);
    *p = (struct config_parse){0};
}

struct config_section_start config_parse_section(const struct config_parse *p, const cfg_t *sec)
{
    for (size_t i = 0; i < p->section_count; i++)
        if (p->sections[i].sec == sec)
            return p->sections[i];
    return (struct config_section_start){
        .sec = sec, .file = p->files[0], .line = (unsigned)sec->line};
}
