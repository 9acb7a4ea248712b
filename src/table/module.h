/* SPDX-License-Identifier: ISC */
/*
 * module: loads the module of an external table type (table_module.h) from $(pkglibdir)/TYPE.so. A
 * module is loaded once, and stays loaded until the process ends. Any thread.
 */
#ifndef SPLIT_MODULE_H
#define SPLIT_MODULE_H

#include "table/table_module.h"

/*
 * Load the module of a type: "mysql", "pgsql", "ldap", "sqlite". The environment variable
 * SPLIT_MODULE_DIR, for tests, names another directory; secure_getenv(3) reads it. NULL with `err`:
 * the module is not installed ("mysql: tables need the package splitmilter-mysql"), was not built
 * (the configure switch), cannot be loaded, or belongs to another version of splitmilter.
 */
const struct table_module *module_load(const char *type, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
