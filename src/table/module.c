/* SPDX-License-Identifier: ISC */
#include "table/module.h"

#include "base/mem.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The types, and whether configure has found what their modules need. */
static const struct {
    const char *type;
    const char *option; /* of configure; NULL: the module was built */
} types[] = {
#ifdef HAVE_MODULE_LDAP
    {"ldap", NULL},
#else
    {"ldap", "--with-ldap"},
#endif
#ifdef HAVE_MODULE_MYSQL
    {"mysql", NULL},
#else
    {"mysql", "--with-mysql"},
#endif
#ifdef HAVE_MODULE_PGSQL
    {"pgsql", NULL},
#else
    {"pgsql", "--with-pgsql"},
#endif
#ifdef HAVE_MODULE_SQLITE
    {"sqlite", NULL},
#else
    {"sqlite", "--with-sqlite-table"},
#endif
};

enum { TYPE_COUNT = sizeof types / sizeof types[0] };

/* The modules that are loaded, in the order of `types`. This is state of the process, as the
 * libraries themselves are. */
static const struct table_module *loaded[TYPE_COUNT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static char *path_of(const char *type)
{
    const char *directory = secure_getenv("SPLIT_MODULE_DIR");

    return mem_printf("%s/%s.so", directory == NULL ? PKGLIBDIR : directory, type);
}

static const struct table_module *load(size_t i, struct err *err)
{
    const char *type = types[i].type;
    const struct table_module *module = NULL;
    char *path = path_of(type);

    if (access(path, F_OK) != 0) {
        if (types[i].option == NULL)
            err_set(err, "%s: tables need the package splitmilter-%s (%s is not there)", type, type,
                    path);
        else
            err_set(err, "%s: tables are not in this build of splitmilter (configure %s)", type,
                    types[i].option);
        free(path);
        return NULL;
    }
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle != NULL)
        module = dlsym(handle, "splitmilter_table");
    if (module == NULL) {
        err_set(err, "%s: tables: cannot load the module: %s", type, dlerror());
    } else if (strcmp(module->version, PACKAGE_VERSION) != 0 || strcmp(module->type, type) != 0) {
        err_set(err,
                "%s: tables: %s is the module for %s: of splitmilter %s, not %s: install packages "
                "of one version, and restart",
                type, path, module->type, module->version, PACKAGE_VERSION);
        module = NULL;
    }
    if (module == NULL && handle != NULL)
        dlclose(handle);
    free(path);
    return module;
}

const struct table_module *module_load(const char *type, struct err *err)
{
    const struct table_module *module = NULL;
    size_t i = 0;

    while (i < TYPE_COUNT && strcmp(types[i].type, type) != 0)
        i++;
    if (i == TYPE_COUNT) {
        err_set(err, "%s: there is no module for this table type", type);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    if (loaded[i] == NULL)
        loaded[i] = load(i, err);
    module = loaded[i];
    pthread_mutex_unlock(&lock);
    return module;
}
