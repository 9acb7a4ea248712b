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

static bool take_number(void *ctx, const struct db_value *columns)
{
    if (columns[0].type == DB_INT)
        *(int64_t *)ctx = columns[0].number;
    return false;
}

enum db_status db_get_number(struct db *db, const char *sql, const struct db_value *values,
                             size_t count, int64_t *out, struct err *err)
{
    *out = 0;
    return db->ops->query(db, sql, values, count, take_number, out, err);
}
