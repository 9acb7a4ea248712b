/* SPDX-License-Identifier: ISC */
/* Convert values to PostgreSQL's binary format and back. Its numbers are in network byte order. */
#include "queue/db_pgsql_private.h"

#include "base/buf.h"
#include "base/utf8.h"

#include <endian.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The numbers of types, from PostgreSQL's pg_type.dat. They never change. */
enum {
    TYPE_BOOL = 16,
    TYPE_BYTEA = 17,
    TYPE_NAME = 19,
    TYPE_INT8 = 20,
    TYPE_INT2 = 21,
    TYPE_INT4 = 23,
    TYPE_TEXT = 25,
    TYPE_FLOAT4 = 700,
    TYPE_FLOAT8 = 701,
    TYPE_VARCHAR = 1043,
    TYPE_VOID = 2278,
};

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Return the text with U+FFFD for each NUL, and each byte that is not part of a character. */
static char *make_valid(const char *text, size_t len, size_t *len_out)
{
    struct buf out = {0};

    for (size_t i = 0, n; i < len; i += n) {
        uint32_t code = 0;
        n = utf8_decode(text + i, len - i, &code);
        if (n > 0 && code != 0) {
            buf_add(&out, text + i, n);
        } else {
            buf_adds(&out, REPLACEMENT);
            n = 1;
        }
    }
    *len_out = out.len;
    return buf_take(&out);
}

static void encode_number(struct db_pgsql_parameters *p, size_t i, Oid type, uint64_t bits)
{
    p->types[i] = type;
    p->numbers[i] = htobe64(bits);
    p->values[i] = (const char *)&p->numbers[i];
    p->lengths[i] = sizeof p->numbers[i];
}

static void encode_bytes(struct db_pgsql_parameters *p, size_t i, Oid type, const char *data,
                         size_t len)
{
    if (len > INT_MAX)
        abort();
    p->types[i] = type;
    p->values[i] = data;
    p->lengths[i] = (int)len;
}

void db_pgsql_encode(const struct db_value *values, size_t count, struct db_pgsql_parameters *out)
{
    uint64_t bits;
    size_t len;

    if (count > DB_VALUES_MAX)
        abort();
    memset(out, 0, sizeof *out);
    out->count = count;
    for (size_t i = 0; i < count; i++) {
        const struct db_value *v = &values[i];
        out->formats[i] = 1;
        switch (v->type) {
        case DB_NULL: /* the server finds the type */
            break;
        case DB_INT:
            encode_number(out, i, TYPE_INT8, (uint64_t)v->number);
            break;
        case DB_REAL:
            memcpy(&bits, &v->real, sizeof bits);
            encode_number(out, i, TYPE_FLOAT8, bits);
            break;
        case DB_TEXT:
            encode_bytes(out, i, TYPE_TEXT, v->data, v->len);
            if (utf8_is_valid(v->data, v->len) && memchr(v->data, '\0', v->len) == NULL)
                break;
            out->texts[i] = make_valid(v->data, v->len, &len);
            encode_bytes(out, i, TYPE_TEXT, out->texts[i], len);
            break;
        case DB_BLOB:
            encode_bytes(out, i, TYPE_BYTEA, v->data, v->len);
            break;
        }
        out->bytes += (size_t)out->lengths[i];
    }
}

void db_pgsql_encode_clear(struct db_pgsql_parameters *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->texts[i]);
}

static uint64_t get_number(const char *data, int len)
{
    uint64_t number = 0;

    for (int i = 0; i < len; i++)
        number = number << 8 | (unsigned char)data[i];
    return number;
}

static double get_float4(const char *data)
{
    uint32_t bits = (uint32_t)get_number(data, 4);
    float real;

    memcpy(&real, &bits, sizeof real);
    return (double)real;
}

static double get_float8(const char *data)
{
    uint64_t bits = get_number(data, 8);
    double real;

    memcpy(&real, &bits, sizeof real);
    return real;
}

/* Return how many bytes a value of this type has; -1: any number. */
static int length_of(Oid type)
{
    switch (type) {
    case TYPE_BOOL:
        return 1;
    case TYPE_INT2:
        return 2;
    case TYPE_INT4:
    case TYPE_FLOAT4:
        return 4;
    case TYPE_INT8:
    case TYPE_FLOAT8:
        return 8;
    default:
        return -1;
    }
}

/* Convert a value that is not NULL. False: its type is not known, or it has another length. */
static bool decode_value(Oid type, const char *data, int len, struct db_value *out)
{
    if (length_of(type) >= 0 && len != length_of(type))
        return false;
    switch (type) {
    case TYPE_BOOL:
        *out = db_int(data[0] != 0);
        return true;
    case TYPE_INT2:
        *out = db_int((int16_t)get_number(data, 2));
        return true;
    case TYPE_INT4:
        *out = db_int((int32_t)get_number(data, 4));
        return true;
    case TYPE_INT8:
        *out = db_int((int64_t)get_number(data, 8));
        return true;
    case TYPE_FLOAT4:
        *out = db_real(get_float4(data));
        return true;
    case TYPE_FLOAT8:
        *out = db_real(get_float8(data));
        return true;
    case TYPE_TEXT:
    case TYPE_VARCHAR:
    case TYPE_NAME: /* libpq puts a NUL behind each value */
        *out = (struct db_value){.type = DB_TEXT, .data = data, .len = (size_t)len};
        return true;
    case TYPE_BYTEA:
        *out = db_blob(data, (size_t)len);
        return true;
    case TYPE_VOID:
        *out = db_null();
        return true;
    default:
        return false;
    }
}

int db_pgsql_decode(const PGresult *result, int row, struct db_value columns[DB_VALUES_MAX],
                    struct err *err)
{
    int count = PQnfields(result);

    if (count > DB_VALUES_MAX) {
        err_set(err, "a row has %d columns, at most %d are known here", count, DB_VALUES_MAX);
        return -1;
    }
    for (int i = 0; i < count; i++) {
        if (PQgetisnull(result, row, i)) {
            columns[i] = db_null();
        } else if (!decode_value(PQftype(result, i), PQgetvalue(result, row, i),
                                 PQgetlength(result, row, i), &columns[i])) {
            err_set(err, "column %s has type %u, which is not known here with %d bytes",
                    PQfname(result, i), PQftype(result, i), PQgetlength(result, row, i));
            return -1;
        }
    }
    return 0;
}
