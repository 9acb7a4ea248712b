/* SPDX-License-Identifier: ISC */
#include "ctl/ctl.h"
#include "base/buf.h"
#include "config/config_file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "queue/queue_id.h"
#include "base/ascii.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void ctl_complain(const char *fmt, ...)
{
    char text[1500];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_sanitize(text);
    fprintf(stderr, "splitctl: %s\n", text);
}

int ctl_usage(const struct ctl_command *self)
{
    fprintf(stderr, "usage: splitctl [-c FILE] %s%s%s\n", self->name,
            self->usage[0] == '\0' ? "" : " ", self->usage);
    return EXIT_USAGE;
}

struct config *ctl_load(const char *config_path)
{
    struct err err;
    struct config *config = config_file_load(config_path, &err);

    if (config == NULL)
        ctl_complain("%s", err.text);
    return config;
}

char *ctl_relay_lock(const struct config *config)
{
    return mem_printf("%s/lock", config->relay.spool_directory);
}

void ctl_print(const char *text)
{
    char *copy = mem_strdup(text);

    log_sanitize(copy);
    fputs(copy, stdout);
    free(copy);
}

void ctl_print_lines(const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n\t");
        char *piece = mem_strndup(text, len);
        ctl_print(piece);
        free(piece);
        text += len;
        if (*text != '\0')
            putchar(*text++);
    }
}

void ctl_printf(const char *fmt, ...)
{
    size_t fmt_len = strlen(fmt);
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    bool ends_line = fmt_len > 0 && fmt[fmt_len - 1] == '\n';
    if (ends_line)
        buf_truncate(&text, text.len - 1);
    ctl_print(buf_str(&text));
    if (ends_line)
        putchar('\n');
    buf_clear(&text);
}

bool ctl_is_id(const char *text)
{
    int64_t id;

    return queue_id_parse(text, &id);
}

int ctl_probe(const struct endpoint *e, unsigned timeout_ms, struct err *err)
{
    int fd = endpoint_connect(e, timeout_ms, err);

    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}
