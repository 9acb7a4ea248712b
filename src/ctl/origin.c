/* SPDX-License-Identifier: ISC */
#include "ctl/origin.h"
#include "base/mem.h"
#include "ctl/setup/command.h"
#include "base/fdio.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_LINE_MAX 1024 /* bytes of a file that myorigin names; Postfix takes its first line */

/* The first word of the text, for the caller to free; NULL if there is none. */
static char *first_line(const char *text)
{
    static const char space[] = " \t\r\n";

    text += strspn(text, space);
    size_t len = strcspn(text, space);
    return len == 0 ? NULL : mem_strndup(text, len);
}

static char *read_first_line(const char *path)
{
    char text[FILE_LINE_MAX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return NULL;
    ssize_t n = fdio_read_full(fd, text, FILE_LINE_MAX);
    close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return first_line(text);
}

static char *myorigin(void)
{
    static const char *const argv[] = {"postconf", "-x", "-h", "myorigin", NULL};
    struct buf out = {0};
    struct err no_postfix;
    char *domain = NULL;

    if (command_need(argv, &out, &no_postfix) == 0)
        domain = first_line(buf_str(&out));
    buf_clear(&out);
    if (domain == NULL || *domain != '/')
        return domain;
    char *line = read_first_line(domain);
    free(domain);
    return line;
}

struct origin origin_find(const struct config *config)
{
    char *domain = myorigin();

    if (domain != NULL)
        return (struct origin){domain, "myorigin of Postfix"};
    return (struct origin){mem_strdup(config->relay.hostname), "hostname of section relay"};
}
