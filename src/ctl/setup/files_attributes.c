/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/setup/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ACL "system.posix_acl_access"

enum { USUAL_MODE = 0644, TRIES = 3 };

struct attribute {
    char *name, *value;
    size_t len;
};

struct files_attributes {
    uid_t uid;
    gid_t gid;
    mode_t mode;
    struct attribute *items; /* extended attributes, among them the access control list */
    size_t count;
};

static void add(struct files_attributes *a, const char *path, const char *name)
{
    ssize_t len = getxattr(path, name, NULL, 0);
    char *value = len < 0 ? NULL : mem_zalloc((size_t)len + 1);

    if (len >= 0)
        len = getxattr(path, name, value, (size_t)len);
    if (len < 0) {
        free(value);
        return;
    }
    a->items = mem_grow(a->items, a->count + 1, sizeof *a->items);
    a->items[a->count++] =
        (struct attribute){.name = mem_strdup(name), .value = value, .len = (size_t)len};
}

struct files_attributes *files_attributes_get(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return NULL;
    struct files_attributes *a = mem_zalloc(sizeof *a);
    a->uid = st.st_uid;
    a->gid = st.st_gid;
    a->mode = st.st_mode & 07777;
    ssize_t len = listxattr(path, NULL, 0);
    char *names = len <= 0 ? NULL : mem_zalloc((size_t)len + 1);
    if (names != NULL)
        len = listxattr(path, names, (size_t)len);
    for (char *name = names; len > 0 && name < names + len; name += strlen(name) + 1)
        add(a, path, name);
    free(names);
    return a;
}

void files_attributes_free(struct files_attributes *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; i < a->count; i++) {
        free(a->items[i].name);
        free(a->items[i].value);
    }
    free(a->items);
    free(a);
}

int files_attributes_set(int fd, const struct files_attributes *a)
{
    mode_t mode = a == NULL ? USUAL_MODE : a->mode;

    if (a != NULL && fchown(fd, a->uid, a->gid) < 0)
        return -1;
    /* Remove the access control list that a new file gets from the defaults of its directory. */
    if (fremovexattr(fd, ACL) < 0 && errno != ENODATA && errno != ENOTSUP)
        return -1;
    for (size_t i = 0; a != NULL && i < a->count; i++) {
        const struct attribute *x = &a->items[i];
        bool is_set = fsetxattr(fd, x->name, x->value, x->len, 0) == 0;
        /* The group bits of this mode are the mask of the list. Without the list they would permit
         * access to the group. */
        if (!is_set && strcmp(x->name, ACL) == 0)
            mode &= ~(mode_t)070;
    }
    return fchmod(fd, mode);
}

mode_t files_attributes_umask(const struct files_attributes *a)
{
    return 022 | (~(a == NULL ? (mode_t)USUAL_MODE : a->mode) & 066);
}
