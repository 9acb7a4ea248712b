/* SPDX-License-Identifier: ISC */
#include "queue/db.h"

#include <string.h>

struct db_value db_int(int64_t number)
{
    return (struct db_value){.type = DB_INT, .number = number};
}

struct db_value db_real(double number)
{
    return (struct db_value){.type = DB_REAL, .real = number};
}

struct db_value db_text(const char *text)
{
    return (struct db_value){.type = DB_TEXT, .data = text, .len = strlen(text)};
}

struct db_value db_blob(const void *data, size_t len)
{
    return (struct db_value){.type = DB_BLOB, .data = data == NULL ? "" : data, .len = len};
}

struct db_value db_null(void)
{
    return (struct db_value){.type = DB_NULL};
}

const char *db_string(const struct db_value *column)
{
    return column->type == DB_TEXT ? column->data : "";
}
