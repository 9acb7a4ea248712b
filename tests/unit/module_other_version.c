/* SPDX-License-Identifier: ISC */
/* A module of another version, for test_module.c. */
#include "table/table_module.h"

const struct table_module splitmilter_table = {.version = "0.0.1", .type = "ldap"};
